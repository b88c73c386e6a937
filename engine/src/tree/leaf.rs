//! Leaves: the body of a page that holds writes, searched where it lies.
//!
//! ```text
//! 0  u8  level = 0, 1 u8 zero
//! 2  u16 n            entries, at least 1
//! 4  u16 prefix_len   leading bytes that all keys share
//! 6  u16 zero
//! 8  the prefix
//!    u8  tags[n]      low byte of each key's hash
//!    u16 offs[n + 1]  where each cell begins within the body; the last is the body's end
//!    u32 heads[n]     first four bytes of each suffix as a number that orders like them
//!    cells            u16 (kind << 13 | suffix_len), suffix, payload
//! ```
//!
//! A lookup compares tags, sixteen at a time, and verifies what they find; a seek searches the heads.
//! Either way it reads a dense array and then about one cell. The tags stand first so that a lookup
//! finds them in the cache lines that the header brought.

use std::ops::Range;

use bytes::Bytes;

use super::decoded::{Decoded, put_u16, u16_at};
use super::search::{self, Side};
use super::value::ValuePtr;
use super::{RUN_KEY_LEN_MAX, key_hash};
use crate::base::Op;

/// Bytes before the prefix.
pub(super) const HEADER_LEN: usize = 8;
/// Bytes of a cell besides suffix and payload.
pub(super) const CELL_HEADER_LEN: usize = 2;
/// Bytes that an entry takes in the arrays: head, offset, tag.
const ENTRY_LEN: usize = 4 + 2 + 1;
/// The bits of a cell's first number that are the suffix's length; the rest is its kind.
const SUFFIX_LEN_BITS: usize = 13;
const SUFFIX_LEN_MASK: usize = (1 << SUFFIX_LEN_BITS) - 1;

const _: () = assert!(
    RUN_KEY_LEN_MAX <= SUFFIX_LEN_MASK,
    "the length of a suffix fits its bits"
);

/// What an entry does to its key: an [`Op`] without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpKind {
    /// The key has a value.
    Put,
    /// The key is gone.
    Delete,
    /// An operand is merged.
    Merge,
}

impl OpKind {
    /// The write of this kind with `payload`, which a delete does not ask for.
    #[inline]
    pub fn op(self, payload: impl FnOnce() -> Bytes) -> Op {
        match self {
            OpKind::Put => Op::Put(payload()),
            OpKind::Delete => Op::Delete,
            OpKind::Merge => Op::Merge(payload()),
        }
    }
}

/// What a cell holds, as its three bits say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CellKind {
    Delete,
    Put,
    Merge,
    PutApart,
    MergeApart,
}

impl CellKind {
    fn code(self) -> usize {
        match self {
            CellKind::Delete => 0,
            CellKind::Put => 1,
            CellKind::Merge => 2,
            CellKind::PutApart => 3,
            CellKind::MergeApart => 4,
        }
    }

    fn from_code(code: usize) -> Option<CellKind> {
        match code {
            0 => Some(CellKind::Delete),
            1 => Some(CellKind::Put),
            2 => Some(CellKind::Merge),
            3 => Some(CellKind::PutApart),
            4 => Some(CellKind::MergeApart),
            _ => None,
        }
    }

    pub(super) fn op_kind(self) -> OpKind {
        match self {
            CellKind::Delete => OpKind::Delete,
            CellKind::Put | CellKind::PutApart => OpKind::Put,
            CellKind::Merge | CellKind::MergeApart => OpKind::Merge,
        }
    }

    /// Whether the payload is a [`ValuePtr`] and the value elsewhere.
    pub(super) fn is_apart(self) -> bool {
        matches!(self, CellKind::PutApart | CellKind::MergeApart)
    }
}

/// The byte of a key's hash that stands in its leaf.
pub(super) fn tag_of(hash: u64) -> u8 {
    hash.to_le_bytes()[0]
}

/// Where the parts of one entry stand in the body of its leaf.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) kind: CellKind,
    suffix_at: usize,
    payload_at: usize,
    end: usize,
}

