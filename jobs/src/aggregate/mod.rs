//! Partial aggregation of one shard: many rows in, one merge operand a key out.
//!
//! An [`Aggregation`] is planned once for a job: it finds the columns, checks their types and knows
//! the schema of the store. Each shard then runs an [`Aggregator`], whose operands merge into the
//! store in any order, with those of any other shard, and give what one pass over all rows would
//! have given.
//!
//! A shard of a million rows in ten groups therefore commits ten operands. Where groups are many,
//! memory stays bounded: past [`AGGREGATE_LEN_MAX`] bytes the aggregator says that it
//! [is full](Aggregator::is_full) and gives its operands out early; the same key may then come
//! again, which merging allows.
//!
//! NULL follows SQL: `count()` counts rows, every other operator leaves NULLs out, and one that saw
//! nothing else is NULL (`count(x)`: 0). As a part of a key NULL is a value of its own.

mod aggregator;
mod each;
mod error;
mod plan;
mod states;

pub use aggregator::{AGGREGATE_LEN_MAX, Aggregator};
pub use error::{AggregateError, AggregationPlanError};
pub use plan::Aggregation;

#[cfg(test)]
mod operators;
#[cfg(test)]
mod tests;
