//! Records to Arrow.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder,
    Int64Builder, RecordBatch, RecordBatchOptions, StringBuilder, TimestampMicrosecondBuilder,
    UInt64Builder,
};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, SchemaRef};
use eciton_engine::{Datum, Key, Scan, Store};

use super::columns::{ColumnOrigin, FLOAT_INT_MAX, StoreColumns, StoredKind};
use super::error::QueryError;
use super::record::{RecordLayout, RecordValue, Values, values};

/// Rows of one batch.
const BATCH_ROWS_MAX: usize = 8192;
/// Bytes of keys and values of one batch.
const BATCH_LEN_MAX: usize = 8 << 20;

/// Reads the records of a scan as batches of some of the columns of their store.
pub(super) struct Reader {
    store: Store,
    layout: RecordLayout,
    columns: StoreColumns,
    /// Positions of the columns that are read.
    wanted: Arc<[usize]>,
    schema: SchemaRef,
    /// Whether values are needed at all.
    reads_values: bool,
    /// Whether each member of a value becomes a column, so that one without a column would be lost.
    reads_all: bool,
}

/// One column of a batch that is being filled.
enum ValuesBuilder {
    Bool(BooleanBuilder),
    Int(Int64Builder),
    Uint(UInt64Builder),
    Float(Float64Builder),
    Decimal(Decimal128Builder, i8),
    Str(StringBuilder),
    Uuid(StringBuilder),
    Json(StringBuilder),
    Bytes(BinaryBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
}

impl ValuesBuilder {
    fn new(kind: StoredKind) -> ValuesBuilder {
        match kind {
            StoredKind::Bool => ValuesBuilder::Bool(BooleanBuilder::new()),
            StoredKind::Int => ValuesBuilder::Int(Int64Builder::new()),
            StoredKind::Uint => ValuesBuilder::Uint(UInt64Builder::new()),
            StoredKind::Float => ValuesBuilder::Float(Float64Builder::new()),
            StoredKind::Decimal(scale) => ValuesBuilder::Decimal(Decimal128Builder::new(), scale),
            StoredKind::Str => ValuesBuilder::Str(StringBuilder::new()),
            StoredKind::Uuid => ValuesBuilder::Uuid(StringBuilder::new()),
            StoredKind::Json => ValuesBuilder::Json(StringBuilder::new()),
            StoredKind::Bytes => ValuesBuilder::Bytes(BinaryBuilder::new()),
            StoredKind::Date => ValuesBuilder::Date(Date32Builder::new()),
            StoredKind::Timestamp => ValuesBuilder::Timestamp(TimestampMicrosecondBuilder::new()),
        }
    }

    fn null(&mut self) {
        match self {
            ValuesBuilder::Bool(builder) => builder.append_null(),
            ValuesBuilder::Int(builder) => builder.append_null(),
            ValuesBuilder::Uint(builder) => builder.append_null(),
            ValuesBuilder::Float(builder) => builder.append_null(),
            ValuesBuilder::Decimal(builder, _) => builder.append_null(),
            ValuesBuilder::Str(builder)
            | ValuesBuilder::Uuid(builder)
            | ValuesBuilder::Json(builder) => {
                builder.append_null();
            }
            ValuesBuilder::Bytes(builder) => builder.append_null(),
            ValuesBuilder::Date(builder) => builder.append_null(),
            ValuesBuilder::Timestamp(builder) => builder.append_null(),
        }
    }

