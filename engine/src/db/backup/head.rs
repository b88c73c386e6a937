//! The head of a backup folder: the number of its newest backup, so that a missing newest entry is noticed.
//!
//! It is written after the entry that it names. An interrupted backup may therefore leave a head that is behind; one
//! that is ahead of every entry tells that entries are gone.

use serde_json::{Value, json};

use super::entry;
use crate::base::checksum::checksum64;
use crate::base::{Error, Result};
use crate::storage::{Name, Storage};

/// The version of the format that this program writes, and the newest it reads.
const FORMAT: u32 = 1;

/// The name of the head; no entry has it, since it is no number.
pub(super) fn name() -> Result<Name> {
    entry::name(&format!("{}/HEAD", entry::DIR))
}

/// Reads the number of the newest backup; `None` where no program that keeps a head has been at work.
///
/// # Errors
/// [`Error::Corrupt`] and [`Error::FormatTooNew`] naming it; what the storage refuses.
pub(super) async fn load(storage: &dyn Storage) -> Result<Option<u64>> {
    let name = name()?;
    match storage.read(&name).await? {
        Some(bytes) => decode(&name, &bytes).map(Some),
        None => Ok(None),
    }
}

/// Records that backup `newest` is the newest; the caller holds the lock, and its entry is durable.
///
/// # Errors
/// What the storage refuses.
pub(super) async fn store(storage: &dyn Storage, newest: u64) -> Result<()> {
    let bytes = encode(newest);
    storage.replace(&name()?, &|_| bytes.clone()).await?;
    Ok(())
}

fn encode(newest: u64) -> Vec<u8> {
    let line = json!({"format": FORMAT, "newest": newest}).to_string();
    format!("{line}\n{:016x}\n", checksum64(line.as_bytes())).into_bytes()
}

fn decode(name: &Name, bytes: &[u8]) -> Result<u64> {
    let broken = |detail: &str| Error::corrupt(name, detail);
    let text = std::str::from_utf8(bytes).map_err(|_| broken("it is not text"))?;
    let (line, sum) = text
        .strip_suffix('\n')
        .and_then(|text| text.split_once('\n'))
        .ok_or_else(|| broken("it is cut short"))?;
    if sum != format!("{:016x}", checksum64(line.as_bytes())) {
        return Err(broken("it does not match its checksum"));
    }
    let fields: Value = serde_json::from_str(line).map_err(|_| broken("it is not JSON"))?;
    let found = fields["format"].as_u64().unwrap_or(u64::MAX);
    if found > u64::from(FORMAT) {
        return Err(Error::FormatTooNew {
            object: name.to_string(),
            found: u32::try_from(found).unwrap_or(u32::MAX),
            known: FORMAT,
        });
    }
    fields["newest"]
        .as_u64()
        .ok_or_else(|| broken("it names no backup"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_round_trips_and_every_flipped_bit_is_found() {
        let at = name().unwrap();
        assert_eq!(entry::number_of(&at), None);
        for newest in [1, u64::MAX] {
            let bytes = encode(newest);
            assert_eq!(decode(&at, &bytes).unwrap(), newest);
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(&at, &flipped).is_err(), "bit {bit}");
            }
        }
    }
}
