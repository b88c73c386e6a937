//! The folder that everything opened from one [`LocalStorage`](super::LocalStorage) shares.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::dirs::Dirs;
use super::mount::{self, MOUNTS, Mount};
use super::platform::{place, uninterrupted};
use crate::base::entropy::{Entropy, SystemEntropy};
use crate::base::{Error, Result};
use crate::storage::{Access, Name};

/// A folder, and what this process remembers of it.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) root: PathBuf,
    pub(super) access: Access,
    pub(super) dirs: Dirs,
    /// Begins the name of every temporary file of this folder: process and random bits, so that
    /// neither two machines nor two processes of one number meet.
    pub(super) temp_prefix: String,
    temp_next: AtomicU64,
    /// What it lies on, once that was asked; `None` where nothing is known of it, or nothing is to be made of it.
    mount: OnceLock<Option<Mount>>,
    /// File system and number of the root, once it was there.
    place: OnceLock<(u64, u64)>,
}

impl Folder {
    pub(super) fn new(root: PathBuf, access: Access) -> Folder {
        let random = SystemEntropy.next_u128();
        Folder {
            dirs: Dirs::new(root.clone()),
            root,
            access,
            temp_prefix: format!("{}-{random:032x}-", std::process::id()),
            temp_next: AtomicU64::new(0),
            mount: OnceLock::new(),
            place: OnceLock::new(),
        }
    }

    pub(super) fn writable(&self) -> Result<()> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(Error::ReadOnly),
        }
    }

    pub(super) fn path(&self, name: &Name) -> PathBuf {
        self.root.join(name.as_str())
    }

    /// A path below `tmp/` that nobody else uses.
    pub(super) fn temp_path(&self) -> PathBuf {
        let number = self.temp_next.fetch_add(1, Ordering::Relaxed);
        self.root
            .join(Name::TMP)
            .join(format!("{}{number}", self.temp_prefix))
    }

    /// What it lies on.
    pub(super) fn mount(&self) -> Option<&Mount> {
        let mount = self.mount.get_or_init(|| mount::find(&self.root));
        mount.as_ref()
    }

    /// Whoever opened it knows that no other machine has it.
    pub(super) fn assume_local(&self) {
        // Asked before: then it has been said in time, or not at all.
        self.mount.get_or_init(|| None);
    }

    pub(super) fn is_remote(&self) -> bool {
        self.mount().is_some_and(Mount::is_remote)
    }

    /// Remembers which folder this is, now that it is there.
    pub(super) fn settle(&self) -> io::Result<()> {
        let metadata = uninterrupted(|| fs::metadata(&self.root))?;
        self.place.get_or_init(|| place(&metadata));
        Ok(())
    }

    /// That a name is absent means something only while the folder is where it was: one that was moved away or
    /// unmounted has no names at all.
    pub(super) fn still_there(&self) -> io::Result<()> {
        let Some(known) = self.place.get() else {
            return Ok(());
        };
        let gone = || {
            let why = "the folder is no longer where it was opened: moved, replaced or unmounted";
            io::Error::new(io::ErrorKind::StaleNetworkFileHandle, why)
        };
        match uninterrupted(|| fs::metadata(&self.root)) {
            Ok(metadata) if place(&metadata) == *known => Ok(()),
            Ok(_) => Err(gone()),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Err(gone()),
            Err(cause) => Err(cause),
        }
    }

    /// Makes the system ask the file system anew for a name, and for the folders on the way to it, where it might
    /// go by what it remembers of them: absent names, lengths.
    ///
    /// There is no call for that. But a name that is to be created is asked for always, and creating a link to what
    /// lies on another file system is refused only after that.
    pub(super) fn look_anew(&self, path: &Path) {
        if !self.is_remote() {
            return;
        }
        // Whether a folder on the way is absent, or is only thought to be.
        let stops_above = || {
            let done = fs::hard_link(MOUNTS, path);
            done.is_err_and(|cause| cause.kind() == io::ErrorKind::NotFound)
        };
        if path != self.root
            && stops_above()
            && let Some(parent) = path.parent()
        {
            self.look_anew(parent);
            stops_above();
        }
    }
}
