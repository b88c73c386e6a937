//! Writes as they came, one behind the other; their order is found when somebody asks for it.
//!
//! A write is copied to the end of a chunk of memory and costs nothing more until then: no search, no
//! allocation of its own. Most transactions ask once, when they commit, and one sort of numbers (a few
//! bytes of each key, and where it stands) then does what a search for each write would have done.
//!
//! ```text
//! a write in a chunk: u8 kind, u16 key_len, u32 payload_len, key, payload
//! ```

use bytes::Bytes;

use super::sorted::{Done, Sorted, WritesAt, Written};
use crate::base::Op;
use crate::base::limits::PENDING_SQUEEZE_LEN_MIN;
use crate::base::writes::{FULL_KEY_LEN_MAX, write_len};
use crate::tree::OpKind;

/// Bits of a place that are the offset within a chunk; those above are the chunk's number.
const OFFSET_BITS: u32 = 20;
/// Bytes of a chunk.
const CHUNK_LEN: usize = 1 << OFFSET_BITS;
/// Bytes that the first chunk begins with: most transactions are small.
const CHUNK_LEN_MIN: usize = 256;
/// Bytes of the longest payload that is copied; longer ones are kept as they are.
const COPY_LEN_MAX: usize = 4 * 1024;
/// Bytes of kind and lengths.
const HEADER_LEN: usize = 1 + 2 + 4;
/// Set in the kind of a write whose payload stands in `large`, at the index that is in its place.
const LARGE: u8 = 0x80;
/// Of so many writes one is looked at to see whether they are of few keys.
const SAMPLE: usize = 16;

const _: () = assert!(HEADER_LEN + FULL_KEY_LEN_MAX + COPY_LEN_MAX <= CHUNK_LEN);
const _: () = assert!(FULL_KEY_LEN_MAX <= u16::MAX as usize);

/// Writes in the order in which they came.
pub(super) struct Pending {
    /// Those up to `filling` are in use; the ones behind it are kept for what comes.
    chunks: Vec<Vec<u8>>,
    filling: usize,
    /// Payloads that were not worth copying.
    large: Vec<Bytes>,
    count: usize,
    /// Bytes, as limits are reckoned with.
    len: usize,
    /// Where the newest write stands.
    last: u64,
    /// Leading bytes that all keys share.
    shared: usize,
    /// Whether each key is greater than the one before.
    ascends: bool,
    /// Bytes from which on it is looked at whether these are many writes of few keys.
    squeeze_at: usize,
}

impl Default for Pending {
    fn default() -> Pending {
        Pending {
            chunks: Vec::new(),
            filling: 0,
            large: Vec::new(),
            count: 0,
            len: 0,
            last: 0,
            shared: 0,
            ascends: true,
            squeeze_at: PENDING_SQUEEZE_LEN_MIN,
        }
    }
}

impl Pending {
    /// Bytes in memory, about.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether each key is greater than the one before.
    pub(super) fn ascends(&self) -> bool {
        self.ascends
    }

    /// The key of the oldest write.
    pub(super) fn first_key(&self) -> Option<&[u8]> {
        (self.count > 0).then(|| self.at(0).key)
    }

    /// Forgets all of them and keeps the memory of a few for what comes.
    pub(super) fn clear(&mut self) {
        let mut chunks = std::mem::take(&mut self.chunks);
        chunks.truncate(4);
        chunks.iter_mut().for_each(Vec::clear);
        *self = Pending {
            chunks,
            ..Pending::default()
        };
    }

    /// Adds a write of the key that is `prefix` and then `rest`.
    #[inline]
    pub(super) fn push(&mut self, prefix: &[u8], rest: &[u8], op: &Op) {
        self.len += prefix.len() + write_len(rest, op);
        let (payload, index) = (op.payload(), (self.large.len() as u64).to_le_bytes());
        let kind = code_of(op);
        if payload.len() <= COPY_LEN_MAX {
            self.append(prefix, rest, kind, payload);
        } else {
            self.large.extend(bytes_of(op).cloned());
            self.append(prefix, rest, kind | LARGE, &index);
        }
        if self.len >= self.squeeze_at {
            self.squeeze();
        }
    }

