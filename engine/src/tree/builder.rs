//! Writing a run, front to back, in one pass over sorted writes.

use super::branch::{self, Level};
use super::filter::Filter;
use super::leaf::{CellKind, LeafBuilder, tag_of};
use super::page::{self, Compression, Compressor, FRAME_LEN, PagePtr};
use super::sink::Sink;
use super::trailer::{self, Trailer};
use super::value::ValuePtr;
use super::{RUN_KEY_LEN_MAX, key_hash};
use crate::base::checksum::checksum64;
use crate::base::limits::{
    PAGE_LEN, VALUE_INLINE_LEN_DEFAULT, VALUE_INLINE_LEN_MAX, VALUE_LEN_MAX,
};
use crate::base::{Error, Op, Result};
use crate::storage::{Created, ObjectWriter};

/// Bytes that a page is filled to, at least.
const PAGE_LEN_MIN: usize = 1024;
/// Bytes that a page is filled to, at most. Above it an offset within a page would not fit 16 bits.
const PAGE_LEN_MAX: usize = 32 * 1024;

// The longest key with the longest value in a leaf, or two children with the longest separator
// between them, must fit whatever page length was asked for.
const _: () = assert!(64 + 2 * RUN_KEY_LEN_MAX + VALUE_INLINE_LEN_MAX <= page::BODY_LEN_MAX);

/// How a run is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// Bytes that a page is filled to, before compression; 1 to 32 KiB, others are taken as the
    /// nearer of the two. A page with a single long entry may be longer.
    pub page_len: usize,
    /// How pages and values apart are compressed.
    pub compression: Compression,
    /// Whether there is a filter: 1.5 bytes a key, in the file and in memory while the run is open.
    /// Without one every lookup reads a leaf.
    pub filter: bool,
}

impl Default for RunOptions {
    fn default() -> RunOptions {
        RunOptions {
            page_len: PAGE_LEN,
            compression: Compression::None,
            filter: true,
        }
    }
}

/// What has been written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunSummary {
    /// Whether the name was free. On [`Created::Exists`] this run is not there: another is, or the
    /// same one by a call whose reply was lost; compare `content_hash`.
    pub created: Created,
    /// Entries: puts, deletes and merges.
    pub entries: u64,
    /// Entries that give their key a value.
    pub puts: u64,
    /// Entries that remove their key.
    pub deletes: u64,
    /// Entries that merge an operand.
    pub merges: u64,
    /// Bytes of the file.
    pub len: u64,
    /// The least key; empty where there are no entries.
    pub first_key: Vec<u8>,
    /// The greatest key; empty where there are no entries.
    pub last_key: Vec<u8>,
    /// XXH3-128 of the whole file.
    pub content_hash: u128,
}

/// Writes one run.
///
/// Memory stays within a few pages, plus 8 bytes a key for the filter and about 30 bytes a leaf for
/// the branches above it. Nothing stands under the run's name before [`RunBuilder::finish`]; dropping
/// the builder leaves nothing. A run without entries is a run: it has no pages.
///
/// After an error the run cannot be completed, unless the error is about the key or value given
/// ([`Error::Limit`], [`Error::Invalid`]): that entry was left out and the next may be added.
pub struct RunBuilder {
    sink: Sink,
    compressor: Compressor,
    body_len_max: usize,
    leaf: LeafBuilder,
    leaves: Level,
    /// Of all keys, for the filter; stays empty without one.
    hashes: Vec<u64>,
    with_filter: bool,
    trailer: Trailer,
    /// Of a page, to be used again.
    body: Vec<u8>,
}

impl RunBuilder {
    /// Begins a run that goes through `writer`.
    pub fn new(writer: Box<dyn ObjectWriter>, options: RunOptions) -> RunBuilder {
        let page_len = options.page_len.clamp(PAGE_LEN_MIN, PAGE_LEN_MAX);
        RunBuilder {
            sink: Sink::new(writer),
            compressor: Compressor::new(options.compression),
            body_len_max: page_len - FRAME_LEN,
            leaf: LeafBuilder::default(),
            leaves: Level::default(),
            hashes: Vec::new(),
            with_filter: options.filter,
            trailer: Trailer {
                page_len: u32::try_from(page_len).unwrap_or(u32::MAX),
                ..Trailer::default()
            },
            body: Vec::new(),
        }
    }

