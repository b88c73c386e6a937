//! The footer of a file: its columns and row groups, checked against each other and against the file.

use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, TimeUnit};
use eciton_proto::v1::SourceFile;
use parking_lot::Mutex;
use parquet::arrow::parquet_to_arrow_schema;
use parquet::basic::Type;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::schema::types::SchemaDescriptor;

use super::super::handle::FileHandle;
use super::outline::{self, FooterMisfit};
use super::pages::{Handle, byte_range};
use super::{codec, damaged, guarded, unsupported};
use crate::source::error::SourceError;
use crate::source::input::{io_error, open};
use crate::source::limits::FOOTER_LEN_MAX;
use crate::source::sniff::{Content, HEAD_LEN, sniff};

/// The file's last bytes: the length of the footer and four bytes that say what it is.
const TAIL_LEN: u64 = 8;
/// What a file begins and ends with.
const MAGIC: &[u8] = b"PAR1";
/// What a file with an encrypted footer ends with.
const MAGIC_ENCRYPTED: &[u8] = b"PARE";

/// A file whose footer was read.
pub(super) struct Opened {
    pub(super) handle: Handle,
    pub(super) metadata: Arc<ParquetMetaData>,
    /// What the file's columns are read as: dictionaries as their values.
    pub(super) fields: Fields,
    /// The columns as a source has them: without metadata and all of them nullable.
    pub(super) schema: Schema,
}

/// Opens a file and reads its footer.
pub(super) fn read(file: &SourceFile) -> Result<Opened, SourceError> {
    let mut handle = open(file)?;
    let footer = bytes(file, &mut handle)?;
    outline::check(&footer).map_err(|misfit| match misfit {
        FooterMisfit::Damaged(message) => damaged(file, message),
        FooterMisfit::Unsupported(what) => unsupported(file, what),
    })?;
    let metadata = guarded(file, || ParquetMetaDataReader::decode_metadata(&footer))?;
    check(file, &metadata, file.len - TAIL_LEN - footer.len() as u64)?;
    let descriptor = metadata.file_metadata().schema_descr();
    let fields = guarded(file, || {
        let known = metadata.file_metadata().key_value_metadata();
        parquet_to_arrow_schema(descriptor, known)
    })?;
    let fields: Fields = fields.fields().iter().map(plain).collect();
    let schema = columns(file, descriptor, &fields)?;
    Ok(Opened {
        handle: Arc::new(Mutex::new(handle)),
        metadata: Arc::new(metadata),
        fields,
        schema,
    })
}

fn bytes(file: &SourceFile, handle: &mut FileHandle) -> Result<Vec<u8>, SourceError> {
    let failed = |source| io_error(file, "cannot be read", source);
    let mut part = |at: u64, len: u64| {
        handle.seek(SeekFrom::Start(at)).map_err(failed)?;
        let mut bytes = Vec::new();
        (&*handle)
            .take(len)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        Ok::<_, SourceError>(bytes)
    };
    let head = part(0, HEAD_LEN as u64)?;
    let tail = part(file.len.saturating_sub(TAIL_LEN), TAIL_LEN)?;
    let (len, magic) = tail.split_at(tail.len().min(4));
    if magic == MAGIC_ENCRYPTED {
        return Err(unsupported(file, "an encrypted footer"));
    }
    let is_one = head.starts_with(MAGIC) || head.starts_with(MAGIC_ENCRYPTED);
    if file.len == 0 {
        return Err(other(file, "an empty file"));
    }
    match sniff(&head) {
        Some(Content::Source(_)) | None if is_one => {}
        Some(content) => return Err(other(file, &format!("{content}"))),
        None => return Err(other(file, "something else")),
    }
    if magic != MAGIC {
        let what = "it has no footer: it was cut off, or is still being written";
        return Err(damaged(file, what));
    }
    let len = <[u8; 4]>::try_from(len).map_or(0, |len| u64::from(u32::from_le_bytes(len)));
    let room = file.len.saturating_sub(TAIL_LEN + MAGIC.len() as u64);
    if len > room {
        let what = format!("its footer is said to have {len} bytes, of which the file has {room}");
        return Err(damaged(file, what));
    }
    if len > FOOTER_LEN_MAX {
        let what = format!("a footer of {len} bytes, more than {FOOTER_LEN_MAX}");
        return Err(unsupported(file, what));
    }
    part(file.len - TAIL_LEN - len, len)
}

