//! The first record of a CSV file, which tells its columns.

use arrow::datatypes::Schema;
use eciton_proto::v1::SourceFile;

use super::dialect::Dialect;
use super::error::SourceError;
use super::fields::split;
use super::sample::{Sample, sample};

/// Byte where the records of a plain text file begin.
///
/// # Errors
/// [`SourceError::Changed`] if its header names other columns than `schema`.
pub(super) fn text_start(
    file: &SourceFile,
    dialect: Dialect,
    schema: &Schema,
) -> Result<u64, SourceError> {
    let sample = sample(file, dialect, 1)?;
    if !dialect.header {
        return Ok(sample.start);
    }
    let Some((names, end)) = header(file, &sample, dialect)? else {
        return Ok(file.len);
    };
    let expected = schema.fields().iter().map(|field| field.name());
    if names.iter().eq(expected) {
        return Ok(sample.start + end as u64);
    }
    Err(SourceError::Changed {
        file: file.display.clone(),
        expected: "the header that was recorded".to_owned(),
        found: format!("`{}`", names.join("`, `")),
    })
}

/// The names of the columns and where the record that told them ends; `None` for an empty file.
pub(super) fn header(
    file: &SourceFile,
    sample: &Sample,
    dialect: Dialect,
) -> Result<Option<(Vec<String>, usize)>, SourceError> {
    let wrong = |message: String| SourceError::Columns(format!("`{}`: {message}", file.display));
    let (fields, end) = split(&sample.text, dialect);
    if fields.is_empty() {
        return Ok(None);
    }
    let mut broken = fields.iter();
    if let Some(field) = broken.find(|field| field.open || !field.is_in_line(dialect)) {
        let byte = sample.start + field.start as u64;
        return Err(wrong(format!(
            "byte {byte}: a quote in the first record is not closed in its line"
        )));
    }
    let mut names = Vec::with_capacity(fields.len());
    for (number, field) in (1..).zip(&fields) {
        if let Some(at) = field.stray(dialect) {
            let byte = sample.start + (field.start + at) as u64;
            return Err(wrong(format!(
                "byte {byte}: expected the end of the field after its closing quote"
            )));
        }
        let value = field.value(dialect);
        let Ok(name) = std::str::from_utf8(&value) else {
            return Err(wrong("expected UTF-8 in the first record".to_owned()));
        };
        // A column without a name, such as the row numbers some programs write first, is known by its number.
        let name = if !dialect.header || name.is_empty() {
            format!("column_{number}")
        } else {
            name.to_owned()
        };
        names.push(name);
    }
    if let Some(twice) = names
        .iter()
        .enumerate()
        .find(|(at, name)| names[..*at].contains(name))
    {
        return Err(wrong(format!(
            "the header names column `{}` twice",
            twice.1
        )));
    }
    Ok(Some((names, end)))
}
