//! How many bytes a record can grow to, known before there is one.
//!
//! Operators of numbers and sketches have a state of a size known beforehand. Operators that keep values of any length
//! (`min` of text, `collect_set`) share what those leave of [`VALUE_LEN_MAX`], so that whatever merges fits a record.

use super::bounded_set::set_len_max;
use super::distinct::DISTINCT_LEN_MAX;
use super::field;
use super::histogram::histogram_len_max;
use super::largest::largest_len_max;
use super::moments::MOMENTS_LEN_MAX;
use super::quantiles::QUANTILES_LEN_MAX;
use super::truth::TRUTH_LEN_MAX;
use super::{Column, Kind, Operator};
use crate::base::limits::{KEY_LEN_MAX, VALUE_LEN_MAX};
use crate::base::{Error, Result};

/// Bytes before the columns of a record: their number.
const HEAD_LEN: usize = 2;
/// Bytes before each state: operator and version.
const STATE_HEAD_LEN: usize = 2;
/// Bytes of a varint of 64 bits at most.
const VARINT_LEN: usize = 10;
/// Bytes of the place of a row.
const ORDINAL_LEN: usize = 3 * VARINT_LEN;
/// The least share of a record that a column of values of any length has.
const SHARE_LEN_MIN: usize = KEY_LEN_MAX;

/// Bytes of a sum at most, its tag included.
fn sum_len_max(kind: Kind) -> usize {
    match kind {
        Kind::Int => 1 + 19,
        Kind::Decimal { .. } => 1 + 1 + 1 + 24,
        // A tag, a shift and a length of two bytes each, and 2,240 bits.
        _ => 1 + 1 + 2 + 2 + 280,
    }
}

impl Column {
    /// Bytes that the state of this column takes at most, whatever was merged; `None` of a column of values of any length,
    /// which has a [share](share_len_max) of the record instead.
    pub fn len_max(&self) -> Option<usize> {
        let field = field::len_max(self.input);
        let state = match self.operator {
            Operator::Count => VARINT_LEN,
            Operator::Sum => sum_len_max(self.input),
            Operator::Avg => sum_len_max(self.input) + VARINT_LEN,
            Operator::Min | Operator::Max => 1 + field?,
            Operator::First | Operator::Last => 1 + ORDINAL_LEN + 1 + field?,
            Operator::Latest => return None,
            Operator::BitOr => 1 + VARINT_LEN,
            Operator::CollectSet => set_len_max(self.parameter, field?),
            Operator::TopK => largest_len_max(self.parameter, field?),
            Operator::ApproxDistinct => DISTINCT_LEN_MAX,
            Operator::ApproxQuantile => QUANTILES_LEN_MAX,
            Operator::Histogram => histogram_len_max(
                self.edges
                    .as_ref()
                    .map_or(0, |edges| edges.as_slice().len()),
            ),
            Operator::BoolAnd | Operator::BoolOr => TRUTH_LEN_MAX,
            Operator::VarPop | Operator::VarSamp | Operator::StddevPop | Operator::StddevSamp => {
                MOMENTS_LEN_MAX
            }
        };
        Some(STATE_HEAD_LEN + state)
    }
}

/// Bytes of all columns of a known size, and how many columns are of none.
fn sizes(columns: &[Column]) -> (usize, usize) {
    let sizes = columns.iter().map(Column::len_max);
    sizes.fold((HEAD_LEN, 0), |(known, shared), len| match len {
        Some(len) => (known + len, shared),
        None => (known, shared + 1),
    })
}

/// Bytes that the state of each column of values of any length may take: an equal share of what the others leave.
pub fn share_len_max(columns: &[Column]) -> usize {
    let (known, shared) = sizes(columns);
    VALUE_LEN_MAX.saturating_sub(known) / shared.max(1)
}

/// Checks that a record of these columns fits a store, whatever is merged into it: the sum of what each column takes at most,
/// and a share of 4 KiB for each column of values of any length.
///
/// # Errors
/// [`Error::Limit`] with the bytes that a record could grow to.
pub fn check_columns(columns: &[Column]) -> Result<()> {
    let (known, shared) = sizes(columns);
    let len = known + shared * SHARE_LEN_MIN;
    if len > VALUE_LEN_MAX {
        return Err(Error::Limit {
            what: "bytes that a record of these columns can grow to",
            got: len as u64,
            max: VALUE_LEN_MAX as u64,
        });
    }
    Ok(())
}