impl Cell {
    /// Cell `i` of a body that has passed [`Leaf::parse`] and whose offsets begin at `offs_at`.
    #[inline]
    pub(super) fn at(body: &[u8], offs_at: usize, i: usize) -> Cell {
        let offs = &body[offs_at + 2 * i..offs_at + 2 * i + 4];
        let start = usize::from(u16::from_le_bytes([offs[0], offs[1]]));
        let end = usize::from(u16::from_le_bytes([offs[2], offs[3]]));
        let first = usize::from(u16::from_le_bytes([body[start], body[start + 1]]));
        let suffix_at = start + CELL_HEADER_LEN;
        let payload_at = suffix_at + (first & SUFFIX_LEN_MASK);
        let kind = CellKind::from_code(first >> SUFFIX_LEN_BITS).unwrap_or(CellKind::Delete);
        Cell {
            kind,
            suffix_at,
            payload_at,
            end,
        }
    }

    /// Where the part of the key stands that the leaf's keys do not share.
    #[inline]
    pub(super) fn suffix_range(self) -> Range<usize> {
        self.suffix_at..self.payload_at
    }

    #[inline]
    pub(super) fn suffix(self, body: &[u8]) -> &[u8] {
        &body[self.suffix_range()]
    }

    #[inline]
    pub(super) fn payload(self, body: &[u8]) -> &[u8] {
        &body[self.payload_at..self.end]
    }
}

/// A leaf, looked at.
#[derive(Clone, Copy)]
pub(super) struct Leaf<'a> {
    body: &'a [u8],
    prefix: &'a [u8],
    heads: &'a [[u8; 4]],
    offs: &'a [[u8; 2]],
    tags: &'a [u8],
}

