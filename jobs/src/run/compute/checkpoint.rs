//! The file that a long-running program saves its state in, so that the next attempt goes on from there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::command::limits::CHECKPOINT_LEN_MAX;

/// What the file is called in the working folder.
pub(crate) const CHECKPOINT_FILE: &str = "checkpoint";

/// The checkpoint of one attempt.
pub(crate) struct CheckpointFile {
    path: PathBuf,
    /// The file as it was stored last.
    saved: Option<FileLook>,
    /// Parts that are stored; 0: nothing is.
    pub(crate) parts: u32,
}

/// By what a file is told from the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileLook {
    len: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

impl CheckpointFile {
    /// Puts what an attempt before has left where the program finds it.
    ///
    /// # Errors
    /// What the system refuses.
    pub(crate) fn restore(work: &Path, left: Option<(Vec<u8>, u32)>) -> io::Result<CheckpointFile> {
        let path = work.join(CHECKPOINT_FILE);
        let mut file = CheckpointFile {
            path,
            saved: None,
            parts: 0,
        };
        if let Some((content, parts)) = left {
            fs::write(&file.path, content)?;
            file.saved = file.look();
            file.parts = parts;
        }
        Ok(file)
    }

    /// The file's content, if it is another one than what was stored last. One that is too long is left out, with a
    /// warning.
    pub(crate) fn changed(&mut self) -> Option<Vec<u8>> {
        let now = self.look()?;
        if self.saved == Some(now) {
            return None;
        }
        self.saved = Some(now);
        if now.len > CHECKPOINT_LEN_MAX {
            tracing::warn!(
                bytes = now.len,
                "a checkpoint is not kept: it has more than {CHECKPOINT_LEN_MAX} bytes"
            );
            return None;
        }
        let content = fs::read(&self.path).ok()?;
        // It may have grown since.
        (content.len() as u64 <= CHECKPOINT_LEN_MAX).then_some(content)
    }

    fn look(&self) -> Option<FileLook> {
        let metadata = fs::symlink_metadata(&self.path).ok()?;
        metadata.is_file().then(|| FileLook {
            len: metadata.len(),
            modified: metadata.modified().ok(),
            inode: std::os::unix::fs::MetadataExt::ino(&metadata),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_is_given_once() {
        let work = tempfile::tempdir().unwrap();
        let mut file = CheckpointFile::restore(work.path(), None).unwrap();
        assert_eq!(file.changed(), None);
        let path = work.path().join(CHECKPOINT_FILE);
        fs::write(&path, "one").unwrap();
        assert_eq!(file.changed().as_deref(), Some(&b"one"[..]));
        assert_eq!(file.changed(), None);
        // As programs should write it.
        fs::write(work.path().join("new"), "two").unwrap();
        fs::rename(work.path().join("new"), &path).unwrap();
        assert_eq!(file.changed().as_deref(), Some(&b"two"[..]));
        let sparse = fs::File::create(&path).unwrap();
        sparse.set_len(CHECKPOINT_LEN_MAX + 1).unwrap();
        assert_eq!(file.changed(), None);
        // A link leads elsewhere.
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert_eq!(file.changed(), None);
        let other = tempfile::tempdir().unwrap();
        let left = Some((b"left".to_vec(), 1));
        let mut file = CheckpointFile::restore(other.path(), left).unwrap();
        assert_eq!(
            fs::read(other.path().join(CHECKPOINT_FILE)).unwrap(),
            b"left"
        );
        assert_eq!((file.changed(), file.parts), (None, 1));
    }
}
