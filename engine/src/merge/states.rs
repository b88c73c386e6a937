//! The states of all columns of one record.

use std::ops::{Deref, DerefMut};

use super::wire::StateReader;
use super::{COLUMNS_MAX, Column, State, encode};
use crate::base::{Error, Result};

/// The states of all columns of one record, taken apart: what a job accumulates into, and the
/// quickest way to merge many operands into one.
///
/// No column at all is the mismatch of whole records: what is left when records of different numbers
/// of columns, or bytes that are no record, were merged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct States(Vec<State>);

impl States {
    /// The states of no row.
    pub fn new(columns: &[Column]) -> States {
        columns.iter().map(Column::empty_state).collect()
    }

    /// Takes an encoded record apart.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the bytes are not exactly what encoding gives.
    pub fn decode(record: &[u8]) -> Result<States> {
        let mut reader = StateReader::new(record);
        let broken = |what: String| Error::corrupt("merged record", what);
        let len = columns_len(&mut reader)
            .ok_or_else(|| broken("the number of columns is missing or too large".into()))?;
        let mut states = Vec::with_capacity(len.min(record.len()));
        for index in 0..len {
            let state = State::decode(&mut reader);
            states.push(
                state.ok_or_else(|| {
                    broken(format!("column {} of {len} is not a state", index + 1))
                })?,
            );
        }
        if !reader.is_empty() {
            return Err(broken(format!("bytes follow column {len} of {len}")));
        }
        Ok(States(states))
    }

    /// Merges other states into these, column by column. Total, commutative and associative.
    pub fn absorb(&mut self, other: &States) {
        if self.0.len() != other.0.len() {
            self.0.clear();
        }
        for (state, other) in self.0.iter_mut().zip(&other.0) {
            state.absorb(other);
        }
    }

    /// Merges an encoded record into these states, as [`States::absorb`] does, without taking it
    /// apart first. Bytes that are no record give the mismatch of whole records.
    pub fn absorb_encoded(&mut self, record: &[u8]) {
        if self.try_absorb_encoded(record).is_none() {
            self.0.clear();
        }
    }

    /// `None` where the record is broken or of another length; the states are of no use then.
    fn try_absorb_encoded(&mut self, record: &[u8]) -> Option<()> {
        let mut reader = StateReader::new(record);
        columns_len(&mut reader).filter(|len| *len == self.0.len())?;
        for state in &mut self.0 {
            state.absorb(&State::decode(&mut reader)?);
        }
        reader.is_empty().then_some(())
    }

    /// Adds the encoded record to `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        encode(&self.0, out);
    }
}

/// The states of one record, in the order of its columns.
impl FromIterator<State> for States {
    fn from_iter<I: IntoIterator<Item = State>>(states: I) -> States {
        States(states.into_iter().collect())
    }
}

impl Deref for States {
    type Target = [State];

    fn deref(&self) -> &[State] {
        &self.0
    }
}

impl DerefMut for States {
    fn deref_mut(&mut self) -> &mut [State] {
        &mut self.0
    }
}

/// How many columns follow.
fn columns_len(reader: &mut StateReader<'_>) -> Option<usize> {
    let len = usize::try_from(reader.varint()?).ok()?;
    (len <= COLUMNS_MAX).then_some(len)
}

/// The record that shows what `older` and `newer` show together. Total, commutative and associative:
/// records of different numbers of columns, and bytes that are no record, give the mismatch of whole
/// records, which is an error when read.
pub fn merge(older: &[u8], newer: &[u8]) -> Vec<u8> {
    let mut states = States::decode(older).unwrap_or_default();
    states.absorb_encoded(newer);
    let mut merged = Vec::with_capacity(older.len().max(newer.len()) + 8);
    states.encode_into(&mut merged);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::{Kind, Operator};

    fn columns() -> [Column; 2] {
        [
            Column::new("n", Operator::Count, Kind::Any).unwrap(),
            Column::new("x", Operator::Sum, Kind::Int).unwrap(),
        ]
    }

    fn encoded(states: &States) -> Vec<u8> {
        let mut out = Vec::new();
        states.encode_into(&mut out);
        out
    }

    #[test]
    fn records_are_short() {
        let mut states = States::new(&columns());
        assert_eq!(encoded(&states), [2, 1, 1, 0, 2, 1, 0]);
        states[0].add_rows(10);
        states[1].add_i64(-3);
        assert_eq!(encoded(&states), [2, 1, 1, 10, 2, 1, 1, 5]);
    }

    #[test]
    fn records_of_different_shapes_absorb() {
        let two = encoded(&States::new(&columns()));
        let one = encoded(&States::new(&columns()[..1]));
        assert_eq!(merge(&two, &one), [0]);
        assert_eq!(merge(&one, &two), [0]);
        assert_eq!(merge(&[0], &two), [0]);
        assert_eq!(merge(&two, &[0]), [0]);
        assert_eq!(merge(&two, b""), [0]);
        assert_eq!(merge(b"", &two), [0]);
        let longer = [&two[..], &[0]].concat();
        assert_eq!(merge(&two, &longer), [0]);
        assert_eq!(merge(&longer, &two), [0]);
    }

    #[test]
    fn what_is_no_record_is_named() {
        let detail = |bytes: &[u8]| States::decode(bytes).unwrap_err().to_string();
        assert_eq!(
            detail(&[2, 1, 1, 0, 9]),
            "corrupt: merged record: column 2 of 2 is not a state"
        );
        assert_eq!(
            detail(&[1, 1, 1, 0, 9]),
            "corrupt: merged record: bytes follow column 1 of 1"
        );
        assert!(detail(&[0x81, 0x08]).contains("the number of columns"));
        assert!(
            detail(&[1, 1, 2, 0]).contains("column 1"),
            "an unknown version"
        );
    }
}
