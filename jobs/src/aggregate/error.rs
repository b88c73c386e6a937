//! Why an aggregation cannot be planned, or why a batch cannot be aggregated.

use eciton_engine::merge::OPERATORS;

use crate::columns::{KeyError, ValueError};
use crate::names;

/// What is wrong with a `[merge]` for the columns that are there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AggregationPlanError {
    /// A column of `key` is missing or cannot be part of a key.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// An operator's column is missing.
    #[error("no column `{column}`: {}", names::candidates(column, columns))]
    Missing {
        /// The value's name in the job file.
        value: String,
        /// The name that was not found.
        column: String,
        /// The columns that are there.
        columns: Vec<String>,
    },
    /// An operator does not take its column's type.
    #[error("{operator}({column}) of a column of type {data_type}: expected {expected}")]
    Type {
        /// The value's name in the job file.
        value: String,
        /// The operator.
        operator: String,
        /// Its column.
        column: String,
        /// The column's type.
        data_type: String,
        /// The types that the operator takes.
        expected: &'static str,
    },
    /// A value that no store can have.
    #[error("{message}")]
    Column {
        /// The value's name in the job file.
        value: String,
        /// What does not fit.
        message: String,
    },
    /// An operator that this version does not have.
    #[error(
        "operator `{operator}` is not supported by this version: expected {}",
        operators()
    )]
    Operator {
        /// The value's name in the job file.
        value: String,
        /// The operator.
        operator: String,
    },
    /// Values that do not fit one record together, whatever they are.
    #[error(
        "a record of these values can grow to {len} bytes, the limit is {max}: `{value}` alone takes up to \
         {value_len}; give fewer values, or smaller limits to `collect_set` and `top_k`"
    )]
    TooLarge {
        /// The name of the largest value in the job file.
        value: String,
        /// Bytes that it takes at most.
        value_len: usize,
        /// Bytes that all take at most.
        len: u64,
        /// Bytes that a record may have.
        max: u64,
    },
}

/// The names of the operators that merge columns.
fn operators() -> String {
    let rows = OPERATORS.iter().filter(|row| row.merges_columns());
    let names: Vec<&str> = rows.map(|row| row.name).collect();
    names.join(", ")
}

impl AggregationPlanError {
    /// The key of the job file that is to blame.
    pub fn key(&self) -> String {
        match self {
            AggregationPlanError::Key(_) => "merge.key".to_owned(),
            AggregationPlanError::TooLarge { .. } => "merge.values".to_owned(),
            AggregationPlanError::Missing { value, .. }
            | AggregationPlanError::Type { value, .. }
            | AggregationPlanError::Column { value, .. }
            | AggregationPlanError::Operator { value, .. } => format!("merge.values.{value}"),
        }
    }
}

/// What is wrong with a row of a shard. The same shard fails again.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AggregateError {
    /// A value has no counterpart in the engine.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// A key is longer than a store takes.
    #[error("the key of output row {row} is {len} bytes long, the limit is {max}")]
    KeyTooLong {
        /// The row's number within the shard's output, from 0.
        row: u64,
        /// The key's length in bytes.
        len: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// The engine refused an operand.
    #[error(transparent)]
    Operand(#[from] eciton_engine::Error),
}
