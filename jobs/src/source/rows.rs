//! Where rows of a shard stand in its file.
//!
//! Nobody counts lines while everything is well. After an error the shard is read once more to find them.

use std::ops::Range;

use eciton_proto::v1::Format;

use super::error::SourceError;
use super::parquet::rows_before;
use super::plan::{Shard, Source};
use super::read::open_text;

/// The place of some rows of a shard, counted from 0 among those that it gives, as the beginning of a message: file,
/// lines or rows counted from 1, and shard. `columns` are those that were read. Where the lines cannot be found, since
/// the file is another one by now, file and shard are told.
///
/// Blocks.
pub fn place_of_rows(source: &Source, shard: Shard, columns: &[usize], rows: Range<u64>) -> String {
    let number = shard.number;
    let file = match source.file(shard) {
        Ok(file) if !source.files().is_empty() => format!("`{}`: ", file.display),
        _ => String::new(),
    };
    match numbered(source, shard, columns, rows) {
        Ok(Some(place)) => format!("{file}{place} (shard {number})"),
        Ok(None) | Err(_) => format!("{file}shard {number}"),
    }
}

fn numbered(
    source: &Source,
    shard: Shard,
    columns: &[usize],
    rows: Range<u64>,
) -> Result<Option<String>, SourceError> {
    if rows.is_empty() {
        return Ok(None);
    }
    let last = rows.end - 1;
    Ok(match source.spec().format() {
        Format::Csv | Format::Tsv | Format::Jsonl => {
            let schema = source.schema().project(columns);
            let schema = schema.map_err(|error| SourceError::Plan(error.to_string()))?;
            let text = open_text(source, shard, columns, &schema.into())?;
            let lines = text.lines_of(&rows)?;
            lines.map(|(first, last)| from_to("line", first.into(), last.into()))
        }
        Format::Parquet => {
            let before = rows_before(source.file(shard)?, shard.start)?;
            let row = |row: u64| i128::from(before) + i128::from(row) + 1;
            Some(from_to("row", row(rows.start), row(last)))
        }
        Format::Range => {
            let first = i128::from(source.spec().from) + i128::from(shard.start);
            let value = |row: u64| first + i128::from(row);
            Some(from_to("value", value(rows.start), value(last)))
        }
        Format::Unspecified | Format::Store => None,
    })
}

fn from_to(what: &str, first: i128, last: i128) -> String {
    match first == last {
        true => format!("{what} {first}"),
        false => format!("{what}s {first} to {last}"),
    }
}
