//! Decompresses LZ4 blocks, from the front as far as the caller looks.
//!
//! A point lookup needs one cell of a page, which lies halfway in on average, and no bytes behind it. The decoder
//! of `lz4_flex` starts at the front too, but cannot stop there. It also copies short repetitions byte by byte,
//! which page bodies are full of: this decoder takes half as long for a whole page.
//!
//! The format: <https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md>. A block is a list of sequences: a
//! token, literal bytes, and a match, which is the distance and the length of bytes to repeat. The last sequence
//! has no match.

use std::ops::Range;

use super::decoded::Decoded;

/// Bytes copied at once: a copy of a fixed length takes a few instructions, a copy of any length takes a call.
const CHUNK_LEN: usize = 32;
/// Bytes copied at once where they overlap.
const WORD_LEN: usize = 8;

const _: () = assert!(CHUNK_LEN.is_multiple_of(WORD_LEN));

/// The length that half a token holds, if more of it follows.
const LONG: usize = 15;
/// Bytes of the shortest match.
const MATCH_LEN_MIN: usize = 4;

/// A block, of which the front is decompressed.
pub(super) struct Lz4Front<'a> {
    /// The sequences that follow.
    stored: &'a [u8],
    /// The memory for the whole block. Bytes behind `len` mean nothing.
    plain: &'a mut [u8],
    /// Bytes that are decompressed.
    len: usize,
    /// Whether the last sequence was among them.
    ended: bool,
}

impl<'a> Lz4Front<'a> {
    /// Starts to decompress `stored` into `plain`, which is as long as the whole block.
    pub(super) fn new(stored: &'a [u8], plain: &'a mut [u8]) -> Lz4Front<'a> {
        Lz4Front {
            stored,
            plain,
            len: 0,
            ended: false,
        }
    }

    /// Bytes of the whole block.
    pub(super) fn whole_len(&self) -> usize {
        self.plain.len()
    }

    /// Returns the first `len` bytes of the block.
    ///
    /// # Errors
    /// Returns what is wrong with the block if it has no `len` bytes, or breaks the rules of its format before.
    #[inline]
    pub(super) fn first(&mut self, len: usize) -> Decoded<&[u8]> {
        if self.len < len && self.extend(len).is_none() {
            return Err(self.broken());
        }
        Ok(&self.plain[..len])
    }

    /// Decompresses the whole block.
    ///
    /// # Errors
    /// Returns what is wrong with the block if it is longer or shorter than its memory, or breaks the rules of its
    /// format.
    pub(super) fn finish(mut self) -> Decoded<()> {
        self.first(self.plain.len())?;
        // The last sequence may be one of nothing.
        match self.stored {
            [] if self.ended => Ok(()),
            [0] => Ok(()),
            _ => Err(self.broken()),
        }
    }

    #[cold]
    fn broken(&self) -> String {
        let (at, len) = (self.len, self.plain.len());
        format!("does not decompress: broken after {at} of {len} bytes")
    }

    /// Decompresses sequences until `until` bytes are there. Returns `None` where the block does not have them.
    fn extend(&mut self, until: usize) -> Option<()> {
        while self.len < until {
            let (&token, mut stored) = self.stored.split_first()?;
            let literals_len = length(usize::from(token >> 4), &mut stored)?;
            let plain = self.plain.get_mut(self.len..)?;
            copy(stored, plain, literals_len)?;
            stored = stored.get(literals_len..)?;
            if stored.is_empty() {
                self.stored = stored;
                self.len += literals_len;
                self.ended = true;
                break;
            }
            let (distance, mut stored) = stored.split_first_chunk()?;
            let distance = usize::from(u16::from_le_bytes(*distance));
            let match_len =
                length(usize::from(token & 0xf), &mut stored)?.checked_add(MATCH_LEN_MIN)?;
            let end = repeat(self.plain, self.len + literals_len, distance, match_len)?;
            // The state advances by whole sequences.
            self.stored = stored;
            self.len = end;
        }
        (self.len >= until).then_some(())
    }
}

/// Reads the rest of a length that begins with half a token.
#[inline]
fn length(half: usize, stored: &mut &[u8]) -> Option<usize> {
    let mut len = half;
    if half == LONG {
        loop {
            let (&more, rest) = stored.split_first()?;
            *stored = rest;
            len = len.checked_add(usize::from(more))?;
            if more != u8::MAX {
                break;
            }
        }
    }
    Some(len)
}

