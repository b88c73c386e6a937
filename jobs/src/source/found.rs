//! The files of a recorded job, and those that its globs match now.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use eciton_proto::v1::SourceFile;

use super::error::SourceError;
use super::files::matched;
use super::identity;
use crate::spec::JobFile;

/// How the files of a recorded job differ from those that its globs match now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesNow {
    /// Files that match now and are not the job's, by the names that messages show.
    pub added: Vec<String>,
    /// Files of the job that no glob matches now.
    pub missing: Vec<String>,
    /// Files of the job that are not as they were recorded.
    pub changed: Vec<String>,
    /// If no file of the job matches: the path of one of them, and of one that does.
    pub others: Option<(String, String)>,
}

/// Compares the files of a recorded job with those that its globs match now. Where none matches, for instance on a
/// machine without the files, nothing is said to differ. Blocks the thread.
pub fn files_now(job: &JobFile, recorded: &[SourceFile]) -> FilesNow {
    let patterns = job
        .spec()
        .source
        .as_ref()
        .map_or(&[][..], |source| &source.paths);
    let mut now = matched(job, patterns);
    if now.is_empty() || recorded.is_empty() {
        return FilesNow::default();
    }
    let mut gone: Vec<&SourceFile> = Vec::new();
    let mut changed = Vec::new();
    for file in recorded {
        if now.remove(Path::new(&file.path)).is_none() {
            gone.push(file);
        } else if is_changed(file) {
            changed.push(file.display.clone());
        }
    }
    same_under_other_paths(&mut gone, &mut now);
    let others = match (gone.first(), now.first_key_value()) {
        (Some(was), Some((is, _))) if gone.len() == recorded.len() => {
            Some((was.path.clone(), is.display().to_string()))
        }
        _ => None,
    };
    FilesNow {
        added: now.into_values().collect(),
        missing: gone.iter().map(|file| file.display.clone()).collect(),
        changed,
        others,
    }
}

/// Whether a file is there and is another one than was recorded.
fn is_changed(file: &SourceFile) -> bool {
    matches!(
        identity::check_path(file),
        Err(SourceError::Stale { .. } | SourceError::Changed { .. })
    )
}

/// Takes out files that are the same under another path, as a folder that is mounted twice has them.
#[cfg(unix)]
fn same_under_other_paths(gone: &mut Vec<&SourceFile>, now: &mut BTreeMap<PathBuf, String>) {
    use std::os::unix::fs::MetadataExt;
    if gone.is_empty() || now.is_empty() {
        return;
    }
    let id = |path: &Path| {
        let metadata = path.metadata().ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    let by_id: BTreeMap<(u64, u64), PathBuf> = now
        .keys()
        .filter_map(|path| Some((id(path)?, path.clone())))
        .collect();
    gone.retain(|file| {
        let same = id(Path::new(&file.path)).and_then(|id| by_id.get(&id));
        same.is_none_or(|path| now.remove(path).is_none())
    });
}

#[cfg(not(unix))]
fn same_under_other_paths(_gone: &mut Vec<&SourceFile>, _now: &mut BTreeMap<PathBuf, String>) {}

/// Whether a file can be opened here and is the one that was recorded. Blocks the thread.
///
/// # Errors
/// [`SourceError::Io`] and [`SourceError::Stale`] otherwise.
pub fn probe(file: &SourceFile) -> Result<(), SourceError> {
    identity::check_path(file)
}