    /// Bytes of the file so far: what a caller that cuts its output into runs looks at.
    pub fn file_len(&self) -> u64 {
        self.sink.len()
    }

    /// Whether nothing has been added.
    pub fn is_empty(&self) -> bool {
        self.trailer.entries() == 0
    }

    /// Adds one write behind all that were added; a value of up to
    /// [`VALUE_INLINE_LEN_DEFAULT`] bytes lies in its leaf.
    ///
    /// # Errors
    /// As [`RunBuilder::add_limited`].
    pub async fn add(&mut self, key: &[u8], op: &Op) -> Result<()> {
        self.add_limited(key, op, VALUE_INLINE_LEN_DEFAULT).await
    }

    /// Adds one write behind all that were added; a value of more than `inline_len_max` bytes lies apart,
    /// as does one above [`VALUE_INLINE_LEN_MAX`].
    ///
    /// # Errors
    /// [`Error::Limit`] for a key above [`RUN_KEY_LEN_MAX`] or a value above [`VALUE_LEN_MAX`],
    /// [`Error::Invalid`] for a key that is not greater than the one before or after a failed write;
    /// [`Error::Storage`] from the writer.
    pub async fn add_limited(&mut self, key: &[u8], op: &Op, inline_len_max: usize) -> Result<()> {
        self.check(key, op)?;
        if self.sink.len() == 0 {
            self.sink.write(&trailer::header()).await?;
        }
        let payload = op.payload();
        let apart = payload.len() > inline_len_max.min(VALUE_INLINE_LEN_MAX);
        let payload_len = if apart {
            ValuePtr::ENCODED_LEN
        } else {
            payload.len()
        };
        // The page goes before the value: what a leaf refers to stands directly before it.
        if !self.leaf.is_empty() && self.leaf.len_with(key, payload_len) > self.body_len_max {
            self.finish_leaf().await?;
            let separator = branch::separator(&self.trailer.last_key, key);
            self.leaves.separators.push(separator);
        }
        let hash = key_hash(key);
        if apart {
            let ptr = self.write_value(payload).await?.encode();
            self.leaf
                .push(key, tag_of(hash), cell_kind(op, apart), &ptr);
        } else {
            self.leaf
                .push(key, tag_of(hash), cell_kind(op, apart), payload);
        }
        self.count(key, op, hash);
        Ok(())
    }

    fn check(&self, key: &[u8], op: &Op) -> Result<()> {
        let limits = [
            ("the length of a key in bytes", key.len(), RUN_KEY_LEN_MAX),
            (
                "the length of a value in bytes",
                op.payload().len(),
                VALUE_LEN_MAX,
            ),
        ];
        for (what, got, max) in limits {
            if got > max {
                return Err(Error::Limit {
                    what,
                    got: got as u64,
                    max: max as u64,
                });
            }
        }
        if !self.is_empty() && key <= self.trailer.last_key.as_slice() {
            let (key, last) = (key.escape_ascii(), self.trailer.last_key.escape_ascii());
            return Err(Error::Invalid(format!(
                "key {key} added to a run behind {last}"
            )));
        }
        Ok(())
    }

    fn count(&mut self, key: &[u8], op: &Op, hash: u64) {
        if self.is_empty() {
            self.trailer.first_key = key.to_vec();
        }
        match op {
            Op::Put(_) => self.trailer.puts += 1,
            Op::Delete => self.trailer.deletes += 1,
            Op::Merge(_) => self.trailer.merges += 1,
        }
        self.trailer.last_key.clear();
        self.trailer.last_key.extend_from_slice(key);
        if self.with_filter {
            self.hashes.push(hash);
        }
    }

    async fn write_value(&mut self, value: &[u8]) -> Result<ValuePtr> {
        let (compression, stored) = self.compressor.pack(value);
        let ptr = ValuePtr::new(self.sink.len(), stored, value.len(), compression)
            .ok_or_else(|| Error::Invalid(format!("a value of {} bytes", value.len())))?;
        self.sink.write(stored).await?;
        Ok(ptr)
    }

