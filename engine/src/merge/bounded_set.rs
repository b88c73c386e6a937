//! The smallest distinct values, so many of them.

use std::collections::BTreeSet;

use super::extreme::is_value;
use super::wire::{StateReader, put_bytes, put_varint};
use super::{Kind, field};
use crate::base::Datum;

/// How many values a set keeps, at most.
pub const SET_LEN_MAX: u32 = 10_000;

/// The smallest distinct values, at most `limit` of them. Merging is associative because a value that was left out once
/// would be left out again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BoundedSet {
    /// 0 of a set that is of no column yet and has no value: it takes over the limit of whatever it meets.
    limit: u32,
    /// Ascending fields of a key that are not NULL.
    fields: BTreeSet<Box<[u8]>>,
}

impl BoundedSet {
    /// A set of no value.
    pub(super) fn new(limit: u32) -> BoundedSet {
        debug_assert!(limit <= SET_LEN_MAX, "a set of {limit} values");
        BoundedSet {
            limit,
            fields: BTreeSet::new(),
        }
    }

    /// How many values it keeps.
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    pub(super) fn add(&mut self, field: &[u8]) {
        debug_assert!(is_value(field), "added {field:02x?}, which is not a value");
        let is_full = self.fields.len() >= self.limit as usize;
        if is_full && self.fields.last().is_some_and(|last| **last <= *field) {
            return;
        }
        self.fields.insert(field.into());
        if self.fields.len() > self.limit as usize {
            self.fields.pop_last();
        }
    }

    /// `false` where the other one keeps another number of values: they do not belong together.
    pub(super) fn absorb(&mut self, other: &BoundedSet) -> bool {
        if self.limit == 0 {
            self.clone_from(other);
        }
        for field in &other.fields {
            self.add(field);
        }
        other.limit == 0 || self.limit == other.limit
    }

    /// The values, in key order.
    pub(super) fn values(&self) -> Vec<Datum> {
        self.fields
            .iter()
            .map(|bytes| field::datum(bytes))
            .collect()
    }

    /// The kind of the values, `None` while there is none; of several kinds, that of the first.
    pub(super) fn kind(&self) -> Option<Kind> {
        let first = self.fields.first()?;
        Kind::of(&field::datum(first))
    }

    /// Bytes that it takes at most, encoded, if all values are as long as the longest one now.
    pub(super) fn len_bytes_max(&self) -> usize {
        let longest = self.fields.iter().map(|field| field.len()).max();
        longest.map_or(0, |longest| set_len_max(self.limit, longest))
    }

    /// Bytes in memory, about.
    pub(super) fn len_bytes(&self) -> usize {
        self.fields.iter().map(|field| field.len() + 32).sum()
    }

    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        put_varint(self.limit.into(), out);
        put_varint(self.fields.len() as u128, out);
        for field in &self.fields {
            put_bytes(field, out);
        }
    }

    pub(super) fn decode(reader: &mut StateReader<'_>) -> Option<BoundedSet> {
        let limit = u32::try_from(reader.varint()?).ok()?;
        let len = u32::try_from(reader.varint()?).ok()?;
        if limit > SET_LEN_MAX || len > limit {
            return None;
        }
        let mut set = BoundedSet::new(limit);
        for _ in 0..len {
            let field = reader.bytes().filter(|field| is_value(field))?;
            let is_next = set.fields.last().is_none_or(|last| **last < *field);
            if !is_next {
                return None;
            }
            set.fields.insert(field.into());
        }
        Some(set)
    }
}

/// Bytes of a state of this limit at most whose values have at most so many bytes: limit and number, and of each value the
/// length and the bytes.
pub(super) fn set_len_max(limit: u32, field_len: usize) -> usize {
    3 + 3 + limit as usize * (field_len + 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::key::encode_i64;

    fn set(limit: u32, values: &[i64]) -> BoundedSet {
        let mut set = BoundedSet::new(limit);
        for value in values {
            set.add(encode_i64(*value).as_bytes());
        }
        set
    }

    #[test]
    fn the_smallest_values_stay() {
        let mut kept = set(3, &[9, 2, 7, 2]);
        assert!(kept.absorb(&set(3, &[1, 9])));
        let values: Vec<Datum> = [1, 2, 7].map(Datum::Int).to_vec();
        assert_eq!(kept.values(), values);
        assert!(!kept.absorb(&set(2, &[1])), "sets of two limits");
    }

    #[test]
    fn what_is_out_of_order_or_too_much_does_not_decode() {
        let mut good = Vec::new();
        set(3, &[1, 2]).encode_into(&mut good);
        assert_eq!(
            BoundedSet::decode(&mut StateReader::new(&good)),
            Some(set(3, &[1, 2]))
        );
        let mut swapped = vec![3, 2];
        for value in [2, 1] {
            put_bytes(encode_i64(value).as_bytes(), &mut swapped);
        }
        assert_eq!(BoundedSet::decode(&mut StateReader::new(&swapped)), None);
        for head in [[0, 2], [1, 2]] {
            let mut bytes = head.to_vec();
            bytes.extend_from_slice(&good[2..]);
            assert_eq!(
                BoundedSet::decode(&mut StateReader::new(&bytes)),
                None,
                "{head:?}"
            );
        }
    }
}
