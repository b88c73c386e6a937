//! One key of a leaf that nobody keeps: the page is checked, decompressed as far as its cell, and forgotten.
//!
//! A leaf that goes to the cache is decompressed whole, its cells are all checked, and its memory comes from the slabs.
//! A lookup that the cache takes no page of needs none of that. Its page lies in memory that this thread uses again
//! and again, and only the value is copied.

use bytes::Bytes;
use smallvec::SmallVec;

use super::compress::Compression;
use super::decoded::{Decoded, u16_at};
use super::frame::Frame;
use super::leaf::{self, CellKind};
use super::lz4::Lz4Front;
use super::value::ValuePtr;

/// What a leaf has under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LeafFound {
    /// This write, with the payload that lay in the leaf.
    Here(CellKind, Bytes),
    /// A write whose payload lies apart.
    Apart(CellKind, ValuePtr),
}

/// The body of a page, of which the front is there.
enum Front<'a> {
    Whole(&'a [u8]),
    Lz4(Lz4Front<'a>),
}

impl Front<'_> {
    /// Bytes of the whole body.
    fn whole_len(&self) -> usize {
        match self {
            Front::Whole(body) => body.len(),
            Front::Lz4(front) => front.whole_len(),
        }
    }

    /// The first `len` bytes.
    fn first(&mut self, len: usize) -> Decoded<&[u8]> {
        let whole_len = self.whole_len();
        if len > whole_len {
            return Err("arrays of the leaf pass its end".to_owned());
        }
        match self {
            Front::Whole(body) => Ok(&body[..len]),
            Front::Lz4(front) => front.first(len),
        }
    }
}

/// Looks up `key`, whose hash has `tag`, in the page that is `stored` at `offset` and must be a leaf. `memory` holds
/// what is decompressed. The checksum is that of the whole page, as ever; of its cells those are checked that are
/// looked at.
///
/// # Errors
/// What was found instead of what was written.
pub(super) fn find(
    stored: &[u8],
    offset: u64,
    (key, tag): (&[u8], u8),
    memory: &mut Vec<u8>,
) -> Decoded<Option<LeafFound>> {
    let frame = Frame::check(stored, offset)?;
    if memory.len() < frame.body_len {
        memory.resize(frame.body_len, 0);
    }
    let memory = &mut memory[..frame.body_len];
    let front = match frame.compression {
        Compression::None if frame.packed.len() == frame.body_len => Front::Whole(frame.packed),
        Compression::Lz4 => Front::Lz4(Lz4Front::new(frame.packed, memory)),
        // As a whole or not at all: Zstandard, and what says its length wrongly.
        Compression::None | Compression::Zstd => {
            frame.unpack(memory)?;
            Front::Whole(memory)
        }
    };
    find_in(front, key, tag)
}

