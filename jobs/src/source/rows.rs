//! Where rows of a shard stand in its file.
//!
//! Nobody counts lines while everything is well. After an error the shard is read once more to find them.

use std::ops::Range;

use super::error::SourceError;
use super::format::Places;
use super::plan::{Shard, Source};

/// The place of some rows of a shard, counted from 0 among those that it gives, as the beginning of a message: file,
/// lines or rows counted from 1, and shard. `columns` are those that were read. Where the lines cannot be found, since
/// the file is another one by now, file and shard are told.
///
/// Blocks.
pub fn place_of_rows(source: &Source, shard: Shard, columns: &[usize], rows: Range<u64>) -> String {
    let number = shard.number;
    let file = match source.file(shard) {
        Ok(file) if !source.files().is_empty() => format!("`{}`: ", file.display),
        _ if source.is_stored() => format!("store `{}`: ", source.spec().store),
        _ => String::new(),
    };
    match numbered(source, shard, columns, &rows) {
        Ok(Some(place)) => format!("{file}{place} (shard {number})"),
        Ok(None) | Err(_) => format!("{file}shard {number}"),
    }
}

fn numbered(
    source: &Source,
    shard: Shard,
    columns: &[usize],
    rows: &Range<u64>,
) -> Result<Option<Places>, SourceError> {
    match rows.is_empty() {
        true => Ok(None),
        false if source.folders() > 0 => {
            let of_files = source.of_files();
            let count = of_files.schema().fields().len();
            let columns: Vec<usize> = columns.iter().copied().filter(|at| *at < count).collect();
            let format = source.format()?;
            format.place_of_rows(&of_files, shard, &columns, rows)
        }
        false => source.format()?.place_of_rows(source, shard, columns, rows),
    }
}
