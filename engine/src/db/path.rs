//! `PATH`: which storage path of a mirrored database a folder is; and where a path lies that was brought back.
//!
//! A path that joins an existing database lies in a directory of its own, `path-<number>`, so that processes which still
//! take the place for a path that was left long ago never meet it. `PATHS/<number>` marks it.

use std::sync::Arc;

use serde_json::json;

use crate::base::checksum::checksum64;
use crate::base::limits::PATH_LEN_MAX;
use crate::base::{Error, PathId, Result};
use crate::log::once::{Owner, create_once};
use crate::storage::{Below, Name, Operation, Storage};

/// The version of this object.
const VERSION: u64 = 1;

/// The directory of the marks of paths that were brought back.
const JOINING: &str = "PATHS";
/// The directory in which a path tells where another one was brought back.
const LOCATIONS: &str = "LOCATION";
/// The longest location that is told.
const LOCATION_LEN_MAX: u64 = 4 * 1024;

/// The content of `PATH`: a line of JSON, and its checksum on the next. Written once, before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PathMark {
    /// The same on every path of a database, and random: paths of different databases are never taken together.
    pub(super) set: u128,
    /// The number of this path.
    pub(super) path: PathId,
    /// Whether the database has left it, and what stood here may be gone.
    pub(super) left: bool,
}

impl PathMark {
    /// The mark of a path of this set.
    pub(super) fn new(set: u128, path: PathId) -> PathMark {
        PathMark {
            set,
            path,
            left: false,
        }
    }

    /// Reads it; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; what the storage refuses.
    pub(super) async fn load(storage: &dyn Storage) -> Result<Option<PathMark>> {
        let name = Name::path();
        let bytes = storage.read_at_most(&name, PATH_LEN_MAX).await?;
        bytes
            .map(|bytes| PathMark::decode(&name, &bytes))
            .transpose()
    }

    fn joining(id: PathId) -> Result<Name> {
        parsed(&format!("{JOINING}/{:016x}", id.0))
    }

    /// The marks of all paths that were brought back at this place.
    ///
    /// # Errors
    /// As [`PathMark::load`].
    pub(super) async fn list_joining(storage: &dyn Storage) -> Result<Vec<PathMark>> {
        let mut marks = Vec::new();
        for name in storage.list(JOINING).await? {
            let bytes = storage.read_at_most(&name, PATH_LEN_MAX).await?;
            if let Some(bytes) = bytes {
                marks.push(PathMark::decode(&name, &bytes)?);
            }
        }
        Ok(marks)
    }

    /// Whether a path was brought back at this place.
    ///
    /// # Errors
    /// What the storage refuses.
    pub(super) async fn is_at(storage: &dyn Storage) -> Result<bool> {
        Ok(!storage.list(JOINING).await?.is_empty())
    }

    /// Marks a path that is brought back at this place, durably.
    ///
    /// # Errors
    /// What the storage refuses.
    pub(super) async fn store_joining(self, storage: &dyn Storage) -> Result<()> {
        let name = PathMark::joining(self.path)?;
        create_once(storage, &name, &self.encode()).await?;
        match storage.confirm(&name, &self.encode()).await? {
            true => Ok(()),
            false => {
                let lost = std::io::Error::from(std::io::ErrorKind::NotFound);
                Err(Operation::SyncNames.error(&name, &lost))
            }
        }
    }

    /// Removes the mark of a path that was brought back here, and all that the path has.
    ///
    /// # Errors
    /// What the storage refuses: what was removed until then is no part of a database any more.
    pub(super) async fn remove_joining(self, place: &Arc<dyn Storage>) -> Result<()> {
        let path = within(place, self.path);
        self.leave(&*path).await?;
        for name in path.list("").await? {
            if name != Name::path() {
                path.remove(&name).await?;
            }
        }
        path.remove(&Name::path()).await?;
        let name = PathMark::joining(self.path)?;
        place.remove(&name).await?;
        place.sync_names(&name).await
    }

    /// Marks a path as left, durably, before anything of it is removed. The mark is another object then, so that whoever still
    /// takes the path for what it was finds that out (S13).
    ///
    /// # Errors
    /// What the storage refuses: nothing may be removed then.
    pub(super) async fn leave(self, storage: &dyn Storage) -> Result<()> {
        let left = PathMark { left: true, ..self };
        let bytes = left.encode();
        storage.replace(&Name::path(), &|_| bytes.clone()).await?;
        Ok(())
    }

    /// Whether a name at a place belongs to a path that was brought back there.
    pub(super) fn is_of_joining(name: &Name) -> bool {
        let top = name.as_str().split_once('/').map_or("", |(top, _)| top);
        top == JOINING || top.starts_with("path-")
    }

