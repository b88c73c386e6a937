//! A stream within a transaction.

use std::ops::Range;

use bytes::Bytes;
use futures::{Stream as Source, StreamExt};

use super::node::{Head, NodeEntry};
use super::tree::Tree;
use super::walk::{Located, Walk, bytes_of, head_of};
use crate::base::limits::{STREAM_BUFFERED_LEN_MAX, STREAM_CHUNK_LEN_MAX, STREAM_LEN_MAX};
use crate::base::{Error, Key, Op, Result};
use crate::txn::{Store, StreamPart, StreamPlace, Tracked, Transaction};

/// Bytes of a chunk from which on it is left alone where something is appended to it.
const CHUNK_LEN_FULL: u64 = STREAM_CHUNK_LEN_MAX as u64 / 2;
/// Bytes below which an edit in the middle takes in a neighbouring chunk.
const CHUNK_LEN_MIN: u64 = STREAM_CHUNK_LEN_MAX as u64 / 4;

/// A stream as a transaction sees and changes it. What it did is in the transaction at once, and durable
/// and visible when that commits, together with everything else in it; dropping the writer ends nothing.
///
/// A change rewrites the chunks at the ends of what it replaces and the nodes above them, never the rest.
/// Memory stays within a few chunks: what a transaction writes beyond them goes to durable runs that
/// nothing refers to before the commit.
///
/// Two transactions that change one stream conflict, and so does one that read it here when another
/// changes it, wherever in the stream that was. Those of different streams do not.
///
/// An append of less than a chunk leaves a small one, merged with others as more follows: each byte is
/// then written some 20 times at most, in memory mostly. Larger pieces cost less.
pub struct StreamWriter<'a> {
    transaction: &'a mut Transaction,
    place: StreamPlace,
    /// `None`: there is no such stream.
    head: Option<Head>,
    walk: Walk,
}

impl Transaction {
    /// The stream of `store` under `key`. There may be none: it is then empty, and the first change, be it
    /// the append of nothing, makes it. Whether a record stands under the key does not matter.
    ///
    /// # Errors
    /// [`Error::Limit`] for a key longer than
    /// [`STREAM_KEY_LEN_MAX`](crate::base::limits::STREAM_KEY_LEN_MAX); as [`Transaction::get`].
    pub async fn stream(&mut self, store: &Store, key: &Key) -> Result<StreamWriter<'_>> {
        let place = StreamPlace::new(store.id(), key)?;
        self.check_whole()?;
        self.uses(store);
        let record = self
            .get_full(place.full(StreamPart::Head), Tracked::Always)
            .await?;
        Ok(StreamWriter {
            transaction: self,
            head: head_of(&place, record)?,
            place,
            walk: Walk::default(),
        })
    }
}

