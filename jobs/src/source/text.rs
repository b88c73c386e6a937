//! A shard of a text format: blocks of records to batches, malformed records found or left out.
//!
//! A block that decodes as a whole costs nothing more. One that does not is halved at a record's end until
//! single records are left: those that still do not decode are malformed. So the decoder that makes the
//! batches is also the judge, and a record's neighbours never suffer from it.

use std::collections::VecDeque;
use std::io::Read;
use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use eciton_proto::v1::SourceFile;

use super::block::{BlockPlace, Blocks};
use super::dialect::Dialect;
use super::error::{Malformed, Refusal, SourceError};
use super::format::ShardRows;
use super::input::{Codec, TextInput, io_error};
use super::jsonl::Decoded;
use super::limits::BATCH_ROWS_MAX;
use super::locate::RecordFault;
use super::reach;
use super::scan::{Scanner, count_line_ends};

/// The decoder of a text format.
pub(super) trait RecordDecoder: Send {
    /// Decodes whole records.
    ///
    /// # Errors
    /// [`Refusal`] if any of them is malformed.
    fn decode(&self, text: &[u8]) -> Result<Decoded, Refusal>;

    /// Finds what is wrong with one record that did not decode.
    fn fault(&self, text: &[u8], refusal: &Refusal) -> RecordFault;
}

/// Reads the batches of one shard.
pub(super) struct TextShard {
    file: SourceFile,
    dialect: Dialect,
    blocks: Blocks,
    judge: Judge,
    /// Byte where reading began: the newlines before it are not counted yet.
    start: u64,
    ready: VecDeque<RecordBatch>,
}

impl TextShard {
    /// Opens the shard of `len` bytes from `start`.
    pub(super) fn open(
        file: &SourceFile,
        start: u64,
        len: u64,
        dialect: Dialect,
        decoder: Box<dyn RecordDecoder>,
        skip: bool,
    ) -> Result<Self, SourceError> {
        let input = TextInput::open_range(file, start, len)?;
        let mut blocks = Blocks::new(input, file.display.clone(), dialect);
        if start == 0 {
            blocks.skip_head()?;
        }
        let judge = Judge {
            decoder,
            dialect,
            skip,
            skipped: 0,
            values_ignored: 0,
        };
        let file = file.clone();
        Ok(Self {
            file,
            dialect,
            blocks,
            judge,
            start,
            ready: VecDeque::new(),
        })
    }

    /// The first and the last line of some rows, counted from 0 among those that the shard gives; `None` if it does not
    /// have them. Reads the shard from its beginning: for a shard that was just opened.
    pub(super) fn lines_of(mut self, rows: &Range<u64>) -> Result<Option<(u64, u64)>, SourceError> {
        let before = lines_before(&self.file, self.start)?;
        let (mut seen, mut first) = (0, None);
        loop {
            let block = match self.blocks.next() {
                Ok(Some(block)) => block,
                Ok(None) => return Ok(None),
                Err(SourceError::Malformed(_)) if self.judge.skip => {
                    self.blocks.skip_too_long()?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if !block.open {
                let (text, place) = (block.text, block.place);
                let count = self.judge.rows(text);
                let line = |row: u64| (seen..seen + count).contains(&row).then(|| row - seen);
                if let Some(row) = line(rows.start) {
                    first = Some(before + place.lines + self.judge.lines_before(text, row) + 1);
                }
                if let (Some(first), Some(row)) = (first, line(rows.end.saturating_sub(1))) {
                    let last = before + place.lines + self.judge.lines_before(text, row) + 1;
                    return Ok(Some((first, last)));
                }
                seen += count;
                continue;
            }
            self.blocks.reopen_after_line();
        }
    }

    /// Decodes the next block into `ready`; false at the end of the shard.
    fn read_block(&mut self) -> Result<bool, SourceError> {
        let block = match self.blocks.next() {
            Ok(Some(block)) => block,
            Ok(None) => return Ok(false),
            // The blocks find one kind of malformed record by themselves: those that are too long.
            Err(SourceError::Malformed(_)) if self.judge.skip => {
                self.judge.skipped += 1;
                self.blocks.skip_too_long()?;
                return Ok(true);
            }
            Err(SourceError::Malformed(malformed)) => {
                return Err(absolute(*malformed, &self.file, self.start));
            }
            Err(e) => return Err(e),
        };
        let place = block.place;
        let judged = if block.open {
            self.judge.open_quote(block.text).map(|()| vec![])
        } else {
            self.judge.block(block.text)
        };
        match judged {
            Ok(batches) => self.ready.extend(batches),
            Err(found) => {
                let malformed = found.at(place, &self.file);
                return Err(absolute(malformed, &self.file, self.start));
            }
        }
        if block.open {
            debug_assert!(
                self.dialect.newlines,
                "a quote can be open only where it may hold newlines"
            );
            self.blocks.reopen_after_line();
        }
        Ok(true)
    }
}

impl ShardRows for TextShard {
    fn next(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            if !self.read_block()? {
                return Ok(None);
            }
        }
    }

    fn digest(&self) -> u128 {
        self.blocks.digest()
    }

    fn bytes_read(&self) -> u64 {
        self.blocks.offset().saturating_sub(self.start)
    }

    fn rows_skipped(&self) -> u64 {
        self.judge.skipped
    }

    fn values_ignored(&self) -> u64 {
        self.judge.values_ignored
    }
}

/// A fault in a block.
struct BlockFault {
    fault: RecordFault,
    /// Lines of the block that end before the fault.
    lines: u64,
}

impl BlockFault {
    fn new(fault: RecordFault, text: &[u8]) -> Self {
        let lines = count_line_ends(&text[..fault.at.min(text.len())]);
        Self { fault, lines }
    }

