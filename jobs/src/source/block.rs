//! Whole records in blocks of bounded size.

use xxhash_rust::xxh3::Xxh3;

use super::dialect::Dialect;
use super::error::{Malformed, SourceError};
use super::fields::split;
use super::input::TextInput;
use super::limits::{BLOCK_LEN, RECORD_LEN_MAX};
use super::scan::{Scanner, count_line_ends, line_end};

/// The UTF-8 byte order mark that some programs begin a file with.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

/// Where a block lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockPlace {
    /// Byte of the text.
    pub(super) offset: u64,
    /// Ends of lines before it, counted from where reading began.
    pub(super) lines: u64,
}

/// Some whole records.
#[derive(Debug)]
pub(super) struct Block<'b> {
    /// Ends with the end of a line; a newline is added where the text has none at its end.
    pub(super) text: &'b [u8],
    pub(super) place: BlockPlace,
    /// Whether this is one record whose quote is still open at the end of the text.
    pub(super) open: bool,
}

/// Reads a text block by block; holds one block at a time.
pub(super) struct Blocks {
    input: TextInput,
    file: String,
    dialect: Dialect,
    scanner: Scanner,
    hash: Xxh3,
    /// Room for text, kept from block to block.
    room: Vec<u8>,
    /// Bytes of the room that are text, from `place` on.
    held: usize,
    place: BlockPlace,
    /// Bytes of the buffer that the last block gave out.
    given: usize,
    at_end: bool,
}

impl Blocks {
    /// Begins at the start of a record. `file` is what messages show.
    pub(super) fn new(input: TextInput, file: String, dialect: Dialect) -> Self {
        Self {
            place: BlockPlace {
                offset: input.offset(),
                lines: 0,
            },
            input,
            file,
            dialect,
            scanner: Scanner::new(dialect),
            hash: Xxh3::new(),
            room: Vec::new(),
            held: 0,
            given: 0,
            at_end: false,
        }
    }

    /// XXH3-128 of the bytes read so far.
    pub(super) fn digest(&self) -> u128 {
        self.hash.digest128()
    }

    fn text(&self) -> &[u8] {
        &self.room[..self.held]
    }

    /// Bytes of text read so far, counted from the start of the file.
    pub(super) fn offset(&self) -> u64 {
        self.input.offset()
    }

    /// Passes over a byte order mark and, where the dialect has one, the header. Only at byte 0.
    pub(super) fn skip_head(&mut self) -> Result<(), SourceError> {
        debug_assert_eq!(self.place.offset, 0, "the head is at the start of a file");
        while self.held < BOM.len() && self.fill(BOM.len())? {}
        if self.text().starts_with(BOM) {
            self.given = BOM.len();
        }
        if !self.dialect.header {
            return Ok(());
        }
        let dialect = self.dialect;
        let Some(block) = self.next()? else {
            return Ok(());
        };
        // A header whose quote is open is left for the first block, which says so.
        let end = if block.open {
            0
        } else {
            split(block.text, dialect).1
        };
        self.given = end;
        Ok(())
    }

    /// Where the head that was passed over ends.
    pub(super) fn head_end(&self) -> u64 {
        self.place.offset + self.given as u64
    }

    /// The next block; `None` at the end of the text.
    pub(super) fn next(&mut self) -> Result<Option<Block<'_>>, SourceError> {
        self.drop_given();
        let mut last_end = self.rescan();
        let mut wanted = BLOCK_LEN;
        while !self.at_end && (last_end.is_none() || self.held < BLOCK_LEN) {
            let scanned = self.held;
            if !self.fill(wanted)? {
                break;
            }
            let end = self.scanner.last_end(&self.room[scanned..self.held]);
            last_end = end.map(|end| scanned + end).or(last_end);
            if last_end.is_none() && self.held > RECORD_LEN_MAX {
                // Nothing was given out: the record is still there to be skipped.
                return Err(self.too_long());
            }
            wanted = wanted.max((self.held * 2).min(RECORD_LEN_MAX + 1));
        }
        Ok(self.give(last_end))
    }

    fn give(&mut self, last_end: Option<usize>) -> Option<Block<'_>> {
        let rest = last_end.unwrap_or(0) < self.held;
        let open = self.scanner.is_open();
        let mut end = last_end;
        if self.at_end && rest && !open {
            // The last line of the text has no newline, or a `\r` alone: it gets one, so that every block has.
            self.room.truncate(self.held);
            self.room.push(b'\n');
            self.held += 1;
            end = Some(self.held);
        }
        let open = end.is_none() && open;
        self.given = if open { self.held } else { end.unwrap_or(0) };
        let text = &self.room[..self.given];
        (!text.is_empty()).then_some(Block {
            text,
            place: self.place,
            open,
        })
    }

    /// After a block that was open: leaves out its first line and goes on after it, as if the quote had
    /// not been there.
    pub(super) fn reopen_after_line(&mut self) {
        self.given = line_end(self.text()).unwrap_or(self.held);
    }

    /// After a record that is too long: leaves it out and goes on with a line after it. Where a quote is
    /// open, that is the line after the record's first, as if the quote had not been there; else the next
    /// one that begins.
    pub(super) fn skip_too_long(&mut self) -> Result<(), SourceError> {
        let mut from = if self.scanner.is_open() { 0 } else { self.held };
        loop {
            if let Some(end) = line_end(&self.text()[from..]) {
                self.given = from + end;
                return Ok(());
            }
            // What follows tells whether a `\r` at the end is a whole end of a line.
            let kept = usize::from(self.text().ends_with(b"\r"));
            self.given = self.held - kept;
            self.drop_given();
            from = 0;
            if !self.fill(BLOCK_LEN)? {
                return Ok(());
            }
        }
    }

    /// Forgets what was given out.
    fn drop_given(&mut self) {
        let given = &self.room[..self.given];
        self.place.lines += count_line_ends(given);
        self.place.offset += self.given as u64;
        self.room.copy_within(self.given..self.held, 0);
        self.held -= self.given;
        self.given = 0;
    }

    /// Scans what is left in the buffer from the start of a record.
    fn rescan(&mut self) -> Option<usize> {
        self.scanner = Scanner::new(self.dialect);
        self.scanner.last_end(&self.room[..self.held])
    }

    /// Reads until the buffer has `wanted` bytes or the text ends; false if nothing more came.
    fn fill(&mut self, wanted: usize) -> Result<bool, SourceError> {
        let before = self.held;
        let wanted = wanted.max(before + 1);
        if self.room.len() < wanted {
            self.room.resize(wanted, 0);
        }
        while self.held < wanted && !self.at_end {
            match self.input.read(&mut self.room[self.held..wanted])? {
                0 => self.at_end = true,
                read => self.held += read,
            }
        }
        self.hash.update(&self.room[before..self.held]);
        Ok(self.held > before)
    }

    fn too_long(&self) -> SourceError {
        let (fields, _) = split(self.text(), self.dialect);
        let open = fields
            .last()
            .filter(|field| field.open)
            .map(|field| field.start as u64);
        let within = usize::try_from(open.unwrap_or(0)).unwrap_or(0);
        let message = match open {
            Some(_) => format!("a quote that is not closed within {RECORD_LEN_MAX} bytes"),
            None => format!("no end of record within {RECORD_LEN_MAX} bytes"),
        };
        let lines = count_line_ends(&self.room[..within]);
        SourceError::Malformed(Box::new(Malformed {
            file: self.file.clone(),
            offset: self.place.offset + open.unwrap_or(0),
            record_offset: self.place.offset,
            line: self.place.lines + lines + 1,
            column: None,
            message,
        }))
    }
}
