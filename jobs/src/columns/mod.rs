//! Arrow columns as the engine's types.
//!
//! | Arrow | becomes |
//! |---|---|
//! | `Null` | null |
//! | `Boolean` | bool |
//! | signed integers, unsigned ones to 32 bits | int |
//! | `UInt64` | int |
//! | floats of 16, 32 and 64 bits | float (exact) |
//! | `Decimal32`, `Decimal64`, `Decimal128` | decimal of the column's scale |
//! | all text types | string |
//! | all binary types | bytes |
//! | `Date32`, `Date64` | date (of a `Date64` that is no whole day: an error) |
//! | `Timestamp` of any unit | timestamp: microseconds since the epoch; without a zone it is taken as UTC; a value with nanoseconds beyond microseconds is an error |
//! | a dictionary | what its values become |
//!
//! Times of day, durations, intervals, 256-bit decimals and nested types become nothing here: a
//! query can cast them, and an upsert writes nested ones as JSON.
//!
//! A batch's column is brought into one of the few layouts of `Column` once; what then runs per
//! row meets no type but its own.

mod column;
mod key;
mod kind;

pub(crate) use column::Column;
pub use column::ValueError;
pub use key::KeyError;
pub(crate) use key::{KeyColumns, KeyPlan};
pub(crate) use kind::Kind;
