//! Merged operands as rows for the rest of the query.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array,
    NullArray, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray,
    UInt64Array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, DecimalType, Field, Schema, SchemaRef,
    TimeUnit,
};
use arrow::error::ArrowError;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::DFSchemaRef;
use datafusion::datasource::provider_as_source;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, TableScanBuilder, ident};
use eciton_engine::merge::{self, Column};
use eciton_engine::{Datum, Error, Key, Scan};
use futures::executor::block_on;

use super::approximate;
use crate::transform::scope::unqualified;

/// Rows of a batch.
const BATCH_ROWS: usize = 8192;
/// The name under which the rest of a query finds the merged operands.
const TABLE: &str = "merged";
/// Microseconds of a day.
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Where a column's values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A field of the key.
    Key(usize),
    /// A value of the record.
    Value(usize),
    /// A value of the record that is a float, as the type that SQL gives it.
    Approximate(usize),
    /// The average of decimals, which SQL gives as a decimal: of a sum and a count.
    DecimalAverage { sum: usize, count: usize },
}

/// How merged operands become rows. Cheap to clone.
#[derive(Clone)]
pub(super) struct Merged {
    schema: SchemaRef,
    origins: Arc<[Origin]>,
    /// There is one group, also where there is no row at all.
    is_one_group: bool,
    /// Only so many.
    limit: usize,
    /// The columns of the store of operands.
    columns: Arc<[Column]>,
    /// What the query calls the columns of the rows.
    names: Arc<[String]>,
}

