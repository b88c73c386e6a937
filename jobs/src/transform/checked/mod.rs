//! Arithmetic that fails where a type ends.
//!
//! DataFusion's operators on integers, and its `sum`, wrap around. Here they are replaced: a rule puts
//! functions of the same names, types and precedence in the place of every operator that could wrap, once
//! types are known and before anything is folded, and once more after the optimizer, which may have added some. So
//! constants, filters, join conditions, groupings, sort keys and arguments are all covered.

mod average;
mod calendar;
mod function;
mod operation;
mod rule;
mod sum;
#[cfg(test)]
mod tests;

pub(super) use average::checked_avg;
pub(super) use rule::CheckedArithmetic;
pub(super) use sum::checked_sum;
