//! The pages of column chunks: checked against their checksums and against what the footer says of them.
//!
//! The Parquet reader has a reader of pages of its own. This one also verifies checksums, decompresses within bounds,
//! counts what a chunk holds, passes over empty pages (at which the other one ends a column early), and tells where
//! a fault is.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::RowGroups;
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};

use super::super::handle::FileHandle;
use super::codec;
use super::thrift::{Broken, Compact, WireType};
use crate::source::limits::{PAGE_HEADER_LEN_MAX, PAGE_LEN_MAX};

/// Bytes first read of a page's header.
const HEADER_READ_LEN: usize = 1024;

/// What is wrong with a page.
#[derive(Debug)]
pub(super) enum PageDefect {
    Damaged(String),
    Unsupported(String),
    Io(io::Error),
}

impl From<Broken> for PageDefect {
    fn from(broken: Broken) -> Self {
        Self::Damaged(format!("its header: {broken}"))
    }
}

/// A fault and the page that has it.
#[derive(Debug)]
pub(super) struct PageFault {
    /// Row group, column and page, for people.
    pub(super) place: String,
    pub(super) fault: PageDefect,
}

/// Where a reader of pages leaves the fault that it stopped at: the Parquet reader hands on texts only.
pub(super) type FaultCell = Arc<Mutex<Option<PageFault>>>;

/// A file that readers of several columns take turns at.
pub(super) type Handle = Arc<Mutex<FileHandle>>;

/// Some row groups of a file.
pub(super) struct RowGroupRun {
    pub(super) handle: Handle,
    pub(super) metadata: Arc<ParquetMetaData>,
    pub(super) range: Range<usize>,
    pub(super) fault: FaultCell,
}

impl RowGroupRun {
    fn of_range(&self) -> &[RowGroupMetaData] {
        &self.metadata.row_groups()[self.range.clone()]
    }

    /// The pages of a column of a row group.
    pub(super) fn pages(&self, group: usize, column: usize) -> Result<ChunkPages, ParquetError> {
        let chunk = self.metadata.row_group(group).column(column);
        let Some(mut bytes) = byte_range(chunk) else {
            return Err(ParquetError::General("a chunk without a place".to_owned()));
        };
        if chunk.num_values() == 0 {
            // Some writers leave a dictionary there, and a place that is none.
            bytes.end = bytes.start;
        }
        Ok(ChunkPages {
            handle: Arc::clone(&self.handle),
            metadata: Arc::clone(&self.metadata),
            group,
            column,
            bytes,
            page: 0,
            values: 0,
            next: None,
            fault: Arc::clone(&self.fault),
        })
    }
}

impl RowGroups for RowGroupRun {
    fn num_rows(&self) -> usize {
        let rows = self.of_range().iter().map(RowGroupMetaData::num_rows);
        usize::try_from(rows.sum::<i64>()).unwrap_or(0)
    }

    fn column_chunks(&self, column: usize) -> Result<Box<dyn PageIterator>, ParquetError> {
        let chunks = self.range.clone().map(|group| self.pages(group, column));
        Ok(Box::new(Chunks(
            chunks.collect::<Result<Vec<_>, _>>()?.into_iter(),
        )))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(self.of_range().iter())
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }
}

/// The chunks of a column, one a row group.
struct Chunks(std::vec::IntoIter<ChunkPages>);

impl Iterator for Chunks {
    type Item = Result<Box<dyn PageReader>, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(Ok(Box::new(self.0.next()?)))
    }
}

impl PageIterator for Chunks {}

/// Where a chunk lies; `None` if that cannot be.
pub(super) fn byte_range(chunk: &ColumnChunkMetaData) -> Option<Range<u64>> {
    let data = chunk.data_page_offset();
    // Some writers give 0, or a place behind the data, where there is no dictionary.
    let dictionary = chunk
        .dictionary_page_offset()
        .filter(|at| *at > 0 && *at < data);
    let start = u64::try_from(dictionary.unwrap_or(data)).ok()?;
    let len = u64::try_from(chunk.compressed_size()).ok()?;
    Some(start..start.checked_add(len)?)
}

/// The pages of one column chunk, in their order.
pub(super) struct ChunkPages {
    handle: Handle,
    metadata: Arc<ParquetMetaData>,
    group: usize,
    column: usize,
    /// What was not read yet.
    bytes: Range<u64>,
    /// Number of the next page, from 0.
    page: usize,
    /// Values of the pages so far.
    values: u64,
    /// The header of the next page, which has its body at the start of `bytes`.
    next: Option<Header>,
    fault: FaultCell,
}

impl ChunkPages {
    fn chunk(&self) -> &ColumnChunkMetaData {
        self.metadata.row_group(self.group).column(self.column)
    }

