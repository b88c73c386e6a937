//! A store as a source of jobs: cut into ranges of keys, each with a hash of its records.
//!
//! A job reads a store in one state, that of the moment when it was recorded, whoever computes its shards and whenever. No
//! process can keep that state for others: folding and collection go on, and a process ends. So the state is known by
//! its content. Cutting reads every record once and hashes each slice; whoever reads a slice later reads it in the newest
//! state of the database and hashes it again. With the same hash it is the same data, whatever happened in between; with
//! another one the slice is refused.
//!
//! A hash covers keys, and values as they are stored. A merged value whose states may differ in their last bits with the
//! order of merging (sums and means of floats) is hashed as it is read instead.

use eciton_engine::merge::Kind as MergeKind;
use eciton_engine::{Datum, Error as EngineError, Key, Scan, ScanRange, Snapshot, Store};
use eciton_proto::v1::{StoreColumn as RecordedColumn, StorePlan};
use xxhash_rust::xxh3::Xxh3;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use std::sync::Arc;

use super::columns::{ColumnOrigin, StoreColumn, StoreColumns, StoredKind, Survey, conclude};
use super::error::QueryError;
use super::record::{RecordLayout, RecordValue, values};
use super::rows::Reader;

/// Slices of one store, at most.
const SLICES_MAX: usize = 16_384;
/// Bytes of all bounds between them, at most: they lie in one record of the job.
const BOUNDS_LEN_MAX: usize = 512 * 1024;

/// Some consecutive records of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    /// The first record, counted from 0.
    pub(crate) first: u64,
    /// How many.
    pub(crate) records: u64,
    /// XXH3-128 of them.
    pub(crate) digest: u128,
}

/// A store that was read and cut.
#[derive(Debug)]
pub(crate) struct SlicedStore {
    /// Its columns.
    pub(crate) schema: SchemaRef,
    /// What is recorded of it.
    pub(crate) plan: StorePlan,
    /// Its slices, in the order of keys. Each has records.
    pub(crate) slices: Vec<Slice>,
}

/// Why a store cannot be cut, or a slice of it not read.
#[derive(Debug)]
pub(crate) enum SliceError {
    /// There would be too many slices.
    TooMany,
    /// What was recorded of it cannot be.
    Plan(String),
    /// What the database says, or its records.
    Query(QueryError),
}

impl From<QueryError> for SliceError {
    fn from(error: QueryError) -> SliceError {
        SliceError::Query(error)
    }
}

impl From<EngineError> for SliceError {
    fn from(error: EngineError) -> SliceError {
        SliceError::Query(error.into())
    }
}

/// Hashes records.
pub(crate) struct RecordHash {
    hash: Xxh3,
    store: Store,
    layout: RecordLayout,
    /// Whether equal values may be stored as other bytes.
    is_inexact: bool,
}

