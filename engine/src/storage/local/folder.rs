//! The folder that everything opened from one [`LocalStorage`](super::LocalStorage) shares.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::dirs::Dirs;
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
}
