//! What is wrong with a malformed record, and where.
//!
//! Whether a record is malformed is for the decoders to say; here the one record that they refused is
//! looked at again, slowly, to name the place. Every judgement about a value asks the decoder again with
//! that column alone, so that the two cannot disagree.

use std::str::from_utf8;
use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow::error::ArrowError;

use super::csv::{CsvDecoder, CsvFormat};
use super::error::Column;
use super::fields::{Field, split};
use super::jsonl::{JsonDecoder, members};
use super::limits::SHOWN_LEN_MAX;
use crate::spec::type_name;

/// What is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// Byte of the text given.
    pub(super) at: usize,
    /// Byte of the text given where the record begins.
    pub(super) record: usize,
    pub(super) column: Option<Column>,
    pub(super) message: String,
}

/// Why the CSV decoder refused `text`, the text of one record (or of several that only `\r` divides).
pub(super) fn csv_fault(text: &[u8], format: &CsvFormat, refusal: &ArrowError) -> Fault {
    let mut start = 0;
    while start < text.len() {
        let (fields, end) = split(&text[start..], format.dialect);
        let record = fields.first().map_or(start, |field| start + field.start);
        if let Some((at, index, message)) =
            csv_record_fault(&text[start..start + end], &fields, format)
        {
            return Fault {
                at: start + at,
                record,
                column: Some(csv_column(index, format)),
                message,
            };
        }
        start += end;
    }
    Fault {
        at: 0,
        record: 0,
        column: None,
        message: refusal.to_string(),
    }
}

fn csv_column(index: usize, format: &CsvFormat) -> Column {
    let name = format
        .schema
        .fields()
        .get(index)
        .map(|field| field.name().clone());
    Column {
        number: index as u64 + 1,
        name,
    }
}

/// Place, index of the field, and message.
fn csv_record_fault(
    text: &[u8],
    fields: &[Field<'_>],
    format: &CsvFormat,
) -> Option<(usize, usize, String)> {
    let wanted = format.schema.fields().len();
    let newlines = format.dialect.newlines;
    let spans_lines = |field: &Field<'_>| !newlines && field.raw.contains(&b'\n');
    if let Some(index) = fields
        .iter()
        .position(|field| field.open || spans_lines(field))
    {
        let hint = if newlines {
            ""
        } else {
            "; values with newlines need `newlines_in_values = true`"
        };
        let message = format!("expected the quote that begins this value to be closed{hint}");
        return Some((fields[index].start, index, message));
    }
    if !fields.is_empty() && fields.len() != wanted {
        let message = format!("expected {wanted} fields, found {}", fields.len());
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
    let index = format
        .columns
        .iter()
        .copied()
        .find(|index| !csv_value_parses(text, *index, format))?;
    let field = fields.get(index)?;
    let expected = type_name(format.schema.field(index).data_type());
    let found = show(&field.value(format.dialect));
    Some((
        field.start,
        index,
        format!("expected {expected}, found `{found}`"),
    ))
}

fn csv_value_parses(text: &[u8], index: usize, format: &CsvFormat) -> bool {
    let mut text = text.to_vec();
    if !matches!(text.last(), Some(b'\n' | b'\r')) {
        text.push(b'\n');
    }
    let alone = CsvFormat {
        columns: vec![index],
        ..format.clone()
    };
    CsvDecoder::new(alone).decode(&text).is_ok()
}

/// Why the JSON decoder refused `line`.
pub(super) fn json_fault(line: &[u8], schema: &Arc<Schema>, refusal: &ArrowError) -> Fault {
    let record = line
        .iter()
        .take_while(|byte| byte.is_ascii_whitespace())
        .count();
    let fault = |at: usize, name: Option<String>, message: String| Fault {
        at,
        record,
        column: Some(Column {
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
    for field in schema.fields() {
        let alone = Arc::new(Schema::new(vec![field.clone()]));
        if JsonDecoder::new(alone).decode(line).is_ok() {
            continue;
        }
        // Of a name that occurs twice the last one counts.
        let Some((_, value)) = members.iter().rfind(|(name, _)| name == field.name()) else {
            continue;
        };
        let at = (value.get().as_ptr() as usize).saturating_sub(line.as_ptr() as usize);
        let expected = type_name(field.data_type());
        let found = show(value.get().as_bytes());
        return fault(
            at,
            Some(field.name().clone()),
            format!("expected {expected}, found `{found}`"),
        );
    }
    fault(record, None, refusal.to_string())
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
