//! Branches: the body of a page that says which page below has which keys.
//!
//! ```text
//! 0  u8  level            1 above leaves, then 2 and so on
//! 1  u8  zero
//! 2  u16 n                children, at least 1
//! 4  u16 prefix_len       leading bytes that all separators share
//! 6  u16 zero
//! 8  the prefix
//!    u32 heads[n - 1]     as in a leaf, of the separators
//!    u16 offs[n]          where each separator's suffix begins; the last is the body's end
//!    children[n]          u64 offset, u32 len of each page, its frame included
//!    suffixes of the separators
//! ```
//!
//! Child `i` holds the keys from separator `i - 1`, included, up to separator `i`, not included. A
//! separator is the shortest leading part of the first key behind it that is greater than the last
//! key before it.

use super::RUN_KEY_LEN_MAX;
use super::decoded::{Decoded, put_u16};
use super::frame::PagePtr;
use super::search::{self, Side};

/// Bytes before the prefix.
const HEADER_LEN: usize = 8;

/// A branch, looked at.
#[derive(Clone, Copy)]
pub(super) struct Branch<'a> {
    body: &'a [u8],
    prefix: &'a [u8],
    heads: &'a [[u8; 4]],
    offs: &'a [[u8; 2]],
    children: &'a [[u8; PagePtr::ENCODED_LEN]],
}