/// Why merged operands do not become rows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MergedError {
    /// The database failed, or a sum is beyond its type.
    #[error(transparent)]
    Engine(#[from] Error),
    /// A value does not fit the type that SQL gives it.
    #[error("overflow: `{column}`{group} is {value}, which is beyond {data_type}")]
    Beyond {
        /// What the query calls the column.
        column: String,
        /// Which group, with a preposition.
        group: String,
        /// The value, as JSON.
        value: String,
        /// The type.
        data_type: DataType,
    },
    /// The operands are not those that the query has made.
    #[error("{0}")]
    Arrow(#[from] ArrowError),
}

/// Why values do not become a column.
#[derive(Debug)]
enum ValueMisfit {
    /// The value of this row is beyond the type.
    Beyond { row: usize, value: Datum },
    /// The array cannot be made.
    Arrow(ArrowError),
}

impl From<ArrowError> for ValueMisfit {
    fn from(error: ArrowError) -> ValueMisfit {
        ValueMisfit::Arrow(error)
    }
}

impl Merged {
    /// The groups of a grouping; of all rows as one group if `is_one_group`.
    pub(super) fn groups(columns: Vec<(DataType, Origin)>, is_one_group: bool) -> Merged {
        Merged::new(columns, is_one_group, usize::MAX)
    }

    /// The first so many rows.
    pub(super) fn rows(columns: Vec<(DataType, Origin)>, limit: usize) -> Merged {
        Merged::new(columns, false, limit)
    }

    fn new(columns: Vec<(DataType, Origin)>, is_one_group: bool, limit: usize) -> Merged {
        let (types, origins): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let fields = types.into_iter().enumerate();
        let fields =
            fields.map(|(index, data_type)| Field::new(format!("m{index}"), data_type, true));
        Merged {
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            origins: origins.into(),
            is_one_group,
            limit,
            columns: Arc::new([]),
            names: Arc::new([]),
        }
    }

    /// With what the query calls the columns.
    pub(super) fn named(self, schema: &DFSchemaRef) -> Merged {
        let names: Arc<[String]> = schema
            .fields()
            .iter()
            .map(|field| unqualified(field.name()))
            .collect();
        assert_eq!(names.len(), self.origins.len(), "columns and their names");
        Merged { names, ..self }
    }

    /// Over a store with these columns.
    pub(super) fn over(self, columns: Vec<Column>) -> Merged {
        Merged {
            columns: columns.into(),
            ..self
        }
    }

    /// The columns of the rows.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows of the store of operands, batch by batch. Blocks where it is read.
    pub(super) fn read(&self, operands: Scan) -> MergedBatches {
        MergedBatches {
            merged: self.clone(),
            operands: Some(operands),
            left: self.limit,
            is_begun: false,
        }
    }

    fn batch(&self, rows: &[MergedRow]) -> Result<RecordBatch, MergedError> {
        let fields = self.schema.fields().iter();
        let arrays = self.origins.iter().zip(fields).enumerate();
        let arrays = arrays.map(|(index, (origin, field))| {
            let data_type = field.data_type();
            let each = rows.iter().enumerate();
            let values = each.map(|(at, row)| row.value(*origin, data_type, at));
            let values = values.collect::<Result<_, _>>();
            let made = values.and_then(|values| array(values, data_type));
            made.map_err(|misfit| self.told(index, data_type, rows, misfit))
        });
        let arrays = arrays.collect::<Result<Vec<_>, MergedError>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let schema = Arc::clone(&self.schema);
        Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
    }

    /// A misfit with the names of its column and group.
    fn told(
        &self,
        index: usize,
        data_type: &DataType,
        rows: &[MergedRow],
        misfit: ValueMisfit,
    ) -> MergedError {
        match misfit {
            ValueMisfit::Arrow(error) => MergedError::Arrow(error),
            ValueMisfit::Beyond { row, value } => MergedError::Beyond {
                column: self.name(index),
                group: rows.get(row).map_or_else(String::new, MergedRow::group),
                value: value.to_json().to_string(),
                data_type: data_type.clone(),
            },
        }
    }

    fn name(&self, index: usize) -> String {
        let name = self.names.get(index);
        name.map_or_else(|| format!("column {}", index + 1), Clone::clone)
    }

    /// A sum that is beyond what is kept, with the name that the query has for it instead of that of the operand.
    fn told_of_sum(&self, error: Error) -> Error {
        let Error::Overflow { what, key } = error else {
            return error;
        };
        let is_it = |column: &Column| what.starts_with(&format!("column `{}` ", column.name));
        let operand = self.columns.iter().position(is_it);
        let takes = |origin: &Origin| match origin {
            Origin::Key(_) => false,
            Origin::Value(value) | Origin::Approximate(value) => Some(*value) == operand,
            Origin::DecimalAverage { sum, count } => {
                Some(*sum) == operand || Some(*count) == operand
            }
        };
        let index = self.origins.iter().position(takes);
        Error::Overflow {
            what: index.map_or(what, |index| format!("`{}`", self.name(index))),
            key,
        }
    }
}

/// One merged record.
struct MergedRow {
    key: Vec<Datum>,
    values: Vec<Datum>,
}

impl MergedRow {
    /// What SQL says of no row at all: it counts 0, and everything else is NULL.
    fn of_nothing(columns: &[Column]) -> MergedRow {
        let value = |column: &Column| column.operator.info().of_no_row.datum();
        MergedRow {
            key: Vec::new(),
            values: columns.iter().map(value).collect(),
        }
    }

    /// Which group it is, with a preposition; nothing of a group of all rows.
    fn group(&self) -> String {
        if self.key.is_empty() {
            return String::new();
        }
        let key: Vec<_> = self.key.iter().map(Datum::to_json).collect();
        format!(" of the group {}", serde_json::Value::from(key))
    }

    /// The value of a column, of the row `at` of a batch.
    fn value(&self, origin: Origin, data_type: &DataType, at: usize) -> Result<Datum, ValueMisfit> {
        let of = |datums: &[Datum], index: usize| {
            let found = datums.get(index).cloned();
            found.ok_or_else(|| {
                ValueMisfit::Arrow(ArrowError::SchemaError(format!("no operand {index}")))
            })
        };
        match origin {
            Origin::Key(index) => of(&self.key, index),
            Origin::Value(index) => of(&self.values, index),
            Origin::Approximate(index) => {
                Ok(approximate::of_type(of(&self.values, index)?, data_type))
            }
            Origin::DecimalAverage { sum, count } => decimal_average(
                &of(&self.values, sum)?,
                &of(&self.values, count)?,
                data_type,
                at,
            ),
        }
    }
}

/// The average as SQL has it, of the row `at` of a batch.
fn decimal_average(
    sum: &Datum,
    count: &Datum,
    data_type: &DataType,
    at: usize,
) -> Result<Datum, ValueMisfit> {
    let (Datum::Decimal { unscaled, scale }, Datum::Int(count)) = (sum, count) else {
        return Ok(Datum::Null);
    };
    let target = decimal_places(data_type);
    let mean = target.and_then(|target| mean_of(*unscaled, *scale, *count, target));
    match (mean, target) {
        (Some(unscaled), Some(scale)) => Ok(Datum::Decimal { unscaled, scale }),
        _ => Err(ValueMisfit::Beyond {
            row: at,
            value: sum.clone(),
        }),
    }
}

/// Places behind the point of a type of decimals.
pub(super) fn decimal_places(data_type: &DataType) -> Option<i8> {
    match data_type {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale) => Some(*scale),
        _ => None,
    }
}

