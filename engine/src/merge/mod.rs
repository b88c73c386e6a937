//! Merge operators: what lets many processes change one record without ever being in conflict.
//!
//! A record of a *merged store* is a vector of [`State`]s, one per [`Column`]. A write carries an
//! [`Operand`], which is such a vector too, and merging is an operation on the two that is
//!
//! - **total**: whatever comes gives a result, never a panic, never an error. Operators or types that
//!   do not belong together give a *mismatch*, which absorbs everything and is an error when read;
//! - **commutative and associative**: any cut of the rows into operands, and any order in which these
//!   arrive, gives the same bytes. Sums of floats are exact, and rounded once when they are read.
//!
//! The laws are tests that every operator passes (`laws.rs`). States carry operator and version, so
//! that folding needs no catalog. Operator ids and state layouts are part of the format
//! (`docs/format-merge.md`); a program opens no database of a newer format, so it never meets an
//! operator that it does not know. One table, [`OPERATORS`], says everything of every operator.
//!
//! | operator | of no value | counts as a value | result |
//! |---|---|---|---|
//! | `count` | 0 | every row, or every one that is not NULL | integer |
//! | `sum` | NULL | integers, floats, decimals of one scale; not NULL | the same type; beyond 64 bits (integers) or 128 bits (decimals) an error |
//! | `min`, `max` | NULL | everything but NULL, in key order | the same type |
//! | `avg` | NULL | as `sum` | float |
//! | `first`, `last` | NULL | everything but NULL | the value of the smallest, largest place in the source |
//! | `bit_or` | NULL | integers | integer |
//! | `collect_set` | NULL | everything but NULL | a list of the smallest distinct values |
//! | `approx_distinct` | 0 | everything but NULL | integer, with a standard error of 0.81 % |
//! | `approx_quantile` | NULL | numbers | float, at most 1/128 of itself closer to 0 than the exact one while the values span few powers of two |
//! | `top_k` | NULL | everything but NULL | a list of the largest values, the largest first |
//! | `histogram` | NULL | numbers | a list of bins with their ends and counts |
//! | `bool_and`, `bool_or` | NULL | truth values | a truth value |
//! | `var_pop`, `stddev_pop` | NULL | numbers of one type, decimals of one scale | float, within 1e-14 of itself |
//! | `var_samp`, `stddev_samp` | NULL of fewer than two | as `var_pop` | as `var_pop` |
//! | `latest` | NULL | whole records with their place in a source | the record of the largest place |
//!
//! ```
//! use eciton_engine::{Datum, Key};
//! use eciton_engine::merge::{self, Column, Kind, Operator, States};
//!
//! let columns = [
//!     Column::new("flights", Operator::Count, Kind::Any)?,
//!     Column::new("delay_sum", Operator::Sum, Kind::Int)?,
//! ];
//! let shard = |delays: &[i64]| {
//!     let mut states = States::new(&columns);
//!     for delay in delays {
//!         states[0].add_rows(1);
//!         states[1].add_i64(*delay);
//!     }
//!     states.to_operand()
//! };
//! let (first, second) = (shard(&[7, -2])?, shard(&[30])?);
//! let merged = merge::merge(first.as_bytes(), second.as_bytes());
//! assert_eq!(merged, merge::merge(second.as_bytes(), first.as_bytes()));
//!
//! let json = merge::read_json(&columns, &Key::from_datums(&["AA".into()])?, &merged)?;
//! assert_eq!(json.to_string(), r#"{"flights":3,"delay_sum":35}"#);
//! # Ok::<(), eciton_engine::Error>(())
//! ```

mod average;
mod bits;
mod bound;
mod bounded_set;
mod column;
mod decimal_sum;
mod distinct;
mod double_double;
mod exact_float;
mod extreme;
mod field;
mod float_sum;
mod histogram;
mod kind;
mod largest;
mod latest;
mod moments;
mod operand;
mod operator;
mod quantiles;
mod ranked;
mod read;
mod state;
mod states;
mod sum;
mod truth;
mod whole_records;
mod wire;

#[cfg(test)]
mod laws;

pub use average::Average;
pub use bits::Bits;
pub use bound::{check_columns, share_len_max};
pub use bounded_set::{BoundedSet, SET_LEN_MAX};
pub use column::Column;
pub use decimal_sum::DecimalSum;
pub use distinct::Distinct;
use double_double::DoubleDouble;
use exact_float::ExactFloat;
pub use extreme::Extreme;
pub use float_sum::FloatSum;
pub use histogram::{EDGES_MAX, Edges, Histogram};
pub use kind::Kind;
pub use largest::Largest;
pub use latest::{Latest, Ordinal};
pub use moments::{Moments, Spread};
pub use operand::{Operand, check};
pub use operator::{Inputs, Law, NoRow, OPERATORS, Operator, OperatorInfo, Parameter, Shows};
pub use quantiles::{QUANTILE_PARTS, Quantiles};
pub use ranked::Ranked;
pub use read::{read, read_json};
pub use state::State;
use state::encode;
pub use states::{States, merge};
pub use sum::Sum;
pub use truth::Truth;

/// Columns of a merged store.
pub const COLUMNS_MAX: usize = 1024;
