//! Which columns a store has, and their types.

use std::sync::Arc;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, Schema, SchemaRef, TimeUnit};
use eciton_engine::merge::Kind as MergeKind;
use eciton_engine::{Datum, Key, ScanRange, Snapshot, Store};

use super::error::QueryError;
use super::record::{RecordLayout, RecordValue, values};

/// Records that columns are inferred from at the beginning of a store, and at its end.
pub const INFERRED_MAX: u64 = 10_000;

/// Integers up to here are floats as well.
pub(super) const FLOAT_INT_MAX: i128 = 1 << 53;
/// Fields that a key has, at most, in a store whose keys have no names.
const KEY_FIELDS_MAX: usize = 64;
/// Members that become columns.
const MEMBERS_MAX: usize = 4096;

/// The columns of a store.
#[derive(Clone, Debug)]
pub(super) struct StoreColumns {
    pub(super) schema: SchemaRef,
    pub(super) all: Arc<[StoreColumn]>,
    /// Whether every record was looked at, so that none can be a misfit.
    pub(super) is_whole: bool,
}

/// One column of a store.
#[derive(Clone, Debug)]
pub(super) struct StoreColumn {
    pub(super) origin: ColumnOrigin,
    pub(super) kind: StoredKind,
    /// Whether all its values are of the kind that its type stands for, so that their order in keys is that of SQL.
    pub(super) is_pure: bool,
}

/// Where the values of a column come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ColumnOrigin {
    /// A field of the key.
    Key(usize),
    /// A member of the value.
    Member(String),
    /// The value as a whole.
    Whole,
}

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoredKind {
    Bool,
    Int,
    Uint,
    Float,
    Decimal(i8),
    Str,
    Bytes,
    Uuid,
    Date,
    Timestamp,
    /// Values of several kinds, as JSON text.
    Json,
}

impl StoredKind {
    pub(super) fn data_type(self) -> DataType {
        match self {
            StoredKind::Bool => DataType::Boolean,
            StoredKind::Int => DataType::Int64,
            StoredKind::Uint => DataType::UInt64,
            StoredKind::Float => DataType::Float64,
            StoredKind::Decimal(scale) => DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale),
            StoredKind::Str | StoredKind::Uuid | StoredKind::Json => DataType::Utf8,
            StoredKind::Bytes => DataType::Binary,
            StoredKind::Date => DataType::Date32,
            StoredKind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }
}

/// What the values of a column have been so far.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug, Default)]
struct Seen {
    bools: bool,
    /// The least and the largest integer.
    ints: Option<(i128, i128)>,
    floats: bool,
    /// The most digits behind the point, and before it.
    decimals: Option<(i8, u32)>,
    strings: bool,
    bytes: bool,
    uuids: bool,
    dates: bool,
    timestamps: bool,
    json: bool,
}

impl Seen {
    fn add(&mut self, cell: &RecordValue) {
        let datum = match cell {
            RecordValue::Datum(datum) => datum,
            RecordValue::Json(_) => {
                self.json = true;
                return;
            }
        };
        match datum {
            Datum::Null => {}
            Datum::Bool(_) => self.bools = true,
            Datum::Int(value) => {
                let (least, largest) = self.ints.unwrap_or((*value, *value));
                self.ints = Some((least.min(*value), largest.max(*value)));
            }
            Datum::Float(_) => self.floats = true,
            Datum::Decimal { unscaled, scale } => {
                let digits = unscaled
                    .unsigned_abs()
                    .checked_ilog10()
                    .map_or(1, |log| log + 1);
                let before = i64::from(digits) - i64::from(*scale);
                let before = u32::try_from(before).unwrap_or(0);
                let (places, most) = self.decimals.unwrap_or((0, 0));
                self.decimals = Some((places.max(*scale), most.max(before)));
            }
            Datum::Str(_) => self.strings = true,
            Datum::Bytes(_) => self.bytes = true,
            Datum::Uuid(_) => self.uuids = true,
            Datum::Date(_) => self.dates = true,
            Datum::Timestamp(_) => self.timestamps = true,
        }
    }

