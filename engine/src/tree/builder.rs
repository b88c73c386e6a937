//! Writing a run, front to back, in one pass over sorted writes.

use super::RUN_KEY_LEN_MAX;
use super::branch::{self, Level};
use super::compress::Compression;
use super::filter::Filter;
use super::frame::{self, FRAME_LEN, PagePtr};
use super::leaf::{CellKind, LeafBuilder, OpKind};
use super::seal::Sealer;
use super::sink::Sink;
use super::trailer::{self, Trailer};
use super::value::ValuePtr;
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
const _: () = assert!(64 + 2 * RUN_KEY_LEN_MAX + VALUE_INLINE_LEN_MAX <= frame::BODY_LEN_MAX);

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
/// Memory stays within some hundred pages, plus 8 bytes a key for the filter and about 30 bytes a leaf for
/// the branches above it. Nothing stands under the run's name before [`RunBuilder::finish`]; dropping
/// the builder leaves nothing. A run without entries is a run: it has no pages.
///
/// After an error the run cannot be completed, unless the error is about the key or value given
/// ([`Error::Limit`], [`Error::Invalid`]): that entry was left out and the next may be added.
pub struct RunBuilder {
    sink: Sink,
    body_len_max: usize,
    leaf: LeafBuilder,
    /// Has the leaves before that one which are not in the file yet.
    sealer: Sealer,
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
            body_len_max: page_len - FRAME_LEN,
            leaf: LeafBuilder::default(),
            sealer: Sealer::new(options.compression),
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

    /// Lets a thread of rayon compress leaves while the caller adds entries, for whoever waits for the run.
    /// What is written is the same byte for byte.
    #[must_use]
    pub fn with_help(mut self) -> RunBuilder {
        self.sealer.accept_help();
        self
    }

    /// Bytes of the file so far, but for leaves that wait to be written: what a caller that cuts its output
    /// into runs looks at.
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
    /// As [`RunBuilder::add_entry`].
    pub async fn add_limited(&mut self, key: &[u8], op: &Op, inline_len_max: usize) -> Result<()> {
        self.add_entry(key, op.into(), op.payload(), inline_len_max)
            .await
    }

    /// Adds a write of which kind and payload are given, else as [`RunBuilder::add_limited`].
    ///
    /// # Errors
    /// [`Error::Limit`] for a key above [`RUN_KEY_LEN_MAX`] or a value above [`VALUE_LEN_MAX`],
    /// [`Error::Invalid`] for a key that is not greater than the one before or after a failed write;
    /// [`Error::Storage`] from the writer.
    #[inline]
    pub async fn add_entry(
        &mut self,
        key: &[u8],
        kind: OpKind,
        payload: &[u8],
        inline_len_max: usize,
    ) -> Result<()> {
        self.check(key, payload)?;
        if payload.len() > inline_len_max.min(VALUE_INLINE_LEN_MAX) {
            return self.add_apart(key, kind, payload).await;
        }
        self.push(key, CellKind::of(kind, false), payload);
        self.count(key, kind);
        if self.sealer.is_due() {
            return self.write_leaves().await;
        }
        Ok(())
    }

    /// Adds a write as [`RunBuilder::add_entry`] does if that takes no I/O now; else nothing is added.
    ///
    /// Leaves that are full wait for [`RunBuilder::write_due`], as many as two batches of them.
    #[inline]
    pub fn try_add(
        &mut self,
        key: &[u8],
        kind: OpKind,
        payload: &[u8],
        inline_len_max: usize,
    ) -> bool {
        let lies_apart = payload.len() > inline_len_max.min(VALUE_INLINE_LEN_MAX);
        let is_behind = key > self.last_key() || self.is_empty();
        if lies_apart || !is_behind || key.len() > RUN_KEY_LEN_MAX || self.sealer.is_full() {
            return false;
        }
        self.push(key, CellKind::of(kind, false), payload);
        self.count(key, kind);
        true
    }

    /// Whether there is something for [`RunBuilder::write_due`] to write.
    #[inline]
    pub fn is_due(&self) -> bool {
        self.sealer.is_due()
    }

    /// Writes leaves that are full, if there are enough.
    ///
    /// # Errors
    /// As [`RunBuilder::add_entry`].
    pub async fn write_due(&mut self) -> Result<()> {
        if self.sealer.is_due() {
            return self.write_leaves().await;
        }
        Ok(())
    }

    async fn add_apart(&mut self, key: &[u8], kind: OpKind, value: &[u8]) -> Result<()> {
        // Pages go before the value: what a leaf refers to stands directly before it.
        self.make_room(key, ValuePtr::ENCODED_LEN);
        self.write_all_leaves().await?;
        let ptr = self.write_value(value).await?.encode();
        self.push(key, CellKind::of(kind, true), &ptr);
        self.count(key, kind);
        Ok(())
    }