    /// Adds a value; false if it does not fit exactly.
    fn push(&mut self, cell: &RecordValue) -> bool {
        if matches!(cell, RecordValue::Datum(Datum::Null)) {
            self.null();
            return true;
        }
        match (self, cell) {
            (ValuesBuilder::Json(builder), RecordValue::Json(text))
            | (ValuesBuilder::Str(builder), RecordValue::Datum(Datum::Str(text))) => {
                builder.append_value(text);
            }
            (ValuesBuilder::Json(builder), RecordValue::Datum(datum)) => {
                builder.append_value(datum.to_json().to_string());
            }
            (ValuesBuilder::Bool(builder), RecordValue::Datum(Datum::Bool(value))) => {
                builder.append_value(*value);
            }
            (ValuesBuilder::Int(builder), RecordValue::Datum(Datum::Int(value))) => {
                match i64::try_from(*value) {
                    Ok(value) => builder.append_value(value),
                    Err(_) => return false,
                }
            }
            (ValuesBuilder::Uint(builder), RecordValue::Datum(Datum::Int(value))) => {
                match u64::try_from(*value) {
                    Ok(value) => builder.append_value(value),
                    Err(_) => return false,
                }
            }
            (ValuesBuilder::Float(builder), RecordValue::Datum(Datum::Float(value))) => {
                builder.append_value(*value);
            }
            (ValuesBuilder::Float(builder), RecordValue::Datum(Datum::Int(value)))
                if (-FLOAT_INT_MAX..=FLOAT_INT_MAX).contains(value) =>
            {
                #[allow(clippy::cast_precision_loss, reason = "a float holds it exactly")]
                builder.append_value(*value as f64);
            }
            (ValuesBuilder::Decimal(builder, scale), RecordValue::Datum(datum)) => {
                match unscaled(datum, *scale) {
                    Some(value) => builder.append_value(value),
                    None => return false,
                }
            }
            (ValuesBuilder::Uuid(builder), RecordValue::Datum(datum @ Datum::Uuid(_))) => {
                let json = datum.to_json();
                builder.append_value(json["$uuid"].as_str().unwrap_or_default());
            }
            (ValuesBuilder::Bytes(builder), RecordValue::Datum(Datum::Bytes(bytes))) => {
                builder.append_value(bytes);
            }
            (ValuesBuilder::Date(builder), RecordValue::Datum(Datum::Date(days))) => {
                builder.append_value(*days);
            }
            (ValuesBuilder::Timestamp(builder), RecordValue::Datum(Datum::Timestamp(micros))) => {
                builder.append_value(*micros);
            }
            _ => return false,
        }
        true
    }

    fn finish(&mut self) -> Result<ArrayRef, QueryError> {
        Ok(match self {
            ValuesBuilder::Bool(builder) => Arc::new(builder.finish()),
            ValuesBuilder::Int(builder) => Arc::new(builder.finish()),
            ValuesBuilder::Uint(builder) => Arc::new(builder.finish()),
            ValuesBuilder::Float(builder) => Arc::new(builder.finish()),
            ValuesBuilder::Decimal(builder, scale) => {
                let made = builder
                    .finish()
                    .with_precision_and_scale(DECIMAL128_MAX_PRECISION, *scale);
                Arc::new(made.map_err(|error| QueryError::Format(error.to_string()))?)
            }
            ValuesBuilder::Str(builder)
            | ValuesBuilder::Uuid(builder)
            | ValuesBuilder::Json(builder) => Arc::new(builder.finish()),
            ValuesBuilder::Bytes(builder) => Arc::new(builder.finish()),
            ValuesBuilder::Date(builder) => Arc::new(builder.finish()),
            ValuesBuilder::Timestamp(builder) => Arc::new(builder.finish().with_timezone("UTC")),
        })
    }
}

/// The digits of a number with so many places.
fn unscaled(datum: &Datum, scale: i8) -> Option<i128> {
    let (value, from) = match datum {
        Datum::Int(value) => (*value, 0),
        Datum::Decimal { unscaled, scale } => (*unscaled, *scale),
        _ => return None,
    };
    let more = i32::from(scale) - i32::from(from);
    let factor = 10_i128.checked_pow(more.unsigned_abs())?;
    let moved = match more >= 0 {
        true => value.checked_mul(factor),
        false => (value % factor == 0).then_some(value / factor),
    }?;
    let digits = moved
        .unsigned_abs()
        .checked_ilog10()
        .map_or(1, |log| log + 1);
    (digits <= u32::from(DECIMAL128_MAX_PRECISION)).then_some(moved)
}

impl Reader {
    /// Reads these columns.
    pub(super) fn new(
        store: &Store,
        columns: &StoreColumns,
        wanted: &[usize],
    ) -> Result<Reader, QueryError> {
        let schema = columns.schema.project(wanted);
        let schema = schema.map_err(|error| QueryError::Format(error.to_string()))?;
        let is_key = |at: &usize| matches!(columns.all[*at].origin, ColumnOrigin::Key(_));
        let of_values = columns
            .all
            .iter()
            .filter(|column| !matches!(column.origin, ColumnOrigin::Key(_)));
        let read = wanted.iter().filter(|at| !is_key(at)).count();
        let reads_values = read > 0;
        Ok(Reader {
            layout: RecordLayout::of(store),
            store: store.clone(),
            columns: columns.clone(),
            wanted: wanted.into(),
            schema: Arc::new(schema),
            reads_values,
            reads_all: reads_values && read == of_values.count(),
        })
    }

    /// The columns of the batches.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Whether keys are enough.
    pub(super) fn is_keys_only(&self) -> bool {
        !self.reads_values
    }

