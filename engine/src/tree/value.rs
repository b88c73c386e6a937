//! Values apart: those longer than the inline limit that a run's builder is given for them
//! stand in blocks of their own, so that a keys-only scan never reads them.
//!
//! A block is nothing but the stored bytes; the leaf's cell says the rest:
//!
//! ```text
//! 0  u64 offset        of the block
//! 8  u32 stored_len    bytes of the block
//! 12 u32 len           bytes of the value
//! 16 u64 checksum      XXH3-64 of the block, exclusive-or the offset
//! 24 u8  compression
//! ```

use bytes::Bytes;

use super::compress::Compression;
use super::decoded::Decoded;
use crate::base::checksum::checksum64;
use crate::base::limits::VALUE_LEN_MAX;

/// Where a value apart stands, and how to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ValuePtr {
    pub(super) offset: u64,
    pub(super) stored_len: u32,
    pub(super) len: u32,
    pub(super) checksum: u64,
    pub(super) compression: Compression,
}

impl ValuePtr {
    pub(super) const ENCODED_LEN: usize = 25;

    /// The pointer to a value of `len` bytes that is stored as `stored` at `offset`.
    ///
    /// Returns `None` where a length does not fit 32 bits, which the limit of values rules out.
    pub(super) fn new(
        offset: u64,
        stored: &[u8],
        len: usize,
        compression: Compression,
    ) -> Option<ValuePtr> {
        Some(ValuePtr {
            offset,
            stored_len: u32::try_from(stored.len()).ok()?,
            len: u32::try_from(len).ok()?,
            checksum: checksum64(stored) ^ offset,
            compression,
        })
    }

    pub(super) fn encode(&self) -> [u8; ValuePtr::ENCODED_LEN] {
        let mut bytes = [0; ValuePtr::ENCODED_LEN];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.stored_len.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.len.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.checksum.to_le_bytes());
        bytes[24] = self.compression.code();
        bytes
    }

    /// Takes a cell's payload apart. Lengths beyond the limits are refused here, so that nobody
    /// allocates what a broken file asks for.
    pub(super) fn decode(payload: &[u8]) -> Decoded<ValuePtr> {
        let too_short = || format!("a pointer to a value has {} bytes", payload.len());
        let (offset, rest) = payload.split_first_chunk().ok_or_else(too_short)?;
        let (stored_len, rest) = rest.split_first_chunk().ok_or_else(too_short)?;
        let (len, rest) = rest.split_first_chunk().ok_or_else(too_short)?;
        let (checksum, rest) = rest.split_first_chunk().ok_or_else(too_short)?;
        let &[code] = rest else {
            return Err(too_short());
        };
        let ptr = ValuePtr {
            offset: u64::from_le_bytes(*offset),
            stored_len: u32::from_le_bytes(*stored_len),
            len: u32::from_le_bytes(*len),
            checksum: u64::from_le_bytes(*checksum),
            compression: Compression::from_code(code)?,
        };
        if ptr.len as usize > VALUE_LEN_MAX || ptr.stored_len > ptr.len {
            return Err(format!(
                "a value of {} bytes stored as {}",
                ptr.len, ptr.stored_len
            ));
        }
        Ok(ptr)
    }

    /// The first byte after the block, if it lies within the first `limit` bytes of the file.
    pub(super) fn end_within(&self, limit: u64) -> Option<u64> {
        let end = self.offset.checked_add(u64::from(self.stored_len))?;
        (end <= limit).then_some(end)
    }

    /// The value of which `stored` are the bytes read.
    pub(super) fn unpack(&self, stored: Bytes) -> Decoded<Bytes> {
        if stored.len() != self.stored_len as usize {
            return Err(format!(
                "{} bytes were read, expected {}",
                stored.len(),
                self.stored_len
            ));
        }
        if checksum64(&stored) ^ self.offset != self.checksum {
            return Err(format!(
                "checksum does not match the {} bytes there",
                stored.len()
            ));
        }
        if self.compression == Compression::None && self.len == self.stored_len {
            return Ok(stored);
        }
        let mut value = vec![0; self.len as usize];
        self.compression.unpack(&stored, &mut value)?;
        Ok(value.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_round_trips_and_is_bounded() {
        let ptr = ValuePtr::new(77, b"stored", 9, Compression::Lz4).unwrap();
        assert_eq!(ValuePtr::decode(&ptr.encode()), Ok(ptr));
        assert_eq!(ptr.end_within(83), Some(83));
        assert_eq!(ptr.end_within(82), None);
        let wraps = ValuePtr {
            offset: u64::MAX,
            ..ptr
        };
        assert_eq!(wraps.end_within(u64::MAX), None);
        let huge = ValuePtr {
            len: u32::MAX,
            ..ptr
        };
        assert!(
            ValuePtr::decode(&huge.encode())
                .unwrap_err()
                .contains("4294967295")
        );
        assert!(ValuePtr::decode(&ptr.encode()[..24]).is_err());
        assert!(ValuePtr::decode(&[&ptr.encode()[..], &[0]].concat()).is_err());
    }

    #[test]
    fn a_block_is_checked_against_its_pointer() {
        let ptr = ValuePtr::new(8, b"value", 5, Compression::None).unwrap();
        assert_eq!(
            ptr.unpack(Bytes::from_static(b"value")).unwrap(),
            &b"value"[..]
        );
        assert!(
            ptr.unpack(Bytes::from_static(b"valuE"))
                .unwrap_err()
                .contains("checksum")
        );
        assert!(ptr.unpack(Bytes::from_static(b"valu")).is_err());
        let moved = ValuePtr { offset: 9, ..ptr };
        assert!(
            moved
                .unpack(Bytes::from_static(b"value"))
                .unwrap_err()
                .contains("checksum")
        );
    }
}
