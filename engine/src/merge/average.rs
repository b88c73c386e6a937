//! Averages.

use super::Sum;
use super::wire::{StateReader, put_varint};
use crate::base::Datum;

/// A sum and the number of its values; both are empty or neither is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Average {
    sum: Sum,
    count: u64,
}

impl Average {
    /// The average of one value.
    pub(super) fn of_one(sum: Sum) -> Average {
        debug_assert!(sum != Sum::Empty, "an average of no value has no count");
        Average { sum, count: 1 }
    }

    /// The average of `count` values that add up to `sum`; `None` where only one of the two is
    /// empty.
    pub fn new(sum: Sum, count: u64) -> Option<Average> {
        ((sum == Sum::Empty) == (count == 0)).then_some(Average { sum, count })
    }

    /// The sum of the values.
    pub fn sum(&self) -> &Sum {
        &self.sum
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Adds the values of another average; `false` where the kinds differ.
    #[must_use]
    pub fn absorb(&mut self, other: &Average) -> bool {
        self.count = self.count.saturating_add(other.count);
        self.sum.absorb(&other.sum)
    }

    /// The average as a float, NULL of no value.
    pub(super) fn to_datum(&self) -> Datum {
        #[allow(clippy::cast_precision_loss, reason = "an average is a float")]
        let count = self.count as f64;
        self.sum
            .to_f64()
            .map_or(Datum::Null, |sum| Datum::Float(sum / count))
    }

    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        self.sum.encode_into(out);
        if self.count > 0 {
            put_varint(self.count.into(), out);
        }
    }

    pub(super) fn decode(reader: &mut StateReader<'_>) -> Option<Average> {
        let sum = Sum::decode(reader)?;
        if sum == Sum::Empty {
            return Some(Average::default());
        }
        let count = reader.varint_u64().filter(|count| *count > 0)?;
        Some(Average { sum, count })
    }
}
