//! Sums of one kind of number.

use super::wire::{StateReader, put_signed};
use super::{DecimalSum, FloatSum, Kind};
use crate::base::Datum;

/// A sum. The first value decides which kind of number it is of.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Sum {
    /// Of no value: NULL.
    #[default]
    Empty,
    /// Of integers. 128 bits hold 2^64 of them; what could only come from forged bytes wraps, which
    /// keeps the laws.
    Int(i128),
    /// Of floats.
    Float(FloatSum),
    /// Of decimals.
    Decimal(DecimalSum),
}

const TAG_EMPTY: u8 = 0;
const TAG_INT: u8 = 1;
const TAG_FLOAT: u8 = 2;
const TAG_DECIMAL: u8 = 3;

impl Sum {
    /// Adds another sum; `false`, and nothing is added, where the kinds differ.
    #[must_use]
    pub fn absorb(&mut self, other: &Sum) -> bool {
        match (&mut *self, other) {
            (_, Sum::Empty) => {}
            (Sum::Empty, _) => self.clone_from(other),
            (Sum::Int(sum), Sum::Int(addend)) => *sum = sum.wrapping_add(*addend),
            (Sum::Float(sum), Sum::Float(addend)) => sum.absorb(addend),
            (Sum::Decimal(sum), Sum::Decimal(addend)) => return sum.absorb(*addend),
            _ => return false,
        }
        true
    }

    /// The sum of one value, `None` where it is not a number.
    pub(super) fn of(datum: &Datum) -> Option<Sum> {
        match datum {
            Datum::Int(value) => Some(Sum::Int(*value)),
            Datum::Float(value) => Some(Sum::Float(FloatSum::new(*value))),
            Datum::Decimal { unscaled, scale } => {
                Some(Sum::Decimal(DecimalSum::new(*unscaled, *scale)))
            }
            _ => None,
        }
    }

    /// The kind of the values, `None` while there are none.
    pub(super) fn kind(&self) -> Option<Kind> {
        match self {
            Sum::Empty => None,
            Sum::Int(_) => Some(Kind::Int),
            Sum::Float(_) => Some(Kind::Float),
            Sum::Decimal(sum) => Some(Kind::Decimal { scale: sum.scale() }),
        }
    }

    /// The sum as a value; where it is too large, the number of bits that it exceeds.
    pub(super) fn to_datum(&self) -> Result<Datum, u32> {
        match self {
            Sum::Empty => Ok(Datum::Null),
            Sum::Int(sum) => {
                let readable = i128::from(i64::MIN)..=i128::from(u64::MAX);
                if readable.contains(sum) {
                    Ok(Datum::Int(*sum))
                } else {
                    Err(64)
                }
            }
            Sum::Float(sum) => Ok(Datum::Float(sum.to_f64())),
            Sum::Decimal(sum) => sum.to_datum().ok_or(128),
        }
    }

    /// The sum as a float, `None` of no value.
    pub(super) fn to_f64(&self) -> Option<f64> {
        match self {
            Sum::Empty => None,
            #[allow(clippy::cast_precision_loss, reason = "a float is what is asked for")]
            Sum::Int(sum) => Some(*sum as f64),
            Sum::Float(sum) => Some(sum.to_f64()),
            Sum::Decimal(sum) => Some(sum.to_f64()),
        }
    }

    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        match self {
            Sum::Empty => out.push(TAG_EMPTY),
            Sum::Int(sum) => {
                out.push(TAG_INT);
                put_signed(*sum, out);
            }
            Sum::Float(sum) => {
                out.push(TAG_FLOAT);
                sum.encode_into(out);
            }
            Sum::Decimal(sum) => {
                out.push(TAG_DECIMAL);
                sum.encode_into(out);
            }
        }
    }

    pub(super) fn decode(reader: &mut StateReader<'_>) -> Option<Sum> {
        match reader.byte()? {
            TAG_EMPTY => Some(Sum::Empty),
            TAG_INT => reader.signed().map(Sum::Int),
            TAG_FLOAT => FloatSum::decode(reader).map(Sum::Float),
            TAG_DECIMAL => DecimalSum::decode(reader).map(Sum::Decimal),
            _ => None,
        }
    }
}
