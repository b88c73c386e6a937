//! Where the shards of a file begin.
//!
//! A file of `n` target lengths is cut into `n` even parts, and each cut moved on to the next end of a record.
//! The result depends on nothing but the file's bytes and the target, so every process cuts alike.

use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

use eciton_proto::v1::SourceFile;

use super::dialect::Dialect;
use super::error::SourceError;
use super::handle::FileHandle;
use super::input::{Codec, TextInput, io_error, open};
use super::scan::{Scanner, line_end};

/// Bytes looked at at once for the end of a record.
const STEP_LEN: usize = 16 * 1024;
/// Bytes read at once where every byte must be looked at.
const SCAN_LEN: usize = 256 * 1024;

/// The shards of a text file as ranges of bytes, in order; together they are `start..len` exactly.
pub(super) fn cut_text(
    file: &SourceFile,
    start: u64,
    shard_size: u64,
    dialect: Dialect,
) -> Result<Vec<Range<u64>>, SourceError> {
    if Codec::of(&file.path) != Codec::Plain {
        // Nobody knows where the text can be entered but at its start, nor how long it is.
        return Ok(std::iter::once(0..file.len).collect());
    }
    let text = start..file.len.max(start);
    let parts = (text.end - text.start).div_ceil(shard_size.max(1));
    let cuts = cuts(file, &text, parts, dialect)?;
    Ok(between(&text, &cuts)
        .filter(|range| !range.is_empty())
        .collect())
}

/// Part of a text file, which begins and ends with a record, as exactly `parts` ranges of whole records; the
/// last ones are empty if there are too few.
pub(super) fn cut_evenly(
    file: &SourceFile,
    text: Range<u64>,
    parts: usize,
    dialect: Dialect,
) -> Result<Vec<Range<u64>>, SourceError> {
    if parts == 0 {
        return Ok(vec![]);
    }
    let mut cuts = cuts(file, &text, parts as u64, dialect)?;
    debug_assert!(cuts.len() < parts, "{} cuts for {parts} parts", cuts.len());
    cuts.resize(parts - 1, text.end);
    Ok(between(&text, &cuts).collect())
}

fn between(text: &Range<u64>, cuts: &[u64]) -> impl Iterator<Item = Range<u64>> {
    let starts = std::iter::once(text.start).chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain(std::iter::once(text.end));
    starts.zip(ends).map(|(start, end)| start..end)
}

/// Ends of records inside `text` near its even division into `parts`.
fn cuts(
    file: &SourceFile,
    text: &Range<u64>,
    parts: u64,
    dialect: Dialect,
) -> Result<Vec<u64>, SourceError> {
    let len = text.end - text.start;
    let nominal = (1..parts).map(|part| {
        let offset = u128::from(len) * u128::from(part) / u128::from(parts);
        // Smaller than `len`, which is a u64.
        text.start + u64::try_from(offset).unwrap_or(len)
    });
    match parts {
        0 | 1 => Ok(vec![]),
        _ if dialect.newlines => cuts_by_scan(file, text, dialect, nominal),
        _ => cuts_by_seek(file, text, nominal),
    }
}

/// Every end of a line ends a record: look for the next one after each nominal cut and read nothing else.
fn cuts_by_seek(
    file: &SourceFile,
    text: &Range<u64>,
    nominal: impl Iterator<Item = u64>,
) -> Result<Vec<u64>, SourceError> {
    let mut handle = open(file)?;
    let mut cuts: Vec<u64> = Vec::new();
    for at in nominal {
        if at <= cuts.last().copied().unwrap_or(text.start) {
            continue;
        }
        // A cut just after an end of a line is right where it is, so the search begins one byte before it.
        match next_line(file, &mut handle, at - 1)? {
            Some(cut) if cut < text.end => cuts.push(cut),
            _ => break,
        }
    }
    Ok(cuts)
}

/// The byte after the first end of a line at or after `from`.
fn next_line(
    file: &SourceFile,
    handle: &mut FileHandle,
    from: u64,
) -> Result<Option<u64>, SourceError> {
    let failed = |source| io_error(file, "cannot be read", source);
    handle.seek(SeekFrom::Start(from)).map_err(failed)?;
    let mut buffer = [0; STEP_LEN];
    let mut offset = from;
    // A `\r` at the end of what was read, whose line has ended if no `\n` follows, is kept for the next look.
    let mut kept = 0;
    loop {
        let read = handle.read(&mut buffer[kept..]).map_err(failed)?;
        if read == 0 {
            return Ok(None);
        }
        let text = &buffer[..kept + read];
        if let Some(end) = line_end(text) {
            return Ok(Some(offset + end as u64));
        }
        let after = usize::from(text.ends_with(b"\r"));
        offset += (text.len() - after) as u64;
        kept = after;
        buffer[0] = b'\r';
    }
}

/// A newline may be part of a value: only reading from the start tells.
fn cuts_by_scan(
    file: &SourceFile,
    text: &Range<u64>,
    dialect: Dialect,
    nominal: impl Iterator<Item = u64>,
) -> Result<Vec<u64>, SourceError> {
    let mut input = TextInput::open_range(file, text.start, text.end - text.start)?;
    let mut scanner = Scanner::new(dialect);
    let mut nominal = nominal.peekable();
    let mut cuts = Vec::new();
    let mut buffer = vec![0; SCAN_LEN];
    loop {
        let offset = input.offset();
        let read = input.read(&mut buffer)?;
        if read == 0 {
            return Ok(cuts);
        }
        scanner.scan(&buffer[..read], |end| {
            let cut = offset + end as u64;
            let mut reached = false;
            while nominal.next_if(|at| *at <= cut).is_some() {
                reached = true;
            }
            if reached && cut < text.end {
                cuts.push(cut);
            }
        });
    }
}

/// Runs of groups of about `shard_size` bytes as stored, at least one group each.
pub(super) fn cut_groups(groups: &[u64], shard_size: u64) -> Vec<Range<u64>> {
    let mut shards = Vec::new();
    let mut start = 0;
    let mut bytes: u64 = 0;
    for (index, len) in (0_u64..).zip(groups) {
        if index > start && bytes.saturating_add(*len) > shard_size {
            shards.push(start..index);
            start = index;
            bytes = 0;
        }
        bytes = bytes.saturating_add(*len);
    }
    if !groups.is_empty() {
        shards.push(start..groups.len() as u64);
    }
    shards
}
