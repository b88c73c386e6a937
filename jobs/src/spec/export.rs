//! The section `[export]`: files in a folder that take the results.

use eciton_proto::v1::{ExportFormat, ExportSpec};

use super::error::SpecError;
use super::limits::PARTITION_COLUMNS_MAX;
use super::names::{check_column, suggest};
use super::section::Section;

/// Keys of the section.
pub(super) const KEYS: [&str; 3] = ["to", "format", "partition_by"];

/// The formats that can be written, by the names of `export.format`.
const FORMATS: [(&str, ExportFormat); 2] = [
    ("parquet", ExportFormat::Parquet),
    ("csv", ExportFormat::Csv),
];

/// Reads the section.
///
/// # Errors
/// [`SpecError`] at the key to blame.
pub(super) fn read(section: &Section<'_>) -> Result<ExportSpec, SpecError> {
    let to = section.required_string("to", "a string, the folder that takes the files")?;
    let to = to.checked(|to| check_folder(to))?;
    let expected = "\"parquet\" or \"csv\"";
    let format = match section.string("format", expected)? {
        None => ExportFormat::Parquet,
        Some(entry) => {
            let names = FORMATS.map(|(name, _)| name);
            let hint = suggest(&entry.value, names);
            let found = FORMATS.iter().find(|(name, _)| *name == entry.value);
            let found = found.map(|(_, format)| *format);
            found.ok_or_else(|| {
                let found = entry.value.escape_debug();
                entry.error(format!("expected {expected}, found `{found}`{hint}"))
            })?
        }
    };
    Ok(ExportSpec {
        to,
        format: format.into(),
        partition_by: read_partitions(section)?,
    })
}

fn check_folder(to: &str) -> Result<(), String> {
    if let Some((scheme, _)) = to.split_once("://") {
        return Err(format!(
            "expected a folder of a file system that all workers share, found an address of `{scheme}`: an object store \
             cannot rename, so that files would be seen before they are committed; `eciton export` writes a store there"
        ));
    }
    match to.is_empty() || to.contains('\0') {
        true => Err("expected the path of a folder, found an empty string".to_owned()),
        false => Ok(()),
    }
}

fn read_partitions(section: &Section<'_>) -> Result<Vec<String>, SpecError> {
    let expected = "an array of column names such as [\"year\"]";
    let Some(entries) = section.strings("partition_by", expected)? else {
        return Ok(Vec::new());
    };
    if entries.len() > PARTITION_COLUMNS_MAX {
        let message = format!(
            "expected at most {PARTITION_COLUMNS_MAX} columns, found {}",
            entries.len()
        );
        return Err(section.error("partition_by", message));
    }
    let mut columns: Vec<String> = Vec::with_capacity(entries.len());
    for entry in entries {
        if columns.contains(&entry.value) {
            return Err(entry.error(format!("column `{}` is named twice", entry.value)));
        }
        columns.push(entry.checked(|name| check_column(name))?);
    }
    Ok(columns)
}