fn other(file: &SourceFile, found: &str) -> SourceError {
    SourceError::Content {
        file: file.display.clone(),
        message: format!("expected a Parquet file, found {found}"),
    }
}

/// Holds the counts and places of a footer against each other. `end` is where the footer begins.
fn check(file: &SourceFile, metadata: &ParquetMetaData, end: u64) -> Result<(), SourceError> {
    let mut rows = 0_i64;
    for (number, group) in metadata.row_groups().iter().enumerate() {
        if group.num_rows() < 0 {
            let found = group.num_rows();
            return Err(damaged(file, format!("row group {number}: {found} rows")));
        }
        rows = rows.saturating_add(group.num_rows());
        check_group(file, number, group, end)?;
    }
    let said = metadata.file_metadata().num_rows();
    if said == rows && rows < i64::MAX {
        return Ok(());
    }
    Err(damaged(
        file,
        format!("the row groups have {rows} rows, the footer says {said}"),
    ))
}

fn check_group(
    file: &SourceFile,
    number: usize,
    group: &RowGroupMetaData,
    end: u64,
) -> Result<(), SourceError> {
    for chunk in group.columns() {
        let column = chunk.column_path().string();
        let place = format!("row group {number}, column `{column}`");
        if !codec::is_readable(chunk.compression()) {
            let name = codec::name(chunk.compression());
            return Err(unsupported(file, format!("{place}: compression {name}")));
        }
        let values = chunk.num_values();
        let is_flat = chunk.column_descr().max_rep_level() == 0;
        if values < 0 || is_flat && values != group.num_rows() {
            let rows = group.num_rows();
            let what = format!("{place}: {values} values in {rows} rows");
            return Err(damaged(file, what));
        }
        let inside = byte_range(chunk).is_some_and(|range| range.end <= end);
        if !inside {
            return Err(damaged(file, format!("{place}: it lies outside the file")));
        }
    }
    Ok(())
}

/// The columns as a source has them.
fn columns(
    file: &SourceFile,
    descriptor: &SchemaDescriptor,
    fields: &Fields,
) -> Result<Schema, SourceError> {
    let mut columns: Vec<Field> = Vec::with_capacity(fields.len());
    let mut names = std::collections::HashSet::new();
    for (root, field) in fields.iter().enumerate() {
        if !names.insert(field.name()) {
            let what = format!("two columns of the name `{}`", field.name());
            return Err(unsupported(file, what));
        }
        let data_type = match is_int96(descriptor, root) {
            true => DataType::Timestamp(TimeUnit::Microsecond, None),
            false => bare_type(field.data_type()),
        };
        columns.push(Field::new(field.name(), data_type, true));
    }
    let nested = (0..descriptor.num_columns()).find(|leaf| {
        let column = descriptor.column(*leaf);
        column.physical_type() == Type::INT96 && column.path().parts().len() > 1
    });
    if let Some(leaf) = nested {
        let path = descriptor.column(leaf).path().string();
        let what = format!("column `{path}`: INT96 inside of another column");
        return Err(unsupported(file, what));
    }
    Ok(Schema::new(columns))
}

/// Whether a column is of the deprecated type for moments.
pub(super) fn is_int96(descriptor: &SchemaDescriptor, root: usize) -> bool {
    let field = descriptor.root_schema().get_fields().get(root);
    field.is_some_and(|field| field.is_primitive() && field.get_physical_type() == Type::INT96)
}

/// The field with the values of dictionaries in their place: their keys may be too narrow for a batch of several row
/// groups.
fn plain(field: &FieldRef) -> FieldRef {
    let data_type = map_type(field.data_type(), &plain);
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

/// A type without metadata, and with the values of dictionaries in their place.
pub(in crate::source) fn bare_type(data_type: &DataType) -> DataType {
    fn bare(field: &FieldRef) -> FieldRef {
        let data_type = bare_type(field.data_type());
        Arc::new(Field::new(field.name(), data_type, field.is_nullable()))
    }
    map_type(data_type, &bare)
}

fn map_type(data_type: &DataType, field: &dyn Fn(&FieldRef) -> FieldRef) -> DataType {
    match data_type {
        DataType::Dictionary(_, value) => map_type(value, field),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        DataType::List(item) => DataType::List(field(item)),
        DataType::LargeList(item) => DataType::LargeList(field(item)),
        DataType::FixedSizeList(item, len) => DataType::FixedSizeList(field(item), *len),
        DataType::Map(entries, sorted) => DataType::Map(field(entries), *sorted),
        other => other.clone(),
    }
}