    fn append(&mut self, prefix: &[u8], rest: &[u8], kind: u8, stored: &[u8]) {
        let key_len = prefix.len() + rest.len();
        let total = HEADER_LEN + key_len + stored.len();
        let chunk = self.room_for(total);
        let (offset, key_at) = (chunk.len(), chunk.len() + HEADER_LEN);
        let short = u16::try_from(key_len);
        assert!(short.is_ok(), "a key of {key_len} bytes");
        let [k0, k1] = short.unwrap_or(u16::MAX).to_le_bytes();
        let stored_len = u32::try_from(stored.len()).unwrap_or(u32::MAX);
        let [p0, p1, p2, p3] = stored_len.to_le_bytes();
        chunk.extend_from_slice(&[kind, k0, k1, p0, p1, p2, p3]);
        chunk.extend_from_slice(prefix);
        chunk.extend_from_slice(rest);
        chunk.extend_from_slice(stored);
        let key = &self.chunks[self.filling][key_at..key_at + key_len];
        if self.count == 0 {
            self.shared = key_len;
        } else {
            let before = self.at(self.last).key;
            let ascends = self.ascends && before < key;
            let mut shared = self.shared;
            if !key.starts_with(&before[..shared]) {
                let equal = before.iter().zip(key).take_while(|(a, b)| a == b);
                shared = equal.count();
            }
            (self.shared, self.ascends) = (shared, ascends);
        }
        self.last = (self.filling as u64) << OFFSET_BITS | offset as u64;
        self.count += 1;
    }

    /// The chunk that the next `len` bytes go to, with room for them.
    fn room_for(&mut self, len: usize) -> &mut Vec<u8> {
        let used = self.chunks.get(self.filling).map_or(0, Vec::len);
        if used + len > CHUNK_LEN {
            self.filling += 1;
        }
        if self.filling >= self.chunks.len() {
            let capacity = if self.filling == 0 {
                CHUNK_LEN_MIN
            } else {
                CHUNK_LEN
            };
            self.chunks.push(Vec::with_capacity(capacity));
        }
        let chunk = &mut self.chunks[self.filling];
        chunk.reserve(len);
        chunk
    }