/// Copies the first `len` bytes of `from`, and up to a chunk more where both have room for that.
#[inline]
fn copy(from: &[u8], to: &mut [u8], len: usize) -> Option<()> {
    let rounded = len.next_multiple_of(CHUNK_LEN);
    match (from.get(..rounded), to.get_mut(..rounded)) {
        (Some(from), Some(to)) => copy_chunks(from, to),
        _ => to.get_mut(..len)?.copy_from_slice(from.get(..len)?),
    }
    Some(())
}

#[inline]
fn copy_chunks(from: &[u8], to: &mut [u8]) {
    let from = from.as_chunks::<CHUNK_LEN>().0;
    let to = to.as_chunks_mut::<CHUNK_LEN>().0;
    for (from, to) in from.iter().zip(to) {
        *to = *from;
    }
}

/// Repeats at `at` the `len` bytes from `distance` before it, the repeated ones included. Returns where they end.
#[inline]
fn repeat(plain: &mut [u8], at: usize, distance: usize, len: usize) -> Option<usize> {
    let from = at.checked_sub(distance).filter(|_| distance > 0)?;
    let end = at.checked_add(len).filter(|end| *end <= plain.len())?;
    let (before, behind) = plain.split_at_mut_checked(at)?;
    let source = before.get(from..)?;
    let rounded = len.next_multiple_of(CHUNK_LEN);
    let Some(to) = behind.get_mut(..rounded) else {
        repeat_bytes(plain, at..end, distance);
        return Some(end);
    };
    match *source {
        [a] => to.fill(a),
        [a, b] => fill(to, [a, b]),
        [a, b, c, d] => fill(to, [a, b, c, d]),
        _ if distance >= rounded => copy_chunks(&source[..rounded], to),
        _ if distance >= WORD_LEN => repeat_words(plain, at..end, distance),
        _ => repeat_bytes(plain, at..end, distance),
    }
    Some(end)
}

/// Fills chunks with a period that they are a multiple of.
#[inline]
fn fill<const N: usize>(to: &mut [u8], period: [u8; N]) {
    let mut chunk = [0; CHUNK_LEN];
    for to in chunk.as_chunks_mut::<N>().0 {
        *to = period;
    }
    for to in to.as_chunks_mut::<CHUNK_LEN>().0 {
        *to = chunk;
    }
}

/// Repeats what is at least a word before, and the rest of the last word, for which there is room.
#[inline]
fn repeat_words(plain: &mut [u8], to: Range<usize>, distance: usize) {
    let len = to.len().next_multiple_of(WORD_LEN);
    let plain = &mut plain[to.start - distance..to.start + len];
    for at in (0..len).step_by(WORD_LEN) {
        let mut word = [0; WORD_LEN];
        word.copy_from_slice(&plain[at..at + WORD_LEN]);
        plain[at + distance..at + distance + WORD_LEN].copy_from_slice(&word);
    }
}

#[inline]
fn repeat_bytes(plain: &mut [u8], to: Range<usize>, distance: usize) {
    let plain = &mut plain[to.start - distance..to.end];
    for at in 0..to.len() {
        plain[at + distance] = plain[at];
    }
}

#[cfg(test)]
mod tests {
    use lz4_flex::block::{compress, decompress_into};

    use super::*;
    use crate::base::entropy::SeededEntropy;

    /// Random bytes, runs of every short period, and repetitions from far and near.
    fn mixture(random: &SeededEntropy) -> Vec<u8> {
        let below = |end: u64| usize::try_from(random.next_u64() % end).unwrap();
        let mut plain = Vec::new();
        for _ in 0..below(30) {
            match below(4) {
                0 => (0..below(90)).for_each(|_| plain.extend(random.next_u64().to_le_bytes())),
                1 => {
                    let period = &random.next_u64().to_le_bytes()[..=below(8)];
                    plain.extend(period.iter().cycle().take(below(400)));
                }
                2 => {
                    let from = below(plain.len() as u64 + 1);
                    let to = (from + below(100)).min(plain.len());
                    plain.extend_from_within(from..to);
                }
                _ => plain.extend(std::iter::repeat_n(b'.', below(60))),
            }
        }
        plain
    }

