//! The two ends of the file. Reading begins at the trailer; the header is for whoever meets the file
//! without its name.
//!
//! ```text
//! header  0 "ECITNRUN", 8 u32 format, 12 u32 zero
//!
//! trailer 0   u64 file_len                the trailer included
//!         8   u64 puts, 16 u64 deletes, 24 u64 merges
//!         32  u64 leaves
//!         40  u64 leaves_end              offset behind the last leaf: branches begin here
//!         48  u64 root_offset, 56 u32 root_len, both zero where there is no entry
//!         60  u8  height                  levels: 0 without entries, 1 where the root is a leaf
//!         61  u8[3] zero
//!         64  u64 filter_offset, 72 u64 filter_len, 80 u64 filter_checksum
//!         88  u128 content_hash           XXH3-128 of everything before the trailer
//!         104 u32 page_len                the length that pages were filled to
//!         108 u16 first_key_len, 110 u16 last_key_len
//!         112 first key, last key
//!         -24 u32 trailer_len, -20 u32 format
//!         -16 u64 checksum                XXH3-64 of the trailer up to here
//!         -8  "ECITNRUN"
//! ```
//! The last 24 bytes stay what they are in every format to come.

use super::decoded::Decoded;
use super::filter::BLOCK_LEN;
use super::frame::PagePtr;
use super::{RUN_FORMAT, RUN_KEY_LEN_MAX};
use crate::base::checksum::checksum64;
use crate::base::{Error, Result};

const MAGIC: [u8; 8] = *b"ECITNRUN";
/// Bytes of the header.
pub(super) const HEADER_LEN: usize = 16;
/// Bytes before the keys.
const FIELDS_LEN: usize = 112;
/// Bytes behind the keys.
const END_LEN: usize = 24;
/// Bytes of the longest trailer.
const TRAILER_LEN_MAX: usize = FIELDS_LEN + 2 * RUN_KEY_LEN_MAX + END_LEN;
/// Bytes to read from the end of a file: the longest trailer, and for a small run all that opening needs.
pub(super) const TAIL_LEN: usize = 64 * 1024;
/// Levels of a tree; each has at most half the pages of the one below.
const HEIGHT_MAX: u8 = 64;

const _: () = assert!(TRAILER_LEN_MAX <= TAIL_LEN, "the tail holds any trailer");

/// What a run says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) file_len: u64,
    pub(super) puts: u64,
    pub(super) deletes: u64,
    pub(super) merges: u64,
    pub(super) leaves: u64,
    pub(super) leaves_end: u64,
    /// `None` where there is no entry.
    pub(super) root: Option<PagePtr>,
    pub(super) height: u8,
    pub(super) filter_offset: u64,
    pub(super) filter_len: u64,
    pub(super) filter_checksum: u64,
    pub(super) content_hash: u128,
    pub(super) page_len: u32,
    pub(super) first_key: Vec<u8>,
    pub(super) last_key: Vec<u8>,
}

/// The first bytes of every run.
pub(super) fn header() -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&RUN_FORMAT.to_le_bytes());
    header
}

impl Trailer {
    /// Entries; the sum has been checked.
    pub(super) fn entries(&self) -> u64 {
        self.puts
            .saturating_add(self.deletes)
            .saturating_add(self.merges)
    }