    /// Ends the leaf if an entry with so many bytes does not fit it any more.
    #[inline]
    fn make_room(&mut self, key: &[u8], payload_len: usize) {
        if !self.leaf.is_empty() && self.leaf.len_with(key, payload_len) > self.body_len_max {
            let separator = branch::separator(self.last_key(), key);
            self.leaves.separators.push(separator);
            self.finish_leaf();
        }
    }

    #[inline]
    fn push(&mut self, key: &[u8], kind: CellKind, payload: &[u8]) {
        self.make_room(key, payload.len());
        self.leaf.push(key, kind, payload);
    }

    #[inline]
    fn check(&self, key: &[u8], payload: &[u8]) -> Result<()> {
        if key.len() > RUN_KEY_LEN_MAX || payload.len() > VALUE_LEN_MAX {
            return Err(too_long(key, payload));
        }
        if key <= self.last_key() && !self.is_empty() {
            let (key, last) = (key.escape_ascii(), self.last_key().escape_ascii());
            return Err(Error::Invalid(format!(
                "key {key} added to a run behind {last}"
            )));
        }
        Ok(())
    }

    /// The greatest key that was added; empty before the first.
    #[inline]
    pub fn last_key(&self) -> &[u8] {
        self.leaf.last_key().unwrap_or(&self.trailer.last_key)
    }

    #[inline]
    fn count(&mut self, key: &[u8], kind: OpKind) {
        if self.is_empty() {
            self.trailer.first_key = key.to_vec();
        }
        match kind {
            OpKind::Put => self.trailer.puts += 1,
            OpKind::Delete => self.trailer.deletes += 1,
            OpKind::Merge => self.trailer.merges += 1,
        }
    }

    async fn write_value(&mut self, value: &[u8]) -> Result<ValuePtr> {
        self.write_header().await?;
        let (compression, stored) = self.sealer.compressor().pack(value);
        let ptr = ValuePtr::new(self.sink.len(), stored, value.len(), compression)
            .ok_or_else(|| Error::Invalid(format!("a value of {} bytes", value.len())))?;
        self.sink.write(stored).await?;
        Ok(ptr)
    }

    async fn write_header(&mut self) -> Result<()> {
        if self.sink.len() == 0 {
            self.sink.write(&trailer::header()).await?;
        }
        Ok(())
    }

    fn finish_leaf(&mut self) {
        if let Some(last) = self.leaf.last_key() {
            self.trailer.last_key.clear();
            self.trailer.last_key.extend_from_slice(last);
            self.sealer.push(&mut self.leaf);
        }
    }

    /// Writes leaves that are sealed.
    async fn write_leaves(&mut self) -> Result<()> {
        self.write_header().await?;
        for mut page in self.sealer.next() {
            let offset = self.sink.len();
            frame::place(&mut page.frame, offset);
            self.sink.write(&page.frame).await?;
            let len = u32::try_from(page.frame.len()).unwrap_or(u32::MAX);
            self.leaves.pages.push(PagePtr { offset, len });
            if self.with_filter {
                self.hashes.extend_from_slice(&page.hashes);
            }
            self.sealer.reuse(page);
        }
        Ok(())
    }

    /// Writes every leaf that is full.
    async fn write_all_leaves(&mut self) -> Result<()> {
        while !self.sealer.is_empty() {
            self.write_leaves().await?;
        }
        Ok(())
    }

    /// Writes `self.body` as a page.
    async fn write_page(&mut self) -> Result<PagePtr> {
        let offset = self.sink.len();
        let (body, compressor) = (&self.body, self.sealer.compressor());
        self.sink
            .append(|out| {
                let start = out.len();
                frame::frame(body, compressor, out);
                frame::place(&mut out[start..], offset);
            })
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
        self.write_header().await?;
        self.finish_leaf();
        self.write_all_leaves().await?;
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

impl From<&Op> for OpKind {
    #[inline]
    fn from(op: &Op) -> OpKind {
        match op {
            Op::Put(_) => OpKind::Put,
            Op::Delete => OpKind::Delete,
            Op::Merge(_) => OpKind::Merge,
        }
    }
}

impl CellKind {
    #[inline]
    fn of(kind: OpKind, apart: bool) -> CellKind {
        match (kind, apart) {
            (OpKind::Delete, _) => CellKind::Delete,
            (OpKind::Put, false) => CellKind::Put,
            (OpKind::Put, true) => CellKind::PutApart,
            (OpKind::Merge, false) => CellKind::Merge,
            (OpKind::Merge, true) => CellKind::MergeApart,
        }
    }
}

#[cold]
fn too_long(key: &[u8], payload: &[u8]) -> Error {
    let (what, got, max) = if key.len() > RUN_KEY_LEN_MAX {
        ("the length of a key in bytes", key.len(), RUN_KEY_LEN_MAX)
    } else {
        let what = "the length of a value in bytes";
        (what, payload.len(), VALUE_LEN_MAX)
    };
    let (got, max) = (got as u64, max as u64);
    Error::Limit { what, got, max }
}