impl RecordHash {
    fn new(store: &Store) -> RecordHash {
        let layout = RecordLayout::of(store);
        let mut columns = store.schema().columns.iter();
        RecordHash {
            hash: Xxh3::new(),
            store: store.clone(),
            layout,
            is_inexact: layout == RecordLayout::Merged
                && columns.any(|column| column.output() == MergeKind::Float),
        }
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), QueryError> {
        self.part(key);
        if !self.is_inexact {
            self.part(value);
            return Ok(());
        }
        let key = Key::from_bytes(key.to_vec())?;
        let store = self.store.clone();
        let shown = match values(&store, self.layout, &key, value) {
            Ok(values) => values,
            // A number that nobody can read has only its bytes.
            Err(EngineError::Overflow { .. }) => {
                self.part(value);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        for (name, cell) in &shown.members {
            self.part(name.as_bytes());
            match cell {
                RecordValue::Datum(Datum::Float(value)) => {
                    self.part(&value.to_bits().to_le_bytes());
                }
                RecordValue::Datum(datum) => self.part(datum.to_json().to_string().as_bytes()),
                RecordValue::Json(text) => self.part(text.as_bytes()),
            }
        }
        Ok(())
    }

    /// Adds bytes that no others can be taken for.
    fn part(&mut self, bytes: &[u8]) {
        self.hash.update(&(bytes.len() as u64).to_le_bytes());
        self.hash.update(bytes);
    }

    fn digest(&self) -> u128 {
        self.hash.digest128()
    }
}

/// Reads a store, finds its columns from all of its records, and cuts it into slices of about `slice_len` bytes of keys and
/// values.
///
/// # Errors
/// [`SliceError::TooMany`]; what the database refuses, and damage.
pub(crate) async fn slice(
    snapshot: &Snapshot,
    store: &Store,
    slice_len: u64,
) -> Result<SlicedStore, SliceError> {
    let mut survey = Survey::new(store);
    let mut scan = snapshot.scan(store, &ScanRange::all());
    let mut slices: Vec<Slice> = Vec::new();
    let mut bounds: Vec<Vec<u8>> = Vec::new();
    let mut bounds_len = 0;
    let mut hash = RecordHash::new(store);
    let (mut first, mut records, mut len) = (0_u64, 0_u64, 0_u64);
    let mut last_key: Vec<u8> = Vec::new();
    while scan.advance_in_memory() || scan.advance().await? {
        let (key, value) = (scan.key(), scan.value());
        if len >= slice_len {
            slices.push(Slice {
                first,
                records,
                digest: hash.digest(),
            });
            hash = RecordHash::new(store);
            (first, records, len) = (first + records, 0, 0);
            let bound = shortest_between(&last_key, key);
            bounds_len += bound.len();
            bounds.push(bound);
            if bounds.len() >= SLICES_MAX || bounds_len > BOUNDS_LEN_MAX {
                return Err(SliceError::TooMany);
            }
        }
        survey.add(key, value)?;
        hash.add(key, value)?;
        records += 1;
        len += (key.len() + value.len()) as u64;
        last_key.clear();
        last_key.extend_from_slice(key);
    }
    if records > 0 {
        slices.push(Slice {
            first,
            records,
            digest: hash.digest(),
        });
    }
    let columns = conclude(survey, true);
    let total = slices.iter().map(|slice| slice.records).sum();
    assert_eq!(first + records, total, "each record is in one slice");
    assert_eq!(
        bounds.len(),
        slices.len().saturating_sub(1),
        "a bound lies between two slices"
    );
    Ok(SlicedStore {
        schema: Arc::clone(&columns.schema),
        plan: StorePlan {
            columns: columns.all.iter().map(recorded).collect(),
            bounds,
            records: total,
        },
        slices,
    })
}

/// The shortest byte string that sorts behind `low` and not behind `high`, where `high` sorts behind `low`.
fn shortest_between(low: &[u8], high: &[u8]) -> Vec<u8> {
    debug_assert!(low < high, "keys ascend");
    let common = low.iter().zip(high).take_while(|(a, b)| a == b).count();
    high[..(common + 1).min(high.len())].to_vec()
}

fn recorded(column: &StoreColumn) -> RecordedColumn {
    let (key_field, member) = match &column.origin {
        ColumnOrigin::Key(at) => (u32::try_from(at + 1).unwrap_or(u32::MAX), String::new()),
        ColumnOrigin::Member(name) => (0, name.clone()),
        ColumnOrigin::Whole => (0, String::new()),
    };
    let (kind, scale) = match column.kind {
        StoredKind::Bool => ("bool", 0),
        StoredKind::Int => ("int", 0),
        StoredKind::Uint => ("uint", 0),
        StoredKind::Float => ("float", 0),
        StoredKind::Decimal(scale) => ("decimal", scale),
        StoredKind::Str => ("string", 0),
        StoredKind::Bytes => ("bytes", 0),
        StoredKind::Uuid => ("uuid", 0),
        StoredKind::Date => ("date", 0),
        StoredKind::Timestamp => ("timestamp", 0),
        StoredKind::Json => ("json", 0),
    };
    RecordedColumn {
        key_field,
        member,
        kind: kind.to_owned(),
        scale: scale.into(),
    }
}

fn read_back(column: &RecordedColumn) -> Option<StoreColumn> {
    let origin = match (column.key_field, column.member.as_str()) {
        (0, "") => ColumnOrigin::Whole,
        (0, name) => ColumnOrigin::Member(name.to_owned()),
        (field, _) => ColumnOrigin::Key(field as usize - 1),
    };
    let kind = match column.kind.as_str() {
        "bool" => StoredKind::Bool,
        "int" => StoredKind::Int,
        "uint" => StoredKind::Uint,
        "float" => StoredKind::Float,
        "decimal" => StoredKind::Decimal(i8::try_from(column.scale).ok()?),
        "string" => StoredKind::Str,
        "bytes" => StoredKind::Bytes,
        "uuid" => StoredKind::Uuid,
        "date" => StoredKind::Date,
        "timestamp" => StoredKind::Timestamp,
        "json" => StoredKind::Json,
        _ => return None,
    };
    Some(StoreColumn {
        origin,
        kind,
        is_pure: false,
    })
}

/// The rows of one slice, and the hash of the records that it has now.
pub(crate) struct SliceReader {
    reader: Reader,
    scan: Scan,
    hash: RecordHash,
    records: u64,
    len: u64,
}

impl SliceReader {
    /// Reads a slice, by its number, in a state of the database. `wanted` are places of columns whose names are those of
    /// `schema`.
    ///
    /// # Errors
    /// [`SliceError::Plan`] where what was recorded does not fit together.
    pub(crate) fn new(
        snapshot: &Snapshot,
        store: &Store,
        plan: &StorePlan,
        number: u64,
        schema: &SchemaRef,
        wanted: &[usize],
    ) -> Result<SliceReader, SliceError> {
        let damaged = |what: &str| SliceError::Plan(what.to_owned());
        let all = plan.columns.iter().map(read_back);
        let all: Option<Vec<StoreColumn>> = all.collect();
        let all = all.ok_or_else(|| damaged("a column of an unknown kind"))?;
        if all.len() != schema.fields().len() {
            return Err(damaged("columns of a store that have no names"));
        }
        let fields = schema.fields().iter().zip(&all);
        let fields: Vec<Field> = fields
            .map(|(field, column)| Field::new(field.name(), column.kind.data_type(), true))
            .collect();
        let columns = StoreColumns {
            schema: Arc::new(Schema::new(fields)),
            all: all.into(),
            // Of the recorded records none is a misfit; another one may be read before the hash tells.
            is_whole: false,
        };
        let number = usize::try_from(number).map_err(|_| damaged("a slice beyond the last"))?;
        if number > plan.bounds.len() {
            return Err(damaged("a slice beyond the last"));
        }
        let bound = |at: usize| plan.bounds.get(at).cloned().map(Key::from_encoded);
        let range = ScanRange {
            from: number.checked_sub(1).and_then(bound),
            to: bound(number),
            ..ScanRange::all()
        };
        Ok(SliceReader {
            reader: Reader::new(store, &columns, wanted)?,
            scan: snapshot.scan(store, &range),
            hash: RecordHash::new(store),
            records: 0,
            len: 0,
        })
    }

    /// The next rows; `None` at the end.
    ///
    /// # Errors
    /// What the database refuses; damage; a record that does not fit the columns.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>, SliceError> {
        let SliceReader {
            reader,
            scan,
            hash,
            records,
            len,
        } = self;
        let seen = |key: &[u8], value: &[u8]| {
            *records += 1;
            *len += (key.len() + value.len()) as u64;
            hash.add(key, value)
        };
        Ok(reader.next_with(scan, seen).await?)
    }

    /// How many records were read so far.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// Bytes of keys and values that were read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.len
    }

