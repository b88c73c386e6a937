//! The largest values, so many of them.

use std::collections::BTreeMap;

use super::bounded_set::SET_LEN_MAX;
use super::extreme::is_value;
use super::wire::{StateReader, put_bytes, put_varint};
use super::{Kind, field};
use crate::base::Datum;

/// The largest values, at most `limit` of them; equal values count each. Merging is associative because a value that was
/// left out once would be left out again. Values that tie are equal, so none of them needs to be chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Largest {
    /// 0 of a state that is of no column yet and has no value: it takes over the limit of whatever it meets.
    limit: u32,
    /// Ascending fields of a key that are not NULL, and how often each one is among the values, at least once.
    fields: BTreeMap<Box<[u8]>, u32>,
    /// How many values there are.
    len: u32,
}

impl Largest {
    /// A state of no value.
    pub(super) fn new(limit: u32) -> Largest {
        debug_assert!(limit <= SET_LEN_MAX, "the largest {limit} values");
        Largest {
            limit,
            ..Largest::default()
        }
    }

    /// How many values it keeps.
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn add(&mut self, field: &[u8]) {
        self.add_many(field, 1);
    }

    fn add_many(&mut self, field: &[u8], count: u32) {
        debug_assert!(is_value(field), "added {field:02x?}, which is not a value");
        let is_full = self.len >= self.limit;
        let smallest = self.fields.first_key_value();
        if is_full && smallest.is_none_or(|(smallest, _)| *field <= **smallest) {
            return;
        }
        match self.fields.get_mut(field) {
            Some(known) => *known += count,
            None => {
                self.fields.insert(field.into(), count);
            }
        }
        self.len += count;
        while self.len > self.limit {
            let Some(mut smallest) = self.fields.first_entry() else {
                break;
            };
            let beyond = (self.len - self.limit).min(*smallest.get());
            self.len -= beyond;
            *smallest.get_mut() -= beyond;
            if *smallest.get() == 0 {
                smallest.remove();
            }
        }
        debug_assert!(
            self.len <= self.limit,
            "{} of {} values",
            self.len,
            self.limit
        );
    }

    /// `false` where the other one keeps another number of values: they do not belong together.
    pub(super) fn absorb(&mut self, other: &Largest) -> bool {
        if self.limit == 0 {
            self.clone_from(other);
            return true;
        }
        if other.limit == 0 {
            return true;
        }
        for (field, count) in &other.fields {
            self.add_many(field, *count);
        }
        self.limit == other.limit
    }

    /// The values, the largest first.
    pub(super) fn values(&self) -> Vec<Datum> {
        let descending = self.fields.iter().rev();
        descending
            .flat_map(|(bytes, count)| {
                let datum = field::datum(bytes);
                std::iter::repeat_n(datum, *count as usize)
            })
            .collect()
    }

    /// The kind of the values, `None` while there is none; of several kinds, that of the smallest.
    pub(super) fn kind(&self) -> Option<Kind> {
        let (smallest, _) = self.fields.first_key_value()?;
        Kind::of(&field::datum(smallest))
    }

    /// Bytes that it takes at most, encoded, if all values are as long as the longest one now.
    pub(super) fn len_bytes_max(&self) -> usize {
        let longest = self.fields.keys().map(|field| field.len()).max();
        longest.map_or(0, |longest| largest_len_max(self.limit, longest))
    }

    /// Bytes in memory, about.
    pub(super) fn len_bytes(&self) -> usize {
        self.fields.keys().map(|field| field.len() + 40).sum()
    }

    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        put_varint(self.limit.into(), out);
        put_varint(self.fields.len() as u128, out);
        for (field, count) in &self.fields {
            put_bytes(field, out);
            put_varint((*count).into(), out);
        }
    }

    pub(super) fn decode(reader: &mut StateReader<'_>) -> Option<Largest> {
        let limit = u32::try_from(reader.varint()?).ok()?;
        let distinct = u32::try_from(reader.varint()?).ok()?;
        if limit > SET_LEN_MAX || distinct > limit {
            return None;
        }
        let mut largest = Largest::new(limit);
        for _ in 0..distinct {
            let field = reader.bytes().filter(|field| is_value(field))?;
            let count = u32::try_from(reader.varint()?).ok()?;
            let last = largest.fields.last_key_value();
            let is_next = last.is_none_or(|(last, _)| **last < *field);
            if !is_next || count == 0 || count > limit - largest.len {
                return None;
            }
            largest.fields.insert(field.into(), count);
            largest.len += count;
        }
        Some(largest)
    }
}

/// Bytes of a state of this limit at most whose values have at most so many bytes: limit and number, and of each value the
/// length, the bytes and the count.
pub(super) fn largest_len_max(limit: u32, field_len: usize) -> usize {
    3 + 3 + limit as usize * (4 + field_len + 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::key::encode_i64;

    fn largest(limit: u32, values: &[i64]) -> Largest {
        let mut largest = Largest::new(limit);
        for value in values {
            largest.add(encode_i64(*value).as_bytes());
        }
        largest
    }

    #[test]
    fn the_largest_values_stay_and_ties_count_each() {
        let ints =
            |values: &[i128]| -> Vec<Datum> { values.iter().copied().map(Datum::Int).collect() };
        let mut kept = largest(3, &[2, 9, -7, 9, 2]);
        assert_eq!(kept.values(), ints(&[9, 9, 2]));
        assert!(kept.absorb(&largest(3, &[9, 9, 10])));
        assert_eq!(kept.values(), ints(&[10, 9, 9]));
        assert!(!kept.absorb(&largest(2, &[1])), "two limits");
    }

    #[test]
    fn what_is_out_of_order_or_too_much_does_not_decode() {
        let mut good = Vec::new();
        largest(3, &[1, 2, 2]).encode_into(&mut good);
        assert_eq!(
            Largest::decode(&mut StateReader::new(&good)),
            Some(largest(3, &[1, 2, 2]))
        );
        let forged = |pairs: &[(i64, u8)]| {
            let mut bytes = vec![3, u8::try_from(pairs.len()).unwrap()];
            for (value, count) in pairs {
                put_bytes(encode_i64(*value).as_bytes(), &mut bytes);
                bytes.push(*count);
            }
            Largest::decode(&mut StateReader::new(&bytes))
        };
        assert!(forged(&[(1, 1), (2, 2)]).is_some());
        for pairs in [
            &[(2, 1), (1, 1)][..],
            &[(1, 0)],
            &[(1, 4)],
            &[(1, 2), (2, 2)],
        ] {
            assert_eq!(forged(pairs), None, "{pairs:?}");
        }
    }
}
