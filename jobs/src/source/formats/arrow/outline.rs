//! What an Arrow file says of itself: columns, and where dictionaries and record batches are.

use std::collections::HashSet;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::{Block, Message, MessageHeader, MetadataVersion, root_as_footer, root_as_message};
use eciton_proto::v1::SourceFile;
use xxhash_rust::xxh3::Xxh3;

use super::super::super::error::SourceError;
use super::super::super::handle::FileHandle;
use super::super::super::input::{io_error, open};
use super::super::super::limits::FOOTER_LEN_MAX;
use super::super::super::parquet::bare_type;
use super::super::super::sniff::{HEAD_LEN, sniff};
use super::super::grouped::FileOutline;
use super::{FILE_MAGIC, STREAM_MAGIC, damaged, guarded, unsupported};
use crate::spec::{parse_type, type_name};

/// Bytes before the first message of a file: the magic and its padding.
const FILE_HEAD_LEN: u64 = 8;
/// Bytes at the end of a file: the length of the footer and the magic.
const TAIL_LEN: u64 = 10;
/// Bytes before the metadata of a message: the mark and a length.
const PREFIX_LEN: u64 = 8;
/// Bytes that are hashed at once.
const READ_LEN: usize = 256 * 1024;

/// What a file says of itself.
pub(super) struct ArrowOutline {
    file: SourceFile,
    handle: FileHandle,
    /// The columns as the file has them.
    pub(super) own: SchemaRef,
    /// The columns as a source has them.
    schema: Schema,
    pub(super) version: MetadataVersion,
    /// Dictionaries, in order, each with the number of batches that it is not meant for, since they come before it.
    dictionaries: Vec<(Block, usize)>,
    batches: Vec<Block>,
}

/// A dictionary or a record batch of a file.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Dictionary(Block),
    Batch(Block),
}

impl Part {
    pub(super) fn block(&self) -> Block {
        let (Part::Dictionary(block) | Part::Batch(block)) = self;
        *block
    }
}

impl ArrowOutline {
    /// Reads the footer of a file, or the heads of all messages of a stream.
    ///
    /// # Errors
    /// [`SourceError`] for a file of another format, or a damaged one; those of reading it.
    pub(super) fn read(file: &SourceFile) -> Result<ArrowOutline, SourceError> {
        let handle = open(file)?;
        let head = bytes(file, &handle, 0, HEAD_LEN as u64)?;
        if head.is_empty() {
            return Err(other(file, "an empty file"));
        }
        if head.starts_with(FILE_MAGIC) {
            return of_file(file, handle);
        }
        if head.starts_with(STREAM_MAGIC) {
            return of_stream(file, handle);
        }
        match sniff(&head) {
            Some(content) => Err(other(file, &format!("{content}"))),
            None if head.starts_with(b"FEA1") => Err(unsupported(
                file,
                "Feather of version 1; write it as version 2, or as Parquet",
            )),
            None => Err(other(file, "something else")),
        }
    }

    /// The parts that tell the rows of some batches, in the order in which they are read: before each batch the
    /// dictionaries up to it.
    ///
    /// # Errors
    /// [`SourceError::Changed`] if there are not as many batches.
    pub(super) fn parts(&self, groups: &Range<u64>) -> Result<Vec<Part>, SourceError> {
        let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let range = index(groups.start)..index(groups.end);
        let Some(batches) = self.batches.get(range.clone()) else {
            return Err(SourceError::Changed {
                file: self.file.display.clone(),
                expected: format!("at least {} record batches", groups.end),
                found: self.batches.len().to_string(),
            });
        };
        let mut parts = Vec::with_capacity(batches.len() + self.dictionaries.len());
        let mut dictionaries = self.dictionaries.iter().peekable();
        for (number, batch) in range.zip(batches) {
            while let Some((block, _)) = dictionaries.next_if(|(_, before)| *before <= number) {
                parts.push(Part::Dictionary(*block));
            }
            parts.push(Part::Batch(*batch));
        }
        Ok(parts)
    }