    async fn finish_leaf(&mut self) -> Result<()> {
        self.leaf.finish(&mut self.body);
        let page = self.write_page().await?;
        self.leaves.pages.push(page);
        Ok(())
    }

    /// Writes `self.body` as a page.
    async fn write_page(&mut self) -> Result<PagePtr> {
        let offset = self.sink.len();
        let (body, compressor) = (&self.body, &mut self.compressor);
        self.sink
            .append(|out| page::frame(body, compressor, offset, out))
            .await?;
        let len = u32::try_from(self.sink.len() - offset).unwrap_or(u32::MAX);
        Ok(PagePtr { offset, len })
    }

    /// Writes what is left, makes the file durable and gives it its name.
    ///
    /// # Errors
    /// [`Error::Storage`] from the writer, [`Error::Invalid`] after a failed write; either way
    /// nothing stands under the name.
    pub async fn finish(mut self) -> Result<RunSummary> {
        if self.sink.len() == 0 {
            self.sink.write(&trailer::header()).await?;
        }
        if !self.leaf.is_empty() {
            self.finish_leaf().await?;
        }
        self.trailer.leaves = self.leaves.pages.len() as u64;
        self.trailer.leaves_end = self.sink.len();
        self.write_branches().await?;
        self.write_filter().await?;
        self.trailer.content_hash = self.sink.content_hash();
        self.trailer.file_len = self.sink.len() + self.trailer.encoded_len() as u64;
        self.sink.write(&self.trailer.encode()).await?;
        assert_eq!(self.sink.len(), self.trailer.file_len, "bytes written");
        let content_hash = self.sink.content_hash();
        let created = self.sink.finish().await?;
        let trailer = self.trailer;
        Ok(RunSummary {
            created,
            entries: trailer.entries(),
            puts: trailer.puts,
            deletes: trailer.deletes,
            merges: trailer.merges,
            len: trailer.file_len,
            first_key: trailer.first_key,
            last_key: trailer.last_key,
            content_hash,
        })
    }

    /// Writes level above level until one page is left: the root.
    async fn write_branches(&mut self) -> Result<()> {
        let mut level = std::mem::take(&mut self.leaves);
        if level.pages.is_empty() {
            return Ok(());
        }
        let mut height = 1;
        while level.pages.len() > 1 {
            level = self.write_level(&level, height).await?;
            height += 1;
        }
        self.trailer.root = level.pages.first().copied();
        self.trailer.height = height;
        Ok(())
    }

    /// Writes the branches over all pages of `below` and returns them as a level of their own.
    async fn write_level(&mut self, below: &Level, height: u8) -> Result<Level> {
        let mut level = Level::default();
        let mut from = 0;
        while from < below.pages.len() {
            let n = below.fit(from, self.body_len_max);
            below.write_branch(from, n, height, &mut self.body);
            if from > 0 {
                level.separators.push(below.separators.get(from - 1));
            }
            let page = self.write_page().await?;
            level.pages.push(page);
            from += n;
        }
        assert!(
            level.pages.len() < below.pages.len(),
            "a level as long as the one below"
        );
        assert_eq!(
            level.separators.len() + 1,
            level.pages.len(),
            "one separator between two pages"
        );
        Ok(level)
    }

    async fn write_filter(&mut self) -> Result<()> {
        self.trailer.filter_offset = self.sink.len();
        if self.hashes.is_empty() {
            return Ok(());
        }
        let bytes = Filter::build(&std::mem::take(&mut self.hashes)).to_bytes();
        self.trailer.filter_len = bytes.len() as u64;
        self.trailer.filter_checksum = checksum64(&bytes);
        self.sink.write(&bytes).await
    }
}

fn cell_kind(op: &Op, apart: bool) -> CellKind {
    match (op, apart) {
        (Op::Delete, _) => CellKind::Delete,
        (Op::Put(_), false) => CellKind::Put,
        (Op::Put(_), true) => CellKind::PutApart,
        (Op::Merge(_), false) => CellKind::Merge,
        (Op::Merge(_), true) => CellKind::MergeApart,
    }
}
