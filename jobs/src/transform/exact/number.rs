//! The order of numbers of different types, as they are.

use std::cmp::Ordering;

use arrow::datatypes::i256;

/// A number of any type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Int(i128),
    Float(f64),
    /// Digits and places behind the point.
    Decimal(i128, i32),
}

/// Floats from which on all are beyond 128 bits.
const WIDE_MAX: f64 = 1.7e38;

impl Number {
    /// How it compares to another one. NaN is equal to itself and above all others, as in `ORDER BY`. A float beside a decimal
    /// is the number that it is written as: `0.1` equals `0.10`.
    pub(super) fn order(self, other: Number) -> Ordering {
        match (self, other) {
            (Number::Int(left), Number::Int(right)) => left.cmp(&right),
            (Number::Float(left), Number::Float(right)) => floats(left, right),
            (Number::Int(left), Number::Float(right)) => int_and_float(left, right),
            (Number::Float(left), Number::Int(right)) => int_and_float(right, left).reverse(),
            (Number::Decimal(digits, places), Number::Float(float)) => {
                decimal_and_float((digits, places), float)
            }
            (Number::Float(float), Number::Decimal(digits, places)) => {
                decimal_and_float((digits, places), float).reverse()
            }
            (left, right) => decimals(left.digits(), right.digits()),
        }
    }

    /// Of an integer or a decimal.
    fn digits(self) -> (i128, i32) {
        match self {
            Number::Int(value) => (value, 0),
            Number::Decimal(digits, places) => (digits, places),
            Number::Float(_) => (0, 0),
        }
    }
}

fn floats(left: f64, right: f64) -> Ordering {
    let by_nan = || left.is_nan().cmp(&right.is_nan());
    left.partial_cmp(&right).unwrap_or_else(by_nan)
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the whole part of a float that is not beyond 128 bits"
)]
fn int_and_float(int: i128, float: f64) -> Ordering {
    if float.is_nan() || float >= WIDE_MAX {
        return Ordering::Less;
    }
    if float <= -WIDE_MAX {
        return Ordering::Greater;
    }
    let whole = float.trunc();
    let part = || 0.0_f64.partial_cmp(&(float - whole));
    let by_whole = int.cmp(&(whole as i128));
    by_whole.then_with(|| part().unwrap_or(Ordering::Equal))
}

fn decimal_and_float(decimal: (i128, i32), float: f64) -> Ordering {
    if float.is_nan() || float == f64::INFINITY {
        return Ordering::Less;
    }
    if float == f64::NEG_INFINITY {
        return Ordering::Greater;
    }
    decimals(decimal, written(float))
}

/// The shortest digits that a float is read from, and places behind the point.
fn written(float: f64) -> (i128, i32) {
    let text = format!("{float:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{part}").parse().unwrap_or(0);
    let exponent: i32 = exponent.parse().unwrap_or(0);
    debug_assert!(part.len() < 18, "a float has 17 digits: {text}");
    let places = i32::try_from(part.len()).unwrap_or(0) - exponent;
    (digits, places)
}

fn decimals(left: (i128, i32), right: (i128, i32)) -> Ordering {
    let by_sign = left.0.signum().cmp(&right.0.signum());
    if by_sign != Ordering::Equal || left.0 == 0 {
        return by_sign;
    }
    // Digits before the point, or zeros behind it.
    let size = |(digits, places): (i128, i32)| {
        let count = digits.unsigned_abs().checked_ilog10().unwrap_or(0);
        i32::try_from(count).unwrap_or(0) - places
    };
    let by_size = size(left).cmp(&size(right));
    if by_size != Ordering::Equal {
        return if left.0 > 0 {
            by_size
        } else {
            by_size.reverse()
        };
    }
    // Of one size, places differ by no more than digits do.
    let places = left.1.max(right.1);
    let wide = |(digits, own): (i128, i32)| {
        let power = i256::from_i128(10).wrapping_pow(places.abs_diff(own));
        i256::from_i128(digits).wrapping_mul(power)
    };
    wide(left).cmp(&wide(right))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Number::{Decimal, Float, Int};
    use proptest::prelude::*;

    #[test]
    fn numbers_compare_as_they_are() {
        let limit = 9_007_199_254_740_992_i128;
        for (left, right, order) in [
            (
                Int(limit + 1),
                Float(9_007_199_254_740_992.0),
                Ordering::Greater,
            ),
            (Int(limit), Float(9_007_199_254_740_992.0), Ordering::Equal),
            (
                Int(i64::MAX.into()),
                Float(9_223_372_036_854_775_808.0),
                Ordering::Less,
            ),
            (Int(1), Float(1.5), Ordering::Less),
            (Int(-1), Float(-1.5), Ordering::Greater),
            (Int(0), Float(-0.0), Ordering::Equal),
            (Int(7), Float(f64::NAN), Ordering::Less),
            (Int(7), Float(f64::NEG_INFINITY), Ordering::Greater),
            (Float(f64::NAN), Float(f64::NAN), Ordering::Equal),
            (Decimal(10, 2), Float(0.1), Ordering::Equal),
            (Decimal(1999, 2), Float(19.99), Ordering::Equal),
            (Decimal(0, 2), Float(1e-300), Ordering::Less),
            (Decimal(-1, 2), Float(-1e300), Ordering::Greater),
            (
                Decimal(12_345_678_901_234_567_890, 2),
                Float(1.234_567_890_123_456_8e17),
                Ordering::Less,
            ),
            (Decimal(i128::MAX, 0), Float(1e38), Ordering::Greater),
            (Int(5), Decimal(50, 1), Ordering::Equal),
        ] {
            assert_eq!(left.order(right), order, "{left:?} {right:?}");
            assert_eq!(right.order(left), order.reverse(), "{right:?} {left:?}");
        }
    }

    proptest! {
        /// A float that is a whole number compares like it.
        #[test]
        fn whole_floats_compare_like_integers(left in any::<i64>(), near in -5_i64..5, far in any::<i64>(), is_near in any::<bool>()) {
            let right = if is_near { left.saturating_add(near) } else { far };
            #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
            let (float, whole) = (right as f64, (right as f64) as i128);
            prop_assert_eq!(Int(left.into()).order(Float(float)), i128::from(left).cmp(&whole));
            let half = if float.abs() < 1e15 { 0.5 } else { 0.0 };
            let expected = i128::from(left).cmp(&whole);
            let expected = if half > 0.0 { expected.then(Ordering::Less) } else { expected };
            prop_assert_eq!(Int(left.into()).order(Float(float + half)), expected);
        }

        /// Decimals compare by their value, whatever their places.
        #[test]
        fn decimals_compare_by_value(left in any::<i64>(), right in any::<i64>(), more in 0_u32..9) {
            let wide = i128::from(left) * 10_i128.pow(more);
            let places = i32::try_from(more).unwrap();
            prop_assert_eq!(
                Decimal(wide, places + 2).order(Decimal(right.into(), 2)),
                left.cmp(&right)
            );
        }
    }
}