    /// Reads a part: its metadata and its body.
    ///
    /// # Errors
    /// Those of reading the file.
    pub(super) fn part(&self, part: Part) -> Result<Vec<u8>, SourceError> {
        let block = part.block();
        let (start, len) = (offset(&block), len(&block));
        let read = bytes(&self.file, &self.handle, start, len)?;
        match read.len() as u64 == len {
            true => Ok(read),
            false => Err(damaged(&self.file, "it breaks off")),
        }
    }

    fn rows_of(&self, block: &Block) -> Result<u64, SourceError> {
        let metadata = bytes(&self.file, &self.handle, offset(block), meta_len(block))?;
        let rows = guarded(&self.file, || {
            let message = root_as_message(unprefixed(&metadata));
            message.map(|message| message.header_as_record_batch().map(|batch| batch.length()))
        })?;
        Ok(rows.and_then(|rows| u64::try_from(rows).ok()).unwrap_or(0))
    }
}

impl FileOutline for ArrowOutline {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn lens(&self) -> Vec<u64> {
        self.batches.iter().map(len).collect()
    }

    fn rows_before(&self, group: u64) -> Result<u64, SourceError> {
        let groups = usize::try_from(group).unwrap_or(usize::MAX);
        let before = self.batches.iter().take(groups);
        before.map(|block| self.rows_of(block)).sum()
    }

    fn digest(&self, groups: &Range<u64>) -> Result<u128, SourceError> {
        let mut hash = Xxh3::new();
        for part in self.parts(groups)? {
            let block = part.block();
            hash_range(
                &self.file,
                &self.handle,
                offset(&block),
                len(&block),
                &mut hash,
            )?;
        }
        Ok(hash.digest128())
    }

    /// Of all between the batches: columns, dictionaries, the footer.
    fn rest_hash(&self) -> Result<u64, SourceError> {
        let mut batches: Vec<Range<u64>> = self
            .batches
            .iter()
            .map(|block| offset(block)..offset(block) + len(block))
            .collect();
        batches.sort_by_key(|range| range.start);
        let mut hash = Xxh3::new();
        let mut at = 0;
        for batch in batches {
            let gap = batch.start.saturating_sub(at);
            hash_range(&self.file, &self.handle, at, gap, &mut hash)?;
            at = at.max(batch.end);
        }
        let rest = self.file.len.saturating_sub(at);
        hash_range(&self.file, &self.handle, at, rest, &mut hash)?;
        Ok(hash.digest())
    }
}

/// The first byte of a block; those of an outline are not negative.
fn offset(block: &Block) -> u64 {
    u64::try_from(block.offset()).unwrap_or(0)
}

fn meta_len(block: &Block) -> u64 {
    u64::try_from(block.metaDataLength()).unwrap_or(0)
}

fn len(block: &Block) -> u64 {
    meta_len(block).saturating_add(u64::try_from(block.bodyLength()).unwrap_or(0))
}

fn other(file: &SourceFile, found: &str) -> SourceError {
    SourceError::Content {
        file: file.display.clone(),
        message: format!("expected an Arrow file, found {found}"),
    }
}

