//! The directories of a folder: made as needed, each durable before anything is created in it.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use super::platform::{FolderPlace, place, sync_path, uninterrupted};
use super::root::{FileKind, Root};

/// The directories of the folder at `path`.
///
/// Only [`Dirs::prune`] removes one, under the exclusive lock of the database; otherwise what is known to be
/// durable stays so.
#[derive(Debug)]
pub(super) struct Dirs {
    path: PathBuf,
    /// The folder, once it was there, and by what it is told from others.
    root: OnceLock<(Root, FolderPlace)>,
    /// Directories whose own names are durable because *this* process synced their parents after it
    /// had seen them. That another process made a directory says nothing: it may have died before its sync.
    durable: Mutex<HashSet<String>>,
    /// The sync that failed. A second one might succeed although nothing was written, so there is none (S6).
    failed: Mutex<Option<(io::ErrorKind, String)>>,
    /// Held for reading from making a directory to creating in it, for writing while directories go.
    pruned: RwLock<()>,
}

impl Dirs {
    pub(super) fn new(path: PathBuf) -> Dirs {
        // The process may go to another directory.
        let path = std::path::absolute(&path).unwrap_or(path);
        Dirs {
            path,
            root: OnceLock::new(),
            durable: Mutex::default(),
            failed: Mutex::default(),
            pruned: RwLock::default(),
        }
    }

    /// Where the folder is looked for.
    pub(super) fn path(&self) -> &Path {
        match self.path.as_os_str().is_empty() {
            true => Path::new("."),
            false => &self.path,
        }
    }

    /// The folder; `None` where there is none yet. Once found it is the same for good, whatever its path leads to.
    pub(super) fn root(&self) -> io::Result<Option<&Root>> {
        if let Some((root, _)) = self.root.get() {
            return Ok(Some(root));
        }
        let root = match Root::open(self.path()) {
            Ok(root) => root,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(cause),
        };
        let place = place(&root.metadata()?);
        Ok(Some(&self.root.get_or_init(|| (root, place)).0))
    }

    /// By what the folder that was found is told from others; `None` where none was found.
    pub(super) fn place(&self) -> Option<FolderPlace> {
        self.root.get().map(|(_, place)| *place)
    }

    /// The folder, which was found before or is made now.
    pub(super) fn made(&self) -> io::Result<&Root> {
        self.make("")?;
        self.root()?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Keeps every directory as long as the guard lives.
    pub(super) fn keep(&self) -> RwLockReadGuard<'_, ()> {
        self.pruned.read()
    }

    /// Removes the empty directories below the root. That need not be durable: one that comes back is empty.
    pub(super) fn prune(&self) -> io::Result<()> {
        let _nobody_creates = self.pruned.write();
        self.durable.lock().clear();
        let Some(root) = self.root()? else {
            return Ok(());
        };
        for dir in dirs_in(root, "")? {
            prune_below(root, &dir)?;
        }
        Ok(())
    }

    /// Makes `dir` (`""` is the root) and what lies above it, each durable in its parent.
    pub(super) fn make(&self, dir: &str) -> io::Result<()> {
        self.walk(dir, Root::make_dir)
    }

    /// Makes durable the names in `dir`, and `dir` itself upwards; `dir` exists.
    pub(super) fn sync(&self, dir: &str) -> io::Result<()> {
        self.walk(dir, |_, _| Ok(()))?;
        self.sync_dir(dir)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        if let Some((kind, message)) = &*self.failed.lock() {
            let message = format!("an earlier sync failed: {message}");
            return Err(io::Error::new(*kind, message));
        }
        let root = self.root()?.ok_or(io::ErrorKind::NotFound)?;
        let synced = root.sync_dir(dir)?;
        assert!(
            self.root.get().is_some(),
            "`{dir}` of a folder that was never found"
        );
        if let Err(cause) = &synced {
            *self.failed.lock() = Some((cause.kind(), cause.to_string()));
        }
        synced
    }

    /// From the root down to `dir`: `visit` each directory that is not known to be durable, then
    /// make it so.
    fn walk(&self, dir: &str, visit: fn(&Root, &str) -> io::Result<()>) -> io::Result<()> {
        if self.durable.lock().contains(dir) {
            return Ok(());
        }
        if dir.is_empty() {
            match self.root()? {
                Some(_) => sync_parent(self.path()),
                None => make_root(&self.path)?,
            }
        } else {
            let parent = dir.rsplit_once('/').map_or("", |(parent, _)| parent);
            assert!(parent.len() < dir.len(), "`{parent}` lies above `{dir}`");
            self.walk(parent, visit)?;
            let root = self.root()?;
            visit(root.ok_or(io::ErrorKind::NotFound)?, dir)?;
            self.sync_dir(parent)?;
        }
        self.durable.lock().insert(dir.to_owned());
        Ok(())
    }
}

fn dirs_in(root: &Root, dir: &str) -> io::Result<Vec<String>> {
    let entries = root.list(dir)?.into_iter();
    let dirs = entries.filter(|(_, kind)| *kind == FileKind::Dir);
    Ok(dirs
        .map(|(name, _)| match dir {
            "" => name,
            dir => format!("{dir}/{name}"),
        })
        .collect())
}

fn prune_below(root: &Root, dir: &str) -> io::Result<()> {
    for below in dirs_in(root, dir)? {
        prune_below(root, &below)?;
    }
    match root.remove_dir(dir) {
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
    if let Some(Err(cause)) = path.parent().map(sync_path) {
        tracing::debug!(path = %path.display(), %cause, "the folder's own name was not synced");
    }
}

/// Makes the folder itself, and what lies above it, durably.
fn make_root(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new(""));
    make_root(parent)?;
    match uninterrupted(|| fs::create_dir(path)) {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => return Err(cause),
        _ => {}
    }
    sync_path(if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    })
}
