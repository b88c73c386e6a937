//! The directories of a folder: made as needed, each durable before anything is created in it.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use super::platform::{open_dir, sync_dir, uninterrupted};

/// The directories of the folder at `root`.
///
/// Only [`Dirs::prune`] removes one, under the exclusive lock of the database; otherwise what is known to be
/// durable stays so.
#[derive(Debug)]
pub(super) struct Dirs {
    root: PathBuf,
    /// Directories whose own names are durable because *this* process synced their parents after it
    /// had seen them. That another process made a directory says nothing: it may have died before its sync.
    durable: Mutex<HashSet<String>>,
    /// The sync that failed. A second one might succeed although nothing was written, so there is none (S6).
    failed: Mutex<Option<(io::ErrorKind, String)>>,
    /// Held for reading from making a directory to creating in it, for writing while directories go.
    pruned: RwLock<()>,
}

impl Dirs {
    pub(super) fn new(root: PathBuf) -> Dirs {
        Dirs {
            root,
            durable: Mutex::default(),
            failed: Mutex::default(),
            pruned: RwLock::default(),
        }
    }

    /// Keeps every directory as long as the guard lives.
    pub(super) fn keep(&self) -> RwLockReadGuard<'_, ()> {
        self.pruned.read()
    }

    /// Removes the empty directories below the root. That need not be durable: one that comes back is empty.
    pub(super) fn prune(&self) -> io::Result<()> {
        let _nobody_creates = self.pruned.write();
        self.durable.lock().clear();
        for path in dirs_in(&self.root)? {
            prune_below(&path)?;
        }
        Ok(())
    }

    /// Makes `dir` (`""` is the root) and what lies above it, each durable in its parent.
    pub(super) fn make(&self, dir: &str) -> io::Result<()> {
        self.walk(dir, make_dir)
    }

    /// Makes durable the names in `dir`, and `dir` itself upwards; `dir` exists.
    pub(super) fn sync(&self, dir: &str) -> io::Result<()> {
        self.walk(dir, |_| Ok(()))?;
        self.sync_dir(&self.path(dir))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        if let Some((kind, message)) = &*self.failed.lock() {
            let message = format!("an earlier sync failed: {message}");
            return Err(io::Error::new(*kind, message));
        }
        let dir = open_dir(path)?;
        let synced = sync_dir(&dir);
        if let Err(cause) = &synced {
            *self.failed.lock() = Some((cause.kind(), cause.to_string()));
        }
        synced
    }

    /// From the root down to `dir`: `visit` each directory that is not known to be durable, then
    /// make it so.
    fn walk(&self, dir: &str, visit: fn(&Path) -> io::Result<()>) -> io::Result<()> {
        if self.durable.lock().contains(dir) {
            return Ok(());
        }
        if dir.is_empty() {
            if self.root.is_dir() {
                sync_parent(&self.root);
            } else {
                make_root(&self.root)?;
            }
        } else {
            let parent = dir.rsplit_once('/').map_or("", |(parent, _)| parent);
            self.walk(parent, visit)?;
            visit(&self.path(dir))?;
            self.sync_dir(&self.path(parent))?;
        }
        self.durable.lock().insert(dir.to_owned());
        Ok(())
    }

    fn path(&self, dir: &str) -> PathBuf {
        // Joining "" would add a trailing slash.
        if dir.is_empty() {
            self.root.clone()
        } else {
            self.root.join(dir)
        }
    }
}

/// Makes one directory; it may exist.
pub(super) fn make_dir(path: &Path) -> io::Result<()> {
    match uninterrupted(|| fs::create_dir(path)) {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done,
    }
}

fn dirs_in(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut dirs = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            dirs.push(entry.path());
        }
    }
    Ok(dirs)
}

fn prune_below(path: &Path) -> io::Result<()> {
    for below in dirs_in(path)? {
        prune_below(&below)?;
    }
    match fs::remove_dir(path) {
        Err(cause) if cause.kind() != io::ErrorKind::DirectoryNotEmpty => Err(cause),
        _ => Ok(()),
    }
}

/// Makes durable the name of a folder that exists: a process may have made it and died before its
/// sync. Only an attempt, because the parent is its owner's affair and may not even be readable.
fn sync_parent(path: &Path) {
    let Ok(path) = fs::canonicalize(path) else {
        return;
    };
    if let Some(Err(cause)) = path.parent().map(open_and_sync) {
        tracing::debug!(path = %path.display(), %cause, "the folder's own name was not synced");
    }
}

fn open_and_sync(path: &Path) -> io::Result<()> {
    sync_dir(&open_dir(path)?)
}

/// Makes the folder itself, and what lies above it, durably.
fn make_root(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new(""));
    make_root(parent)?;
    make_dir(path)?;
    open_and_sync(if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    })
}
