//! The key at which a cursor stands.

use std::ops::Range;

/// Bytes that are copied at once, where a suffix has no more: a copy of a fixed length is a few instructions,
/// one of any length a call.
const CHUNK_LEN: usize = 32;

/// A key put together from what the keys of a leaf share and what this one does not.
#[derive(Default)]
pub(super) struct KeyBuf {
    /// The key, and at least [`CHUNK_LEN`] bytes of no meaning behind what is shared.
    bytes: Vec<u8>,
    prefix_len: usize,
    len: usize,
}

impl KeyBuf {
    /// The key.
    #[inline]
    pub(super) fn key(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Makes the key empty.
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Begins with what the keys to come share.
    pub(super) fn share(&mut self, prefix: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(prefix);
        self.bytes.resize(prefix.len() + CHUNK_LEN, 0);
        self.prefix_len = prefix.len();
        self.len = prefix.len();
    }

    /// Makes it the key that goes on with the bytes of `body` in `suffix`.
    #[inline]
    pub(super) fn end_with(&mut self, body: &[u8], suffix: Range<usize>) {
        self.len = self.prefix_len + suffix.len();
        let to = self.bytes.get_mut(self.prefix_len..);
        let to = to.and_then(|to| to.first_chunk_mut::<CHUNK_LEN>());
        let from = body.get(suffix.start..);
        let from = from.and_then(|from| from.first_chunk::<CHUNK_LEN>());
        match (from, to) {
            (Some(from), Some(to)) if suffix.len() <= CHUNK_LEN => *to = *from,
            _ => self.end_with_long(&body[suffix]),
        }
    }

    #[inline(never)]
    fn end_with_long(&mut self, suffix: &[u8]) {
        self.bytes.truncate(self.prefix_len);
        self.bytes.extend_from_slice(suffix);
        let len_min = self.prefix_len + CHUNK_LEN;
        if self.bytes.len() < len_min {
            self.bytes.resize(len_min, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_of_all_lengths_anywhere_in_a_body() {
        let body: Vec<u8> = (0..150).collect();
        let mut key = KeyBuf::default();
        assert_eq!(key.key(), b"");
        for prefix in [
            &b""[..],
            b"p",
            b"a longer prefix than any chunk of a key has bytes",
        ] {
            key.share(prefix);
            assert_eq!(key.key(), prefix);
            for from in (0..body.len()).rev() {
                for to in from..=body.len() {
                    key.end_with(&body, from..to);
                    assert_eq!(key.key(), [prefix, &body[from..to]].concat());
                }
            }
            key.clear();
            assert_eq!(key.key(), b"");
        }
    }
}
