//! Whether all values are true, or any.

use super::Kind;
use super::wire::StateReader;
use crate::base::Datum;

/// A truth value, or none yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Truth(Option<bool>);

const TAG_NONE: u8 = 0;
const TAG_FALSE: u8 = 1;
const TAG_TRUE: u8 = 2;

/// Bytes of a state at most.
pub(super) const TRUTH_LEN_MAX: usize = 1;

impl Truth {
    /// Makes it `decisive` if the value is, and sets it to the value if there is none yet: `false` decides whether all are
    /// true, `true` decides whether any is.
    pub(super) fn add(&mut self, value: bool, decisive: bool) {
        if self.0.is_none() || value == decisive {
            self.0 = Some(value);
        }
    }

    pub(super) fn absorb(&mut self, other: Truth, decisive: bool) {
        if let Some(value) = other.0 {
            self.add(value, decisive);
        }
    }

    /// The kind of the values, `None` while there are none.
    pub(super) fn kind(self) -> Option<Kind> {
        self.0.map(|_| Kind::Bool)
    }

    pub(super) fn to_datum(self) -> Datum {
        self.0.map_or(Datum::Null, Datum::Bool)
    }

    pub(super) fn encode_into(self, out: &mut Vec<u8>) {
        out.push(match self.0 {
            None => TAG_NONE,
            Some(false) => TAG_FALSE,
            Some(true) => TAG_TRUE,
        });
    }

    pub(super) fn decode(reader: &mut StateReader<'_>) -> Option<Truth> {
        match reader.byte()? {
            TAG_NONE => Some(Truth(None)),
            TAG_FALSE => Some(Truth(Some(false))),
            TAG_TRUE => Some(Truth(Some(true))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_truth_tables() {
        for (a, b, all, any) in [
            (true, true, true, true),
            (true, false, false, true),
            (false, true, false, true),
            (false, false, false, false),
        ] {
            for (decisive, expected) in [(false, all), (true, any)] {
                let mut truth = Truth::default();
                truth.add(a, decisive);
                truth.add(b, decisive);
                assert_eq!(truth.to_datum(), Datum::Bool(expected), "{a}, {b}");
            }
        }
        assert_eq!(Truth::default().to_datum(), Datum::Null);
        assert_eq!(Truth::decode(&mut StateReader::new(&[3])), None);
    }
}