    /// Tells a fault to whoever reads, by its text and as it is.
    fn failed(&self, fault: PageDefect) -> ParquetError {
        let (group, page) = (self.group, self.page);
        let column = self.chunk().column_path().string();
        let place = format!("row group {group}, column `{column}`, page {page}");
        let error = ParquetError::General(format!("{place}: {fault:?}"));
        self.fault.lock().get_or_insert(PageFault { place, fault });
        error
    }

    fn read(&self, at: u64, len: usize) -> Result<Vec<u8>, PageDefect> {
        let mut file = self.handle.lock();
        file.seek(SeekFrom::Start(at)).map_err(PageDefect::Io)?;
        // No more than the chunk has, which lies within the file.
        let mut bytes = Vec::with_capacity(len);
        let read = (&*file).take(len as u64).read_to_end(&mut bytes);
        read.map_err(PageDefect::Io)?;
        Ok(bytes)
    }

    /// Reads the header of the next page that has values, passing over others.
    fn advance(&mut self) -> Result<(), PageDefect> {
        while self.next.is_none() {
            if self.bytes.is_empty() {
                return self.check_end();
            }
            let (header, len) = self.read_header()?;
            self.bytes.start += len;
            header.check(&self.bytes)?;
            match header.body {
                Body::Data(Data { values: 0, .. }) | Body::Index => {
                    self.bytes.start += header.compressed as u64;
                    self.page += 1;
                }
                Body::Data(_) | Body::Dictionary { .. } => self.next = Some(header),
            }
        }
        Ok(())
    }

    /// At the end of the chunk: its pages must hold what the footer says.
    fn check_end(&self) -> Result<(), PageDefect> {
        let expected = u64::try_from(self.chunk().num_values()).unwrap_or(0);
        if self.values == expected {
            return Ok(());
        }
        let found = self.values;
        Err(PageDefect::Damaged(format!(
            "the pages of the column hold {found} values, the footer says {expected}"
        )))
    }

    fn read_header(&self) -> Result<(Header, u64), PageDefect> {
        let rest = self.bytes.end - self.bytes.start;
        let mut wanted = HEADER_READ_LEN;
        loop {
            let len = usize::try_from(rest).unwrap_or(usize::MAX).min(wanted);
            let bytes = self.read(self.bytes.start, len)?;
            let mut compact = Compact::new(&bytes);
            match Header::read(&mut compact) {
                Ok(header) => return Ok((header, compact.position() as u64)),
                Err(HeaderError::Broken(Broken::Short))
                    if bytes.len() == wanted && wanted < PAGE_HEADER_LEN_MAX =>
                {
                    wanted *= 4;
                }
                Err(HeaderError::Broken(broken)) => return Err(broken.into()),
                Err(HeaderError::Fault(fault)) => return Err(fault),
            }
        }
    }

    fn next_page(&mut self) -> Result<Option<Page>, PageDefect> {
        self.advance()?;
        let Some(header) = self.next.take() else {
            return Ok(None);
        };
        let stored = self.read(self.bytes.start, header.compressed)?;
        if stored.len() < header.compressed {
            return Err(PageDefect::Damaged("the file ends within it".to_owned()));
        }
        self.bytes.start += header.compressed as u64;
        if let Some(expected) = header.crc {
            let mut crc = flate2::Crc::new();
            crc.update(&stored);
            if crc.sum() != expected.cast_unsigned() {
                return Err(PageDefect::Damaged(
                    "its checksum (CRC) does not match".to_owned(),
                ));
            }
        }
        let body = self.body(&header, stored)?;
        let page = match header.body {
            Body::Dictionary { values, encoding } => {
                self.check_dictionary(values, body.len())?;
                Page::DictionaryPage {
                    buf: body,
                    num_values: values,
                    encoding,
                    is_sorted: false,
                }
            }
            Body::Data(data) => {
                self.values += u64::from(data.values);
                data.page(body)
            }
            Body::Index => return Err(PageDefect::Unsupported("an index page".to_owned())),
        };
        self.page += 1;
        Ok(Some(page))
    }

    /// The page's bytes, decompressed.
    fn body(&self, header: &Header, stored: Vec<u8>) -> Result<Bytes, PageDefect> {
        let codec = self.chunk().compression();
        let levels = match &header.body {
            Body::Data(Data { v2: Some(v2), .. }) => v2.levels(),
            _ => 0,
        };
        if levels > header.uncompressed || levels > stored.len() {
            return Err(PageDefect::Damaged(
                "its header: levels longer than the page".to_owned(),
            ));
        }
        let plain = codec == parquet::basic::Compression::UNCOMPRESSED || !header.is_compressed();
        if plain {
            return Ok(stored.into());
        }
        // A page without a value may have nothing in it, not even an empty stream.
        let mut body = stored[..levels].to_vec();
        let len = header.uncompressed - levels;
        if len > 0 {
            codec::decompress(codec, &stored[levels..], len, &mut body)?;
        }
        Ok(body.into())
    }

