//! A segment, by way of the cache.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::cache::{CachePiece, DiskCache, PIECE_LEN};
use super::place::BucketPlace;
use crate::base::checksum::hash128;
use crate::base::metric::count_disk_cache;
use crate::storage::Name;

/// Pieces that are asked for at once where one is missing: pages that lie side by side are mostly read one after
/// the other, and a request takes longer than its bytes.
const AHEAD: u64 = 4;

const PIECE_LEN_64: u64 = PIECE_LEN as u64;

/// The pieces of one segment.
#[derive(Clone, Debug)]
pub(super) struct CachedSegment {
    cache: Arc<DiskCache>,
    /// Tells it from all others of all databases.
    identity: u128,
}

impl CachedSegment {
    /// `None` for what is no segment: everything else has a name that may be given again.
    pub(super) fn new(
        cache: &Arc<DiskCache>,
        place: &BucketPlace,
        name: &Name,
    ) -> Option<CachedSegment> {
        name.as_segment()?;
        Some(CachedSegment {
            cache: Arc::clone(cache),
            identity: place.identity(name, &[]),
        })
    }

    /// Length of the segment and its first piece.
    pub(super) fn head(&self) -> Option<(u64, Bytes)> {
        let piece = self.cache.get(self.key(0));
        let piece = piece.filter(|piece| piece.bytes.len() == len_of(0, piece.object_len));
        count_disk_cache(u64::from(piece.is_some()), u64::from(piece.is_none()));
        piece.map(|piece| (piece.object_len, piece.bytes))
    }

    /// The bytes from `range.start` on that are here, up to its end at most.
    ///
    /// What is not is to be asked of the bucket from where that ends.
    pub(super) fn read(&self, range: &Range<u64>, len: u64) -> BytesMut {
        let mut read = BytesMut::new();
        let mut at = range.start;
        let (mut hits, mut misses) = (0, 0);
        while at < range.end {
            let index = at / PIECE_LEN_64;
            let piece = self.cache.get(self.key(index));
            let Some(piece) = piece
                .filter(|piece| piece.object_len == len && piece.bytes.len() == len_of(index, len))
            else {
                misses = range.end.div_ceil(PIECE_LEN_64) - index;
                break;
            };
            let begin = index * PIECE_LEN_64;
            let end = range.end.min(begin + piece.bytes.len() as u64);
            read.extend_from_slice(&piece.bytes[within(at - begin)..within(end - begin)]);
            (at, hits) = (end, hits + 1);
        }
        count_disk_cache(hits, misses);
        assert!(
            at <= range.end.max(range.start),
            "read to {at}, beyond {range:?}"
        );
        assert_eq!(read.len() as u64, at - range.start, "read from {range:?}");
        read
    }

    /// What to ask for where `range` is missing: whole pieces, and some more of them as long as they can be kept.
    pub(super) fn around(&self, range: &Range<u64>, len: u64) -> Range<u64> {
        let pieces = match self.cache.is_full() {
            true => 1,
            false => AHEAD,
        };
        let start = range.start / PIECE_LEN_64 * PIECE_LEN_64;
        let end = range.end.checked_next_multiple_of(pieces * PIECE_LEN_64);
        let around = start..end.map_or(len, |end| end.min(len));
        assert!(
            around.start <= range.start,
            "{around:?} begins within {range:?}"
        );
        assert!(
            around.end >= range.end.min(len),
            "{around:?} ends within {range:?}"
        );
        around
    }

    /// Keeps the whole pieces of `bytes`, which lie at `offset`.
    pub(super) fn keep(&self, offset: u64, bytes: &Bytes, len: u64) {
        let mut at = offset.next_multiple_of(PIECE_LEN_64);
        let end = offset + bytes.len() as u64;
        while at < end {
            let index = at / PIECE_LEN_64;
            let piece_end = at + len_of(index, len) as u64;
            if piece_end > end {
                break;
            }
            assert!(
                at.is_multiple_of(PIECE_LEN_64),
                "a piece begins at byte {at}"
            );
            let bytes = bytes.slice(within(at - offset)..within(piece_end - offset));
            let object_len = len;
            self.cache
                .put(self.key(index), &CachePiece { object_len, bytes });
            at = piece_end;
        }
    }

    fn key(&self, index: u64) -> u128 {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&self.identity.to_le_bytes());
        bytes[16..].copy_from_slice(&index.to_le_bytes());
        hash128(&bytes)
    }
}

/// Bytes of a piece of an object that is `len` long.
fn len_of(index: u64, len: u64) -> usize {
    within(len.saturating_sub(index * PIECE_LEN_64).min(PIECE_LEN_64))
}

/// A distance within memory.
fn within(distance: u64) -> usize {
    usize::try_from(distance).unwrap_or(usize::MAX)
}