    /// The type that holds every value exactly, and whether they are all of one kind.
    fn kind(&self, expected: Option<MergeKind>) -> (StoredKind, bool) {
        let others = [
            self.strings,
            self.bytes,
            self.uuids,
            self.dates,
            self.timestamps,
            self.bools,
            self.json,
        ];
        let others = others.into_iter().filter(|is_there| *is_there).count();
        let numbers = (self.ints, self.floats, self.decimals);
        match (numbers, others) {
            ((None, false, None), 0) => (unseen(expected), true),
            ((None, false, None), 1) if !self.json => (self.only(), true),
            ((Some((least, largest)), false, None), 0) => {
                match (i64::try_from(least), i64::try_from(largest)) {
                    (Ok(_), Ok(_)) => (StoredKind::Int, true),
                    _ if least >= 0 => (StoredKind::Uint, true),
                    _ => (StoredKind::Decimal(0), false),
                }
            }
            ((None, true, None), 0) => (StoredKind::Float, true),
            ((Some((least, largest)), true, None), 0)
                if least >= -FLOAT_INT_MAX && largest <= FLOAT_INT_MAX =>
            {
                (StoredKind::Float, false)
            }
            ((ints, false, Some((places, before))), 0) if fits(places, before) => {
                let is_narrow = ints.is_none_or(|_| fits(places, 20));
                match is_narrow {
                    true => (StoredKind::Decimal(places), ints.is_none()),
                    false => (StoredKind::Json, false),
                }
            }
            _ => (StoredKind::Json, false),
        }
    }

    fn only(&self) -> StoredKind {
        match self {
            Seen { strings: true, .. } => StoredKind::Str,
            Seen { bytes: true, .. } => StoredKind::Bytes,
            Seen { uuids: true, .. } => StoredKind::Uuid,
            Seen { dates: true, .. } => StoredKind::Date,
            Seen {
                timestamps: true, ..
            } => StoredKind::Timestamp,
            _ => StoredKind::Bool,
        }
    }
}

/// Whether a decimal may have so many digits.
fn fits(places: i8, before: u32) -> bool {
    u32::try_from(places).is_ok_and(|places| places + before <= u32::from(DECIMAL128_MAX_PRECISION))
}

/// The kind of a column without values: what the store's schema says, or text.
fn unseen(expected: Option<MergeKind>) -> StoredKind {
    match expected {
        Some(MergeKind::Bool) => StoredKind::Bool,
        Some(MergeKind::Int) => StoredKind::Int,
        Some(MergeKind::Float) => StoredKind::Float,
        Some(MergeKind::Decimal { scale }) if scale >= 0 => StoredKind::Decimal(scale),
        Some(MergeKind::Bytes) => StoredKind::Bytes,
        Some(MergeKind::Uuid) => StoredKind::Uuid,
        Some(MergeKind::Date) => StoredKind::Date,
        Some(MergeKind::Timestamp) => StoredKind::Timestamp,
        _ => StoredKind::Str,
    }
}

/// Everything that was seen of a store.
pub(super) struct Survey<'s> {
    store: &'s Store,
    layout: RecordLayout,
    keys: Vec<Seen>,
    members: Vec<(String, Seen)>,
    whole: Seen,
    has_whole: bool,
    records: u64,
}

impl<'s> Survey<'s> {
    /// Nothing was seen yet.
    pub(super) fn new(store: &'s Store) -> Survey<'s> {
        let mut survey = Survey {
            store,
            layout: RecordLayout::of(store),
            keys: Vec::new(),
            members: Vec::new(),
            whole: Seen::default(),
            has_whole: false,
            records: 0,
        };
        if survey.layout == RecordLayout::Merged {
            let columns = store.schema().columns.iter();
            let names = columns.map(|column| column.name.clone());
            survey.members = names.map(|name| (name, Seen::default())).collect();
        }
        survey
    }

    /// Looks at one record.
    ///
    /// # Errors
    /// Damage; [`QueryError::Format`] for values that are no table.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), QueryError> {
        let key = Key::from_bytes(key.to_vec())?;
        self.add_key(&key)?;
        self.add_value(&key, value)?;
        self.records += 1;
        Ok(())
    }

    async fn read(&mut self, snapshot: &Snapshot, range: &ScanRange) -> Result<u64, QueryError> {
        let mut scan = snapshot.scan(self.store, range);
        let mut read = 0;
        while scan.advance().await? {
            self.add(scan.key(), scan.value())?;
            read += 1;
        }
        Ok(read)
    }