    /// The reader makes room for as many values as a dictionary says to have.
    fn check_dictionary(&self, values: u32, len: usize) -> Result<(), PageDefect> {
        let column = self.chunk().column_descr();
        let each = match self.chunk().column_type() {
            Type::BOOLEAN => 1,
            Type::INT32 | Type::FLOAT | Type::BYTE_ARRAY => 4,
            Type::INT64 | Type::DOUBLE => 8,
            Type::INT96 => 12,
            Type::FIXED_LEN_BYTE_ARRAY => usize::try_from(column.type_length()).unwrap_or(0),
        };
        let least = (values as usize).saturating_mul(each.max(1));
        if least <= len {
            return Ok(());
        }
        Err(PageDefect::Damaged(format!(
            "a dictionary of {values} values in {len} bytes"
        )))
    }
}

impl Iterator for ChunkPages {
    type Item = Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for ChunkPages {
    fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
        self.next_page().map_err(|fault| self.failed(fault))
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
        self.advance().map_err(|fault| self.failed(fault))?;
        Ok(self.next.as_ref().map(Header::metadata))
    }

    fn skip_next_page(&mut self) -> Result<(), ParquetError> {
        self.advance().map_err(|fault| self.failed(fault))?;
        if let Some(header) = self.next.take() {
            self.bytes.start += header.compressed as u64;
            self.values += header.values();
            self.page += 1;
        }
        Ok(())
    }
}

// --- headers ---------------------------------------------------------------------------------

/// The header of a page.
#[derive(Debug)]
struct Header {
    uncompressed: usize,
    compressed: usize,
    crc: Option<i32>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Data(Data),
    Dictionary { values: u32, encoding: Encoding },
    Index,
}

/// The header of a data page of either version.
#[derive(Debug)]
struct Data {
    values: u32,
    encoding: Encoding,
    def_levels: Encoding,
    rep_levels: Encoding,
    v2: Option<DataV2>,
}

#[derive(Debug)]
struct DataV2 {
    nulls: u32,
    rows: u32,
    def_len: u32,
    rep_len: u32,
    is_compressed: bool,
}

impl DataV2 {
    fn levels(&self) -> usize {
        (self.def_len as usize).saturating_add(self.rep_len as usize)
    }
}

impl Data {
    fn page(self, buf: Bytes) -> Page {
        match self.v2 {
            None => Page::DataPage {
                buf,
                num_values: self.values,
                encoding: self.encoding,
                def_level_encoding: self.def_levels,
                rep_level_encoding: self.rep_levels,
                statistics: None,
            },
            Some(v2) => Page::DataPageV2 {
                buf,
                num_values: self.values,
                encoding: self.encoding,
                num_nulls: v2.nulls,
                num_rows: v2.rows,
                def_levels_byte_len: v2.def_len,
                rep_levels_byte_len: v2.rep_len,
                is_compressed: v2.is_compressed,
                statistics: None,
            },
        }
    }
}

/// Why there is no header: more bytes may mend a broken one.
enum HeaderError {
    Broken(Broken),
    Fault(PageDefect),
}

impl From<Broken> for HeaderError {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

fn wrong(what: impl Into<String>) -> HeaderError {
    HeaderError::Broken(Broken::Invalid(what.into()))
}

/// The integers of a struct by their field numbers, 1 to 7.
#[derive(Default)]
struct IntegerFields([Option<i32>; 8]);

impl IntegerFields {
    fn read(compact: &mut Compact<'_>, mut other: impl FnMut(i16, bool)) -> Result<Self, Broken> {
        let mut found = Self::default();
        compact.fields::<Broken>(|compact, id, kind| {
            let slot = usize::try_from(id).ok().and_then(|id| found.0.get_mut(id));
            match (slot, kind) {
                (Some(slot), WireType::Integer) => *slot = Some(compact.i32()?),
                (_, WireType::Bool(value)) => other(id, value),
                _ => compact.skip(kind)?,
            }
            Ok(())
        })?;
        Ok(found)
    }

    fn count(&self, id: usize, what: &str) -> Result<u32, HeaderError> {
        let value = self.0[id].ok_or_else(|| wrong(format!("no {what}")))?;
        u32::try_from(value).map_err(|_| wrong(format!("{value} as {what}")))
    }

