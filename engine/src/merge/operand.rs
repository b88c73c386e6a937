//! What a transaction merges into a record.

use bytes::Bytes;

use super::{COLUMNS_MAX, Column, Kind, Operator, State, States, encode, share_len_max};
use crate::base::{Error, Result};

/// Bytes that most states take at most.
const STATE_LEN_USUAL: usize = 24;

/// The encoded states of all columns of one record: what a transaction merges. It is always well
/// formed; whether it fits a store is for [`check`] to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operand(Bytes);

impl Operand {
    /// The operand of these states, one per column of the store.
    ///
    /// # Errors
    /// [`Error::Invalid`] of no column, [`Error::Limit`] beyond [`COLUMNS_MAX`] columns.
    pub fn new(states: &[State]) -> Result<Operand> {
        if states.is_empty() {
            return Err(Error::Invalid("an operand has no column".to_owned()));
        }
        if states.len() > COLUMNS_MAX {
            let (got, max) = (states.len() as u64, COLUMNS_MAX as u64);
            return Err(Error::Limit {
                what: "columns of an operand",
                got,
                max,
            });
        }
        let mut bytes = Vec::with_capacity(STATE_LEN_USUAL * states.len());
        encode(states, &mut bytes);
        Ok(Operand(bytes.into()))
    }

    /// The operand that these bytes are, after checking that they are one.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where they are not exactly what encoding gives.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Operand> {
        let bytes = bytes.into();
        States::decode(&bytes)?;
        Ok(Operand(bytes))
    }

    /// The encoded states.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The encoded states, without a copy.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The states.
    ///
    /// # Errors
    /// None in practice, since an operand is well formed; [`Error::Corrupt`] otherwise.
    pub fn states(&self) -> Result<States> {
        States::decode(&self.0)
    }
}

impl States {
    /// The operand that carries these states.
    ///
    /// # Errors
    /// [`Error::Invalid`] of no column, [`Error::Limit`] beyond [`COLUMNS_MAX`] columns.
    pub fn to_operand(&self) -> Result<Operand> {
        Operand::new(self)
    }
}

/// Checks that an operand belongs into a store with these columns. What passes never becomes a
/// mismatch with what passed earlier, where no column is of kind [`Kind::Any`] but those of operators that take
/// [every kind](super::Inputs::Values).
///
/// # Errors
/// [`Error::Invalid`] naming the first column that does not fit. [`Error::Limit`] for a value of a column that takes more than
/// the column's [share](share_len_max) of a record: columns that grow beyond their shares in different operands would merge into
/// a record that cannot be stored.
pub fn check(columns: &[Column], operand: &Operand) -> Result<()> {
    let states = operand.states()?;
    if states.len() != columns.len() {
        return Err(Error::Invalid(format!(
            "the operand has {} columns, the store has {}",
            states.len(),
            columns.len()
        )));
    }
    match columns
        .iter()
        .zip(states.iter())
        .find(|(column, state)| !column.accepts(state))
    {
        None => check_shares(columns, operand, &states),
        Some((column, state)) => {
            let operator = state.operator().map_or("mismatch", Operator::name);
            let kind = state.kind().unwrap_or(Kind::Any);
            Err(Error::Invalid(format!(
                "the operand holds {operator}({kind}) for the column `{column}`"
            )))
        }
    }
}

/// Checks that each state of values of any length, and whatever it may merge into, stays within its share of a record. The
/// states of the other columns have a bound of their own.
fn check_shares(columns: &[Column], operand: &Operand, states: &States) -> Result<()> {
    let share = share_len_max(columns).saturating_sub(STATE_LEN_USUAL);
    let pairs = columns.iter().zip(states.iter());
    for (_, state) in pairs.filter(|(column, _)| column.len_max().is_none()) {
        let len = match state {
            State::CollectSet(set) => set.len_bytes_max(),
            State::TopK(largest) => largest.len_bytes_max(),
            // All states together are within the share of one.
            _ if operand.0.len() <= share => continue,
            state => {
                let mut bytes = Vec::new();
                state.encode_into(&mut bytes);
                bytes.len()
            }
        };
        if len > share {
            return Err(Error::Limit {
                what: "length in bytes of one column of a merged record",
                got: len as u64,
                max: share as u64,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Datum;
    use crate::merge::SET_LEN_MAX;

    fn refused(columns: &[Column], values: &[Vec<Datum>]) -> bool {
        let mut states = States::new(columns);
        for (state, values) in states.iter_mut().zip(values) {
            for value in values {
                state.add(value).unwrap();
            }
        }
        match check(columns, &states.to_operand().unwrap()) {
            Ok(()) => false,
            Err(Error::Limit { .. }) => true,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn no_column_grows_beyond_its_share_of_a_record() {
        let text = |len: usize| Datum::Str("x".repeat(len));
        let least = |name| Column::new(name, Operator::Min, Kind::Str).unwrap();
        let two = [least("a"), least("b")];
        // Each alone is small enough, and both together are not.
        assert!(refused(&two, &[vec![text(5 << 20)], vec![]]));
        assert!(refused(&two, &[vec![], vec![text(5 << 20)]]));
        assert!(!refused(&two, &[vec![text(3 << 20)], vec![text(3 << 20)]]));
        assert!(!refused(&two[..1], &[vec![text(7 << 20)]]));
        let set =
            Column::with_parameter("s", Operator::CollectSet, Kind::Str, SET_LEN_MAX).unwrap();
        assert!(refused(std::slice::from_ref(&set), &[vec![text(1000)]]));
        assert!(!refused(&[set], &[vec![text(500)]]));
    }

    #[test]
    fn the_number_of_columns_has_its_limits() {
        assert!(matches!(Operand::new(&[]), Err(Error::Invalid(_))));
        let most = vec![State::Count(1); COLUMNS_MAX];
        let operand = Operand::new(&most).unwrap();
        assert_eq!(
            Operand::from_bytes(operand.as_bytes().to_vec()).unwrap(),
            operand
        );
        assert_eq!(operand.states().unwrap().len(), COLUMNS_MAX);
        let more = vec![State::Count(1); COLUMNS_MAX + 1];
        assert!(matches!(
            Operand::new(&more),
            Err(Error::Limit {
                got: 1025,
                max: 1024,
                ..
            })
        ));
    }

    fn operand(states: &[State]) -> Operand {
        Operand::new(states).unwrap()
    }

    #[test]
    fn operands_are_held_to_the_columns() {
        let sum = Column::new("x", Operator::Sum, Kind::Int).unwrap();
        let max = Column::new("m", Operator::Max, Kind::Decimal { scale: 2 }).unwrap();
        let columns = [sum, max];
        let mut states = [State::new(Operator::Sum), State::new(Operator::Max)];
        assert!(check(&columns, &operand(&states)).is_ok(), "of no value");
        states[0].add_i64(1);
        states[1]
            .add(&crate::base::Datum::Decimal {
                unscaled: 120,
                scale: 2,
            })
            .unwrap();
        assert!(check(&columns, &operand(&states)).is_ok());
        assert!(check(&columns, &operand(&states[..1])).is_err());
        states[0] = State::new(Operator::Sum);
        states[0].add_f64(1.0);
        let error = check(&columns, &operand(&states)).unwrap_err();
        let expected = "invalid: the operand holds sum(float) for the column `x = sum(int)`";
        assert_eq!(error.to_string(), expected);
        states[0] = State::Mismatch;
        assert!(check(&columns, &operand(&states)).is_err());
    }
}
