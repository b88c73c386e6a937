//! Where the records of a stream lie: behind all ordinary keys of its store, next to each other.
//!
//! A whole key is the store's number, the byte that no key begins with, the key under which the stream
//! is, the byte that no field begins with, what kind of record it is, and its number. So no ordinary
//! key can meet one, an ordinary scan ends before them, the records of one stream are one range, and
//! those ranges are in the order of keys.

use std::ops::Range;

use bytes::Bytes;

use crate::base::key::{ABOVE_ALL, BELOW_ALL};
use crate::base::limits::{KEY_LEN_MAX, STORE_PREFIX_LEN, STREAM_KEY_LEN_MAX};
use crate::base::{Error, Key, Result, StoreId};
use crate::coord::KeyRange;
use crate::fold::full_key;

/// Bytes that follow a stream's key: the end of that, a kind, a number.
const SUFFIX_LEN: usize = 1 + 1 + 8;
/// Bytes before it: the store's number, the mark.
const MARK_AT: usize = STORE_PREFIX_LEN;
const KEY_AT: usize = MARK_AT + 1;

const _: () = assert!(1 + STREAM_KEY_LEN_MAX + SUFFIX_LEN == KEY_LEN_MAX);

const HEAD: u8 = 0;
const NODE: u8 = 1;
const CHUNK: u8 = 2;

/// A record of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamPart {
    /// Its length, and the root of the tree that says which chunks it is made of.
    Head,
    /// A node of that tree.
    Node(u64),
    /// Bytes.
    Chunk(u64),
}

/// The place of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamPlace {
    /// What all its whole keys begin with: up to the kind, excluded.
    prefix: Bytes,
}

impl StreamPlace {
    /// The place of the stream of `store` under `key`.
    ///
    /// # Errors
    /// [`Error::Limit`] for a key longer than [`STREAM_KEY_LEN_MAX`]; [`Error::Invalid`] for none.
    pub(crate) fn new(store: StoreId, key: &Key) -> Result<StreamPlace> {
        if key.len() > STREAM_KEY_LEN_MAX {
            return Err(Error::Limit {
                what: "length of a stream's key in bytes",
                got: key.len() as u64,
                max: STREAM_KEY_LEN_MAX as u64,
            });
        }
        key.datums()?;
        let mut within = Vec::with_capacity(key.len() + 2);
        within.push(ABOVE_ALL);
        within.extend_from_slice(key.as_bytes());
        within.push(BELOW_ALL);
        let prefix = full_key(store, &within);
        Ok(StreamPlace { prefix })
    }

    /// Takes the whole key of a record apart; `None` for one of no stream.
    pub(crate) fn parse(full: &Bytes) -> Option<(StreamPlace, StreamPart)> {
        let prefix_len = prefix_len(full)?;
        let (kind, number) = full[prefix_len..].split_first()?;
        let number = u64::from_be_bytes(number.try_into().ok()?);
        let part = match *kind {
            HEAD if number == 0 => StreamPart::Head,
            NODE => StreamPart::Node(number),
            CHUNK => StreamPart::Chunk(number),
            _ => return None,
        };
        let prefix = full.slice(..prefix_len);
        Some((StreamPlace { prefix }, part))
    }

    /// The stream that a whole key belongs to, as what all its keys begin with.
    pub(crate) fn range_of(full: &[u8]) -> Option<&[u8]> {
        prefix_len(full).map(|len| &full[..len])
    }

    /// The key under which the stream is.
    pub(crate) fn key(&self) -> Key {
        Key::from_encoded(self.prefix.slice(KEY_AT..self.prefix.len() - 1))
    }

    /// The whole key of a record.
    pub(crate) fn full(&self, part: StreamPart) -> Bytes {
        let (kind, number) = match part {
            StreamPart::Head => (HEAD, 0),
            StreamPart::Node(number) => (NODE, number),
            StreamPart::Chunk(number) => (CHUNK, number),
        };
        let mut full = Vec::with_capacity(self.prefix.len() + SUFFIX_LEN - 1);
        full.extend_from_slice(&self.prefix);
        full.push(kind);
        full.extend_from_slice(&number.to_be_bytes());
        full.into()
    }

    /// All chunks of the stream.
    pub(crate) fn chunks(&self) -> KeyRange {
        self.kinds(CHUNK..CHUNK + 1)
    }

    /// The first whole key behind all records of the stream.
    pub(crate) fn end(&self) -> Bytes {
        self.kinds(HEAD..u8::MAX).to
    }

    /// All streams of a store.
    pub(crate) fn all_of(store: StoreId) -> KeyRange {
        let after = store.0.checked_add(1);
        KeyRange {
            from: full_key(store, &[ABOVE_ALL]),
            to: after.map_or_else(Bytes::new, |id| full_key(StoreId(id), &[])),
        }
    }

    fn kinds(&self, kinds: Range<u8>) -> KeyRange {
        let bound = |kind| {
            let mut bound = self.prefix.to_vec();
            bound.push(kind);
            Bytes::from(bound)
        };
        KeyRange {
            from: bound(kinds.start),
            to: bound(kinds.end),
        }
    }
}

/// Bytes up to the kind, if this is the whole key of a stream's record.
fn prefix_len(full: &[u8]) -> Option<usize> {
    let end = full.len().checked_sub(SUFFIX_LEN)?;
    let is_one = end >= KEY_AT && full[MARK_AT] == ABOVE_ALL && full[end] == BELOW_ALL;
    is_one.then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(json: &str) -> Key {
        Key::parse_json(json).unwrap()
    }

    #[test]
    fn places_are_ranges_in_the_order_of_keys_behind_all_keys() {
        let keys = ["1", "[1,2]", "[1,{\"$desc\":2}]", "2", "\"a\"", "\"ab\""].map(key);
        let (store, mut end) = (StoreId(16), full_key(StoreId(16), &keys[5].prefix_end()));
        for key in &keys {
            let place = StreamPlace::new(store, key).unwrap();
            for part in [
                StreamPart::Head,
                StreamPart::Node(0),
                StreamPart::Node(256),
                StreamPart::Chunk(0),
            ] {
                let full = place.full(part);
                assert!(full >= end, "{key}");
                end = full.clone();
                assert_eq!(StreamPlace::parse(&full), Some((place.clone(), part)));
                assert_eq!(StreamPlace::range_of(&full), Some(&place.prefix[..]));
                assert!(StreamPlace::all_of(store).contains(&full));
                assert_eq!(place.chunks().contains(&full), part == StreamPart::Chunk(0));
            }
            assert_eq!(place.key(), *key);
            assert!(place.end() > end);
            end = place.end();
        }
        assert_eq!(
            StreamPlace::parse(&full_key(store, keys[1].as_bytes())),
            None
        );
    }

    #[test]
    fn a_key_may_be_so_long_and_no_longer() {
        let long = |len: usize| {
            let text = "x".repeat(len - 2);
            Key::from_datums(&[text.into()]).unwrap()
        };
        let longest = StreamPlace::new(StoreId(16), &long(STREAM_KEY_LEN_MAX)).unwrap();
        assert_eq!(
            longest.full(StreamPart::Chunk(u64::MAX)).len(),
            STORE_PREFIX_LEN + KEY_LEN_MAX
        );
        let error = StreamPlace::new(StoreId(16), &long(STREAM_KEY_LEN_MAX + 1));
        assert!(matches!(error, Err(Error::Limit { .. })), "{error:?}");
    }
}