fn find_in(mut front: Front<'_>, key: &[u8], tag: u8) -> Decoded<Option<LeafFound>> {
    let whole_len = front.whole_len();
    let arrays = leaf::Arrays::parse(front.first(leaf::HEADER_LEN.min(whole_len))?)?;
    if arrays.cells_at() > whole_len {
        return Err("arrays of the leaf pass its end".to_owned());
    }
    let body = front.first(arrays.offs_end())?;
    let Some(suffix) = key.strip_prefix(&body[arrays.prefix()]) else {
        return Ok(None);
    };
    let mut tagged = SmallVec::<[usize; 8]>::new();
    leaf::find_tagged(&body[arrays.tags()], tag, |i| {
        tagged.push(i);
        None::<()>
    });
    for i in tagged {
        let told = |what: String| format!("entry {i}: {what}");
        let body = front.first(arrays.offs_end())?;
        let off = |i: usize| u16_at(body, arrays.offs_at() + 2 * i).unwrap_or_default();
        let (start, end) = (off(i), off(i + 1));
        if start < arrays.cells_at() || end > whole_len {
            return Err(told("its cell lies outside the cells".to_owned()));
        }
        let cell = front.first(end)?.get(start..);
        let cell = cell.ok_or_else(|| told("its cell ends before it begins".to_owned()))?;
        let (kind, payload_at) = leaf::check_cell(cell, arrays.prefix().len()).map_err(told)?;
        let (head, payload) = cell.split_at(payload_at);
        if head.get(leaf::CELL_HEADER_LEN..) != Some(suffix) {
            continue;
        }
        return Ok(Some(if kind.is_apart() {
            LeafFound::Apart(kind, ValuePtr::decode(payload)?)
        } else {
            LeafFound::Here(kind, Bytes::copy_from_slice(payload))
        }));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::compress::Compressor;
    use super::super::frame;
    use super::super::key_hash;
    use super::super::leaf::{LeafBuilder, tag_of};
    use super::*;
    use crate::base::checksum::checksum64;

    /// Where the pages of these tests stand.
    const OFFSET: u64 = 4711;

    fn apart(len: u32) -> ValuePtr {
        ValuePtr {
            offset: 16,
            stored_len: len,
            len,
            checksum: 9,
            compression: Compression::None,
        }
    }

    /// Keys that share a front and differ in length, with writes of every kind.
    fn entries() -> Vec<(Vec<u8>, CellKind, Vec<u8>)> {
        let entry = |i: u16| {
            let key = [
                b"shared/",
                &i.to_be_bytes()[..],
                &b"xyz"[..usize::from(i % 4)],
            ]
            .concat();
            let value = |len: u16| [&i.to_le_bytes()[..], &vec![b'.'; usize::from(len)]].concat();
            let (kind, payload) = match i % 5 {
                0 => (CellKind::Delete, Vec::new()),
                1 => (CellKind::Merge, value(9)),
                2 => (
                    CellKind::PutApart,
                    apart(u32::from(i) + 1).encode().to_vec(),
                ),
                _ => (CellKind::Put, value(40 + i % 50)),
            };
            (key, kind, payload)
        };
        (0..90).map(entry).collect()
    }

    fn stored(compression: Compression) -> Vec<u8> {
        let mut builder = LeafBuilder::default();
        for (key, kind, payload) in entries() {
            builder.push(&key, kind, &payload);
        }
        let (mut body, mut stored) = (Vec::new(), Vec::new());
        builder.finish(&mut Vec::new(), &mut body);
        frame::frame(&body, &mut Compressor::new(compression), &mut stored);
        frame::place(&mut stored, OFFSET);
        stored
    }

    fn look(stored: &[u8], key: &[u8]) -> Decoded<Option<LeafFound>> {
        // What is left over from another page stands behind what was decompressed.
        let mut memory = vec![0xa5; 20_000];
        find(stored, OFFSET, (key, tag_of(key_hash(key))), &mut memory)
    }

    #[test]
    fn finds_what_the_leaf_has_however_it_is_stored() {
        for compression in Compression::ALL {
            let stored = stored(compression);
            assert_eq!(
                Frame::check(&stored, OFFSET).unwrap().compression,
                compression
            );
            for (key, kind, payload) in entries() {
                let found = look(&stored, &key).unwrap().unwrap();
                let expected = if kind.is_apart() {
                    LeafFound::Apart(kind, ValuePtr::decode(&payload).unwrap())
                } else {
                    LeafFound::Here(kind, payload.into())
                };
                assert_eq!(found, expected, "{key:?}");
                let behind = [&key[..], b"!"].concat();
                assert_eq!(look(&stored, &behind), Ok(None));
            }
            for absent in [&b""[..], b"shared/", b"shared0", b"zz"] {
                assert_eq!(look(&stored, absent), Ok(None));
            }
        }
    }

    #[test]
    fn a_page_counts_only_with_its_checksum_and_in_its_place() {
        for compression in Compression::ALL {
            let stored = stored(compression);
            let (key, ..) = entries().swap_remove(3);
            for at in 0..stored.len() {
                let mut broken = stored.clone();
                broken[at] ^= 4;
                assert!(look(&broken, &key).is_err(), "byte {at}");
            }
            let elsewhere = find(
                &stored,
                OFFSET + 1,
                (&key, tag_of(key_hash(&key))),
                &mut Vec::new(),
            );
            assert!(elsewhere.is_err());
        }
    }

    /// Whoever writes a page with a right checksum can make a lookup fail or lie, and not panic.
    #[test]
    fn any_page_under_a_right_checksum_is_read_or_refused() {
        let keys: Vec<Vec<u8>> = entries()
            .into_iter()
            .step_by(7)
            .map(|entry| entry.0)
            .collect();
        let mut refused = 0;
        for compression in Compression::ALL {
            let stored = stored(compression);
            for at in 8..stored.len() {
                for flip in [1, 0x80, 0xff] {
                    let mut forged = stored.clone();
                    forged[at] ^= flip;
                    let sum = checksum64(&forged[8..]);
                    forged[..8].copy_from_slice(&sum.to_le_bytes());
                    frame::place(&mut forged, OFFSET);
                    refused += keys
                        .iter()
                        .filter(|key| look(&forged, key).is_err())
                        .count();
                }
            }
        }
        assert!(refused > 1000, "{refused} lookups were refused");
    }

    #[test]
    fn a_branch_is_no_leaf() {
        let mut stored = Vec::new();
        let mut body = vec![0; 64];
        body[0] = 1;
        frame::frame(&body, &mut Compressor::new(Compression::None), &mut stored);
        frame::place(&mut stored, OFFSET);
        let refused = look(&stored, b"key").unwrap_err();
        assert!(refused.contains("level 1"), "{refused}");
    }
}