impl<'a> Branch<'a> {
    /// Looks at a body and checks everything that the other methods rely on.
    pub(super) fn parse(body: &'a [u8]) -> Decoded<Branch<'a>> {
        let branch = Branch::split(body).ok_or("arrays of the branch pass its end")?;
        let separators = branch.heads.len();
        let arrays_len = 4 * separators + (2 + PagePtr::ENCODED_LEN) * branch.len();
        let suffixes_at = HEADER_LEN + branch.prefix.len() + arrays_len;
        if branch.off(0) != suffixes_at || branch.off(separators) != body.len() {
            return Err("separators do not fill the branch".to_owned());
        }
        for i in 0..separators {
            let Some(suffix) = body.get(branch.off(i)..branch.off(i + 1)) else {
                return Err(format!("separator {i} passes the end of the branch"));
            };
            if branch.prefix.len() + suffix.len() > RUN_KEY_LEN_MAX {
                return Err(format!("separator {i} is too long"));
            }
        }
        Ok(branch)
    }

    /// Looks at a body that has passed [`Branch::parse`].
    pub(super) fn of_checked(body: &'a [u8]) -> Branch<'a> {
        // A body that has passed never comes out empty.
        let empty = Branch {
            body,
            prefix: &[],
            heads: &[],
            offs: &[],
            children: &[],
        };
        Branch::split(body).unwrap_or(empty)
    }

    #[inline]
    fn split(body: &'a [u8]) -> Option<Branch<'a>> {
        let (header, rest) = body.split_first_chunk::<HEADER_LEN>()?;
        let [_, 0, n0, n1, p0, p1, 0, 0] = *header else {
            return None;
        };
        let n = usize::from(u16::from_le_bytes([n0, n1]));
        let prefix_len = usize::from(u16::from_le_bytes([p0, p1]));
        let (prefix, rest) = rest.split_at_checked(prefix_len)?;
        let (heads, rest) = rest.split_at_checked(4 * n.checked_sub(1)?)?;
        let (offs, rest) = rest.split_at_checked(2 * n)?;
        let (children, _) = rest.split_at_checked(PagePtr::ENCODED_LEN * n)?;
        Some(Branch {
            body,
            prefix,
            heads: heads.as_chunks().0,
            offs: offs.as_chunks().0,
            children: children.as_chunks().0,
        })
    }

    /// Children.
    pub(super) fn len(&self) -> usize {
        self.children.len()
    }

    #[inline]
    fn off(&self, i: usize) -> usize {
        usize::from(u16::from_le_bytes(self.offs[i]))
    }

    #[inline]
    fn suffix(&self, i: usize) -> &'a [u8] {
        &self.body[self.off(i)..self.off(i + 1)]
    }

    /// The child that has `key` if any has.
    #[inline]
    pub(super) fn child_for(&self, key: &[u8]) -> usize {
        search::bound(
            self.prefix,
            self.heads,
            |i| self.suffix(i),
            key,
            Side::After,
        )
    }

    /// Where child `i` stands.
    #[inline]
    pub(super) fn child(&self, i: usize) -> PagePtr {
        PagePtr::decode(&self.children[i])
    }

    /// The separator between child `i` and the next.
    pub(super) fn separator(&self, i: usize) -> Vec<u8> {
        [self.prefix, self.suffix(i)].concat()
    }

    /// Whether the head of separator `i` is what stands for it.
    pub(super) fn head_matches(&self, i: usize) -> bool {
        u32::from_le_bytes(self.heads[i]) == search::head_of(self.suffix(i))
    }
}

/// Byte strings one behind the other in two allocations: there may be millions.
#[derive(Default)]
pub(super) struct KeyList {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl KeyList {
    pub(super) fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.bytes[start..self.ends[i]]
    }
}

/// One level of a tree on its way: pages, and what separates each from the next.
#[derive(Default)]
pub(super) struct Level {
    pub(super) pages: Vec<PagePtr>,
    pub(super) separators: KeyList,
}

impl Level {
    /// How many pages, from `from` on, go into one branch of at most `body_len_max` bytes; at least
    /// two where there are two, so that every level is smaller than the one below.
    pub(super) fn fit(&self, from: usize, body_len_max: usize) -> usize {
        let left = self.pages.len() - from;
        let mut separators_len = 0;
        for n in 2..=left {
            let (first, last) = (self.separators.get(from), self.separators.get(from + n - 2));
            separators_len += last.len();
            let prefix_len = search::common_len(first, last);
            let suffixes_len = separators_len - (n - 1) * prefix_len;
            let arrays_len = 4 * (n - 1) + (2 + PagePtr::ENCODED_LEN) * n;
            let fixed_len = HEADER_LEN + prefix_len + arrays_len;
            if n > 2 && fixed_len + suffixes_len > body_len_max {
                return n - 1;
            }
        }
        left
    }

    /// Writes the body of the branch over `n` pages from `from` on, `level` above the leaves, into
    /// `out`, replacing what is there.
    pub(super) fn write_branch(&self, from: usize, n: usize, level: u8, out: &mut Vec<u8>) {
        assert!(n > 0 && level > 0, "{n} children at level {level}");
        out.clear();
        let separators = || (from..from + n - 1).map(|i| self.separators.get(i));
        let prefix = match (separators().next(), separators().next_back()) {
            (Some(first), Some(last)) => &first[..search::common_len(first, last)],
            _ => &[],
        };
        let mut suffix_at =
            HEADER_LEN + prefix.len() + 4 * (n - 1) + (2 + PagePtr::ENCODED_LEN) * n;

        out.extend_from_slice(&[level, 0]);
        put_u16(out, n);
        put_u16(out, prefix.len());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(prefix);
        for separator in separators() {
            let head = search::head_of(&separator[prefix.len()..]);
            out.extend_from_slice(&head.to_le_bytes());
        }
        for separator in separators() {
            put_u16(out, suffix_at);
            suffix_at += separator.len() - prefix.len();
        }
        put_u16(out, suffix_at);
        for page in &self.pages[from..from + n] {
            out.extend_from_slice(&page.encode());
        }
        for separator in separators() {
            out.extend_from_slice(&separator[prefix.len()..]);
        }
        assert_eq!(out.len(), suffix_at, "separators end where the offsets say");
    }
}

/// The shortest leading part of `after` that is greater than `before`, which is less than `after`.
pub(super) fn separator<'a>(before: &[u8], after: &'a [u8]) -> &'a [u8] {
    let len = search::common_len(before, after) + 1;
    &after[..len.min(after.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(separators: &[&[u8]]) -> Level {
        let pages = (0..=separators.len() as u64).map(|i| PagePtr {
            offset: i * 100,
            len: 100,
        });
        let mut level = Level {
            pages: pages.collect(),
            ..Level::default()
        };
        for separator in separators {
            level.separators.push(separator);
        }
        level
    }

    #[test]
    fn leads_to_the_child_that_has_the_key() {
        let separators: [&[u8]; 4] = [b"k/b", b"k/bb", b"k/bb\0", b"k/d"];
        let mut body = Vec::new();
        level(&separators).write_branch(0, 5, 1, &mut body);
        let branch = Branch::parse(&body).unwrap();
        let cases: [(&[u8], usize); 9] = [
            (b"", 0),
            (b"k/a", 0),
            (b"k/b", 1),
            (b"k/ba", 1),
            (b"k/bb", 2),
            (b"k/bb\0", 3),
            (b"k/c", 3),
            (b"k/d", 4),
            (b"l", 4),
        ];
        for (key, child) in cases {
            assert_eq!(branch.child_for(key), child, "{key:?}");
        }
        assert_eq!(
            branch.child(3),
            PagePtr {
                offset: 300,
                len: 100
            }
        );
        assert_eq!(branch.separator(1), b"k/bb");
    }

    #[test]
    fn two_children_always_fit() {
        let long = [b'x'; RUN_KEY_LEN_MAX];
        let level = level(&[&long, b"y"]);
        assert_eq!(level.fit(0, 512), 2);
        assert_eq!(level.fit(1, 512), 2);
        assert_eq!(level.fit(2, 512), 1);
        assert_eq!(level.fit(0, 8192), 3);
        let mut body = Vec::new();
        for (from, n) in [(0, 2), (1, 2), (2, 1), (0, 3)] {
            level.write_branch(from, n, 3, &mut body);
            assert_eq!(Branch::parse(&body).unwrap().len(), n);
        }
    }

    #[test]
    fn separators_are_short_and_separate() {
        assert_eq!(separator(b"abc", b"abd"), b"abd");
        assert_eq!(separator(b"abc", b"bcd"), b"b");
        assert_eq!(separator(b"ab", b"ab\0\0"), b"ab\0");
        assert_eq!(separator(b"", b"zzz"), b"z");
    }

    #[test]
    fn any_damage_is_refused_or_harmless() {
        let mut body = Vec::new();
        level(&[b"k/b", b"k/bb", b"k/d"]).write_branch(0, 4, 1, &mut body);
        for at in 0..body.len() {
            for bit in 0..8 {
                let mut broken = body.clone();
                broken[at] ^= 1 << bit;
                let Ok(branch) = Branch::parse(&broken) else {
                    continue;
                };
                for key in [&b""[..], b"k/b", b"k/bbb", b"zz"] {
                    let _page = branch.child(branch.child_for(key));
                }
            }
            assert!(Branch::parse(&body[..at]).is_err(), "cut to {at} bytes");
        }
    }
}
