//! Backups: a folder that holds any number of them, each restorable by itself, and most of it shared.
//!
//! Runs are immutable and never share a name, so a backup copies those that the folder has not yet, and the
//! part of the log that comes after the backup before. Its entry comes last: without one there is no backup,
//! and what an interrupted one has copied is used by the next. `docs/format-backup.md` has the bytes.

mod check;
mod entry;
mod part;
mod restore;
mod take;

pub use check::{verify_backup, verify_backup_folder};
pub use restore::{Restored, restore, restore_folder};
pub use take::{Backup, backup, backup_folder};

use std::collections::BTreeMap;

use entry::{Entry, Sum};

use crate::base::checksum::Hasher128;
use crate::base::limits::BACKUP_ENTRY_LEN_MAX;
use crate::base::{Error, Result};
use crate::storage::{Name, Object, Storage};

/// Bytes that are copied at a time.
const COPY_LEN: usize = 1024 * 1024;

/// All that a backup folder holds.
struct Shelf {
    entries: BTreeMap<u64, Entry>,
    /// Entries that cannot be read, and why.
    broken: BTreeMap<u64, Error>,
}

impl Shelf {
    async fn load(storage: &dyn Storage) -> Result<Shelf> {
        let mut shelf = Shelf {
            entries: BTreeMap::new(),
            broken: BTreeMap::new(),
        };
        for name in storage.list(entry::DIR).await? {
            let Some(number) = entry::number_of(&name) else {
                continue;
            };
            let read = storage.read_at_most(&name, BACKUP_ENTRY_LEN_MAX).await;
            let bytes = match read {
                Ok(Some(bytes)) => bytes,
                Ok(None) => continue,
                Err(error @ Error::Corrupt { .. }) => {
                    shelf.broken.insert(number, error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            match Entry::decode(&name, number, &bytes) {
                Ok(entry) => drop(shelf.entries.insert(number, entry)),
                Err(error @ Error::Corrupt { .. }) => drop(shelf.broken.insert(number, error)),
                Err(error) => return Err(error),
            }
        }
        Ok(shelf)
    }

    /// What every segment in the folder should be.
    fn sums(&self) -> BTreeMap<Name, Sum> {
        let files = self.entries.values().flat_map(|entry| &entry.files);
        files.map(|(name, sum)| (name.clone(), *sum)).collect()
    }

    fn next_number(&self) -> u64 {
        let newest = self.entries.keys().chain(self.broken.keys()).max();
        newest.map_or(1, |number| number + 1)
    }
}

/// The checksum of a whole object, read to its end.
async fn sum_of(object: &dyn Object) -> Result<Sum> {
    let (mut hasher, mut offset) = (Hasher128::default(), 0);
    while offset < object.len() {
        let left = usize::try_from(object.len() - offset).unwrap_or(COPY_LEN);
        let bytes = object.read_at(offset, left.min(COPY_LEN)).await?;
        hasher.update(&bytes);
        offset += bytes.len() as u64;
    }
    Ok(Sum {
        len: object.len(),
        hash: hasher.digest(),
    })
}

/// Copies an object under its own name, durably; `expected` is what it should be, if that is known.
async fn copy(
    object: &dyn Object,
    name: &Name,
    to: &dyn Storage,
    expected: Option<Sum>,
    mut step: impl FnMut(u64),
) -> Result<Sum> {
    let mut writer = to.writer(name).await?;
    let (mut hasher, mut offset) = (Hasher128::default(), 0);
    while offset < object.len() {
        let left = usize::try_from(object.len() - offset).unwrap_or(COPY_LEN);
        let bytes = object.read_at(offset, left.min(COPY_LEN)).await?;
        hasher.update(&bytes);
        writer.write(&bytes).await?;
        offset += bytes.len() as u64;
        step(bytes.len() as u64);
    }
    let sum = Sum {
        len: object.len(),
        hash: hasher.digest(),
    };
    if expected.is_some_and(|expected| expected != sum) {
        return Err(Error::corrupt(name, "it does not match its checksum"));
    }
    writer.finish().await?;
    to.sync_names(name).await?;
    Ok(sum)
}

/// An error of one of two places says which.
fn at(place: &dyn Storage) -> impl Fn(Error) -> Error {
    let location = place.location();
    move |error| match error {
        Error::Storage {
            op,
            object,
            kind,
            errno,
            message,
        } => Error::Storage {
            op,
            object: format!("{location}/{object}"),
            kind,
            errno,
            message,
        },
        Error::Corrupt { object, detail } => Error::Corrupt {
            object: format!("{location}/{object}"),
            detail,
        },
        other => other,
    }
}