impl<'a> Leaf<'a> {
    /// Looks at a body and checks everything that the other methods rely on: that arrays and cells
    /// lie inside it and every payload is what its kind says.
    pub(super) fn parse(body: &'a [u8]) -> Decoded<Leaf<'a>> {
        let leaf = Leaf::split(body).ok_or("arrays of the leaf pass its end")?;
        if leaf.len() == 0 {
            return Err("a leaf without entries".to_owned());
        }
        if leaf.off(0) != leaf.cells_at() || leaf.off(leaf.len()) != body.len() {
            return Err("cells do not fill the leaf".to_owned());
        }
        for i in 0..leaf.len() {
            leaf.parse_cell(i)
                .map_err(|what| format!("entry {i}: {what}"))?;
        }
        Ok(leaf)
    }

    fn parse_cell(&self, i: usize) -> Decoded<()> {
        let (start, end) = (self.off(i), self.off(i + 1));
        let cell = self
            .body
            .get(start..end)
            .ok_or("its cell passes the end of the leaf")?;
        check_cell(cell, self.prefix.len()).map(drop)
    }

    /// Looks at a body that has passed [`Leaf::parse`].
    pub(super) fn of_checked(body: &'a [u8]) -> Leaf<'a> {
        // An empty leaf finds nothing; a body that has passed never comes here.
        Leaf::split(body).unwrap_or(Leaf {
            body,
            prefix: &[],
            heads: &[],
            offs: &[],
            tags: &[],
        })
    }

    #[inline]
    fn split(body: &'a [u8]) -> Option<Leaf<'a>> {
        let (header, rest) = body.split_first_chunk::<HEADER_LEN>()?;
        let [0, 0, n0, n1, p0, p1, 0, 0] = *header else {
            return None;
        };
        let n = usize::from(u16::from_le_bytes([n0, n1]));
        let prefix_len = usize::from(u16::from_le_bytes([p0, p1]));
        let (prefix, rest) = rest.split_at_checked(prefix_len)?;
        let (tags, rest) = rest.split_at_checked(n)?;
        let (offs, rest) = rest.split_at_checked(2 * (n + 1))?;
        let (heads, _) = rest.split_at_checked(4 * n)?;
        Some(Leaf {
            body,
            prefix,
            heads: heads.as_chunks().0,
            offs: offs.as_chunks().0,
            tags,
        })
    }

    /// Where the cells begin: behind header, prefix and arrays.
    fn cells_at(&self) -> usize {
        HEADER_LEN + self.prefix.len() + ENTRY_LEN * self.len() + 2
    }

    /// Entries.
    pub(super) fn len(&self) -> usize {
        self.heads.len()
    }

    #[inline]
    fn off(&self, i: usize) -> usize {
        usize::from(u16::from_le_bytes(self.offs[i]))
    }

    /// Where the offsets of the cells begin.
    pub(super) fn offs_at(&self) -> usize {
        HEADER_LEN + self.prefix.len() + self.len()
    }

    /// Entry `i`.
    #[inline]
    pub(super) fn cell(&self, i: usize) -> Cell {
        Cell::at(self.body, self.offs_at(), i)
    }

    #[inline]
    fn suffix(&self, i: usize) -> &'a [u8] {
        self.cell(i).suffix(self.body)
    }

    /// The bytes that all keys of the leaf begin with.
    pub(super) fn prefix(&self) -> &'a [u8] {
        self.prefix
    }

    /// The head and the tag that stand for entry `i`; for proofreading.
    pub(super) fn head_and_tag(&self, i: usize) -> (u32, u8) {
        (u32::from_le_bytes(self.heads[i]), self.tags[i])
    }

    /// How many entries come before `key`.
    pub(super) fn bound(&self, key: &[u8], side: Side) -> usize {
        search::bound(self.prefix, self.heads, |i| self.suffix(i), key, side)
    }

    /// The entry of `key`, whose hash has `tag`.
    #[inline]
    pub(super) fn find(&self, key: &[u8], tag: u8) -> Option<Cell> {
        let suffix = key.strip_prefix(self.prefix)?;
        let verify = |i: usize| {
            let cell = self.cell(i);
            (cell.suffix(self.body) == suffix).then_some(cell)
        };
        find_tagged(self.tags, tag, verify)
    }
}

/// The first that `verify` makes of the places in `tags` that have `tag`, and now and then of another.
#[inline]
pub(super) fn find_tagged<T>(
    tags: &[u8],
    tag: u8,
    mut verify: impl FnMut(usize) -> Option<T>,
) -> Option<T> {
    let (blocks, rest) = tags.as_chunks::<16>();
    for (b, block) in blocks.iter().enumerate() {
        let mut found = matches(block, tag);
        while found != 0 {
            let i = b * 16 + found.trailing_zeros() as usize / 8;
            if let Some(verified) = verify(i) {
                return Some(verified);
            }
            found &= found - 1;
        }
    }
    let at = tags.len() - rest.len();
    (at..tags.len())
        .filter(|&i| tags[i] == tag)
        .find_map(verify)
}

/// Checks that a cell of a leaf whose keys share `prefix_len` bytes is what it says. Returns its kind and where in it
/// the payload begins.
#[inline]
pub(super) fn check_cell(cell: &[u8], prefix_len: usize) -> Decoded<(CellKind, usize)> {
    let first = u16_at(cell, 0).ok_or("its cell is too short")?;
    let kind = CellKind::from_code(first >> SUFFIX_LEN_BITS).ok_or("its kind is unknown")?;
    let suffix_len = first & SUFFIX_LEN_MASK;
    if prefix_len + suffix_len > RUN_KEY_LEN_MAX {
        return Err("its key is too long".to_owned());
    }
    let payload_at = CELL_HEADER_LEN + suffix_len;
    let payload = cell.get(payload_at..).ok_or("its key passes its cell")?;
    if kind.is_apart() {
        ValuePtr::decode(payload)?;
    } else if kind == CellKind::Delete && !payload.is_empty() {
        return Err("a delete carries a value".to_owned());
    }
    Ok((kind, payload_at))
}

/// Where the arrays of a leaf stand in its body, by its header alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrays {
    len: usize,
    prefix_len: usize,
}

impl Arrays {
    /// Takes apart the header at the front of `body`.
    pub(super) fn parse(body: &[u8]) -> Decoded<Arrays> {
        let Some(&[level, 0, n0, n1, p0, p1, 0, 0]) = body.first_chunk::<HEADER_LEN>() else {
            return Err("no header of a leaf".to_owned());
        };
        if level != 0 {
            return Err(format!("is of level {level}, expected 0"));
        }
        let (len, prefix_len) = (u16::from_le_bytes([n0, n1]), u16::from_le_bytes([p0, p1]));
        if len == 0 {
            return Err("a leaf without entries".to_owned());
        }
        Ok(Arrays {
            len: usize::from(len),
            prefix_len: usize::from(prefix_len),
        })
    }

