//! What a transaction merges into a record.

use bytes::Bytes;

use super::states::encode;
use super::{COLUMNS_MAX, State, States};
use crate::base::{Error, Result};

/// Bytes that most states take at most.
const STATE_LEN_USUAL: usize = 24;

/// The encoded states of all columns of one record: what a transaction merges. It is always well
/// formed; whether it fits a store is for [`check`](super::check) to say.
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
