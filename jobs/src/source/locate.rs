//! What is wrong with a malformed record, and where.
//!
//! Whether a record is malformed is for the decoders to say; here the one record that they refused is
//! looked at again, slowly, to name the place. Every judgement about a value asks the column again, as the decoder
//! does, so that the two cannot disagree.

use std::collections::HashSet;
use std::str::from_utf8;

use super::array::{JsonCells, OneField, column};
use super::csv::CsvFormat;
use super::error::{ColumnPosition, Refusal};
use super::fields::{Field, split};
use super::infer::Shape;
use super::jsonl::{JsonFormat, NamedValue, members};
use super::limits::SHOWN_LEN_MAX;
use super::reading::Reading;

/// What is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecordFault {
    /// Byte of the text given.
    pub(super) at: usize,
    /// Byte of the text given where the record begins.
    pub(super) record: usize,
    pub(super) column: Option<ColumnPosition>,
    pub(super) message: String,
}

/// Why the CSV decoder refused `text`, the text of one record, perhaps with empty lines before it.
pub(super) fn csv_fault(text: &[u8], format: &CsvFormat, refusal: &Refusal) -> RecordFault {
    let (fields, _) = split(text, format.dialect);
    let record = fields.first().map_or(0, |field| field.start);
    match csv_record_fault(text, &fields, format) {
        Some((at, index, message)) => RecordFault {
            at,
            record,
            column: Some(csv_column(index, format)),
            message,
        },
        None => RecordFault {
            at: record,
            record,
            column: None,
            message: refusal.to_string(),
        },
    }
}

fn csv_column(index: usize, format: &CsvFormat) -> ColumnPosition {
    let reading = format.readings.get(index);
    ColumnPosition {
        number: index as u64 + 1,
        name: reading.map(|reading| reading.name.clone()),
    }
}

