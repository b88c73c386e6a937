//! The head of an append-only log file: one sector that says which slots follow and what came before.

use crate::base::checksum::checksum64;
use crate::base::limits::SECTOR_LEN;
use crate::base::{Generation, Position, Result};
use crate::storage::{Name, Storage};

/// The version of the file format that this program writes, and the newest it reads.
pub const FILE_VERSION: u16 = 1;
/// Where the first slot stands.
pub const FIRST_SLOT_OFFSET: u64 = SECTOR_LEN as u64;

const MAGIC: [u8; 4] = *b"ECLG";
/// The file holds consecutive slots, appended by one process. (A file of exactly one slot has no head: it
/// begins with the slot itself.)
const KIND_APPEND: u8 = 1;

/// What a log file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHead {
    /// The generation of its slots.
    pub generation: Generation,
    /// Its first slot.
    pub first: Position,
    /// The hash of the slot before its first.
    pub prev_hash: u128,
    /// The file before it; `None` for the first of the database.
    pub prev_file: Option<PrevFile>,
}

/// Where the log was before it went on in another file. Every reader ignores what stands in that
/// file beyond `valid_len`: it was torn, and then left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrevFile {
    /// Its generation.
    pub generation: Generation,
    /// Its first slot.
    pub first: Position,
    /// Bytes of it that count.
    pub valid_len: u64,
}

/// What a file's first sector is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadFault {
    /// Zeros: the process that created the file ended before it could write.
    Absent,
    /// Something else than a head.
    Broken(String),
    /// A newer program's file.
    TooNew {
        /// Its format version.
        version: u32,
    },
}

impl FileHead {
    /// The first sector of the file.
    pub fn encode(&self) -> [u8; SECTOR_LEN] {
        let mut out = [0u8; SECTOR_LEN];
        out[0..4].copy_from_slice(&MAGIC);
        out[4..6].copy_from_slice(&FILE_VERSION.to_le_bytes());
        out[7] = KIND_APPEND;
        out[8..16].copy_from_slice(&self.generation.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.first.0.to_le_bytes());
        out[24..40].copy_from_slice(&self.prev_hash.to_le_bytes());
        if let Some(prev) = &self.prev_file {
            out[40] = 1;
            out[48..56].copy_from_slice(&prev.generation.0.to_le_bytes());
            out[56..64].copy_from_slice(&prev.first.0.to_le_bytes());
            out[64..72].copy_from_slice(&prev.valid_len.to_le_bytes());
        }
        let sum = checksum64(&out[..72]);
        out[72..80].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// Reads a file's first sector.
    ///
    /// # Errors
    /// [`HeadFault`].
    pub fn decode(bytes: &[u8]) -> Result<FileHead, HeadFault> {
        let Some(head) = bytes.first_chunk::<SECTOR_LEN>() else {
            return Err(HeadFault::Absent);
        };
        if head.iter().all(|byte| *byte == 0) {
            return Err(HeadFault::Absent);
        }
        let u64_at = |at: usize| {
            let mut array = [0u8; 8];
            array.copy_from_slice(&head[at..at + 8]);
            u64::from_le_bytes(array)
        };
        if head[0..4] != MAGIC || checksum64(&head[..72]) != u64_at(72) {
            return Err(HeadFault::Broken(
                "its head does not match its checksum".to_owned(),
            ));
        }
        let version = u16::from_le_bytes([head[4], head[5]]);
        if version > FILE_VERSION || head[7] != KIND_APPEND {
            return Err(HeadFault::TooNew {
                version: u32::from(version),
            });
        }
        let mut prev_hash = [0u8; 16];
        prev_hash.copy_from_slice(&head[24..40]);
        let prev_file = (head[40] == 1).then(|| PrevFile {
            generation: Generation(u64_at(48)),
            first: Position(u64_at(56)),
            valid_len: u64_at(64),
        });
        Ok(FileHead {
            generation: Generation(u64_at(8)),
            first: Position(u64_at(16)),
            prev_hash: u128::from_le_bytes(prev_hash),
            prev_file,
        })
    }
}

/// Whether a log file has a head: a process that began it may have ended before it wrote one. Nothing of
/// such a file counts, and the file before it may go on.
///
/// # Errors
/// What the storage refuses.
pub async fn is_begun(storage: &dyn Storage, name: &Name) -> Result<bool> {
    let Some(object) = storage.open(name).await? else {
        return Ok(false);
    };
    let len = usize::try_from(object.len()).unwrap_or(usize::MAX);
    let head = object.read_at(0, len.min(SECTOR_LEN)).await?;
    Ok(head.iter().any(|byte| *byte != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_round_trips_and_every_flipped_bit_is_found() {
        let prev_file = Some(PrevFile {
            generation: Generation(1),
            first: Position(2),
            valid_len: 1024,
        });
        let head = FileHead {
            generation: Generation(1),
            first: Position(9),
            prev_hash: 3,
            prev_file,
        };
        let bytes = head.encode();
        assert_eq!(FileHead::decode(&bytes), Ok(head));
        for bit in 0..80 * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(FileHead::decode(&flipped).is_err(), "bit {bit}");
        }
        assert_eq!(FileHead::decode(&[0; SECTOR_LEN]), Err(HeadFault::Absent));
        assert_eq!(FileHead::decode(&[]), Err(HeadFault::Absent));
    }
}