    /// Bytes of the encoded form.
    pub(super) fn encoded_len(&self) -> usize {
        FIELDS_LEN + self.first_key.len() + self.last_key.len() + END_LEN
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let root = self.root.unwrap_or(PagePtr { offset: 0, len: 0 });
        let mut out = Vec::with_capacity(self.encoded_len());
        let counts = [self.file_len, self.puts, self.deletes, self.merges];
        let places = [self.leaves, self.leaves_end];
        for number in counts.iter().chain(&places) {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&root.encode());
        out.extend_from_slice(&[self.height, 0, 0, 0]);
        for number in [self.filter_offset, self.filter_len, self.filter_checksum] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.content_hash.to_le_bytes());
        out.extend_from_slice(&self.page_len.to_le_bytes());
        for key in [&self.first_key, &self.last_key] {
            let len = u16::try_from(key.len());
            assert!(len.is_ok(), "a key of {} bytes in the trailer", key.len());
            out.extend_from_slice(&len.unwrap_or(u16::MAX).to_le_bytes());
        }
        out.extend_from_slice(&self.first_key);
        out.extend_from_slice(&self.last_key);
        let len = u32::try_from(self.encoded_len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&RUN_FORMAT.to_le_bytes());
        out.extend_from_slice(&checksum64(&out).to_le_bytes());
        out.extend_from_slice(&MAGIC);
        assert_eq!(out.len(), self.encoded_len(), "the trailer's length");
        out
    }

    /// Reads the trailer at the end of `tail`, the last bytes of a file of `file_len` bytes named
    /// `name`.
    pub(super) fn decode(tail: &[u8], file_len: u64, name: &str) -> Result<Trailer> {
        let corrupt = |detail| Error::Corrupt {
            object: name.to_owned(),
            detail,
        };
        let (format, trailer) = cut_trailer(tail).map_err(corrupt)?;
        if format > RUN_FORMAT {
            let object = name.to_owned();
            return Err(Error::FormatTooNew {
                object,
                found: format,
                known: RUN_FORMAT,
            });
        }
        let trailer = Trailer::decode_fields(trailer)
            .ok_or_else(|| corrupt("fields of the trailer pass its end".to_owned()))?;
        trailer.check(file_len).map_err(corrupt)?;
        Ok(trailer)
    }

    fn decode_fields(bytes: &[u8]) -> Option<Trailer> {
        let mut fields = TrailerFields(bytes);
        let mut trailer = Trailer {
            file_len: fields.u64()?,
            puts: fields.u64()?,
            deletes: fields.u64()?,
            merges: fields.u64()?,
            leaves: fields.u64()?,
            leaves_end: fields.u64()?,
            ..Trailer::default()
        };
        let root = PagePtr::decode(&fields.take()?);
        trailer.root = (root != PagePtr { offset: 0, len: 0 }).then_some(root);
        let [height, 0, 0, 0] = fields.take()? else {
            return None;
        };
        trailer.height = height;
        trailer.filter_offset = fields.u64()?;
        trailer.filter_len = fields.u64()?;
        trailer.filter_checksum = fields.u64()?;
        trailer.content_hash = u128::from_le_bytes(fields.take()?);
        trailer.page_len = u32::from_le_bytes(fields.take()?);
        let first_len = usize::from(u16::from_le_bytes(fields.take()?));
        let last_len = usize::from(u16::from_le_bytes(fields.take()?));
        let (first, last) = fields.0.split_at_checked(first_len)?;
        trailer.first_key = first.to_vec();
        trailer.last_key = last.to_vec();
        (last.len() == last_len).then_some(trailer)
    }

    /// What must hold between the fields, whatever wrote them.
    fn check(&self, file_len: u64) -> Decoded<()> {
        if self.file_len != file_len {
            return Err(format!(
                "is {file_len} bytes, its trailer says {}",
                self.file_len
            ));
        }
        let sum = self
            .puts
            .checked_add(self.deletes)
            .and_then(|sum| sum.checked_add(self.merges));
        let entries = sum.ok_or("the trailer's counts overflow")?;
        let empty = entries == 0;
        if empty != self.root.is_none()
            || empty != (self.height == 0)
            || empty != (self.leaves == 0)
        {
            let height = self.height;
            return Err(format!(
                "the trailer says {entries} entries in a tree of {height} levels"
            ));
        }
        if self.height > HEIGHT_MAX || self.first_key > self.last_key {
            return Err("the trailer's height or keys are impossible".to_owned());
        }
        let filter_end = self.filter_offset.checked_add(self.filter_len);
        let trailer_at = file_len.checked_sub(self.encoded_len() as u64);
        if filter_end.is_none() || filter_end != trailer_at {
            return Err("the filter does not end where the trailer begins".to_owned());
        }
        if !self.filter_len.is_multiple_of(BLOCK_LEN as u64) {
            return Err(format!(
                "a filter of {} bytes is not whole blocks",
                self.filter_len
            ));
        }
        if self.leaves_end > self.filter_offset || self.leaves_end < HEADER_LEN as u64 {
            return Err("the trailer's places are out of order".to_owned());
        }
        match self.root.map(|root| root.end_within(self.filter_offset)) {
            Some(None) => Err("the root lies outside the pages".to_owned()),
            _ => Ok(()),
        }
    }
}