    /// The write at the front of `chunk`, and how many bytes it takes.
    #[inline]
    fn parse<'a>(&'a self, chunk: &'a [u8]) -> (Written<'a>, usize) {
        let (header, rest) = chunk.split_at(HEADER_LEN);
        let key_len = usize::from(u16::from_le_bytes([header[1], header[2]]));
        let stored_len = u32::from_le_bytes([header[3], header[4], header[5], header[6]]) as usize;
        let (key, rest) = rest.split_at(key_len);
        let mut payload = &rest[..stored_len];
        if header[0] & LARGE != 0
            && let Some(index) = payload.first_chunk()
        {
            let index = usize::try_from(u64::from_le_bytes(*index)).unwrap_or(usize::MAX);
            payload = &self.large[index];
        }
        let kind = kind_of(header[0]);
        let written = Written { key, kind, payload };
        (written, HEADER_LEN + key_len + stored_len)
    }

    /// The writes in the order in which they came, each with its place.
    pub(super) fn walk(&self) -> impl Iterator<Item = (u64, Written<'_>)> {
        let used = self.chunks.iter().take(self.filling + 1).enumerate();
        used.flat_map(move |(number, chunk)| {
            let mut offset = 0;
            std::iter::from_fn(move || {
                let rest = chunk.get(offset..).filter(|rest| !rest.is_empty())?;
                let (written, len) = self.parse(rest);
                let place = (number as u64) << OFFSET_BITS | offset as u64;
                offset += len;
                Some((place, written))
            })
        })
    }

    /// What these writes do to each key, in the order of keys.
    pub(super) fn sorted(&self) -> Sorted<'_, Pending> {
        let ascends = self.ascends;
        Sorted::new(self, self.walk(), (self.count, self.shared, ascends))
    }

    /// Keeps one write of each key where a sample says that there are many, so that whoever writes a few
    /// keys again and again holds a few writes.
    fn squeeze(&mut self) {
        let mut sample: Vec<&[u8]> = self.walk().step_by(SAMPLE).map(|(_, w)| w.key).collect();
        let looked_at = sample.len();
        sample.sort_unstable();
        sample.dedup();
        if sample.len() <= looked_at / 2 {
            let mut squeezed = Pending {
                squeeze_at: usize::MAX,
                ..Pending::default()
            };
            let mut sorted = self.sorted();
            while let Some(done) = sorted.next() {
                squeezed.push(&[], done.key(), &done.op());
            }
            drop(sorted);
            *self = squeezed;
        }
        self.squeeze_at = PENDING_SQUEEZE_LEN_MIN.max(2 * self.len);
    }

    /// Keeps one write of each key if more than `len_max` bytes are of few keys.
    pub(super) fn squeeze_above(&mut self, len_max: usize) {
        if self.len > len_max {
            self.squeeze();
        }
    }

    /// All of them as writes of their own, each key once, in order. They share one piece of memory, which
    /// is as long as they are.
    pub(super) fn into_writes(self) -> Vec<(Bytes, Op)> {
        let mut parts = Vec::with_capacity(self.count);
        let mut shared = Vec::with_capacity(self.chunks.iter().map(Vec::len).sum());
        let mut sorted = self.sorted();
        while let Some(done) = sorted.next() {
            let key = done.key();
            shared.extend_from_slice(key);
            let op = match &done {
                Done::Written(written) if written.payload.len() <= COPY_LEN_MAX => {
                    shared.extend_from_slice(written.payload);
                    Err((written.kind, written.payload.len()))
                }
                _ => Ok(done.op()),
            };
            parts.push((key.len(), op));
        }
        let (shared, mut at) = (Bytes::from(shared), 0);
        let mut take = |len: usize| {
            at += len;
            shared.slice(at - len..at)
        };
        let whole = parts.into_iter().map(|(key_len, op)| {
            let key = take(key_len);
            let op = op.unwrap_or_else(|(kind, len)| kind.op(|| take(len)));
            (key, op)
        });
        whole.collect()
    }
}

impl WritesAt for Pending {
    #[inline]
    fn at(&self, place: u64) -> Written<'_> {
        let number = usize::try_from(place >> OFFSET_BITS).unwrap_or(usize::MAX);
        let offset = usize::try_from(place).unwrap_or(usize::MAX) & (CHUNK_LEN - 1);
        self.parse(&self.chunks[number][offset..]).0
    }
}

fn bytes_of(op: &Op) -> Option<&Bytes> {
    match op {
        Op::Put(bytes) | Op::Merge(bytes) => Some(bytes),
        Op::Delete => None,
    }
}

fn code_of(op: &Op) -> u8 {
    match op {
        Op::Put(_) => 0,
        Op::Delete => 1,
        Op::Merge(_) => 2,
    }
}