    fn add_key(&mut self, key: &Key) -> Result<(), QueryError> {
        for (at, datum) in key.datums()?.into_iter().enumerate().take(KEY_FIELDS_MAX) {
            if self.keys.len() <= at {
                self.keys.push(Seen::default());
            }
            self.keys[at].add(&RecordValue::Datum(datum));
        }
        Ok(())
    }

    fn add_value(&mut self, key: &Key, value: &[u8]) -> Result<(), QueryError> {
        let values = match values(self.store, self.layout, key, value) {
            Ok(values) => values,
            // It fails the query if the query reads it.
            Err(eciton_engine::Error::Overflow { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if let Some(whole) = &values.whole {
            self.has_whole = true;
            self.whole.add(whole);
        }
        for (name, cell) in &values.members {
            let known = self.members.iter().position(|(known, _)| known == name);
            let at = known.unwrap_or_else(|| {
                self.members
                    .push((name.clone().into_owned(), Seen::default()));
                self.members.len() - 1
            });
            self.members[at].1.add(cell);
            if self.members.len() > MEMBERS_MAX {
                return Err(QueryError::Format(format!(
                    "the values of store `{}` have more than {MEMBERS_MAX} members: they are no table",
                    self.store.name()
                )));
            }
        }
        Ok(())
    }
}

/// Finds the columns of a store: from its first and last records, or from all (`inferred` is `None`).
///
/// # Errors
/// What the database refuses, or damage.
pub(super) async fn columns_of(
    snapshot: &Snapshot,
    store: &Store,
    inferred: Option<u64>,
) -> Result<StoreColumns, QueryError> {
    let mut survey = Survey::new(store);
    let first = ScanRange {
        limit: inferred,
        ..ScanRange::all()
    };
    let read = survey.read(snapshot, &first).await?;
    let is_whole = inferred.is_none_or(|limit| read < limit);
    if !is_whole {
        let last = ScanRange {
            reverse: true,
            ..first
        };
        survey.read(snapshot, &last).await?;
    }
    Ok(conclude(survey, is_whole))
}

/// Columns as they are found, each with a name of its own.
#[derive(Default)]
struct FoundColumns {
    fields: Vec<Field>,
    all: Vec<StoreColumn>,
}

impl FoundColumns {
    fn add(&mut self, mut name: String, origin: ColumnOrigin, (kind, is_pure): (StoredKind, bool)) {
        while self.fields.iter().any(|field| *field.name() == name) {
            name.push_str("_value");
        }
        self.fields.push(Field::new(name, kind.data_type(), true));
        self.all.push(StoreColumn {
            origin,
            kind,
            is_pure,
        });
    }
}

/// The columns of what was seen.
pub(super) fn conclude(survey: Survey<'_>, is_whole: bool) -> StoreColumns {
    let schema = survey.store.schema();
    let mut found = FoundColumns::default();
    let named = &schema.key_fields;
    let mut keys = survey.keys;
    keys.resize_with(keys.len().max(named.len()).max(1), Seen::default);
    let count = keys.len();
    for (at, seen) in keys.iter().enumerate() {
        let name = match named.get(at) {
            Some(name) => name.clone(),
            None if count == 1 => "key".to_owned(),
            None => format!("key_{}", at + 1),
        };
        found.add(name, ColumnOrigin::Key(at), seen.kind(None));
    }
    for (name, seen) in survey.members {
        let merged = schema.columns.iter().find(|column| column.name == name);
        let expected = merged.filter(|_| survey.layout == RecordLayout::Merged);
        let kind = seen.kind(expected.map(eciton_engine::merge::Column::output));
        found.add(name.clone(), ColumnOrigin::Member(name), kind);
    }
    let has_members = found.all.len() > count;
    let is_plain =
        matches!(survey.layout, RecordLayout::Json | RecordLayout::Bytes) && !has_members;
    let is_empty = survey.records == 0;
    if survey.has_whole || is_plain && is_empty {
        let kind = match survey.layout {
            RecordLayout::Bytes => (StoredKind::Bytes, true),
            _ => survey.whole.kind(None),
        };
        found.add("value".to_owned(), ColumnOrigin::Whole, kind);
    }
    StoreColumns {
        schema: Arc::new(Schema::new(found.fields)),
        all: found.all.into(),
        is_whole,
    }
}
