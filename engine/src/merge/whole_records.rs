//! Stores of whole records: one column, which has the [latest](Latest) of them.

use super::{Column, Kind, Latest, Operand, Operator, State};
use crate::base::Result;

impl Latest {
    /// The columns of a store of whole records.
    ///
    /// # Errors
    /// None in practice, since the column is well formed.
    pub fn columns() -> Result<Vec<Column>> {
        Ok(vec![Column::new("value", Operator::Latest, Kind::Any)?])
    }

    /// Whether a store with these columns reads as one of plain values.
    pub fn is_only(columns: &[Column]) -> bool {
        matches!(columns, [column] if column.operator == Operator::Latest)
    }

    /// This version as what a job merges into such a store, and, [put](super::Ordinal::ZERO) instead of
    /// merged, as what a person puts there.
    ///
    /// # Errors
    /// None in practice, since there is one column.
    pub fn into_operand(self) -> Result<Operand> {
        Operand::new(&[State::Latest(self)])
    }
}
