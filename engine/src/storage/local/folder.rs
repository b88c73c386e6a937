//! The folder that everything opened from one [`LocalStorage`](super::LocalStorage) shares.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::dirs::Dirs;
use super::mount::{self, MOUNTS, Mount};
use super::platform::{place, uninterrupted};
use super::root::{Root, is_a_link};
use crate::base::entropy::{Entropy, SystemEntropy};
use crate::base::{Error, Result};
use crate::storage::{Access, Name};

/// What lies at the top of a database.
const TOPS: [&str; 7] = [
    "INSTANCE",
    Name::LOCK,
    Name::TMP,
    Name::LOG,
    Name::SEGMENT,
    Name::MANIFEST,
    Name::FLOOR,
];

/// A folder, and what this process remembers of it.
#[derive(Debug)]
pub(super) struct LocalFolder {
    pub(super) path: PathBuf,
    pub(super) access: Access,
    pub(super) dirs: Dirs,
    /// Begins the name of every temporary file of this folder: process and random bits, so that
    /// neither two machines nor two processes of one number meet.
    pub(super) temp_prefix: String,
    temp_next: AtomicU64,
    /// What it lies on, once that was asked; `None` where nothing is known of it, or nothing is to be made of it.
    mount: OnceLock<Option<Mount>>,
}

impl LocalFolder {
    pub(super) fn new(path: PathBuf, access: Access) -> LocalFolder {
        let random = SystemEntropy.next_u128();
        LocalFolder {
            dirs: Dirs::new(path.clone()),
            path,
            access,
            temp_prefix: format!("{}-{random:032x}-", std::process::id()),
            temp_next: AtomicU64::new(0),
            mount: OnceLock::new(),
        }
    }

    pub(super) fn writable(&self) -> Result<()> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(Error::ReadOnly),
        }
    }

    /// The folder; `None` where there is none yet.
    pub(super) fn root(&self) -> io::Result<Option<&Root>> {
        self.dirs.root()
    }

    /// The folder, made if it was not there yet, and still where it was found. What is written through it can only
    /// ever land in it; but a process whose folder was moved away has to stop, since another one may have taken its
    /// place.
    pub(super) fn to_write(&self) -> io::Result<&Root> {
        let root = self.dirs.made()?;
        self.still_there()?;
        Ok(root)
    }

    /// A name below `tmp/` that nobody else uses.
    pub(super) fn temp_name(&self) -> String {
        let number = self.temp_next.fetch_add(1, Ordering::Relaxed);
        format!("{}{number}", self.temp_prefix)
    }

    /// What it lies on.
    pub(super) fn mount(&self) -> Option<&Mount> {
        let mount = self.mount.get_or_init(|| mount::find(&self.path));
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

    /// That a name is absent means something only while the folder is where it was: one that was moved away or
    /// unmounted has no names at all. And whatever is written into it then, nobody finds where it was looked for.
    pub(super) fn still_there(&self) -> io::Result<()> {
        let Some(here) = self.dirs.place() else {
            return Ok(());
        };
        let gone = || {
            let why = "the folder is no longer where it was opened: moved, replaced or unmounted";
            io::Error::new(io::ErrorKind::StaleNetworkFileHandle, why)
        };
        match uninterrupted(|| fs::metadata(self.dirs.path())) {
            Ok(metadata) if place(&metadata) == here => Ok(()),
            Ok(_) => Err(gone()),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Err(gone()),
            Err(cause) => Err(cause),
        }
    }

    /// Looks for symbolic links where a database has files and folders of its own.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the link.
    pub(super) fn refuse_links(&self) -> Result<()> {
        let Ok(Some(root)) = self.root() else {
            return Ok(());
        };
        for name in TOPS {
            // Whatever else is wrong with it shows when it is used.
            if root.is_link(name).unwrap_or(false) {
                let why = is_a_link(name, io::ErrorKind::InvalidInput);
                return Err(Error::Invalid(format!("{}: {why}", self.path.display())));
            }
        }
        Ok(())
    }

    /// Makes the system ask the file system anew for a name, and for the folders on the way to it, where it might
    /// go by what it remembers of them: absent names, lengths.
    ///
    /// There is no call for that. But a name that is to be created is asked for always, and creating a link to what
    /// lies on another file system is refused only after that.
    pub(super) fn look_anew(&self, name: &str) {
        if name.is_empty() || !self.is_remote() {
            return;
        }
        let Ok(Some(root)) = self.root() else { return };
        // Whether a folder on the way is absent, or is only thought to be.
        let stops_above = || {
            let done = root.link_from_afar(MOUNTS, name);
            done.is_err_and(|cause| cause.kind() == io::ErrorKind::NotFound)
        };
        if stops_above() {
            let above = name.rsplit_once('/').map_or("", |(above, _)| above);
            self.look_anew(above);
            stops_above();
        }
    }
}