fn kind_of(code: u8) -> OpKind {
    match code & !LARGE {
        0 => OpKind::Put,
        1 => OpKind::Delete,
        _ => OpKind::Merge,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::entropy::SeededEntropy;
    use crate::fold::combine;
    use crate::merge::{Column, Kind, Operator, States};

    type Model = BTreeMap<Vec<u8>, Op>;

    fn operand(rows: u64) -> Bytes {
        let mut states = States::new(&[Column::new("n", Operator::Count, Kind::Any).unwrap()]);
        states[0].add_rows(rows);
        states.to_operand().unwrap().into_bytes()
    }

    fn write(pending: &mut Pending, model: &mut Model, key: &[u8], op: Op) {
        let (prefix, rest) = key.split_at(key.len() / 2);
        pending.push(prefix, rest, &op);
        let combined = match model.get(key) {
            Some(older) => combine(older, &op),
            None => op,
        };
        model.insert(key.to_vec(), combined);
    }

    fn read(pending: &Pending) -> Vec<(Vec<u8>, Op)> {
        let mut sorted = pending.sorted();
        let mut all = Vec::new();
        while let Some(done) = sorted.next() {
            let op = done.op();
            assert_eq!(done.parts(), (OpKind::from(&op), op.payload()));
            all.push((done.key().to_vec(), op));
        }
        all
    }

    fn assert_same(pending: Pending, model: Model) {
        let model: Vec<_> = model.into_iter().collect();
        assert_eq!(read(&pending), model);
        let writes = pending.into_writes().into_iter();
        let writes: Vec<_> = writes.map(|(key, op)| (key.to_vec(), op)).collect();
        assert_eq!(writes, model);
    }

    #[test]
    fn any_writes_are_what_an_ordered_map_makes_of_them() {
        for seed in 0..200 {
            let random = SeededEntropy::new(seed);
            let below = |end: u64| random.next_u64() % end;
            let (mut pending, mut model) = (Pending::default(), Model::new());
            // Long prefixes that some share, zeros at the end, the empty key: whatever heads do not tell.
            let (letters, keys_len) = (1 + below(3), 1 + below(20));
            for _ in 0..below(300) {
                let mut key = b"the same for all"[..usize::try_from(seed % 17).unwrap()].to_vec();
                let len = below(keys_len);
                key.extend(
                    (0..len).map(|_| [0, b'a', 0xff][usize::try_from(below(letters)).unwrap()]),
                );
                let op = match below(8) {
                    0 | 1 => Op::Delete,
                    2..5 => Op::Merge(operand(below(9))),
                    5 => Op::Put(vec![7; COPY_LEN_MAX + usize::try_from(below(2)).unwrap()].into()),
                    _ => Op::Put(operand(below(9))),
                };
                write(&mut pending, &mut model, &key, op);
            }
            println!("seed {seed}");
            assert_same(pending, model);
        }
    }

    #[test]
    fn chunks_are_filled_and_used_again() {
        let random = SeededEntropy::new(5);
        let mut pending = Pending::default();
        for round in 0..2 {
            let mut model = Model::new();
            for _ in 0..3_000 {
                let key = random.next_u64().to_le_bytes();
                let len = usize::try_from(random.next_u64() % 4_000).unwrap();
                write(
                    &mut pending,
                    &mut model,
                    &key,
                    Op::Put(vec![round; len].into()),
                );
            }
            assert!(!pending.ascends() && pending.len() > 3 * CHUNK_LEN);
            let all: Vec<_> = model.into_iter().collect();
            assert_eq!(read(&pending), all);
            pending.clear();
            assert!(pending.is_empty() && pending.first_key().is_none());
        }
    }

    #[test]
    fn whether_keys_ascend_is_known() {
        let mut pending = Pending::default();
        for (key, ascends) in [
            ("a", true),
            ("ab", true),
            ("b", true),
            ("b", false),
            ("c", false),
        ] {
            pending.push(key.as_bytes(), b"", &Op::Delete);
            assert_eq!(pending.ascends(), ascends, "{key}");
        }
        assert_eq!(pending.first_key(), Some(&b"a"[..]));
    }

    #[test]
    fn many_writes_of_few_keys_take_little_memory() {
        let value = Bytes::from(vec![7; 1000]);
        let len = write_len(&[0; 2], &Op::Put(value.clone()));
        let (mut pending, mut model) = (Pending::default(), Model::new());
        let count = PENDING_SQUEEZE_LEN_MIN / len;
        for number in 0..count {
            let key = (number % 100).to_be_bytes();
            write(&mut pending, &mut model, &key[6..], Op::Put(value.clone()));
        }
        assert_eq!(pending.len(), count * len, "one less than is looked at");
        write(&mut pending, &mut model, b"zz", Op::Put(value.clone()));
        assert_eq!(pending.len(), 101 * len);
        write(&mut pending, &mut model, b"zy", Op::Merge(operand(3)));
        write(&mut pending, &mut model, b"zy", Op::Merge(operand(4)));
        assert_same(pending, model);

        let (mut pending, mut model) = (Pending::default(), Model::new());
        for number in 0..2 * count {
            write(&mut pending, &mut model, &number.to_be_bytes(), Op::Delete);
        }
        pending.squeeze_above(0);
        assert_same(pending, model);
    }
}
