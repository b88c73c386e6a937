//! Folders that are columns: `year=2013/month=1/x.parquet`, as Hive, Spark and others write them.
//!
//! With `[source] hive_partitions = true` each folder `name=value` between the directory of the job file and a file is a
//! column of all its rows. These columns follow those of the files. Their types are declared, or inferred from all values:
//! whole numbers without needless zeros, days, else text. They are recorded with the job, and values are read again from
//! the names of the recorded files, so that nothing else is recorded.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::util::display::FormatOptions;
use eciton_proto::v1::{SchemaField, SourceFile, SourceSpec};

use super::error::SourceError;
use super::format::ShardRows;
use super::plan::{Shard, Source};
use crate::spec::{JobFile, SpecError, parse_type, type_name};

/// The value that stands for NULL.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";
/// The key that findings are blamed on.
const KEY: &str = "source.hive_partitions";

/// One folder as a column: name and value, which is `None` for NULL.
type Pair = (String, Option<String>);

/// The columns that the folders of some files are.
pub(super) struct Partitions {
    fields: Vec<SchemaField>,
}

/// The columns in the name of a file, from the outermost folder on.
///
/// # Errors
/// What is wrong with a folder, for people.
fn pairs(display: &str) -> Result<Vec<Pair>, String> {
    let (folders, _) = display.rsplit_once('/').unwrap_or(("", display));
    let mut pairs: Vec<Pair> = Vec::new();
    for folder in folders.split('/') {
        let Some((name, value)) = folder.split_once('=') else {
            continue;
        };
        let (name, value) = (decoded(name)?, decoded(value)?);
        if name.is_empty() {
            return Err(format!("the folder `{folder}` has no name before its `=`"));
        }
        if pairs.iter().any(|(known, _)| *known == name) {
            return Err(format!("two folders are the column `{name}`"));
        }
        let value = (value != NULL).then(|| value.into_owned());
        pairs.push((name.into_owned(), value));
    }
    Ok(pairs)
}

/// A text without `%` and two digits for a byte, as Hive escapes what a file's name cannot have.
fn decoded(text: &str) -> Result<Cow<'_, str>, String> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (Some(high), Some(low)) if *byte == b'%' => {
                plain.push(u8::try_from(high * 16 + low).unwrap_or(b'%'));
                at += 3;
            }
            _ => {
                plain.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(plain)
        .map(Cow::Owned)
        .map_err(|_| format!("`{text}` is no UTF-8 when it is decoded"))
}

/// The type that all values have as text: see the module.
fn inferred<'a>(values: impl Iterator<Item = &'a str> + Clone) -> DataType {
    let is_whole = |text: &str| text.parse::<i64>().is_ok_and(|int| int.to_string() == text);
    let is_day = |text: &str| {
        let shape = text.len() == 10 && text.bytes().filter(|byte| *byte == b'-').count() == 2;
        shape && value_array(Some(text), &DataType::Date32).is_ok()
    };
    match values.clone().next() {
        Some(_) if values.clone().all(is_whole) => DataType::Int64,
        Some(_) if values.clone().all(is_day) => DataType::Date32,
        _ => DataType::Utf8,
    }
}

/// Whether a folder's name can be a value of a type: everything whose text has one reading.
fn is_partition_type(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Utf8
                | DataType::Boolean
                | DataType::Float64
                | DataType::Date32
                | DataType::Timestamp(..)
        )
}

/// A value as an array of one.
fn value_array(value: Option<&str>, data_type: &DataType) -> Result<ArrayRef, String> {
    let Some(value) = value else {
        return Ok(new_null_array(data_type, 1));
    };
    let options = CastOptions {
        safe: false,
        format_options: FormatOptions::default(),
    };
    let text = StringArray::from(vec![value]);
    let cast = cast_with_options(&text, data_type, &options);
    let misfit = || format!("expected {}, found `{value}`", type_name(data_type));
    cast.map_err(|_| misfit())
}