    /// Where the bytes stand that all keys share.
    pub(super) fn prefix(&self) -> Range<usize> {
        HEADER_LEN..HEADER_LEN + self.prefix_len
    }

    /// Where the tags stand.
    pub(super) fn tags(&self) -> Range<usize> {
        self.prefix().end..self.offs_at()
    }

    /// Where the offsets begin.
    pub(super) fn offs_at(&self) -> usize {
        self.prefix().end + self.len
    }

    /// Where the offsets end.
    pub(super) fn offs_end(&self) -> usize {
        self.offs_at() + 2 * (self.len + 1)
    }

    /// Where the cells begin.
    pub(super) fn cells_at(&self) -> usize {
        cells_at(self.len, self.prefix_len)
    }
}

/// The top bit of each byte of `block` that equals `tag`; now and then also that of a byte behind a
/// match, since the subtraction borrows, which costs one more comparison of keys and no more.
#[inline]
fn matches(block: &[u8; 16], tag: u8) -> u128 {
    const ONES: u128 = u128::MAX / 0xff;
    let differs = u128::from_le_bytes(*block) ^ (ONES * u128::from(tag));
    differs.wrapping_sub(ONES) & !differs & (ONES << 7)
}

/// Gathers the entries of one leaf, in order, and writes its body.
#[derive(Default)]
pub(super) struct LeafBuilder {
    /// Of each entry the key and then the payload.
    bytes: Vec<u8>,
    entries: Vec<LeafEntry>,
    /// Leading bytes that all keys share.
    prefix_len: usize,
}

struct LeafEntry {
    key_at: usize,
    payload_at: usize,
    end: usize,
    kind: CellKind,
}

impl LeafEntry {
    fn key<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.key_at..self.payload_at]
    }
}

impl LeafBuilder {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The greatest key.
    #[inline]
    pub(super) fn last_key(&self) -> Option<&[u8]> {
        self.entries.last().map(|last| last.key(&self.bytes))
    }

    /// The leading bytes that all keys share if `key` joins.
    #[inline]
    fn prefix_len_with(&self, key: &[u8]) -> usize {
        let prefix = &self.bytes[..self.prefix_len];
        match self.entries.is_empty() {
            true => key.len(),
            false if key.starts_with(prefix) => self.prefix_len,
            false => search::common_len(prefix, key),
        }
    }

    /// Bytes of the body if an entry with `key`, greater than all before, joined.
    #[inline]
    pub(super) fn len_with(&self, key: &[u8], payload_len: usize) -> usize {
        let n = self.entries.len() + 1;
        let prefix_len = self.prefix_len_with(key);
        let cells_len = self.bytes.len() + key.len() + payload_len - n * prefix_len;
        cells_at(n, prefix_len) + n * CELL_HEADER_LEN + cells_len
    }

    #[inline]
    pub(super) fn push(&mut self, key: &[u8], kind: CellKind, payload: &[u8]) {
        self.prefix_len = self.prefix_len_with(key);
        let key_at = self.bytes.len();
        let payload_at = key_at + key.len();
        let end = payload_at + payload.len();
        self.bytes.reserve(end - key_at);
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(payload);
        self.entries.push(LeafEntry {
            key_at,
            payload_at,
            end,
            kind,
        });
    }

