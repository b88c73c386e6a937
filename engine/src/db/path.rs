//! `PATH`: which storage path of a mirrored database a folder is.

use serde_json::json;

use crate::base::checksum::checksum64;
use crate::base::limits::PATH_LEN_MAX;
use crate::base::{Error, PathId, Result};
use crate::log::once::{Owner, create_once};
use crate::storage::{Name, Operation, Storage};

/// The version of this object.
const VERSION: u64 = 1;

/// The content of `PATH`: a line of JSON, and its checksum on the next. Written once, before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PathMark {
    /// The same on every path of a database, and random: paths of different databases are never taken together.
    pub(super) set: u128,
    /// The number of this path.
    pub(super) path: PathId,
}

impl PathMark {
    /// Where it stands.
    ///
    /// # Errors
    /// None: the name is a name.
    pub(super) fn name() -> Result<Name> {
        Name::parse("PATH").ok_or_else(|| Error::Invalid("`PATH` is no name".to_owned()))
    }

    /// Reads it; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; what the storage refuses.
    pub(super) async fn load(storage: &dyn Storage) -> Result<Option<PathMark>> {
        let name = PathMark::name()?;
        let bytes = storage.read_at_most(&name, PATH_LEN_MAX).await?;
        bytes
            .map(|bytes| PathMark::decode(&name, &bytes))
            .transpose()
    }

    /// Marks a path durably, unless it is marked already; gives the mark that stands there.
    ///
    /// # Errors
    /// What the storage refuses.
    pub(super) async fn store(self, storage: &dyn Storage) -> Result<PathMark> {
        let name = PathMark::name()?;
        let bytes = self.encode();
        let owner = create_once(storage, &name, &bytes).await?;
        let mark = match owner {
            Owner::Us => self,
            Owner::Others | Owner::Nobody => PathMark::load(storage).await?.unwrap_or(self),
        };
        mark.confirm(storage).await?;
        Ok(mark)
    }

    /// Makes a mark that was read or written durable.
    ///
    /// # Errors
    /// [`Error::Storage`] where it is gone, or another one stands there; what the storage refuses.
    pub(super) async fn confirm(self, storage: &dyn Storage) -> Result<()> {
        let name = PathMark::name()?;
        match storage.confirm(&name, &self.encode()).await? {
            true => Ok(()),
            false => {
                let lost = std::io::Error::from(std::io::ErrorKind::NotFound);
                Err(Operation::SyncNames.error(&name, &lost))
            }
        }
    }

    fn encode(self) -> Vec<u8> {
        let line = json!({
            "version": VERSION,
            "set": format!("{:032x}", self.set),
            "path": self.path.0,
        });
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
        let path = path.and_then(|path| u32::try_from(path).ok());
        set.zip(path)
            .map(|(set, path)| PathMark {
                set,
                path: PathId(path),
            })
            .ok_or_else(|| broken("it does not say which path this is"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_round_trips_and_every_flipped_bit_is_found() {
        let mark = PathMark {
            set: 1 << 127,
            path: PathId(3),
        };
        let (name, bytes) = (PathMark::name().unwrap(), mark.encode());
        assert_eq!(PathMark::decode(&name, &bytes).unwrap(), mark);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(PathMark::decode(&name, &flipped).is_err(), "bit {bit}");
        }
    }
}