impl Partitions {
    /// The columns of the folders of some files; `None` for a job that does not ask for them.
    ///
    /// # Errors
    /// [`SpecError`] for files without such folders, or with different ones, and for a value that is not of its type.
    pub(super) fn of(
        job: &JobFile,
        spec: &SourceSpec,
        files: &[SourceFile],
    ) -> Result<Option<Partitions>, SpecError> {
        if !spec.hive_partitions {
            return Ok(None);
        }
        let named =
            |file: &SourceFile, why: String| job.error(KEY, format!("`{}`: {why}", file.display));
        let mut all: Vec<Vec<Pair>> = Vec::with_capacity(files.len());
        for file in files {
            let pairs = pairs(&file.display).map_err(|why| named(file, why))?;
            if pairs.is_empty() {
                let why = "expected a folder `name=value` in its path".to_owned();
                return Err(named(file, why));
            }
            let names = |pairs: &[Pair]| {
                let names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
                names.join(", ")
            };
            if let Some(first) = all.first().filter(|first| names(first) != names(&pairs)) {
                let why = format!(
                    "its folders are the columns {}, those of `{}` are {}",
                    names(&pairs),
                    files[0].display,
                    names(first)
                );
                return Err(named(file, why));
            }
            all.push(pairs);
        }
        let count = all.first().map_or(0, Vec::len);
        let declared: HashMap<&str, &SchemaField> = spec
            .schema
            .iter()
            .map(|field| (field.name.as_str(), field))
            .collect();
        let mut fields = Vec::with_capacity(count);
        for at in 0..count {
            let name = &all[0][at].0;
            let values = || all.iter().map(|pairs| pairs[at].1.as_deref());
            let data_type = match declared.get(name.as_str()) {
                None => inferred(values().flatten()),
                Some(field) => {
                    let data_type = parse_type(&field.r#type).filter(is_partition_type);
                    let is_plain = field.format.is_empty() && field.unit.is_empty();
                    data_type.filter(|_| is_plain).ok_or_else(|| {
                        job.error(
                            &format!("source.schema.{name}"),
                            "expected a type of folders without format and unit: an integer, float64, bool, string, \
                             date or timestamp",
                        )
                    })?
                }
            };
            for (file, value) in files.iter().zip(values()) {
                let made = value_array(value, &data_type);
                made.map_err(|why| named(file, format!("column `{name}`: {why}")))?;
            }
            fields.push(SchemaField {
                name: name.clone(),
                r#type: type_name(&data_type),
                nullable: true,
                ..SchemaField::default()
            });
        }
        Ok(Some(Partitions { fields }))
    }

    /// What the job file says about the files themselves.
    pub(super) fn of_files(&self, spec: &SourceSpec) -> SourceSpec {
        let mut spec = spec.clone();
        let is_folder = |field: &SchemaField| self.fields.iter().any(|own| own.name == field.name);
        spec.schema.retain(|field| !is_folder(field));
        spec
    }

    /// Adds the columns to those of the files.
    ///
    /// # Errors
    /// [`SpecError`] for a column that the files have, too.
    pub(super) fn extend(
        self,
        job: &JobFile,
        fields: &mut Vec<SchemaField>,
    ) -> Result<(), SpecError> {
        let is_known = |own: &&SchemaField| fields.iter().any(|field| field.name == own.name);
        if let Some(twice) = self.fields.iter().find(is_known) {
            let why = format!(
                "the column `{}` is in the files, too; rename one of them, or leave `hive_partitions` out to read that of \
                 the files",
                twice.name
            );
            return Err(job.error(KEY, why));
        }
        fields.extend(self.fields);
        Ok(())
    }
}

/// How many columns of a recorded source are folders: they are the last ones.
pub(super) fn count(spec: &SourceSpec, files: &[SourceFile]) -> usize {
    let first = files.first().filter(|_| spec.hive_partitions);
    first.map_or(0, |file| {
        pairs(&file.display).map_or(0, |pairs| pairs.len())
    })
}

/// Whether a column of a recorded source is a folder, by the name of one of its files.
pub(crate) fn is_folder(spec: &SourceSpec, file: &str, column: &str) -> bool {
    let is_it = |pairs: Vec<Pair>| pairs.iter().any(|(name, _)| name == column);
    spec.hive_partitions && pairs(file).is_ok_and(is_it)
}

/// Where the wanted columns of a source with folders come from.
pub(super) struct FolderColumns {
    /// Those of the file.
    pub(super) of_file: Vec<usize>,
    /// For each wanted column, its place among those of the file, or the value of its folder.
    origins: Vec<FolderOrigin>,
}

enum FolderOrigin {
    File(usize),
    Folder(ArrayRef),
}

impl FolderColumns {
    /// Tells columns of a shard's file from those of its folders.
    ///
    /// # Errors
    /// [`SourceError::Plan`] where the name of the file is not what was recorded.
    pub(super) fn of(
        source: &Source,
        shard: Shard,
        columns: &[usize],
        schema: &SchemaRef,
    ) -> Result<FolderColumns, SourceError> {
        debug_assert_eq!(columns.len(), schema.fields().len(), "columns of {schema}");
        let file = source.file(shard)?;
        let misfit = |why: String| SourceError::Plan(format!("`{}`: {why}", file.display));
        let pairs = pairs(&file.display).map_err(misfit)?;
        let first = source.schema().fields().len() - source.folders();
        let (mut of_file, mut origins) = (Vec::new(), Vec::with_capacity(columns.len()));
        for (column, field) in columns.iter().zip(schema.fields()) {
            let Some(at) = column.checked_sub(first) else {
                origins.push(FolderOrigin::File(of_file.len()));
                of_file.push(*column);
                continue;
            };
            let pair = pairs.get(at).filter(|(name, _)| name == field.name());
            let (_, value) = pair.ok_or_else(|| misfit(format!("no folder {}", field.name())))?;
            let value = value_array(value.as_deref(), field.data_type()).map_err(misfit)?;
            origins.push(FolderOrigin::Folder(value));
        }
        Ok(FolderColumns { of_file, origins })
    }
}

/// The rows of a shard with the columns of its folders.
pub(super) struct FolderRows {
    pub(super) rows: Box<dyn ShardRows>,
    pub(super) wanted: FolderColumns,
    pub(super) schema: SchemaRef,
}

impl ShardRows for FolderRows {
    fn next(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        let Some(batch) = self.rows.next()? else {
            return Ok(None);
        };
        let rows = batch.num_rows();
        let failed = |error: arrow::error::ArrowError| SourceError::Plan(error.to_string());
        // Each row takes the one value that there is.
        let first = arrow::array::UInt32Array::from(vec![0; rows]);
        let column = |origin: &FolderOrigin| match origin {
            FolderOrigin::File(at) => Ok(Arc::clone(batch.column(*at))),
            FolderOrigin::Folder(value) => {
                arrow::compute::take(value, &first, None).map_err(failed)
            }
        };
        let columns = self.wanted.origins.iter().map(column);
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map(Some)
            .map_err(failed)
    }