/// A sum of decimals divided by a count, cut after the last of `to` places.
pub(super) fn mean_of(sum: i128, places: i8, count: i128, to: i8) -> Option<i128> {
    rescaled(sum, places, to)?.checked_div(count)
}

/// A decimal with another number of places, if it is the same number then.
fn rescaled(unscaled: i128, from: i8, to: i8) -> Option<i128> {
    let places = u32::from(from.abs_diff(to));
    let factor = 10_i128.checked_pow(places);
    if unscaled == 0 {
        return Some(0);
    }
    match to >= from {
        true => unscaled.checked_mul(factor?),
        false => (unscaled % factor? == 0).then(|| unscaled / factor.unwrap_or(1)),
    }
}

/// The rows of a store of operands.
pub(super) struct MergedBatches {
    merged: Merged,
    /// `None` once it has ended.
    operands: Option<Scan>,
    left: usize,
    is_begun: bool,
}

impl MergedBatches {
    fn rows(&mut self) -> Result<Vec<MergedRow>, MergedError> {
        let mut rows = Vec::new();
        let count = BATCH_ROWS.min(self.left);
        let columns = &self.merged.columns;
        while rows.len() < count {
            let Some(operands) = &mut self.operands else {
                break;
            };
            // The thread is there to wait.
            let Some(record) = block_on(operands.next())? else {
                self.operands = None;
                break;
            };
            let row = row(columns, &record.key, &record.value);
            rows.push(row.map_err(|error| self.merged.told_of_sum(error))?);
        }
        let (read, left) = (rows.len(), self.left);
        assert!(read <= left, "{read} rows were read where {left} are left");
        self.left -= read;
        Ok(rows)
    }
}

impl Iterator for MergedBatches {
    type Item = Result<RecordBatch, MergedError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut rows = match self.rows() {
            Ok(rows) => rows,
            Err(error) => {
                self.operands = None;
                self.left = 0;
                return Some(Err(error));
            }
        };
        let is_first = !std::mem::replace(&mut self.is_begun, true);
        if rows.is_empty() {
            if !(is_first && self.merged.is_one_group) {
                return None;
            }
            rows.push(MergedRow::of_nothing(&self.merged.columns));
        }
        Some(self.merged.batch(&rows))
    }
}

fn row(columns: &[Column], key: &Key, record: &[u8]) -> Result<MergedRow, Error> {
    let values = merge::read(columns, key, record)?;
    Ok(MergedRow {
        key: key.datums()?,
        values: values.into_iter().map(|(_, datum)| datum).collect(),
    })
}

/// A scan of the merged operands as a table with these columns.
pub(super) fn scan_as(
    merged: &Merged,
    schema: &DFSchemaRef,
) -> Result<LogicalPlan, DataFusionError> {
    let table = StreamingTable::try_new(Arc::clone(&merged.schema), Vec::new())?;
    let source = provider_as_source(Arc::new(table));
    let scan = TableScanBuilder::new(TABLE, source).build()?;
    let names = schema.iter().enumerate();
    let columns = names.map(|(index, (table, field))| {
        ident(format!("m{index}")).alias_qualified(table.cloned(), field.name())
    });
    LogicalPlanBuilder::from(LogicalPlan::TableScan(scan))
        .project(columns.collect::<Vec<_>>())?
        .build()
}

