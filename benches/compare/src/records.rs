//! The data: every engine gets the same from one seed, and the same seed says what must be found.

use crate::random::Random;

/// A key: 16 random bytes.
pub(crate) type Key = [u8; 16];

/// Bytes of a value, unless a line says otherwise.
pub(crate) const VALUE_LEN: usize = 100;
/// Bytes of a value of the keys-only scan.
pub(crate) const LARGE_VALUE_LEN: usize = 10_000;

/// Records by number. Numbers are in no order with keys: counting up is writing in random order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Records {
    /// How many there are.
    pub(crate) count: u64,
    /// Bytes of each value.
    pub(crate) value_len: usize,
}

impl Records {
    #[allow(clippy::unused_self, reason = "a record's key is asked of its records")]
    pub(crate) fn key(self, number: u64) -> Key {
        let mut random = Random(number.wrapping_mul(0x5851_f42d_4c95_7f2d));
        let mut key = [0; 16];
        key[..8].copy_from_slice(&random.next().to_be_bytes());
        key[8..].copy_from_slice(&random.next().to_be_bytes());
        key
    }

    /// Makes `value` the value of a record after it was written `version` times again. Half of it is
    /// random, half compresses to nothing.
    pub(crate) fn fill(self, number: u64, version: u64, value: &mut Vec<u8>) {
        let mut random = Random(number ^ version.wrapping_mul(0xa076_1d64_78bd_642f));
        value.clear();
        while value.len() < self.value_len / 2 {
            value.extend_from_slice(&random.next().to_le_bytes());
        }
        value.truncate(self.value_len / 2);
        value.resize(self.value_len, b'.');
    }

    pub(crate) fn value(self, number: u64, version: u64) -> Vec<u8> {
        let mut value = Vec::with_capacity(self.value_len);
        self.fill(number, version, &mut value);
        value
    }

    /// The numbers of all records in the order of their keys, with these.
    pub(crate) fn sorted(self) -> Vec<(Key, u64)> {
        let mut all: Vec<_> = (0..self.count)
            .map(|number| (self.key(number), number))
            .collect();
        all.sort_unstable();
        all
    }

    /// The records of these numbers, in this order, as they were first written.
    pub(crate) fn stream(
        self,
        numbers: impl Iterator<Item = u64>,
    ) -> Stream<impl Iterator<Item = u64>> {
        Stream {
            records: self,
            numbers,
            key: Key::default(),
            value: Vec::with_capacity(self.value_len),
        }
    }
}

/// Records, one after the other, each valid until the next: an engine copies what it keeps.
pub(crate) struct Stream<N> {
    records: Records,
    numbers: N,
    key: Key,
    value: Vec<u8>,
}

impl<N: Iterator<Item = u64>> Stream<N> {
    pub(crate) fn next(&mut self) -> Option<(&Key, &[u8])> {
        let number = self.numbers.next()?;
        self.key = self.records.key(number);
        self.records.fill(number, 0, &mut self.value);
        Some((&self.key, &self.value))
    }
}

/// A sum over everything that was found, in the order in which it was found. It touches every byte and
/// costs a few nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found(pub(crate) u64);

impl Default for Found {
    /// Nothing found. Not zero, which a part of no bytes would not change.
    fn default() -> Found {
        Found(0x2545_f491_4f6c_dd1d)
    }
}

impl Found {
    #[inline]
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut sum = bytes.len() as u64;
        for word in words {
            sum = sum.wrapping_add(u64::from_le_bytes(*word));
        }
        for byte in rest {
            sum = sum.rotate_left(8).wrapping_add(u64::from(*byte));
        }
        self.0 = (self.0.rotate_left(5) ^ sum).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    /// What several threads have found, in any order.
    pub(crate) fn join(parts: impl IntoIterator<Item = Found>) -> Found {
        let sums = parts.into_iter().map(|part| part.0);
        sums.reduce(u64::wrapping_add)
            .map_or(Found::default(), Found)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const RECORDS: Records = Records {
        count: 1000,
        value_len: VALUE_LEN,
    };

    #[test]
    fn keys_differ_and_are_in_no_order() {
        let keys: BTreeSet<Key> = (0..RECORDS.count).map(|n| RECORDS.key(n)).collect();
        assert_eq!(keys.len(), 1000);
        let up = (1..RECORDS.count).filter(|n| RECORDS.key(*n) > RECORDS.key(n - 1));
        assert!((400..600).contains(&up.count()));
    }

    #[test]
    fn half_a_value_compresses() {
        let value = RECORDS.value(3, 0);
        assert_eq!(value.len(), VALUE_LEN);
        assert!(value[50..].iter().all(|byte| *byte == b'.'));
        let distinct: BTreeSet<u8> = value[..50].iter().copied().collect();
        assert!(distinct.len() > 30, "{distinct:?}");
        assert_ne!(value, RECORDS.value(3, 1));
        assert_ne!(value, RECORDS.value(4, 0));
    }

    #[test]
    fn whatever_differs_gives_another_sum() {
        let sum = |parts: &[&[u8]]| {
            let mut found = Found::default();
            for part in parts {
                found.add(part);
            }
            found
        };
        let value = RECORDS.value(1, 0);
        let whole = sum(&[&value]);
        for at in 0..value.len() {
            let mut other = value.clone();
            other[at] ^= 1;
            assert_ne!(sum(&[&other]), whole, "byte {at}");
        }
        assert_ne!(sum(&[b"ab", b"c"]), sum(&[b"a", b"bc"]));
        assert_ne!(sum(&[b"a", b"b"]), sum(&[b"b", b"a"]));
        assert_ne!(sum(&[b"a"]), sum(&[b"a", b""]));
        assert_ne!(sum(&[]), sum(&[b""]));
    }
}