    fn rows_skipped(&self) -> u64 {
        self.rows.rows_skipped()
    }

    fn values_ignored(&self) -> u64 {
        self.rows.values_ignored()
    }

    fn bytes_read(&self) -> u64 {
        self.rows.bytes_read()
    }

    fn digest(&self) -> u128 {
        self.rows.digest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: Option<&str>) -> Pair {
        (name.to_owned(), value.map(str::to_owned))
    }

    #[test]
    fn folders_are_columns_in_the_order_of_the_path() {
        let found = pairs("data/year=2013/sub/city=S%C3%A3o%20Paulo%2fX/a=b.csv").unwrap();
        let expected = [
            pair("year", Some("2013")),
            pair("city", Some("São Paulo/X")),
        ];
        assert_eq!(found, expected);
        let odd = format!("a={NULL}/b=/c=x=y/d=100%/e=%zz/x.csv");
        let expected = [
            pair("a", None),
            pair("b", Some("")),
            pair("c", Some("x=y")),
            pair("d", Some("100%")),
            pair("e", Some("%zz")),
        ];
        assert_eq!(pairs(&odd).unwrap(), expected);
        assert_eq!(pairs("a=1.csv").unwrap(), []);
        for (path, told) in [
            ("a=1/a=2/x.csv", "two folders"),
            ("=1/x.csv", "no name"),
            ("a=%ff/x.csv", "no UTF-8"),
        ] {
            let error = pairs(path).unwrap_err();
            assert!(error.contains(told), "{path}: {error}");
        }
    }

    #[test]
    fn types_follow_from_all_values() {
        let of = |values: &[&'static str]| inferred(values.iter().copied());
        assert_eq!(of(&["1", "-20", "0"]), DataType::Int64);
        assert_eq!(of(&["1", "02"]), DataType::Utf8, "a zero would be lost");
        assert_eq!(of(&["1", "x"]), DataType::Utf8);
        assert_eq!(of(&["+1"]), DataType::Utf8);
        assert_eq!(of(&["9223372036854775808"]), DataType::Utf8);
        assert_eq!(of(&["2013-01-31", "1969-12-31"]), DataType::Date32);
        assert_eq!(of(&["2013-01-31", "2013-02-30"]), DataType::Utf8);
        assert_eq!(of(&[]), DataType::Utf8);
    }
}