/// Values as a column of this type, exactly.
fn array(datums: Vec<Datum>, data_type: &DataType) -> Result<ArrayRef, ValueMisfit> {
    let rows = datums.len();
    let wide: ArrayRef = match data_type {
        DataType::Null => return Ok(Arc::new(NullArray::new(datums.len()))),
        DataType::Dictionary(_, values) => array(datums, values)?,
        DataType::Boolean => Arc::new(BooleanArray::from(each(
            datums,
            data_type,
            |datum| match datum {
                Datum::Bool(value) => Some(*value),
                _ => None,
            },
        )?)),
        // Nanoseconds went in as numbers.
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            Arc::new(Int64Array::from(each(datums, data_type, int)?))
        }
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => Arc::new(
            UInt64Array::from(each(datums, data_type, |datum| match datum {
                Datum::Int(value) => u64::try_from(*value).ok(),
                _ => None,
            })?),
        ),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => Arc::new(Float64Array::from(
            each(datums, data_type, |datum| match datum {
                Datum::Float(value) => Some(*value),
                _ => None,
            })?,
        )),
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale) => Arc::new(decimals(datums, *scale, data_type)?),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Arc::new(StringArray::from(
            each(datums, data_type, |datum| match datum {
                Datum::Str(text) => Some(text.clone()),
                _ => None,
            })?,
        )),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => {
            let bytes = each(datums, data_type, |datum| match datum {
                Datum::Bytes(bytes) => Some(bytes.clone()),
                _ => None,
            })?;
            Arc::new(bytes.into_iter().collect::<BinaryArray>())
        }
        DataType::Date32 => Arc::new(Date32Array::from(each(
            datums,
            data_type,
            |datum| match datum {
                Datum::Date(days) => Some(*days),
                // Of a job from before there were dates in stores.
                Datum::Timestamp(micros) => i32::try_from(micros.div_euclid(MICROS_PER_DAY)).ok(),
                _ => None,
            },
        )?)),
        DataType::Date64 | DataType::Timestamp(..) => {
            let micros = each(datums, data_type, |datum| match datum {
                Datum::Date(days) => i64::from(*days).checked_mul(MICROS_PER_DAY),
                Datum::Timestamp(micros) => Some(*micros),
                _ => None,
            })?;
            let micros = TimestampMicrosecondArray::from(micros);
            match data_type {
                DataType::Timestamp(_, Some(zone)) => {
                    Arc::new(micros.with_timezone(Arc::clone(zone)))
                }
                _ => Arc::new(micros),
            }
        }
        other => {
            let message = format!("no operand has the type {other}");
            return Err(ValueMisfit::Arrow(ArrowError::SchemaError(message)));
        }
    };
    debug_assert_eq!(wide.len(), rows, "values of a column");
    let exact = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    match wide.data_type() == data_type {
        true => Ok(wide),
        false => Ok(cast_with_options(&wide, data_type, &exact)?),
    }
}

/// Each value, NULL aside, as what `read` makes of it.
fn each<T>(
    datums: Vec<Datum>,
    data_type: &DataType,
    read: impl Fn(&Datum) -> Option<T>,
) -> Result<Vec<Option<T>>, ValueMisfit> {
    let values = datums
        .into_iter()
        .enumerate()
        .map(|(row, datum)| match datum {
            Datum::Null => Ok(None),
            datum => match read(&datum).filter(|_| is_within(&datum, data_type)) {
                Some(value) => Ok(Some(value)),
                None => Err(ValueMisfit::Beyond { row, value: datum }),
            },
        });
    values.collect()
}

/// Whether a number is within the bounds of its type, which may be narrower than what it is read as.
fn is_within(datum: &Datum, data_type: &DataType) -> bool {
    let Datum::Int(value) = datum else {
        return true;
    };
    match data_type {
        DataType::Int8 => i8::try_from(*value).is_ok(),
        DataType::Int16 => i16::try_from(*value).is_ok(),
        DataType::Int32 => i32::try_from(*value).is_ok(),
        DataType::UInt8 => u8::try_from(*value).is_ok(),
        DataType::UInt16 => u16::try_from(*value).is_ok(),
        DataType::UInt32 => u32::try_from(*value).is_ok(),
        _ => true,
    }
}

fn int(datum: &Datum) -> Option<i64> {
    match datum {
        Datum::Int(value) => i64::try_from(*value).ok(),
        _ => None,
    }
}

fn decimals(
    datums: Vec<Datum>,
    places: i8,
    data_type: &DataType,
) -> Result<Decimal128Array, ValueMisfit> {
    let precision = match data_type {
        DataType::Decimal32(precision, _)
        | DataType::Decimal64(precision, _)
        | DataType::Decimal128(precision, _) => *precision,
        _ => DECIMAL128_MAX_PRECISION,
    };
    let values = each(datums, data_type, |datum| match datum {
        Datum::Decimal { unscaled, scale } => rescaled(*unscaled, *scale, places)
            .filter(|value| Decimal128Type::is_valid_decimal_precision(*value, precision)),
        _ => None,
    })?;
    Ok(Decimal128Array::from(values).with_precision_and_scale(precision, places)?)
}