    fn encoding(&self, id: usize) -> Result<Encoding, HeaderError> {
        let code = self.0[id].ok_or_else(|| wrong("no encoding"))?;
        #[allow(deprecated, reason = "old files have it for levels")]
        Ok(match code {
            0 => Encoding::PLAIN,
            2 => Encoding::PLAIN_DICTIONARY,
            3 => Encoding::RLE,
            4 => Encoding::BIT_PACKED,
            5 => Encoding::DELTA_BINARY_PACKED,
            6 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
            7 => Encoding::DELTA_BYTE_ARRAY,
            8 => Encoding::RLE_DICTIONARY,
            9 => Encoding::BYTE_STREAM_SPLIT,
            other if other < 0 => return Err(wrong(format!("encoding {other}"))),
            other => {
                let what = format!("encoding {other}");
                return Err(HeaderError::Fault(PageDefect::Unsupported(what)));
            }
        })
    }
}

impl Header {
    fn read(compact: &mut Compact<'_>) -> Result<Self, HeaderError> {
        let mut integers = IntegerFields::default();
        let (mut data, mut dictionary, mut data_v2) = (None, None, None);
        let mut is_compressed = true;
        compact.fields::<Broken>(|compact, id, kind| {
            match (id, kind) {
                (1..=4, WireType::Integer) => {
                    let id = usize::try_from(id).unwrap_or(0);
                    integers.0[id] = Some(compact.i32()?);
                }
                (5, WireType::Struct) => data = Some(IntegerFields::read(compact, |_, _| {})?),
                (7, WireType::Struct) => {
                    dictionary = Some(IntegerFields::read(compact, |_, _| {})?);
                }
                (8, WireType::Struct) => {
                    let flag = |id, value| {
                        if id == 7 {
                            is_compressed = value;
                        }
                    };
                    data_v2 = Some(IntegerFields::read(compact, flag)?);
                }
                _ => compact.skip(kind)?,
            }
            Ok(())
        })?;
        let absent = || wrong("not of the page's type");
        let body = match integers.0[1] {
            Some(0) => {
                let data = data.ok_or_else(absent)?;
                Body::Data(Data {
                    values: data.count(1, "number of values")?,
                    encoding: data.encoding(2)?,
                    def_levels: data.encoding(3)?,
                    rep_levels: data.encoding(4)?,
                    v2: None,
                })
            }
            Some(1) => Body::Index,
            Some(2) => {
                let dictionary = dictionary.ok_or_else(absent)?;
                Body::Dictionary {
                    values: dictionary.count(1, "number of values")?,
                    encoding: dictionary.encoding(2)?,
                }
            }
            Some(3) => {
                let data = data_v2.ok_or_else(absent)?;
                Body::Data(Data {
                    values: data.count(1, "number of values")?,
                    encoding: data.encoding(4)?,
                    def_levels: Encoding::RLE,
                    rep_levels: Encoding::RLE,
                    v2: Some(DataV2 {
                        nulls: data.count(2, "number of NULLs")?,
                        rows: data.count(3, "number of rows")?,
                        def_len: data.count(5, "length of levels")?,
                        rep_len: data.count(6, "length of levels")?,
                        is_compressed,
                    }),
                })
            }
            Some(other) if other < 0 => return Err(wrong(format!("a page of type {other}"))),
            Some(other) => {
                let what = format!("a page of type {other}");
                return Err(HeaderError::Fault(PageDefect::Unsupported(what)));
            }
            None => return Err(wrong("no type of page")),
        };
        Ok(Self {
            uncompressed: integers.count(2, "uncompressed length")? as usize,
            compressed: integers.count(3, "compressed length")? as usize,
            crc: integers.0[4],
            body,
        })
    }

    /// Holds the lengths against what is left of the chunk and what a page may have.
    fn check(&self, rest: &Range<u64>) -> Result<(), PageDefect> {
        let left = rest.end.saturating_sub(rest.start);
        if rest.start > rest.end || self.compressed as u64 > left {
            let len = self.compressed;
            return Err(PageDefect::Damaged(format!(
                "its header: {len} bytes, of which the chunk has {left}"
            )));
        }
        if self.uncompressed > PAGE_LEN_MAX {
            let len = self.uncompressed;
            return Err(PageDefect::Unsupported(format!(
                "a page of {len} bytes, more than {PAGE_LEN_MAX}"
            )));
        }
        Ok(())
    }

    fn is_compressed(&self) -> bool {
        match &self.body {
            Body::Data(Data { v2: Some(v2), .. }) => v2.is_compressed,
            _ => true,
        }
    }

    fn values(&self) -> u64 {
        match &self.body {
            Body::Data(data) => data.values.into(),
            Body::Dictionary { .. } | Body::Index => 0,
        }
    }

    fn metadata(&self) -> PageMetadata {
        let (rows, levels) = match &self.body {
            Body::Data(data) => (
                data.v2.as_ref().map(|v2| v2.rows as usize),
                Some(data.values as usize),
            ),
            Body::Dictionary { .. } | Body::Index => (None, None),
        };
        PageMetadata {
            num_rows: rows,
            num_levels: levels,
            is_dict: matches!(self.body, Body::Dictionary { .. }),
        }
    }
}