    /// Writes the body into `out`, replacing what is there, adds the hashes of the keys to `hashes`, and
    /// begins the next leaf.
    pub(super) fn finish(&mut self, hashes: &mut Vec<u64>, out: &mut Vec<u8>) {
        let (n, prefix_len) = (self.entries.len(), self.prefix_len);
        assert!(n > 0, "a leaf without entries");
        let bytes = &self.bytes;
        let mut cell_at = cells_at(n, prefix_len);
        let len = cell_at + n * CELL_HEADER_LEN + bytes.len() - n * prefix_len;
        out.clear();
        out.reserve(len);
        out.extend_from_slice(&[0, 0]);
        put_u16(out, n);
        put_u16(out, prefix_len);
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&bytes[..prefix_len]);
        let first_hash = hashes.len();
        hashes.extend(self.entries.iter().map(|entry| key_hash(entry.key(bytes))));
        out.extend(hashes[first_hash..].iter().copied().map(tag_of));
        for entry in &self.entries {
            put_u16(out, cell_at);
            cell_at += CELL_HEADER_LEN + entry.end - entry.key_at - prefix_len;
        }
        put_u16(out, cell_at);
        for entry in &self.entries {
            let head = search::head_of(&entry.key(bytes)[prefix_len..]);
            out.extend_from_slice(&head.to_le_bytes());
        }
        for entry in &self.entries {
            let suffix_len = entry.payload_at - entry.key_at - prefix_len;
            put_u16(out, entry.kind.code() << SUFFIX_LEN_BITS | suffix_len);
            // The suffix and the payload behind it.
            out.extend_from_slice(&bytes[entry.key_at + prefix_len..entry.end]);
        }
        assert_eq!(out.len(), cell_at, "cells end where the offsets say");
        assert_eq!(out.len(), len, "the length foretold");
        self.bytes.clear();
        self.entries.clear();
        self.prefix_len = 0;
    }
}

/// Where the cells of a leaf with `n` entries begin.
fn cells_at(n: usize, prefix_len: usize) -> usize {
    HEADER_LEN + prefix_len + ENTRY_LEN * n + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(keys: &[&[u8]]) -> Vec<u8> {
        let mut builder = LeafBuilder::default();
        let mut len = 0;
        for key in keys {
            len = builder.len_with(key, key.len());
            builder.push(key, CellKind::Put, key);
        }
        let mut body = Vec::new();
        let mut hashes = Vec::new();
        builder.finish(&mut hashes, &mut body);
        assert_eq!(body.len(), len, "the length foretold");
        let known: Vec<u64> = keys.iter().map(|key| key_hash(key)).collect();
        assert_eq!(hashes, known);
        body
    }

    #[test]
    fn finds_what_it_holds_and_nothing_else() {
        let keys: Vec<Vec<u8>> = (0..400u32)
            .map(|i| [b"shared/", &(i * 2).to_be_bytes()[..]].concat())
            .collect();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let body = build(&keys);
        let leaf = Leaf::parse(&body).unwrap();
        assert_eq!(leaf.prefix(), b"shared/\0\0");
        for (i, key) in keys.iter().enumerate() {
            let tag = tag_of(key_hash(key));
            assert_eq!(leaf.find(key, tag).unwrap().payload(&body), *key);
            assert_eq!(leaf.bound(key, Side::Before), i);
            assert_eq!(leaf.bound(key, Side::After), i + 1);
            let mut absent = key.to_vec();
            absent[10] += 1;
            assert_eq!(leaf.bound(&absent, Side::Before), i + 1);
            assert!(leaf.find(&absent, tag).is_none());
        }
    }

    #[test]
    fn matching_tags_are_all_seen() {
        for at in 0..16 {
            for tag in [0u8, 1, 0x7f, 0x80, 0xff] {
                let mut block = [tag.wrapping_add(1); 16];
                block[at] = tag;
                let bits = matches(&block, tag);
                assert_ne!(bits & (0x80 << (8 * at)), 0, "tag {tag} at {at}");
                assert_eq!(
                    bits.trailing_zeros() as usize / 8,
                    at,
                    "nothing before the first"
                );
            }
        }
    }

    #[test]
    fn any_damage_is_refused_or_harmless() {
        let body = build(&[b"", b"a", b"aa", b"ab\0", b"ab\0\0\0\0\0", b"b"]);
        for at in 0..body.len() {
            for bit in 0..8 {
                let mut broken = body.clone();
                broken[at] ^= 1 << bit;
                let Ok(leaf) = Leaf::parse(&broken) else {
                    continue;
                };
                for i in 0..leaf.len() {
                    let cell = leaf.cell(i);
                    assert!(
                        cell.suffix(&broken).len() + cell.payload(&broken).len() < broken.len()
                    );
                }
                for key in [&b""[..], b"ab", b"ab\0\0", b"zz"] {
                    assert!(leaf.bound(key, Side::After) <= leaf.len());
                    let _cell = leaf.find(key, tag_of(key_hash(key)));
                }
            }
            assert!(Leaf::parse(&body[..at]).is_err(), "cut to {at} bytes");
        }
    }
}