impl StreamWriter<'_> {
    /// Whether there is such a stream.
    pub fn exists(&self) -> bool {
        self.head.is_some()
    }

    /// Bytes of the stream.
    pub fn len(&self) -> u64 {
        self.head.as_ref().map_or(0, |head| head.root.len())
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// As [`StreamWriter::splice`].
    pub async fn append(&mut self, data: &[u8]) -> Result<()> {
        self.splice(self.len()..self.len(), data).await
    }

    /// Adds at the end whatever `source` gives, a chunk in memory at a time, until it ends. The number of
    /// bytes. An error of the source ends the transaction: commit refuses it.
    ///
    /// # Errors
    /// As [`StreamWriter::splice`]; what the source gives.
    pub async fn append_from<S>(&mut self, source: S) -> Result<u64>
    where
        S: Source<Item = Result<Bytes>> + Send,
    {
        let (before, mut source) = (self.len(), std::pin::pin!(source));
        let mut buffer: Vec<u8> = Vec::new();
        while let Some(piece) = source.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    self.transaction.begin_change()?;
                    return Err(error);
                }
            };
            buffer.extend_from_slice(&piece);
            if buffer.len() >= STREAM_CHUNK_LEN_MAX {
                let whole = buffer.len() - buffer.len() % STREAM_CHUNK_LEN_MAX;
                self.append(&buffer[..whole]).await?;
                buffer.drain(..whole);
            }
        }
        self.append(&buffer).await?;
        Ok(self.len() - before)
    }

    /// Replaces the bytes from `offset` on by `data`, as many as there are; what passes the end is added.
    ///
    /// # Errors
    /// As [`StreamWriter::splice`].
    pub async fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        let end = offset.saturating_add(data.len() as u64);
        self.splice(offset..end.min(self.len()).max(offset), data)
            .await
    }

    /// Inserts `data` before the byte at `offset`, or at the end.
    ///
    /// # Errors
    /// As [`StreamWriter::splice`].
    pub async fn insert_at(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        self.splice(offset..offset, data).await
    }

    /// Takes the bytes of `range` out; what follows moves up.
    ///
    /// # Errors
    /// As [`StreamWriter::splice`].
    pub async fn cut(&mut self, range: Range<u64>) -> Result<()> {
        self.splice(range, &[]).await
    }

    /// Takes out everything from `len` on; a shorter stream stays as it is.
    ///
    /// # Errors
    /// As [`StreamWriter::splice`].
    pub async fn truncate(&mut self, len: u64) -> Result<()> {
        let end = self.len();
        self.splice(len.min(end)..end, &[]).await
    }

    /// Replaces the bytes of `range` by `data`, which may be longer or shorter: all other changes are this
    /// one.
    ///
    /// # Errors
    /// [`Error::Invalid`] where `range` is not within the stream, [`Error::Limit`] where the stream would be
    /// longer than [`STREAM_LEN_MAX`], [`Error::ReadOnly`]: nothing has changed. [`Error::Corrupt`] naming
    /// what is damaged, and what the storage refuses: the change may be half done, so the transaction can
    /// only be dropped.
    pub async fn splice(&mut self, range: Range<u64>, data: &[u8]) -> Result<()> {
        let len = self.len();
        if range.start > range.end || range.end > len {
            let message = format!("bytes {range:?} of a stream of {len} bytes");
            return Err(Error::Invalid(message));
        }
        check_len(len, &range, data.len() as u64)?;
        self.transaction.begin_change()?;
        self.walk.forget();
        self.head.get_or_insert_default();
        if !range.is_empty() || !data.is_empty() {
            let edit = self.edit(&range, data.len() as u64).await?;
            let parts = [&edit.before[..], data, &edit.after[..]];
            let new = self.write_chunks(&parts).await?;
            self.tree().replace(edit.range, new).await?;
        }
        self.store_head()?;
        self.transaction.relieve().await?;
        self.transaction.end_change();
        self.walk.forget();
        Ok(())
    }

    /// Deletes the stream; it is empty then, and the next change makes a new one. The record under its key,
    /// if there is one, stays: deleting a record deletes no stream, and the reverse.
    ///
    /// # Errors
    /// As [`StreamWriter::splice`].
    pub async fn delete(&mut self) -> Result<()> {
        self.transaction.begin_change()?;
        if self.head.is_some() {
            self.tree().clear().await?;
            self.head = None;
            let full = self.place.full(StreamPart::Head);
            self.transaction.write_full(full, &Op::Delete)?;
        }
        self.transaction.end_change();
        self.walk.forget();
        Ok(())
    }

    /// Reads from `offset` into `buffer`, own changes included, until it is full or the stream ends: the
    /// number of bytes.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming what is damaged; [`Error::Invalid`] after a change that failed; what the
    /// storage refuses.
    pub async fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.transaction.check_whole()?;
        let mut read = 0;
        while read < buffer.len() {
            let Some(at) = self.locate(offset + read as u64).await? else {
                break;
            };
            let bytes = bytes_of(self.transaction, &self.place, at.chunk).await?;
            read += copy_from(&bytes, offset + read as u64 - at.start, &mut buffer[read..]);
        }
        Ok(read)
    }

    async fn locate(&mut self, offset: u64) -> Result<Option<Located>> {
        let Some(head) = &self.head else {
            return Ok(None);
        };
        let (walk, transaction) = (&mut self.walk, &mut *self.transaction);
        walk.locate(transaction, &self.place, head, offset).await
    }

    /// What replacing `range` by `added` bytes comes to in whole chunks.
    async fn edit(&mut self, range: &Range<u64>, added: u64) -> Result<Edit> {
        let mut edit = Edit {
            range: range.clone(),
            before: Vec::new(),
            after: Vec::new(),
        };
        let left = self.locate(range.start).await?;
        let left = left.filter(|at| at.start < range.start);
        let right = self.locate(range.end).await?;
        let right = right.filter(|at| at.start < range.end);
        if let Some(at) = left {
            let bytes = bytes_of(self.transaction, &self.place, at.chunk).await?;
            edit.before
                .extend_from_slice(&bytes[..within(range.start, at.start)]);
            edit.range.start = at.start;
            if right == left {
                edit.end_within(at, &bytes);
            }
        }
        if let Some(at) = right.filter(|_| right != left) {
            let bytes = bytes_of(self.transaction, &self.place, at.chunk).await?;
            edit.end_within(at, &bytes);
        }
        self.take_in(&mut edit, added).await?;
        Ok(edit)
    }

    /// Takes neighbouring chunks into an edit, so that many small ones do not leave a stream of crumbs.
    async fn take_in(&mut self, edit: &mut Edit, added: u64) -> Result<()> {
        let mut total = edit.before.len() as u64 + added + edit.after.len() as u64;
        // Each chunk that is left is at least twice as long as what follows it, so there are few, and a
        // byte is rewritten each time that the chunk it is in has doubled.
        while total > 0 && edit.range.start > 0 {
            let Some(at) = self.locate(edit.range.start - 1).await? else {
                break;
            };
            if at.chunk.len >= CHUNK_LEN_FULL.min(2 * total) {
                break;
            }
            total += at.chunk.len;
            self.take_before(edit, at).await?;
        }
        let is_last = edit.range.end == self.len();
        if total == 0 || total >= CHUNK_LEN_MIN || is_last {
            return Ok(());
        }
        let after = self.locate(edit.range.end).await?;
        let before = match edit.range.start.checked_sub(1) {
            Some(offset) => self.locate(offset).await?,
            None => None,
        };
        match (before, after) {
            (Some(before), Some(after)) if before.chunk.len < after.chunk.len => {
                self.take_before(edit, before).await
            }
            (_, Some(after)) => {
                let bytes = bytes_of(self.transaction, &self.place, after.chunk).await?;
                edit.after.extend_from_slice(&bytes);
                edit.range.end = after.end();
                Ok(())
            }
            (Some(before), None) => self.take_before(edit, before).await,
            (None, None) => Ok(()),
        }
    }

    async fn take_before(&mut self, edit: &mut Edit, at: Located) -> Result<()> {
        let bytes = bytes_of(self.transaction, &self.place, at.chunk).await?;
        edit.before.splice(..0, bytes);
        edit.range.start = at.start;
        Ok(())
    }

    /// Writes these bytes as chunks of like length.
    async fn write_chunks(&mut self, parts: &[&[u8]]) -> Result<Vec<NodeEntry>> {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let count = total.div_ceil(STREAM_CHUNK_LEN_MAX);
        let mut entries = Vec::with_capacity(count);
        let (mut rest, chunks) = (parts.iter().copied(), self.place.chunks());
        let mut part: &[u8] = &[];
        for i in 0..count {
            let len = share(total, i + 1, count) - share(total, i, count);
            let mut chunk = Vec::with_capacity(len);
            while chunk.len() < len {
                if part.is_empty() {
                    part = rest.next().unwrap_or_default();
                }
                let (taken, left) = part.split_at(part.len().min(len - chunk.len()));
                chunk.extend_from_slice(taken);
                part = left;
            }
            let (id, len) = (self.tree().fresh(), len as u64);
            let full = self.place.full(StreamPart::Chunk(id));
            self.transaction.write_full(full, &Op::Put(chunk.into()))?;
            self.transaction
                .pour(&chunks, STREAM_BUFFERED_LEN_MAX)
                .await?;
            entries.push(NodeEntry { id, len });
        }
        Ok(entries)
    }

    fn store_head(&mut self) -> Result<()> {
        let head = self.head.get_or_insert_default();
        // So that a change that took no number, a cut at the borders of chunks, changes the head too.
        head.next += 1;
        let full = self.place.full(StreamPart::Head);
        self.transaction
            .write_full(full, &Op::Put(head.encode().into()))
    }

    fn tree(&mut self) -> Tree<'_> {
        Tree {
            transaction: self.transaction,
            place: &self.place,
            head: self.head.get_or_insert_default(),
        }
    }
}

