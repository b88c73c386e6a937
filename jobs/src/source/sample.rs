//! The first records of a text file: its header, and what types are inferred from.

use eciton_proto::v1::SourceFile;

use super::block::BOM;
use super::dialect::Dialect;
use super::error::SourceError;
use super::input::TextInput;
use super::limits::{RECORD_LEN_MAX, SAMPLE_LEN_MAX};
use super::scan::Scanner;

/// Bytes first read of a file; more where that is not enough.
const READ_LEN: usize = 32 * 1024;

/// Bytes that tell an encoding without a mark.
const LOOKED_AT: usize = 64;

/// The start of a file.
pub(super) struct Sample {
    /// Whole records from `start` on. A record that never ends is among them as far as it was read.
    pub(super) text: Vec<u8>,
    /// The ends of the records in `text`.
    pub(super) ends: Vec<usize>,
    /// Byte of the file where the text begins: after a byte order mark.
    pub(super) start: u64,
}

/// Reads at least `records` records of a file, or all it has. Damage behind the first record is left for the
/// shard that it lies in: it must not keep the other shards from being read.
pub(super) fn sample(
    file: &SourceFile,
    dialect: Dialect,
    records: usize,
) -> Result<Sample, SourceError> {
    let mut input = TextInput::open(file)?;
    let mut text = Vec::new();
    let mut start = 0;
    let mut wanted = READ_LEN;
    let mut first = true;
    loop {
        let more = fill(&mut input, &mut text, wanted);
        if std::mem::take(&mut first)
            && let Some(found) = other_encoding(&text)
        {
            let file = file.display.clone();
            return Err(SourceError::Encoding { file, found });
        }
        if start == 0 && text.starts_with(BOM) {
            text.drain(..BOM.len());
            start = BOM.len() as u64;
        }
        let mut ends = Vec::new();
        let mut scanner = Scanner::new(dialect);
        scanner.scan(&text, |end| ends.push(end));
        let enough = ends.len() >= records || (!ends.is_empty() && text.len() >= SAMPLE_LEN_MAX);
        match more {
            Ok(true) if !enough && text.len() <= SAMPLE_LEN_MAX.max(RECORD_LEN_MAX) => wanted *= 2,
            Err(e) if ends.is_empty() => return Err(e),
            Ok(true) | Err(_) => {
                text.truncate(ends.last().copied().unwrap_or(text.len()));
                return Ok(finished(text, ends, start));
            }
            Ok(false) => return Ok(finished(text, ends, start)),
        }
    }
}

/// The encoding of a text that begins with its mark, or with letters of which every second or fourth byte is 0.
fn other_encoding(text: &[u8]) -> Option<&'static str> {
    let zeros = |at: usize| text.iter().take(LOOKED_AT).skip(at).step_by(2);
    let all_zero = |at: usize| zeros(at).count() > 1 && zeros(at).all(|byte| *byte == 0);
    let unmarked = || {
        wide(text).or(match (all_zero(0), all_zero(1)) {
            (true, false) => Some("UTF-16BE"),
            (false, true) => Some("UTF-16LE"),
            _ => None,
        })
    };
    match text {
        [0xff, 0xfe, 0, 0, ..] => Some("UTF-32LE"),
        [0, 0, 0xfe, 0xff, ..] => Some("UTF-32BE"),
        [0xff, 0xfe, ..] => Some("UTF-16LE"),
        [0xfe, 0xff, ..] => Some("UTF-16BE"),
        _ => unmarked(),
    }
}

/// The encoding of a text of units of two or four bytes that has no mark, told by its zeros: letters of other scripts than
/// Latin have none, but commas, digits and ends of lines have. A text of UTF-8 that has zeros for another reason has its
/// ends of lines without any beside them.
fn wide(text: &[u8]) -> Option<&'static str> {
    if memchr::memchr(0, text).is_none() || text.len() < 4 {
        return None;
    }
    let is_text = |unit: char| !unit.is_control() || matches!(unit, '\t' | '\r' | '\n');
    let fours = |of: fn([u8; 4]) -> u32| {
        let mut units = text.as_chunks::<4>().0.iter().map(|unit| of(*unit));
        units.all(|unit| char::from_u32(unit).is_some_and(is_text))
    };
    if fours(u32::from_le_bytes) {
        return Some("UTF-32LE");
    }
    if fours(u32::from_be_bytes) {
        return Some("UTF-32BE");
    }
    // How many units are ASCII, where it is such a text. The lower bytes of its units are every second one from `low` on.
    let twos = |of: fn([u8; 2]) -> u16, low: usize| {
        let units = text.as_chunks::<2>().0.iter().map(|unit| of(*unit));
        let units: Vec<u16> = units.collect();
        let is_end = |unit: &&u16| [u16::from(b'\n'), u16::from(b'\r')].contains(unit);
        let is_end_byte = |byte: &&u8| matches!(byte, b'\n' | b'\r');
        // A zero that only happens to be beside the end of a line makes none of most others.
        let ends = units.iter().filter(is_end).count();
        let end_bytes = text.iter().skip(low).step_by(2).filter(is_end_byte).count();
        let has_lines = text.iter().any(|byte| is_end_byte(&byte));
        if has_lines && 2 * ends <= end_bytes {
            return None;
        }
        let mut letters: Vec<_> = char::decode_utf16(units.iter().copied()).collect();
        // Half of it may be missing.
        letters.pop();
        let is_whole = letters.into_iter().all(|letter| letter.is_ok_and(is_text));
        is_whole.then(|| units.iter().filter(|unit| **unit < 0x80).count())
    };
    match (twos(u16::from_le_bytes, 0), twos(u16::from_be_bytes, 1)) {
        (little, big) if little > big => Some("UTF-16LE"),
        (little, big) if little < big => Some("UTF-16BE"),
        _ => None,
    }
}

fn finished(mut text: Vec<u8>, mut ends: Vec<usize>, start: u64) -> Sample {
    if ends.last().copied().unwrap_or(0) < text.len() {
        text.push(b'\n');
        ends.push(text.len());
    }
    Sample { text, ends, start }
}

/// Reads until `text` has `wanted` bytes; false at the end of the text.
fn fill(input: &mut TextInput, text: &mut Vec<u8>, wanted: usize) -> Result<bool, SourceError> {
    let mut filled = text.len();
    text.resize(wanted.max(filled), 0);
    while filled < text.len() {
        match input.read(&mut text[filled..]) {
            Ok(0) => {
                text.truncate(filled);
                return Ok(false);
            }
            Ok(read) => filled += read,
            Err(e) => {
                text.truncate(filled);
                return Err(e);
            }
        }
    }
    Ok(true)
}
