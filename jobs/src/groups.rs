//! The keys that a shard has met so far, numbered in the order they came.

use bytes::Bytes;
use eciton_engine::limits::KEY_LEN_MAX;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use xxhash_rust::xxh3::xxh3_64;

/// A set of keys. Keys lie one after the other in one buffer, so that a new group costs no
/// allocation of its own.
#[derive(Default)]
pub(crate) struct Groups {
    table: HashTable<GroupPlace>,
    hashes: Vec<u64>,
    keys: Vec<u8>,
    /// Where each group's key ends in `keys`.
    ends: Vec<usize>,
}

/// A group, and where its key lies: a lookup goes from the table straight to the key.
#[derive(Clone, Copy)]
struct GroupPlace {
    group: u32,
    start: u32,
    len: u32,
}

/// A key longer than a store takes, in bytes.
pub(crate) struct KeyTooLong(pub(crate) usize);

impl Groups {
    /// The number of a key's group, which is made if there was none.
    ///
    /// # Errors
    /// [`KeyTooLong`]: no group was made.
    #[inline]
    pub(crate) fn group_of(&mut self, key: &[u8]) -> Result<u32, KeyTooLong> {
        if key.len() > KEY_LEN_MAX {
            return Err(KeyTooLong(key.len()));
        }
        Ok(self.number(key, xxh3_64(key)))
    }

    /// The numbers of many keys' groups, which are made where there were none: `ends` has where each key
    /// ends in `keys`, one after the other, none of them too long.
    ///
    /// First all hashes, then all lookups: the processor then waits for the memory of many lookups at the
    /// same time.
    pub(crate) fn groups_of(&mut self, keys: &[u8], ends: &[usize], groups: &mut Vec<u32>) {
        let spans = || (0..ends.len()).map(|index| span(ends, index));
        let hashes: Vec<u64> = spans().map(|span| xxh3_64(&keys[span])).collect();
        groups.extend(
            spans()
                .zip(hashes)
                .map(|(span, hash)| self.number(&keys[span], hash)),
        );
    }

    #[inline]
    fn number(&mut self, key: &[u8], hash: u64) -> u32 {
        let keys = &self.keys;
        let same = |place: &GroupPlace| {
            let start = place.start as usize;
            same_bytes(&keys[start..start + place.len as usize], key)
        };
        let hash_of = |place: &GroupPlace| self.hashes[place.group as usize];
        match self.table.entry(hash, same, hash_of) {
            Entry::Occupied(entry) => entry.get().group,
            Entry::Vacant(entry) => {
                // The aggregator's budget of bytes is passed long before 2^32 groups or bytes.
                #[allow(clippy::cast_possible_truncation, reason = "bounded by the budget")]
                let place = GroupPlace {
                    group: self.ends.len() as u32,
                    start: self.keys.len() as u32,
                    len: key.len() as u32,
                };
                entry.insert(place);
                self.hashes.push(hash);
                self.keys.extend_from_slice(key);
                self.ends.push(self.keys.len());
                place.group
            }
        }
    }

    /// Adds the keys of another set; of each of its groups the number here.
    pub(crate) fn absorb(&mut self, other: &Groups) -> Vec<u32> {
        let groups = 0..other.len();
        groups
            .map(|group| self.number(&other.keys[span(&other.ends, group)], other.hashes[group]))
            .collect()
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

    /// Forgets all keys; the memory stays.
    pub(crate) fn clear(&mut self) {
        self.table.clear();
        self.hashes.clear();
        self.keys.clear();
        self.ends.clear();
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

/// Whether two short strings are equal, without a call.
#[inline]
fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let whole = a.iter().zip(b).all(|(a, b)| a == b);
    whole && a_rest.iter().zip(b_rest).all(|(a, b)| a == b)
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
    fn many_at_once_are_as_one_by_one() {
        let keys: Vec<Vec<u8>> = (0..2000u64)
            .map(|i| vec![(i % 251) as u8; (i * i % 97 % 20) as usize])
            .collect();
        let (mut one, mut many) = (Groups::default(), Groups::default());
        let expected: Vec<u32> = keys
            .iter()
            .map(|key| one.group_of(key).ok().unwrap())
            .collect();
        let ends: Vec<usize> = keys
            .iter()
            .scan(0, |end, key| {
                *end += key.len();
                Some(*end)
            })
            .collect();
        let mut found = Vec::new();
        many.groups_of(&keys.concat(), &ends, &mut found);
        assert_eq!(found, expected);
        assert_eq!(many.take_sorted(), one.take_sorted());
    }

    #[test]
    fn the_groups_of_another_set_are_found_or_made() {
        let (mut ours, mut theirs) = (Groups::default(), Groups::default());
        for key in [b"a".as_slice(), b"b"] {
            assert!(ours.group_of(key).is_ok());
        }
        for key in [b"c".as_slice(), b"b", b""] {
            assert!(theirs.group_of(key).is_ok());
        }
        assert_eq!(ours.absorb(&theirs), [2, 1, 3]);
        assert_eq!(ours.absorb(&theirs), [2, 1, 3], "all are known by now");
        let keys: Vec<Bytes> = ours.take_sorted().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["", "a", "b", "c"].map(Bytes::from));
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