    fn at(self, place: BlockPlace, file: &SourceFile) -> Malformed {
        Malformed {
            file: file.display.clone(),
            offset: place.offset + self.fault.at as u64,
            record_offset: place.offset + self.fault.record as u64,
            line: place.lines + self.lines + 1,
            column: self.fault.column,
            message: self.fault.message,
        }
    }
}

/// Decides what is malformed.
struct Judge {
    decoder: Box<dyn RecordDecoder>,
    dialect: Dialect,
    skip: bool,
    skipped: u64,
    /// Values of members that are no columns.
    values_ignored: u64,
}

impl Judge {
    /// The batches of a block; the first malformed record unless they are skipped.
    fn block(&mut self, text: &[u8]) -> Result<Vec<RecordBatch>, BlockFault> {
        let refusal = match self.decode(text) {
            Ok(batches) => return Ok(batches),
            Err(refusal) => refusal,
        };
        let mut ends = vec![0];
        Scanner::new(self.dialect).scan_all(text, |end| ends.push(end));
        debug_assert_eq!(ends.last(), Some(&text.len()), "a block ends with a record");
        let mut batches = Vec::new();
        self.refused(text, &ends, &refusal, &mut batches)?;
        Ok(joined(&batches))
    }

    fn decode(&mut self, text: &[u8]) -> Result<Vec<RecordBatch>, Refusal> {
        let decoded = self.decoder.decode(text)?;
        self.values_ignored += decoded.values_ignored;
        Ok(decoded.batches)
    }

    /// How many rows some records give.
    fn rows(&mut self, text: &[u8]) -> u64 {
        let batches = self.block(text).unwrap_or_default();
        batches.iter().map(|batch| batch.num_rows() as u64).sum()
    }

    /// Lines of a block before the record that gives a row.
    fn lines_before(&mut self, text: &[u8], row: u64) -> u64 {
        let mut ends = vec![0];
        Scanner::new(self.dialect).scan(text, |end| ends.push(end));
        // The first end up to which there are more rows.
        let after = ends.partition_point(|end| self.rows(&text[..*end]) <= row);
        let begin = after.checked_sub(1).map_or(0, |before| ends[before]);
        count_line_ends(&text[..begin])
    }

    /// Decodes the records between `ends`, which did not decode together.
    fn refused(
        &mut self,
        text: &[u8],
        ends: &[usize],
        refusal: &Refusal,
        batches: &mut Vec<RecordBatch>,
    ) -> Result<(), BlockFault> {
        debug_assert!(ends.len() >= 2, "no record was refused");
        if ends.len() == 2 {
            if self.skip {
                self.skipped += 1;
                return Ok(());
            }
            let mut fault = self.decoder.fault(&text[ends[0]..ends[1]], refusal);
            fault.at += ends[0];
            fault.record += ends[0];
            return Err(BlockFault::new(fault, text));
        }
        let middle = ends.len() / 2;
        for half in [&ends[..=middle], &ends[middle..]] {
            match self.decode(&text[half[0]..half[half.len() - 1]]) {
                Ok(decoded) => batches.extend(decoded),
                Err(refusal) => self.refused(text, half, &refusal, batches)?,
            }
        }
        Ok(())
    }

    /// Judges a record whose quote is open at the end of the text.
    fn open_quote(&mut self, text: &[u8]) -> Result<(), BlockFault> {
        if self.skip {
            self.skipped += 1;
            return Ok(());
        }
        let refusal = Refusal::new("a quote that is not closed");
        Err(BlockFault::new(self.decoder.fault(text, &refusal), text))
    }
}

/// Joins the small batches that halving leaves into batches of full size.
fn joined(batches: &[RecordBatch]) -> Vec<RecordBatch> {
    let mut joined = Vec::new();
    let mut rest = batches;
    while let Some(first) = rest.first() {
        let mut rows = 0;
        let fits = |batch: &&RecordBatch| {
            rows += batch.num_rows();
            rows <= BATCH_ROWS_MAX
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (group, after) = rest.split_at(count);
        match concat_batches(&first.schema(), group) {
            Ok(batch) => joined.push(batch),
            Err(_) => joined.extend_from_slice(group),
        }
        rest = after;
    }
    joined
}

/// Adds the lines before `start` to a line that was counted from there. They are counted only now: a shard
/// without a malformed record never needs them.
fn absolute(mut malformed: Malformed, file: &SourceFile, start: u64) -> SourceError {
    match lines_before(file, start) {
        Ok(lines) => {
            malformed.line += lines;
            SourceError::Malformed(Box::new(malformed))
        }
        Err(e) => e,
    }
}

fn lines_before(file: &SourceFile, start: u64) -> Result<u64, SourceError> {
    if start == 0 || Codec::of(&file.path) != Codec::Plain {
        return Ok(0);
    }
    let failed = |source| io_error(file, "cannot be read", source);
    let mut text = reach::open(file).map_err(failed)?.take(start);
    let mut buffer = vec![0; 64 * 1024];
    let mut lines = 0;
    let mut at_cr = false;
    loop {
        let read = match text.read(&mut buffer).map_err(failed)? {
            0 => return Ok(lines),
            read => &buffer[..read],
        };
        // A `\r\n` of which each piece has half was counted with the first.
        lines += count_line_ends(read) - u64::from(at_cr && read.starts_with(b"\n"));
        at_cr = read.ends_with(b"\r");
    }
}