    /// The next records as a batch; `None` at the end.
    ///
    /// # Errors
    /// [`QueryError::Misfit`]; what the database refuses, and damage.
    pub(super) async fn next(&self, scan: &mut Scan) -> Result<Option<RecordBatch>, QueryError> {
        self.next_with(scan, |_, _| Ok(())).await
    }

    /// [`Reader::next`], which shows each record, its key and its value, to `seen` first.
    ///
    /// # Errors
    /// As [`Reader::next`], and those of `seen`.
    pub(super) async fn next_with(
        &self,
        scan: &mut Scan,
        mut seen: impl FnMut(&[u8], &[u8]) -> Result<(), QueryError>,
    ) -> Result<Option<RecordBatch>, QueryError> {
        let kinds = self.wanted.iter().map(|at| self.columns.all[*at].kind);
        let mut builders: Vec<ValuesBuilder> = kinds.map(ValuesBuilder::new).collect();
        let (mut rows, mut len) = (0, 0);
        while rows < BATCH_ROWS_MAX && len < BATCH_LEN_MAX {
            if !(scan.advance_in_memory() || scan.advance().await?) {
                break;
            }
            rows += 1;
            len += scan.key().len() + scan.value().len();
            seen(scan.key(), scan.value())?;
            if !builders.is_empty() {
                self.add(&mut builders, scan.key(), scan.value())?;
            }
        }
        if rows == 0 {
            return Ok(None);
        }
        let arrays = builders.iter_mut().map(ValuesBuilder::finish);
        let arrays = arrays.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options);
        batch
            .map(Some)
            .map_err(|error| QueryError::Format(error.to_string()))
    }

    fn add(
        &self,
        builders: &mut [ValuesBuilder],
        key: &[u8],
        value: &[u8],
    ) -> Result<(), QueryError> {
        let key = Key::from_bytes(key.to_vec())?;
        let data: Vec<RecordValue> = key.datums()?.into_iter().map(RecordValue::Datum).collect();
        let values = match self.reads_values {
            true => values(&self.store, self.layout, &key, value)?,
            false => Values::default(),
        };
        let fields = self
            .columns
            .all
            .iter()
            .filter(|column| matches!(column.origin, ColumnOrigin::Key(_)));
        if data.len() > fields.count() {
            return Err(self.misfit(&key, format!("its key has {} fields", data.len())));
        }
        if self.reads_all {
            let is_known = |name: &str| {
                let mut all = self.columns.all.iter();
                all.any(
                    |column| matches!(&column.origin, ColumnOrigin::Member(known) if known == name),
                )
            };
            if let Some((name, _)) = values.members.iter().find(|(name, _)| !is_known(name)) {
                return Err(self.misfit(&key, format!("it has a member `{name}`")));
            }
            let has_whole = || {
                self.columns
                    .all
                    .iter()
                    .any(|column| column.origin == ColumnOrigin::Whole)
            };
            if values.whole.is_some() && !has_whole() {
                return Err(self.misfit(&key, "its value is no object".to_owned()));
            }
        }
        for (builder, at) in builders.iter_mut().zip(self.wanted.iter()) {
            let column = &self.columns.all[*at];
            let cell = match &column.origin {
                ColumnOrigin::Key(at) => data.get(*at),
                ColumnOrigin::Whole => values.whole.as_ref(),
                ColumnOrigin::Member(name) => {
                    let mut members = values.members.iter();
                    members.find_map(|(other, cell)| (other == name).then_some(cell))
                }
            };
            match cell {
                None => builder.null(),
                Some(cell) if builder.push(cell) => {}
                Some(cell) => {
                    let shown = match cell {
                        RecordValue::Datum(datum) => datum.to_json().to_string(),
                        RecordValue::Json(text) => text.clone(),
                    };
                    let field = self.columns.schema.field(*at);
                    let found = format!(
                        "`{}` is {}, no {}",
                        field.name(),
                        shortened(&shown),
                        crate::spec::type_name(field.data_type())
                    );
                    return Err(self.misfit(&key, found));
                }
            }
        }
        Ok(())
    }

    fn misfit(&self, key: &Key, found: String) -> QueryError {
        let shown = self.store.key_to_json(key);
        debug_assert!(
            !self.columns.is_whole,
            "of a store that was read as a whole: {found}"
        );
        QueryError::Misfit {
            store: self.store.name().to_owned(),
            key: shown.map_or_else(|_| key.to_string(), |json| json.to_string()),
            found,
        }
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(64) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}