    /// XXH3-128 of the records that were read so far.
    pub(crate) fn digest(&self) -> u128 {
        self.hash.digest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_short_and_lie_between_keys() {
        for (low, high, bound) in [
            ("abcdef", "abxyz", "abx"),
            ("ab", "abc", "abc"),
            ("a", "b", "b"),
            ("a", "abcdef", "ab"),
        ] {
            let found = shortest_between(low.as_bytes(), high.as_bytes());
            assert_eq!(found, bound.as_bytes());
            assert!(low.as_bytes() < &found[..] && &found[..] <= high.as_bytes());
        }
    }

    #[test]
    fn recorded_columns_are_read_back() {
        let kinds = [
            StoredKind::Bool,
            StoredKind::Int,
            StoredKind::Uint,
            StoredKind::Float,
            StoredKind::Decimal(2),
            StoredKind::Str,
            StoredKind::Bytes,
            StoredKind::Uuid,
            StoredKind::Date,
            StoredKind::Timestamp,
            StoredKind::Json,
        ];
        let origins = [
            ColumnOrigin::Key(0),
            ColumnOrigin::Member("m".to_owned()),
            ColumnOrigin::Whole,
        ];
        for (kind, origin) in kinds.into_iter().zip(origins.iter().cycle()) {
            let column = StoreColumn {
                origin: origin.clone(),
                kind,
                is_pure: true,
            };
            let back = read_back(&recorded(&column)).unwrap();
            assert_eq!((back.origin, back.kind), (column.origin, kind));
        }
        let unknown = RecordedColumn {
            kind: "vector".to_owned(),
            ..RecordedColumn::default()
        };
        assert!(read_back(&unknown).is_none());
    }
}
