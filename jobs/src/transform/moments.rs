//! Dates as moments: their midnight, UTC.
//!
//! Stores had no dates at first, and a date went into keys and values as a moment. A job that was recorded then goes on
//! so: one group must not come to lie under two keys.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};

use super::error::TransformError;

/// Whether a type is a date, or holds dates.
fn holds_dates(data_type: &DataType) -> bool {
    match data_type {
        DataType::Date32 | DataType::Date64 => true,
        DataType::Dictionary(_, values) => holds_dates(values),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            holds_dates(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().any(|field| holds_dates(field.data_type())),
        _ => false,
    }
}

/// Whether any column is a date, or holds dates.
pub(super) fn has_dates(schema: &Schema) -> bool {
    let mut fields = schema.fields().iter();
    fields.any(|field| holds_dates(field.data_type()))
}

fn moments(data_type: &DataType) -> DataType {
    let field = |field: &FieldRef| -> FieldRef {
        let inner = moments(field.data_type());
        Arc::new(Field::clone(field).with_data_type(inner))
    };
    match data_type {
        DataType::Date32 | DataType::Date64 => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Dictionary(_, values) if holds_dates(values) => moments(values),
        DataType::List(item) => DataType::List(field(item)),
        DataType::LargeList(item) => DataType::LargeList(field(item)),
        DataType::FixedSizeList(item, len) => DataType::FixedSizeList(field(item), *len),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        other => other.clone(),
    }
}

/// The columns with moments in the place of dates.
pub(super) fn schema_of(schema: &Schema) -> SchemaRef {
    let field = |field: &FieldRef| {
        let data_type = match holds_dates(field.data_type()) {
            true => moments(field.data_type()),
            false => field.data_type().clone(),
        };
        Field::clone(field).with_data_type(data_type)
    };
    let fields: Vec<Field> = schema.fields().iter().map(field).collect();
    Arc::new(Schema::new(fields))
}

/// A batch in these columns.
///
/// # Errors
/// [`TransformError::Execute`] for a day whose midnight is no moment.
pub(super) fn batch_of(
    batch: &RecordBatch,
    schema: &SchemaRef,
) -> Result<RecordBatch, TransformError> {
    let failed = |error: arrow::error::ArrowError| TransformError::Execute {
        message: error.to_string(),
    };
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(
        |(array, field)| match array.data_type() == field.data_type() {
            true => Ok(ArrayRef::clone(array)),
            false => cast(array, field.data_type()).map_err(failed),
        },
    );
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(failed)
}