/// Up to `len` bytes from `at`; fewer at the end of the file.
fn bytes(
    file: &SourceFile,
    mut handle: &FileHandle,
    at: u64,
    len: u64,
) -> Result<Vec<u8>, SourceError> {
    let failed = |source| io_error(file, "cannot be read", source);
    handle.seek(SeekFrom::Start(at)).map_err(failed)?;
    let room = len.min(file.len.saturating_sub(at));
    let mut bytes = Vec::with_capacity(usize::try_from(room).unwrap_or(0));
    handle.take(len).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn hash_range(
    file: &SourceFile,
    mut handle: &FileHandle,
    at: u64,
    len: u64,
    hash: &mut Xxh3,
) -> Result<(), SourceError> {
    let failed = |source| io_error(file, "cannot be read", source);
    handle.seek(SeekFrom::Start(at)).map_err(failed)?;
    let mut rest = handle.take(len);
    let mut buffer = vec![0; READ_LEN];
    loop {
        match rest.read(&mut buffer).map_err(failed)? {
            0 => return Ok(()),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// The metadata of a message without what stands before it.
pub(super) fn unprefixed(metadata: &[u8]) -> &[u8] {
    let prefix = match metadata.starts_with(STREAM_MAGIC) {
        true => 8,
        // As files were written before version 0.15.
        false => 4,
    };
    metadata.get(prefix..).unwrap_or_default()
}

/// The columns as the file has them, and as a source has them.
fn columns(
    file: &SourceFile,
    schema: arrow::ipc::Schema<'_>,
) -> Result<(SchemaRef, Schema), SourceError> {
    if !schema.endianness().equals_to_target_endianness() {
        return Err(unsupported(file, "numbers of another byte order"));
    }
    let own = guarded(file, || Ok::<_, String>(fb_to_schema(schema)))?;
    let mut names = HashSet::new();
    let mut fields = Vec::with_capacity(own.fields().len());
    for field in own.fields() {
        let name = field.name();
        if !names.insert(name) {
            return Err(unsupported(
                file,
                format!("two columns of the name `{name}`"),
            ));
        }
        let data_type = bare_type(field.data_type());
        let shown = type_name(&data_type);
        if parse_type(&shown).as_ref() != Some(&data_type) {
            return Err(unsupported(
                file,
                format!("column `{name}` of type {shown}"),
            ));
        }
        fields.push(Field::new(name, data_type, true));
    }
    Ok((Arc::new(own), Schema::new(fields)))
}

fn of_file(file: &SourceFile, handle: FileHandle) -> Result<ArrowOutline, SourceError> {
    let tail = bytes(file, &handle, file.len.saturating_sub(TAIL_LEN), TAIL_LEN)?;
    let (footer_len, magic) = tail.split_at(tail.len().min(4));
    if file.len < FILE_HEAD_LEN + TAIL_LEN || magic != FILE_MAGIC {
        let what = "it has no footer: it was cut off, or is still being written";
        return Err(damaged(file, what));
    }
    let footer_len = <[u8; 4]>::try_from(footer_len).map_or(0, i32::from_le_bytes);
    let room = file.len - TAIL_LEN - FILE_HEAD_LEN;
    let footer_len = match u64::try_from(footer_len) {
        Ok(len) if len <= room => len,
        _ => {
            let what = format!(
                "its footer is said to have {footer_len} bytes, of which the file has {room}"
            );
            return Err(damaged(file, what));
        }
    };
    if footer_len > FOOTER_LEN_MAX {
        let what = format!("a footer of {footer_len} bytes, more than {FOOTER_LEN_MAX}");
        return Err(unsupported(file, what));
    }
    let end = file.len - TAIL_LEN - footer_len;
    let footer = bytes(file, &handle, end, footer_len)?;
    let footer = guarded(file, || root_as_footer(&footer))?;
    let Some(schema) = footer.schema() else {
        return Err(damaged(file, "its footer has no columns"));
    };
    let (own, schema) = columns(file, schema)?;
    let check = |what: &str, number: usize, block: &Block| {
        check_block(file, end, block)
            .map_err(|why| damaged(file, format!("{what} {number}: {why}")))
            .map(|()| *block)
    };
    let batches = footer.recordBatches().into_iter().flatten().enumerate();
    let batches = batches.map(|(number, block)| check("record batch", number, block));
    let dictionaries = footer.dictionaries().into_iter().flatten().enumerate();
    let dictionaries = dictionaries.map(|(number, block)| {
        let block = check("dictionary", number, block)?;
        Ok((block, 0))
    });
    Ok(ArrowOutline {
        file: file.clone(),
        own,
        schema,
        version: footer.version(),
        batches: batches.collect::<Result<_, SourceError>>()?,
        dictionaries: dictionaries.collect::<Result<_, SourceError>>()?,
        handle,
    })
}

/// Whether a block lies between the head and the footer, which begins at `end`.
fn check_block(file: &SourceFile, end: u64, block: &Block) -> Result<(), String> {
    let start = u64::try_from(block.offset()).ok();
    let meta = u64::try_from(block.metaDataLength()).ok();
    let body = u64::try_from(block.bodyLength()).ok();
    let (Some(start), Some(meta), Some(body)) = (start, meta, body) else {
        return Err("it has a negative length".to_owned());
    };
    debug_assert!(end <= file.len, "the footer at {end} of {}", file.len);
    let within = start
        .checked_add(meta)
        .and_then(|at| at.checked_add(body))
        .is_some_and(|at| start >= FILE_HEAD_LEN && at <= end);
    match within {
        false => Err("it lies outside the file".to_owned()),
        true if !(PREFIX_LEN..=FOOTER_LEN_MAX).contains(&meta) => {
            Err(format!("its metadata is said to have {meta} bytes"))
        }
        true => Ok(()),
    }
}

fn of_stream(file: &SourceFile, handle: FileHandle) -> Result<ArrowOutline, SourceError> {
    let mut at = 0;
    let mut columns_found = None;
    let (mut batches, mut dictionaries) = (Vec::new(), Vec::new());
    while let Some((metadata, next)) = message(file, &handle, at)? {
        let message = guarded(file, || root_as_message(unprefixed(&metadata)))?;
        let body = u64::try_from(message.bodyLength()).ok();
        let end = body.and_then(|body| next.checked_add(body));
        let Some(end) = end.filter(|end| *end <= file.len) else {
            return Err(breaks_off(file, at));
        };
        let block = block_of(file, at, metadata.len(), &message)?;
        match message.header_type() {
            MessageHeader::Schema if columns_found.is_none() => {
                let Some(schema) = message.header_as_schema() else {
                    return Err(damaged(file, "it has no columns"));
                };
                columns_found = Some((columns(file, schema)?, message.version()));
            }
            MessageHeader::DictionaryBatch if columns_found.is_some() => {
                dictionaries.push((block, batches.len()));
            }
            MessageHeader::RecordBatch if columns_found.is_some() => batches.push(block),
            header => {
                let name = header.variant_name().unwrap_or("unknown");
                let what = format!("byte {at}: a message `{name}` in this place");
                return Err(damaged(file, what));
            }
        }
        at = end;
    }
    let Some(((own, schema), version)) = columns_found else {
        return Err(damaged(file, "it has no columns"));
    };
    Ok(ArrowOutline {
        file: file.clone(),
        handle,
        own,
        schema,
        version,
        dictionaries,
        batches,
    })
}

fn block_of(
    file: &SourceFile,
    at: u64,
    meta_len: usize,
    message: &Message<'_>,
) -> Result<Block, SourceError> {
    let (Ok(offset), Ok(meta_len)) = (i64::try_from(at), i32::try_from(meta_len)) else {
        return Err(breaks_off(file, at));
    };
    Ok(Block::new(offset, meta_len, message.bodyLength()))
}

fn breaks_off(file: &SourceFile, at: u64) -> SourceError {
    let what = format!("byte {at}: the stream breaks off; expected its end after the batches");
    damaged(file, what)
}

/// The metadata of the message at a byte of a stream, with what stands before it, and where its body begins; `None` for
/// the end of the stream.
fn message(
    file: &SourceFile,
    handle: &FileHandle,
    at: u64,
) -> Result<Option<(Vec<u8>, u64)>, SourceError> {
    let prefix = bytes(file, handle, at, PREFIX_LEN)?;
    let Some((mark, len)) = prefix.split_first_chunk::<4>() else {
        return Err(breaks_off(file, at));
    };
    let Ok(len) = <[u8; 4]>::try_from(len).map(i32::from_le_bytes) else {
        return Err(breaks_off(file, at));
    };
    if mark[..] != *STREAM_MAGIC {
        return Err(damaged(file, format!("byte {at}: expected a message")));
    }
    if len == 0 {
        // No writer that lost its place may pass for one that ended.
        return match at + PREFIX_LEN == file.len {
            true => Ok(None),
            false => Err(damaged(
                file,
                format!("byte {}: something follows after its end", at + PREFIX_LEN),
            )),
        };
    }
    let len = match u64::try_from(len) {
        Ok(len) if len <= FOOTER_LEN_MAX => len + PREFIX_LEN,
        _ => {
            let what = format!("byte {at}: its metadata is said to have {len} bytes");
            return Err(damaged(file, what));
        }
    };
    let metadata = bytes(file, handle, at, len)?;
    match metadata.len() as u64 == len {
        true => Ok(Some((metadata, at + len))),
        false => Err(breaks_off(file, at)),
    }
}