/// A change in whole chunks: those of `range` become `before`, the new bytes and `after`.
struct Edit {
    range: Range<u64>,
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Edit {
    /// The range ends within this chunk: the rest of it is kept.
    fn end_within(&mut self, at: Located, bytes: &[u8]) {
        let kept = &bytes[within(self.range.end, at.start)..];
        self.after.extend_from_slice(kept);
        self.range.end = at.end();
    }
}

/// Copies from `offset` of `bytes` on as much as fits.
pub(super) fn copy_from(bytes: &[u8], offset: u64, buffer: &mut [u8]) -> usize {
    let from = usize::try_from(offset)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    let len = buffer.len().min(bytes.len() - from);
    buffer[..len].copy_from_slice(&bytes[from..from + len]);
    len
}

/// An offset of the stream as one of a chunk, which is shorter than any memory.
fn within(offset: u64, start: u64) -> usize {
    usize::try_from(offset - start).unwrap_or(usize::MAX)
}

/// Where piece `i` of `count` begins in `total` bytes.
fn share(total: usize, i: usize, count: usize) -> usize {
    let (whole, rest) = (total / count, total % count);
    whole * i + rest.min(i)
}

fn check_len(len: u64, range: &Range<u64>, added: u64) -> Result<()> {
    let got = (len - (range.end - range.start)).saturating_add(added);
    if got > STREAM_LEN_MAX {
        return Err(Error::Limit {
            what: "length of a stream in bytes",
            got,
            max: STREAM_LEN_MAX,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_may_be_so_long_and_no_longer() {
        let max = STREAM_LEN_MAX;
        assert!(check_len(max - 1, &(0..0), 1).is_ok());
        assert!(check_len(max, &(0..1), 1).is_ok());
        for (len, range, added) in [(max, 0..0, 1), (max, 0..1, 2), (1, 0..0, u64::MAX)] {
            let error = check_len(len, &range, added).unwrap_err();
            assert!(matches!(error, Error::Limit { .. }), "{error}");
        }
    }

    #[test]
    fn shares_are_alike_and_add_up() {
        for (total, count) in [(10, 3), (1 << 20, 1), ((1 << 20) + 1, 2), (7, 7)] {
            let lens = (0..count).map(|i| share(total, i + 1, count) - share(total, i, count));
            let lens: Vec<usize> = lens.collect();
            assert_eq!(lens.iter().sum::<usize>(), total);
            assert!(
                lens.iter().all(|len| len.abs_diff(lens[0]) <= 1),
                "{lens:?}"
            );
        }
    }
}