/// Finds the trailer at the end of `tail` and checks it; returns its format and what stands before
/// its last 24 bytes.
fn cut_trailer(tail: &[u8]) -> Decoded<(u32, &[u8])> {
    let short = || format!("{} bytes are too few for a run", tail.len());
    let (rest, magic) = tail.split_last_chunk::<8>().ok_or_else(short)?;
    if *magic != MAGIC {
        return Err("does not end like a run".to_owned());
    }
    let (rest, sum) = rest.split_last_chunk().ok_or_else(short)?;
    let (before, format) = rest.split_last_chunk().ok_or_else(short)?;
    let (before, len) = before.split_last_chunk().ok_or_else(short)?;
    let len = u32::from_le_bytes(*len) as usize;
    let fields_len = len.checked_sub(END_LEN);
    let start = fields_len.and_then(|fields_len| before.len().checked_sub(fields_len));
    let start = start.ok_or_else(|| format!("a trailer of {len} bytes is impossible"))?;
    if checksum64(&rest[start..]) != u64::from_le_bytes(*sum) {
        return Err("checksum of the trailer does not match".to_owned());
    }
    Ok((u32::from_le_bytes(*format), &before[start..]))
}

/// Takes numbers off the front.
struct TrailerFields<'a>(&'a [u8]);

impl TrailerFields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trailer() -> Trailer {
        let mut trailer = Trailer {
            puts: 5,
            deletes: 2,
            merges: 1,
            leaves: 1,
            leaves_end: 100,
            root: Some(PagePtr {
                offset: 16,
                len: 84,
            }),
            height: 1,
            filter_offset: 100,
            filter_len: 64,
            filter_checksum: 9,
            content_hash: 77 << 100,
            page_len: 8192,
            first_key: b"a".to_vec(),
            last_key: vec![b'z'; RUN_KEY_LEN_MAX],
            file_len: 0,
        };
        trailer.file_len = 164 + trailer.encoded_len() as u64;
        trailer
    }

    #[test]
    fn round_trips_behind_other_bytes() {
        let trailer = trailer();
        let tail = [vec![7; 164], trailer.encode()].concat();
        assert_eq!(
            Trailer::decode(&tail, trailer.file_len, "seg/x").unwrap(),
            trailer
        );
        assert!(Trailer::decode(&tail, trailer.file_len + 1, "seg/x").is_err());
    }

    #[test]
    fn any_flipped_bit_is_found() {
        let trailer = trailer();
        let bytes = trailer.encode();
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 1 << (at % 8);
            let error = Trailer::decode(&broken, trailer.file_len, "seg/x").unwrap_err();
            assert!(
                matches!(error, Error::Corrupt { ref object, .. } if object == "seg/x"),
                "{error}"
            );
            assert!(Trailer::decode(&bytes[..at], trailer.file_len, "seg/x").is_err());
        }
    }

    #[test]
    fn a_newer_format_is_named() {
        let mut bytes = trailer().encode();
        let (end, len) = (bytes.len() - 16, bytes.len());
        bytes[end - 4..end].copy_from_slice(&(RUN_FORMAT + 1).to_le_bytes());
        let sum = checksum64(&bytes[..end]);
        bytes[end..len - 8].copy_from_slice(&sum.to_le_bytes());
        let error = Trailer::decode(&bytes, 0, "seg/x").unwrap_err();
        assert!(
            matches!(
                error,
                Error::FormatTooNew {
                    found: 2,
                    known: 1,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn fields_that_contradict_each_other_are_refused() {
        let breaks: [fn(&mut Trailer); 8] = [
            |t| t.puts = u64::MAX,
            |t| t.root = None,
            |t| t.height = 0,
            |t| t.height = 65,
            |t| t.filter_len = 63,
            |t| t.filter_offset = u64::MAX,
            |t| t.leaves_end = 101,
            |t| t.root.as_mut().unwrap().offset += 1,
        ];
        for (i, break_it) in breaks.iter().enumerate() {
            let mut trailer = trailer();
            break_it(&mut trailer);
            let decoded = Trailer::decode(&trailer.encode(), trailer.file_len, "seg/x");
            assert!(decoded.is_err(), "break {i} was accepted");
        }
    }
}
