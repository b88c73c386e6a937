//! Temporary files: where bytes wait until they are durable and get their name.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::dirs::make_dir;
use super::folder::Folder;
use super::platform::uninterrupted;
use crate::storage::{Created, Name};

/// A file below `tmp/`, removed when dropped.
#[derive(Debug)]
pub(super) struct Temp {
    path: PathBuf,
    pub(super) file: File,
}

impl Temp {
    pub(super) fn create(folder: &Folder) -> io::Result<Temp> {
        let path = folder.temp_path();
        let file = match create_new(&path) {
            // Only the first one pays for making the directory.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                folder.dirs.make("")?;
                make_dir(&folder.root.join(Name::TMP))?;
                create_new(&path)?
            }
            created => created?,
        };
        Ok(Temp { path, file })
    }

    /// Gives the file the name `path` if that is free.
    pub(super) fn link(self, path: &Path) -> io::Result<Created> {
        match uninterrupted(|| fs::hard_link(&self.path, path)) {
            Ok(()) => Ok(Created::New),
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(Created::Exists),
            Err(cause) => Err(cause),
        }
    }

    /// Gives the file the name `path`, whoever has it.
    pub(super) fn rename(self, path: &Path) -> io::Result<()> {
        uninterrupted(|| fs::rename(&self.path, path))
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        match fs::remove_file(&self.path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                // It holds space but harms nothing; whoever takes the lock next removes it.
                tracing::debug!(path = %self.path.display(), %cause, "temporary file left behind");
            }
            _ => {}
        }
    }
}

fn create_new(path: &Path) -> io::Result<File> {
    uninterrupted(|| OpenOptions::new().write(true).create_new(true).open(path))
}

/// Removes what processes that died left below `tmp/`. The one who calls holds the exclusive lock,
/// so whatever does not begin with `own` has no owner; unless the lock is known here only, where just what is
/// older than `before` goes.
pub(super) fn clear(root: &Path, own: &str, before: Option<SystemTime>) -> io::Result<()> {
    let entries = match fs::read_dir(root.join(Name::TMP)) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if !entry.file_type()?.is_file() || entry.file_name().to_string_lossy().starts_with(own) {
            continue;
        }
        if let Some(before) = before
            && entry.metadata()?.modified()? > before
        {
            continue;
        }
        fs::remove_file(entry.path())?;
    }
    Ok(())
}