/// Place, index of the field, and message.
fn csv_record_fault(
    text: &[u8],
    fields: &[Field<'_>],
    format: &CsvFormat,
) -> Option<(usize, usize, String)> {
    if let Some(found) = quote_fault(text, fields, format) {
        return Some(found);
    }
    let wanted = format.readings.len();
    if !fields.is_empty() && fields.len() != wanted {
        let plural = if wanted == 1 { "" } else { "s" };
        let message = format!("expected {wanted} field{plural}, found {}", fields.len());
        let at = match fields.get(wanted) {
            Some(extra) => extra.start,
            None => fields.last().map_or(0, |last| last.start + last.raw.len()),
        };
        return Some((at, fields.len().min(wanted), message));
    }
    if let Some((index, at)) = fields.iter().enumerate().find_map(|(index, field)| {
        let error = from_utf8(field.raw).err()?;
        Some((index, field.start + error.valid_up_to()))
    }) {
        return Some((
            at,
            index,
            format!("expected UTF-8, found byte 0x{:02x}", text[at]),
        ));
    }
    format.columns.iter().copied().find_map(|index| {
        let reading = format.readings.get(index)?;
        // An empty line is an empty field.
        let (at, value) = match fields.get(index) {
            Some(field) => (field.start, field.value(format.dialect).into_owned()),
            None => (0, Vec::new()),
        };
        let value = from_utf8(&value).ok()?;
        let is_null = format.nulls.iter().any(|null| null == value);
        if is_null || column(reading, &OneField(value)).is_some() {
            return None;
        }
        let shape = Shape::of_text(value);
        Some((at, index, wrong_value(reading, value, shape)))
    })
}

/// A quote that is not closed, or not where it should be.
fn quote_fault(
    text: &[u8],
    fields: &[Field<'_>],
    format: &CsvFormat,
) -> Option<(usize, usize, String)> {
    let dialect = format.dialect;
    let broken = |field: &Field<'_>| field.open || !field.is_in_line(dialect);
    if let Some(index) = fields.iter().position(broken) {
        let hint = if dialect.newlines {
            ""
        } else {
            "; values with newlines need `newlines_in_values = true`"
        };
        let message = format!("expected the quote that begins this value to be closed{hint}");
        return Some((fields[index].start, index, message));
    }
    let mut indexed = fields.iter().enumerate();
    indexed.find_map(|(index, field)| {
        let at = field.start + field.stray(dialect)?;
        let found = show(&text[at..field.start + field.raw.len()]);
        let message =
            format!("expected the end of the field after its closing quote, found `{found}`");
        Some((at, index, message))
    })
}

/// A value that its column cannot hold.
fn wrong_value(reading: &Reading, value: &str, shape: Shape) -> String {
    let (expected, found) = (reading.shown(), show(value.as_bytes()));
    let remedy = reading.remedy(shape);
    format!("expected {expected}, found `{found}`{remedy}")
}

/// Why the JSON decoder refused `line`.
pub(super) fn json_fault(line: &[u8], format: &JsonFormat, refusal: &Refusal) -> RecordFault {
    let record = line
        .iter()
        .take_while(|byte| byte.is_ascii_whitespace())
        .count();
    let fault = |at: usize, name: Option<String>, message: String| RecordFault {
        at,
        record,
        column: Some(ColumnPosition {
            number: at as u64 + 1,
            name,
        }),
        message,
    };
    if let Err(error) = from_utf8(line) {
        let at = error.valid_up_to();
        return fault(
            at,
            None,
            format!("expected UTF-8, found byte 0x{:02x}", line[at]),
        );
    }
    let members = match members(line) {
        Ok(members) => members,
        Err(error) => {
            let at = error.column().saturating_sub(1).min(line.len());
            let message = error.to_string();
            let place = format!(" at line {} column {}", error.line(), error.column());
            let message = message.strip_suffix(&place).unwrap_or(&message);
            return fault(
                at,
                None,
                format!("expected one JSON object a line: {message}"),
            );
        }
    };
    let found = new_member(&members, format)
        .or_else(|| member_twice(&members, format))
        .or_else(|| wrong_member(&members, format));
    match found {
        Some((value, name, message)) => {
            let at = (value.as_ptr() as usize).saturating_sub(line.as_ptr() as usize);
            fault(at, Some(name), message)
        }
        None => fault(record, None, refusal.to_string()),
    }
}

/// A value, its name, and what is wrong.
type Wrong<'t> = (&'t str, String, String);

fn new_member<'t>(members: &[NamedValue<'t>], format: &JsonFormat) -> Option<Wrong<'t>> {
    let is_new = |(name, _): &&NamedValue<'t>| !format.names.has(name);
    let (name, value) = members.iter().find(is_new).filter(|_| format.refuses_new)?;
    let message = format!(
        "expected no other members than those of the first rows, found `{}`; declare it in \
         [source.schema], or leave such members out with `on_new_columns = \"ignore\"`",
        show(name.as_bytes())
    );
    Some((value.get(), name.to_string(), message))
}

fn member_twice<'t>(members: &[NamedValue<'t>], format: &JsonFormat) -> Option<Wrong<'t>> {
    let mut seen = HashSet::new();
    let is_wanted = |name: &str| format.readings.iter().any(|reading| reading.name == name);
    let mut wanted = members.iter().filter(|(name, _)| is_wanted(name));
    let (name, value) = wanted.find(|(name, _)| !seen.insert(name.as_ref()))?;
    let message = "expected a member once in an object, found it twice".to_owned();
    Some((value.get(), name.to_string(), message))
}

fn wrong_member<'t>(members: &[NamedValue<'t>], format: &JsonFormat) -> Option<Wrong<'t>> {
    format.readings.iter().find_map(|reading| {
        let (name, value) = members.iter().find(|(name, _)| *name == reading.name)?;
        let value: &'t str = value.get();
        if column(reading, &JsonCells(&[Some(value)])).is_some() {
            return None;
        }
        let message = wrong_value(reading, value, Shape::of_json(value));
        Some((value, name.to_string(), message))
    })
}

/// A value for a message: on one line, and not too long.
fn show(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let mut shown: String = text
        .chars()
        .take(SHOWN_LEN_MAX)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(SHOWN_LEN_MAX).is_some() {
        shown.push_str("...");
    }
    shown
}
