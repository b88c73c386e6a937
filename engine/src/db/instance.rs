//! `INSTANCE`: who a database is, and how far it certainly reaches.

use serde_json::json;

use super::{FORMAT, MIRRORED_FORMAT};
use crate::base::checksum::checksum64;
use crate::base::limits::{INSTANCE_LEN_MAX, NUMBER_MAX};
use crate::base::{Error, InstanceId, Position, Result};
use crate::storage::{Created, Name, Storage};

/// How often `INSTANCE` is read again when it is replaced at the same time.
const READS_MAX: usize = 100;

/// The content of `INSTANCE`: a line of JSON, and its checksum on the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instance {
    /// The database's name.
    pub(super) id: InstanceId,
    /// The identity of the very object that says so: another one means that the folder is a copy.
    /// Never a path, which differs from machine to machine and changes when a folder is moved.
    pub(super) identity: u128,
    /// The last slot when the database was last closed in good order, with its hash: a log that ends
    /// earlier has been damaged, one that ends later is merely longer.
    pub(super) closed: Option<(Position, u128)>,
}

impl Instance {
    /// As [`Instance::load_path`], for a database of which this is all.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is one of several storage paths; as [`Instance::load_path`].
    pub(super) async fn load(storage: &dyn Storage) -> Result<Option<(Instance, bool)>> {
        let Some((instance, copied, format)) = Instance::load_path(storage).await? else {
            return Ok(None);
        };
        if format == MIRRORED_FORMAT && storage.mirror().is_none() {
            let message = format!(
                "{} is one storage path of a mirrored database; open it together with the other one: --standby PATH",
                storage.location()
            );
            return Err(Error::Invalid(message));
        }
        Ok(Some((instance, copied)))
    }

    /// Reads `INSTANCE`, and whether the folder is a copy of the one that it was written in; `None`
    /// where there is none. With it, the version of the format.
    pub(super) async fn load_path(storage: &dyn Storage) -> Result<Option<(Instance, bool, u32)>> {
        let name = Name::instance();
        for _ in 0..READS_MAX {
            let Some(before) = storage.stat(&name).await? else {
                return Ok(None);
            };
            let Some(bytes) = storage.read_at_most(&name, INSTANCE_LEN_MAX).await? else {
                return Ok(None);
            };
            let after = storage.stat(&name).await?;
            // Replaced meanwhile by a writer that closes: content and identity must be of one object.
            if after.is_some_and(|after| after.identity == before.identity) {
                let (instance, format) = Instance::decode(&bytes)?;
                let copied = !is_same(before.identity, instance.identity);
                return Ok(Some((instance, copied, format)));
            }
        }
        Err(Error::corrupt(
            name,
            "it changes faster than it can be read",
        ))
    }

    /// Writes `INSTANCE`, atomically and durably; its identity becomes that of the new object.
    pub(super) async fn store(&self, storage: &dyn Storage) -> Result<Instance> {
        let content = self.content(format_of(storage));
        let identity = storage.replace(&Name::instance(), &content).await?;
        Ok(Instance { identity, ..*self })
    }

    /// As [`Instance::store`], on a storage path by itself.
    pub(super) async fn store_on_path(&self, storage: &dyn Storage) -> Result<()> {
        let content = self.content(MIRRORED_FORMAT);
        storage.replace(&Name::instance(), &content).await?;
        Ok(())
    }

    /// Writes `INSTANCE` unless there is one: where several may create a database at once, it is the first's.
    pub(super) async fn create(&self, storage: &dyn Storage) -> Result<Created> {
        let content = self.content(format_of(storage));
        storage.create_with(&Name::instance(), &content).await
    }

    fn content(&self, format: u32) -> impl Fn(u128) -> Vec<u8> + Send + Sync + use<> {
        let instance = *self;
        move |identity| {
            Instance {
                identity,
                ..instance
            }
            .encode(format)
        }
    }

    fn encode(&self, format: u32) -> Vec<u8> {
        let line = json!({
            "format": format,
            "id": self.id.to_string(),
            "identity": format!("{:x}", self.identity),
            "closed_at": self.closed.map(|(position, _)| position.0),
            "closed_hash": self.closed.map(|(_, hash)| format!("{hash:032x}")),
        });
        let line = line.to_string();
        format!("{line}\n{:016x}\n", checksum64(line.as_bytes())).into_bytes()
    }

    fn decode(bytes: &[u8]) -> Result<(Instance, u32)> {
        let broken = |detail: &str| Error::corrupt(Name::instance(), detail);
        let text = std::str::from_utf8(bytes).map_err(|_| broken("it is not text"))?;
        let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
        let sum = format!("{:016x}\n", checksum64(line.as_bytes()));
        match rest.strip_prefix(&sum) {
            Some("") => {}
            Some(_) => return Err(broken("something follows its checksum")),
            None => return Err(broken("it does not match its checksum")),
        }
        let fields: serde_json::Value =
            serde_json::from_str(line).map_err(|_| broken("it is not JSON"))?;
        let found = fields["format"].as_u64().unwrap_or(u64::MAX);
        if found > u64::from(MIRRORED_FORMAT) {
            let object = Name::instance().to_string();
            let found = u32::try_from(found).unwrap_or(u32::MAX);
            return Err(Error::FormatTooNew {
                object,
                found,
                known: MIRRORED_FORMAT,
            });
        }
        let hex = |field: &str| {
            fields[field]
                .as_str()
                .and_then(|digits| u128::from_str_radix(digits, 16).ok())
        };
        let closed_at = fields["closed_at"].as_u64();
        if closed_at.is_some_and(|at| at > NUMBER_MAX) {
            return Err(broken("it was closed at a slot that no database has"));
        }
        let closed = closed_at.map(Position).zip(hex("closed_hash"));
        let instance = Instance {
            id: hex("id")
                .map(InstanceId)
                .ok_or_else(|| broken("it has no id"))?,
            identity: hex("identity").ok_or_else(|| broken("it has no identity"))?,
            closed,
        };
        // Not more than the newest version that is known.
        Ok((instance, u32::try_from(found).unwrap_or(u32::MAX)))
    }
}

/// The version of a database on this medium.
fn format_of(storage: &dyn Storage) -> u32 {
    match storage.mirror() {
        Some(_) => MIRRORED_FORMAT,
        None => FORMAT,
    }
}

/// Whether two identities mean one object: the low half is a file's number, the high half the moment
/// of its birth, which not every file system tells.
fn is_same(a: u128, b: u128) -> bool {
    let (births, numbers) = ([a >> 64, b >> 64], [a << 64, b << 64]);
    numbers[0] == numbers[1] && (births[0] == births[1] || births.contains(&0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_round_trips_and_every_flipped_bit_is_found() {
        let closed = Some((Position(7), 1 << 127));
        for closed in [None, closed] {
            let instance = Instance {
                id: InstanceId(9),
                identity: 77,
                closed,
            };
            let bytes = instance.encode(FORMAT);
            assert_eq!(Instance::decode(&bytes).unwrap(), (instance, FORMAT));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(Instance::decode(&flipped).is_err(), "bit {bit}");
            }
            for tail in ["\n", " ", "\0", "x\n"] {
                let longer = [&bytes[..], tail.as_bytes()].concat();
                assert!(Instance::decode(&longer).is_err(), "{tail:?} after it");
            }
            assert!(Instance::decode(&bytes[..bytes.len() - 1]).is_err());
        }
    }
}