    fn decompress(stored: &[u8], len: usize) -> Decoded<Vec<u8>> {
        let mut plain = vec![7; len];
        Lz4Front::new(stored, &mut plain).finish()?;
        Ok(plain)
    }

    #[test]
    fn whole_blocks_come_back_and_no_other_length_does() {
        for seed in 0..500 {
            let random = SeededEntropy::new(seed);
            let plain = mixture(&random);
            let stored = compress(&plain);
            assert_eq!(
                decompress(&stored, plain.len()),
                Ok(plain.clone()),
                "seed {seed}"
            );
            assert!(decompress(&stored, plain.len() + 1).is_err(), "seed {seed}");
            if let Some(less) = plain.len().checked_sub(1) {
                assert!(decompress(&stored, less).is_err(), "seed {seed}");
            }
        }
    }

    #[test]
    fn a_front_is_the_front_of_the_whole() {
        for seed in 0..300 {
            let random = SeededEntropy::new(seed);
            let plain = mixture(&random);
            let stored = compress(&plain);
            let mut memory = vec![7; plain.len()];
            let mut front = Lz4Front::new(&stored, &mut memory);
            for _ in 0..5 {
                let len = usize::try_from(random.next_u64() % (plain.len() as u64 + 1)).unwrap();
                assert_eq!(front.first(len), Ok(&plain[..len]), "seed {seed}");
            }
        }
    }

    #[test]
    fn a_front_takes_no_more_of_the_block_than_it_needs() {
        let plain: Vec<u8> = (0..8000_u32).flat_map(|i| (i * i).to_be_bytes()).collect();
        let mut stored = compress(&plain);
        let len = stored.len();
        stored[len / 2..].fill(0);
        let mut memory = vec![0; plain.len()];
        let mut front = Lz4Front::new(&stored, &mut memory);
        assert_eq!(front.first(plain.len() / 4), Ok(&plain[..plain.len() / 4]));
        assert!(front.finish().is_err());
    }

    /// Any bytes give an error or what another decoder makes of them, and never a panic.
    #[test]
    fn damage_is_refused_or_read_as_others_read_it() {
        let (mut refused, mut read) = (0, 0);
        for seed in 0..3000 {
            let random = SeededEntropy::new(seed);
            let mut plain = mixture(&random);
            // No block is of nothing.
            plain.push(b'.');
            let mut stored = compress(&plain);
            for _ in 0..=random.next_u64() % 3 {
                let at = usize::try_from(random.next_u64() % stored.len() as u64).unwrap();
                stored[at] ^= 1 << (random.next_u64() % 8);
            }
            if random.next_u64().is_multiple_of(4) {
                stored.truncate(stored.len() / 2);
            }
            let ours = decompress(&stored, plain.len());
            let mut theirs = vec![7; plain.len()];
            let len = decompress_into(&stored, &mut theirs);
            if matches!(len, Ok(len) if len == plain.len()) {
                assert_eq!(ours, Ok(theirs), "seed {seed}");
                read += 1;
            } else {
                assert!(ours.is_err(), "seed {seed}: {len:?}");
                refused += 1;
            }
        }
        assert!(
            refused > 100 && read > 100,
            "{refused} refused, {read} read"
        );
    }

    #[test]
    fn what_can_be_no_block_is_refused() {
        let refused: [&[u8]; 8] = [
            &[],
            // Literals that are not there.
            &[0x50, b'a'],
            &[0xf0, 255, 255],
            // A match of nothing before it, of distance zero, and cut off.
            &[0x10, b'a', 2, 0, 0],
            &[0x10, b'a', 0, 0, 0],
            &[0x10, b'a', 1],
            // A match beyond the end.
            &[0x1f, b'a', 1, 0, 255, 255, 255, 255, 9, 0],
            // Lengths that no memory has.
            &[0xff; 4000],
        ];
        for stored in refused {
            for len in [1, 2, 40, 700] {
                assert!(decompress(stored, len).is_err(), "{stored:?} as {len}");
            }
        }
        assert_eq!(decompress(&[0], 0), Ok(Vec::new()));
        assert_eq!(decompress(&[0x20, b'a', b'b'], 2), Ok(b"ab".to_vec()));
    }
}