    /// Marks a path durably, unless it is marked already; gives the mark that stands there.
    ///
    /// # Errors
    /// What the storage refuses.
    pub(super) async fn store(self, storage: &dyn Storage) -> Result<PathMark> {
        let name = Name::path();
        let bytes = self.encode();
        let owner = create_once(storage, &name, &bytes).await?;
        let mark = match owner {
            Owner::Us => self,
            Owner::Others | Owner::Nobody => PathMark::load(storage).await?.unwrap_or(self),
        };
        mark.confirm(storage).await?;
        Ok(mark)
    }

    /// Writes it in place of one that is damaged or missing, durably.
    ///
    /// # Errors
    /// What the storage refuses.
    pub(super) async fn store_again(self, storage: &dyn Storage) -> Result<()> {
        let (name, bytes) = (Name::path(), self.encode());
        storage.replace(&name, &move |_| bytes.clone()).await?;
        self.confirm(storage).await
    }

    /// Makes a mark that was read or written durable.
    ///
    /// # Errors
    /// [`Error::Storage`] where it is gone, or another one stands there; what the storage refuses.
    pub(super) async fn confirm(self, storage: &dyn Storage) -> Result<()> {
        let name = Name::path();
        match storage.confirm(&name, &self.encode()).await? {
            true => Ok(()),
            false => {
                let lost = std::io::Error::from(std::io::ErrorKind::NotFound);
                Err(Operation::SyncNames.error(&name, &lost))
            }
        }
    }

    fn encode(self) -> Vec<u8> {
        let mut line = json!({
            "version": VERSION,
            "set": format!("{:032x}", self.set),
            "path": self.path.0,
        });
        if self.left {
            line["left"] = json!(true);
        }
        let line = line.to_string();
        format!("{line}\n{:016x}\n", checksum64(line.as_bytes())).into_bytes()
    }

    fn decode(name: &Name, bytes: &[u8]) -> Result<PathMark> {
        let broken = |detail: &str| Error::corrupt(name, detail);
        let text = std::str::from_utf8(bytes).map_err(|_| broken("it is not text"))?;
        let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
        if rest != format!("{:016x}\n", checksum64(line.as_bytes())) {
            return Err(broken("it does not match its checksum"));
        }
        let fields: serde_json::Value =
            serde_json::from_str(line).map_err(|_| broken("it is not JSON"))?;
        let found = fields["version"].as_u64().unwrap_or(u64::MAX);
        if found > VERSION {
            return Err(Error::FormatTooNew {
                object: name.to_string(),
                found: u32::try_from(found).unwrap_or(u32::MAX),
                known: u32::try_from(VERSION).unwrap_or(u32::MAX),
            });
        }
        let set = fields["set"].as_str();
        let set = set.and_then(|digits| u128::from_str_radix(digits, 16).ok());
        let path = fields["path"].as_u64();
        set.zip(path)
            .map(|(set, path)| PathMark {
                set,
                path: PathId(path),
                left: fields["left"].as_bool() == Some(true),
            })
            .ok_or_else(|| broken("it does not say which path this is"))
    }
}

fn parsed(path: &str) -> Result<Name> {
    Name::parse(path).ok_or_else(|| Error::Invalid(format!("`{path}` is no name")))
}

/// The identity of the mark of a path.
pub(super) async fn mark_of(path: &dyn Storage) -> Option<u128> {
    let stat = path.stat(&Name::path()).await;
    stat.ok().flatten().map(|stat| stat.identity)
}

/// The path that was brought back at a place.
pub(super) fn within(place: &Arc<dyn Storage>, id: PathId) -> Arc<dyn Storage> {
    Arc::new(Below::new(Arc::clone(place), format!("path-{:016x}", id.0)))
}

/// Says on a path where another one was brought back, for processes that were not told. A hint: it may have another name
/// on another machine.
///
/// # Errors
/// What the storage refuses.
pub(super) async fn tell_location(storage: &dyn Storage, id: PathId, location: &str) -> Result<()> {
    let name = parsed(&format!("{LOCATIONS}/{:016x}", id.0))?;
    create_once(storage, &name, location.as_bytes()).await?;
    storage.sync_names(&name).await
}

/// Where a path was brought back, as another path tells.
pub(super) async fn location_of(storage: &dyn Storage, id: PathId) -> Option<String> {
    let name = parsed(&format!("{LOCATIONS}/{:016x}", id.0)).ok()?;
    let bytes = storage.read_at_most(&name, LOCATION_LEN_MAX).await.ok()??;
    String::from_utf8(bytes.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_round_trips_and_every_flipped_bit_is_found() {
        let mark = PathMark::new(1 << 127, PathId(3));
        let (name, bytes) = (Name::path(), mark.encode());
        assert_eq!(PathMark::decode(&name, &bytes).unwrap(), mark);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(PathMark::decode(&name, &flipped).is_err(), "bit {bit}");
        }
    }
}
