//! Order by heads: the first four bytes of each suffix as a number, so that most of a binary search
//! stays in one dense array and touches no key.

/// The first four bytes of `suffix` as a number that orders as the bytes do; shorter ones are filled
/// with zeros, so equal heads say nothing and greater ones everything.
pub(super) fn head_of(suffix: &[u8]) -> u32 {
    match suffix.first_chunk::<4>() {
        Some(head) => u32::from_be_bytes(*head),
        None => {
            suffix
                .iter()
                .fold((0u32, 24), |(head, shift), &byte| {
                    (head | (u32::from(byte) << shift), shift - 8)
                })
                .0
        }
    }
}

/// Which side of a key equal to the one sought a bound falls on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Counts the keys less than the one sought.
    Before,
    /// Counts the keys less than or equal to the one sought.
    After,
}

/// How many of the sorted keys of a page lie before `key`, those equal to it as `side` says.
///
/// Each key is `prefix` followed by `suffix_at(i)`, whose head is `heads[i]` in little-endian.
pub(super) fn bound<'a>(
    prefix: &[u8],
    heads: &[[u8; 4]],
    suffix_at: impl Fn(usize) -> &'a [u8],
    key: &[u8],
    side: Side,
) -> usize {
    let Some(suffix) = key.strip_prefix(prefix) else {
        return if key < prefix { 0 } else { heads.len() };
    };
    let head = head_of(suffix);
    let low = heads.partition_point(|at| u32::from_le_bytes(*at) < head);
    // Most heads are one of a kind, and then the next one says so.
    let ties = match heads[low..].first() {
        Some(at) if u32::from_le_bytes(*at) == head => {
            heads[low..].partition_point(|at| u32::from_le_bytes(*at) == head)
        }
        _ => 0,
    };
    let (mut from, mut to) = (low, low + ties);
    while from < to {
        let middle = from + (to - from) / 2;
        let other = suffix_at(middle);
        let before = match side {
            Side::Before => other < suffix,
            Side::After => other <= suffix,
        };
        if before {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    from
}

/// The number of leading bytes that `a` and `b` share.
pub(super) fn common_len(a: &[u8], b: &[u8]) -> usize {
    let chunks = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
    let whole = chunks.take_while(|(x, y)| x == y).count() * 8;
    whole
        + a[whole..]
            .iter()
            .zip(&b[whole..])
            .take_while(|(x, y)| x == y)
            .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_order_as_bytes_do() {
        let sorted: [&[u8]; 7] = [b"", b"\0", b"\0\0\0\0\0", b"a", b"a\x01", b"ab", b"abcde"];
        for pair in sorted.windows(2) {
            assert!(head_of(pair[0]) <= head_of(pair[1]), "{pair:?}");
        }
        assert_eq!(head_of(b"abcde"), 0x6162_6364);
        assert_eq!(head_of(b"ab"), 0x6162_0000);
    }

    #[test]
    fn ties_of_heads_are_told_apart() {
        let suffixes: [&[u8]; 6] = [b"", b"\0", b"\0\0\0\0", b"\0\0\0\0\0", b"abcd", b"abcdx"];
        let heads: Vec<[u8; 4]> = suffixes.iter().map(|s| head_of(s).to_le_bytes()).collect();
        for (i, suffix) in suffixes.iter().enumerate() {
            let key = [b"p/", *suffix].concat();
            let count = |side| bound(b"p/", &heads, |i| suffixes[i], &key, side);
            assert_eq!(
                (count(Side::Before), count(Side::After)),
                (i, i + 1),
                "{suffix:?}"
            );
        }
        assert_eq!(bound(b"p/", &heads, |i| suffixes[i], b"p", Side::After), 0);
        assert_eq!(bound(b"p/", &heads, |i| suffixes[i], b"q", Side::Before), 6);
    }

    #[test]
    fn common_len_counts_to_the_first_difference() {
        let a: Vec<u8> = (0..100).collect();
        for len in 0..100 {
            let mut b = a.clone();
            b[len] ^= 0x80;
            assert_eq!(common_len(&a, &b), len);
            assert_eq!(common_len(&a, &a[..len]), len);
        }
    }
}
