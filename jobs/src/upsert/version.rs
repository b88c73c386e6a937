//! The version of a row: of rows with one key the largest version stays, whichever comes first.
//!
//! A record keeps an [`Ordinal`], and the largest one wins. With a version it is the version, then the job and the shard,
//! then the row: so an older version never replaces a newer one, in any order of shards and on any retry, and of equal
//! versions the last row of the latest job stays.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, Schema, TimeUnit};
use eciton_engine::merge::{Column, Kind, Operator, Ordinal};

use crate::names;
use crate::spec::limits::SHARDS_MAX;

/// Bits of the number of a shard.
const SHARD_BITS: u32 = SHARDS_MAX.ilog2();
/// Microseconds of a second, and of a day.
const SECOND_US: i64 = 1_000_000;
const DAY_US: i64 = 86_400 * SECOND_US;

/// The column of the version.
#[derive(Clone, Debug)]
pub(super) struct VersionColumn {
    name: String,
    index: usize,
    /// What a value counts, in units that all versions of a store have.
    factor: i64,
}

impl VersionColumn {
    /// Finds the column.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn find(
        name: &str,
        schema: &Schema,
        in_key: &[usize],
    ) -> Result<VersionColumn, String> {
        let index = schema
            .fields()
            .iter()
            .position(|field| field.name() == name);
        let Some(index) = index else {
            let all: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
            return Err(format!(
                "no column `{name}`: {}",
                names::candidates(name, &all)
            ));
        };
        if in_key.contains(&index) {
            return Err(format!(
                "column `{name}` is part of the key, so that a key has one version only"
            ));
        }
        let data_type = schema.field(index).data_type();
        let factor = match data_type {
            DataType::Date32 => DAY_US,
            DataType::Timestamp(TimeUnit::Second, _) => SECOND_US,
            DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000,
            DataType::Timestamp(TimeUnit::Microsecond, _) => 1,
            data_type if data_type.is_integer() && *data_type != DataType::UInt64 => 1,
            _ => {
                return Err(format!(
                    "column `{name}` of type {data_type} cannot be a version: expected a signed integer, date or timestamp \
                     in microseconds"
                ));
            }
        };
        Ok(VersionColumn {
            name: name.to_owned(),
            index,
            factor,
        })
    }

    /// The column of a store whose records are ordered by it.
    pub(super) fn store_column(&self) -> eciton_engine::Result<Column> {
        Column::new(
            format!("latest by {}", self.name),
            Operator::Latest,
            Kind::Any,
        )
    }

    /// The versions of a batch, as numbers whose order is that of the values.
    ///
    /// # Errors
    /// The first row that has none.
    pub(super) fn read(&self, batch: &RecordBatch) -> Result<Vec<u64>, u64> {
        let array = batch.column(self.index);
        let array = match array.data_type() {
            DataType::Date32 => {
                cast(array, &DataType::Int32).and_then(|days| cast(&days, &DataType::Int64))
            }
            _ => cast(array, &DataType::Int64),
        };
        let array = array.map_err(|_| 0_u64)?;
        let values = array.as_primitive::<Int64Type>();
        let mut versions = Vec::with_capacity(values.len());
        for row in 0..values.len() {
            if values.is_null(row) {
                return Err(row as u64);
            }
            versions.push(ordered(values.value(row).saturating_mul(self.factor)));
        }
        assert_eq!(versions.len(), batch.num_rows(), "a version for each row");
        Ok(versions)
    }
}

/// A signed number as an unsigned one, in the same order.
fn ordered(value: i64) -> u64 {
    value.cast_unsigned() ^ (1 << 63)
}

/// The place of a row among all of its key.
pub(super) fn versioned(version: u64, (job, shard): (u64, u64), row: u64) -> Ordinal {
    assert!(shard < SHARDS_MAX, "shard {shard} of {SHARDS_MAX}");
    assert!(
        job < 1 << (u64::BITS - SHARD_BITS),
        "job {job} is too large"
    );
    Ordinal {
        job: version,
        shard: (job << SHARD_BITS) | shard,
        row,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_before_jobs_shards_and_rows() {
        let all = [i64::MIN, -1, 0, 1, i64::MAX];
        assert!(all.map(ordered).is_sorted());
        let places = [
            versioned(ordered(-1), (9, 9), 9),
            versioned(ordered(0), (1, 0), 5),
            versioned(ordered(0), (1, 1), 0),
            versioned(ordered(0), (1, SHARDS_MAX - 1), 0),
            versioned(ordered(0), (2, 0), 0),
            versioned(ordered(0), (2, 0), 1),
            versioned(ordered(1), (1, 0), 0),
        ];
        assert!(places.is_sorted(), "{places:?}");
    }
}
