//! Coercions that keep every value.
//!
//! SQL brings operands of different types to one: `bigint + double` adds floats, and a date beside a timestamp becomes a
//! timestamp of nanoseconds. DataFusion does so whether the value survives it or not. Here its rule runs between two
//! passes of our own:
//!
//! 1. every `CAST` of the query is marked as written, since it is the user's word;
//! 2. of the casts that the rule has added, comparisons get rid of theirs: they compare the values as they are. Others
//!    that could change a value become functions that fail where one does. Marks go.
//!
//! Before that, once, dates and times that the query leaves the unit of open become those of microseconds.

mod cast;
mod compare;
mod moment;
mod number;
mod rule;
#[cfg(test)]
mod tests;
mod text;
mod written;

pub(crate) use cast::narrowed_sum;
pub(super) use moment::in_microseconds;
pub(crate) use moment::is_utc;
pub(super) use rule::ExactCoercion;
pub(super) use text::keeps_digits;
