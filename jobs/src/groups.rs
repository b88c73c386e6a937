//! The keys that a shard has met so far, numbered in the order they came.

use bytes::Bytes;
use eciton_engine::base::limits::KEY_LEN_MAX;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use xxhash_rust::xxh3::xxh3_64;

/// A set of keys. Keys lie one after the other in one buffer, so that a new group costs no
/// allocation of its own.
#[derive(Default)]
pub(crate) struct Groups {
    table: HashTable<u32>,
    hashes: Vec<u64>,
    keys: Vec<u8>,
    /// Where each group's key ends in `keys`.
    ends: Vec<usize>,
}

/// A key longer than a store takes, in bytes.
pub(crate) struct KeyTooLong(pub(crate) usize);

impl Groups {
    /// The number of a key's group, which is made if there was none.
    #[inline]
    pub(crate) fn group_of(&mut self, key: &[u8]) -> Result<u32, KeyTooLong> {
        let hash = xxh3_64(key);
        let (keys, ends) = (&self.keys, &self.ends);
        let same = |group: &u32| &keys[span(ends, *group as usize)] == key;
        match self
            .table
            .entry(hash, same, |group| self.hashes[*group as usize])
        {
            Entry::Occupied(entry) => Ok(*entry.get()),
            Entry::Vacant(entry) => {
                if key.len() > KEY_LEN_MAX {
                    return Err(KeyTooLong(key.len()));
                }
                let group = self.ends.len();
                // The aggregator's budget of bytes is passed long before 2^32 groups.
                #[allow(clippy::cast_possible_truncation, reason = "bounded by the budget")]
                let number = group as u32;
                entry.insert(number);
                self.hashes.push(hash);
                self.keys.extend_from_slice(key);
                self.ends.push(self.keys.len());
                Ok(number)
            }
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes in use, about.
    pub(crate) fn len_bytes(&self) -> usize {
        // A slot of the table is a number and a tag, at most 7/8 of the slots are taken.
        self.keys.len() + self.len() * (size_of::<u64>() + size_of::<usize>() + 6)
    }

    /// The keys with their group's number, in key order, sharing one buffer. The set is empty
    /// afterwards.
    pub(crate) fn take_sorted(&mut self) -> Vec<(Bytes, usize)> {
        self.table.clear();
        self.hashes.clear();
        let ends = std::mem::take(&mut self.ends);
        let keys = Bytes::from(std::mem::take(&mut self.keys));
        let mut sorted: Vec<(Bytes, usize)> = (0..ends.len())
            .map(|group| (keys.slice(span(&ends, group)), group))
            .collect();
        sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        sorted
    }
}

/// Where a group's key lies.
fn span(ends: &[usize], group: usize) -> std::ops::Range<usize> {
    let start = if group == 0 { 0 } else { ends[group - 1] };
    start..ends[group]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_keys_share_a_group_and_come_out_sorted() {
        let mut groups = Groups::default();
        let numbers: Vec<_> = [b"b".as_slice(), b"", b"ab", b"b", b"a"]
            .map(|key| groups.group_of(key).ok().unwrap())
            .to_vec();
        assert_eq!(numbers, [0, 1, 2, 0, 3]);
        let sorted = groups.take_sorted();
        let expected = [("", 1), ("a", 3), ("ab", 2), ("b", 0)];
        assert_eq!(
            sorted,
            expected.map(|(key, group)| (Bytes::from(key), group))
        );
        assert_eq!(groups.len(), 0);
        assert_eq!(groups.group_of(b"b").ok(), Some(0), "numbers begin anew");
    }

    #[test]
    fn a_key_beyond_the_limit_is_refused_at_its_edge() {
        let mut groups = Groups::default();
        assert!(groups.group_of(&[7; KEY_LEN_MAX]).is_ok());
        let refused = groups.group_of(&[7; KEY_LEN_MAX + 1]);
        assert_eq!(refused.err().map(|error| error.0), Some(KEY_LEN_MAX + 1));
        assert_eq!(groups.len(), 1);
    }
}
