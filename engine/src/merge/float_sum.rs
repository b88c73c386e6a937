//! Sums of floats.

use super::DoubleDouble;
use super::wire::Reader;

/// A sum of floats: finite in twice the precision, or marks of what is not finite.
///
/// Once there is a mark the finite part has no influence on the result, so it is dropped: equal sums
/// then have equal bytes. A finite sum that leaves the range of floats becomes an infinity; that is
/// the one case in which the order of merging can show, and sum(|x|) is infinite then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FloatSum(Inner);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Inner {
    Finite(DoubleDouble),
    /// At least one of the marks.
    Marked(u8),
}

const MARK_NAN: u8 = 1;
const MARK_POSITIVE: u8 = 2;
const MARK_NEGATIVE: u8 = 4;
const MARKS: u8 = MARK_NAN | MARK_POSITIVE | MARK_NEGATIVE;

const LAYOUT_ONE_FLOAT: u8 = 0;
const LAYOUT_TWO_FLOATS: u8 = 1;
const LAYOUT_MARKS: u8 = 2;

impl FloatSum {
    /// The sum of one value.
    pub fn new(value: f64) -> FloatSum {
        FloatSum(match DoubleDouble::new(value) {
            Some(finite) => Inner::Finite(finite),
            None if value.is_nan() => Inner::Marked(MARK_NAN),
            None if value > 0.0 => Inner::Marked(MARK_POSITIVE),
            None => Inner::Marked(MARK_NEGATIVE),
        })
    }

    /// Adds one value, as absorbing its sum does.
    #[inline]
    pub fn add(&mut self, value: f64) {
        // A zero has no sign here: the first of two zeros is positive, and so then is their sum.
        if let Inner::Finite(sum) = self.0
            && let Some(sum) = sum.checked_add_float(value)
        {
            self.0 = Inner::Finite(sum);
            return;
        }
        self.absorb(FloatSum::new(value));
    }

    /// Adds another sum.
    pub fn absorb(&mut self, other: FloatSum) {
        self.0 = match (self.0, other.0) {
            (Inner::Finite(a), Inner::Finite(b)) => match a.checked_add(b) {
                Some(sum) => Inner::Finite(sum),
                // Two finite numbers leave the range on the side on which the larger one lies.
                None => FloatSum::new(f64::INFINITY.copysign(a.to_f64() + b.to_f64())).0,
            },
            (Inner::Marked(a), Inner::Marked(b)) => Inner::Marked(a | b),
            (Inner::Marked(marks), Inner::Finite(_)) | (Inner::Finite(_), Inner::Marked(marks)) => {
                Inner::Marked(marks)
            }
        };
    }

    /// The nearest float. Infinities of both signs add up to NaN.
    pub fn to_f64(self) -> f64 {
        match self.0 {
            Inner::Finite(sum) => sum.to_f64(),
            Inner::Marked(MARK_POSITIVE) => f64::INFINITY,
            Inner::Marked(MARK_NEGATIVE) => f64::NEG_INFINITY,
            Inner::Marked(_) => f64::NAN,
        }
    }

    /// Both floats of a finite sum.
    #[cfg(test)]
    pub(super) fn finite_parts(self) -> Option<(f64, f64)> {
        match self.0 {
            Inner::Finite(sum) => Some(sum.parts()),
            Inner::Marked(_) => None,
        }
    }

    pub(super) fn encode_into(self, out: &mut Vec<u8>) {
        match self.0 {
            Inner::Finite(sum) => {
                let (hi, lo) = sum.parts();
                out.push(if lo == 0.0 {
                    LAYOUT_ONE_FLOAT
                } else {
                    LAYOUT_TWO_FLOATS
                });
                out.extend_from_slice(&hi.to_le_bytes());
                if lo != 0.0 {
                    out.extend_from_slice(&lo.to_le_bytes());
                }
            }
            Inner::Marked(marks) => out.extend_from_slice(&[LAYOUT_MARKS, marks]),
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<FloatSum> {
        let layout = reader.byte()?;
        if layout == LAYOUT_MARKS {
            let marks = reader
                .byte()
                .filter(|marks| *marks != 0 && marks & !MARKS == 0)?;
            return Some(FloatSum(Inner::Marked(marks)));
        }
        let hi = f64::from_le_bytes(reader.array()?);
        let lo = match layout {
            LAYOUT_ONE_FLOAT => 0.0,
            LAYOUT_TWO_FLOATS => {
                Some(f64::from_le_bytes(reader.array()?)).filter(|lo| *lo != 0.0)?
            }
            _ => return None,
        };
        DoubleDouble::from_parts(hi, lo).map(|sum| FloatSum(Inner::Finite(sum)))
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "results are exact")]
mod tests {
    use super::*;

    fn sum(values: &[f64]) -> f64 {
        let mut sum = FloatSum::new(0.0);
        for value in values {
            sum.absorb(FloatSum::new(*value));
        }
        sum.to_f64()
    }

    #[test]
    fn adding_a_value_is_absorbing_its_sum() {
        let values = [
            0.1,
            -0.0,
            1e300,
            f64::MAX,
            -1e300,
            3.5,
            f64::MIN,
            1e-310,
            f64::MAX,
            f64::MAX,
            7.0,
            f64::INFINITY,
            1.0,
            f64::NAN,
            f64::NEG_INFINITY,
        ];
        let (mut added, mut absorbed) = (FloatSum::new(0.0), FloatSum::new(0.0));
        for value in values {
            added.add(value);
            absorbed.absorb(FloatSum::new(value));
            assert_eq!(added, absorbed, "after {value}");
        }
    }

    #[test]
    fn what_is_not_finite_adds_up_as_floats_do() {
        assert_eq!(sum(&[1.0, f64::INFINITY, -5.0]), f64::INFINITY);
        assert_eq!(sum(&[f64::NEG_INFINITY, 1.0]), f64::NEG_INFINITY);
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY, 1.0]).is_nan());
        assert!(sum(&[1.0, f64::NAN, f64::INFINITY]).is_nan());
        assert_eq!(sum(&[f64::MAX, f64::MAX]), f64::INFINITY);
        assert_eq!(sum(&[f64::MIN, f64::MIN]), f64::NEG_INFINITY);
        assert_eq!(sum(&[f64::MAX, f64::MIN]), 0.0);
    }
}
