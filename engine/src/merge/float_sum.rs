//! Sums of floats.

use super::wire::StateReader;
use super::{DoubleDouble, ExactFloat};

/// A sum of floats: exact, or marks of what is not finite.
///
/// Any order and any grouping of the same values gives the same sum and the same bytes, however far
/// apart the values are, also where the way leads beyond the range of floats and back. Reading rounds
/// once, to the nearest float.
///
/// Once there is a mark the finite part has no influence on the result, so it is dropped: equal sums
/// then have equal bytes.
#[derive(Clone, Debug)]
pub struct FloatSum(FloatParts);

#[derive(Clone, Debug)]
enum FloatParts {
    /// What two floats hold, as nearly all sums are.
    Pair(DoubleDouble),
    /// Any other finite sum; it stays so until it is encoded.
    Exact(Box<ExactFloat>),
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
const LAYOUT_EXACT: u8 = 3;

impl FloatSum {
    /// The sum of one value.
    pub fn new(value: f64) -> FloatSum {
        FloatSum(match DoubleDouble::new(value) {
            Some(finite) => FloatParts::Pair(finite),
            None if value.is_nan() => FloatParts::Marked(MARK_NAN),
            None if value > 0.0 => FloatParts::Marked(MARK_POSITIVE),
            None => FloatParts::Marked(MARK_NEGATIVE),
        })
    }

    /// Adds one value, as absorbing its sum does.
    #[inline]
    pub fn add(&mut self, value: f64) {
        // A zero has no sign here: the first of two zeros is positive, and so then is their sum.
        if let FloatParts::Pair(sum) = &self.0
            && let Some(sum) = sum.exact_add_float(value)
        {
            self.0 = FloatParts::Pair(sum);
            return;
        }
        self.add_apart(value);
    }

    /// Adds a value that makes, or meets, anything but a pair of floats.
    #[cold]
    fn add_apart(&mut self, value: f64) {
        match &mut self.0 {
            FloatParts::Exact(sum) if value.is_finite() => sum.add_float(value),
            _ => self.absorb(&FloatSum::new(value)),
        }
    }

    /// Adds another sum.
    pub fn absorb(&mut self, other: &FloatSum) {
        let sum = match (&mut self.0, &other.0) {
            (FloatParts::Pair(a), FloatParts::Pair(b)) => match a.exact_add(*b) {
                Some(sum) => FloatParts::Pair(sum),
                None => {
                    let mut sum = exact(*a);
                    sum.absorb(&exact(*b));
                    FloatParts::Exact(Box::new(sum))
                }
            },
            (FloatParts::Exact(a), FloatParts::Exact(b)) => return a.absorb(b),
            (FloatParts::Exact(a), FloatParts::Pair(b)) => return a.absorb(&exact(*b)),
            (FloatParts::Pair(a), FloatParts::Exact(b)) => {
                let mut sum = b.clone();
                sum.absorb(&exact(*a));
                FloatParts::Exact(sum)
            }
            (FloatParts::Marked(a), FloatParts::Marked(b)) => FloatParts::Marked(*a | b),
            (_, FloatParts::Marked(marks)) => FloatParts::Marked(*marks),
            (FloatParts::Marked(_), _) => return,
        };
        self.0 = sum;
    }

    /// The nearest float, of two that are equally near the even one; an infinity where the sum is
    /// beyond the range of floats. Infinities of both signs add up to NaN.
    pub fn to_f64(&self) -> f64 {
        match &self.0 {
            FloatParts::Pair(sum) => sum.to_f64(),
            FloatParts::Exact(sum) => sum.to_f64(),
            FloatParts::Marked(MARK_POSITIVE) => f64::INFINITY,
            FloatParts::Marked(MARK_NEGATIVE) => f64::NEG_INFINITY,
            FloatParts::Marked(_) => f64::NAN,
        }
    }

    /// Bytes on the heap: none for nearly all sums.
    #[inline]
    pub fn heap_len_bytes(&self) -> usize {
        match &self.0 {
            FloatParts::Exact(sum) => sum.len_bytes(),
            FloatParts::Pair(_) | FloatParts::Marked(_) => 0,
        }
    }

    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        match &self.0 {
            FloatParts::Pair(sum) => encode_parts(sum.parts(), out),
            FloatParts::Exact(sum) => match sum.to_parts() {
                Some(parts) => encode_parts(parts, out),
                None => {
                    out.push(LAYOUT_EXACT);
                    sum.encode_into(out);
                }
            },
            FloatParts::Marked(marks) => out.extend_from_slice(&[LAYOUT_MARKS, *marks]),
        }
    }

    pub(super) fn decode(reader: &mut StateReader<'_>) -> Option<FloatSum> {
        let inner = match reader.byte()? {
            LAYOUT_MARKS => {
                let marks = reader.byte()?;
                (marks != 0 && marks & !MARKS == 0).then_some(FloatParts::Marked(marks))
            }
            LAYOUT_EXACT => {
                let sum = ExactFloat::decode(reader)?;
                let has_one_form = sum.to_parts().is_none();
                has_one_form.then(|| FloatParts::Exact(Box::new(sum)))
            }
            LAYOUT_ONE_FLOAT => {
                let hi = f64::from_le_bytes(reader.array()?);
                DoubleDouble::from_parts(hi, 0.0).map(FloatParts::Pair)
            }
            LAYOUT_TWO_FLOATS => {
                let hi = f64::from_le_bytes(reader.array()?);
                let lo = Some(f64::from_le_bytes(reader.array()?)).filter(|lo| *lo != 0.0)?;
                DoubleDouble::from_parts(hi, lo).map(FloatParts::Pair)
            }
            _ => None,
        };
        inner.map(FloatSum)
    }
}

/// Equal sums, whatever they are kept in.
impl PartialEq for FloatSum {
    fn eq(&self, other: &FloatSum) -> bool {
        let bytes = |sum: &FloatSum| {
            let mut out = Vec::new();
            sum.encode_into(&mut out);
            out
        };
        bytes(self) == bytes(other)
    }
}

fn exact(sum: DoubleDouble) -> ExactFloat {
    let (hi, lo) = sum.parts();
    let mut exact = ExactFloat::zero();
    exact.add_float(hi);
    exact.add_float(lo);
    exact
}

fn encode_parts((hi, lo): (f64, f64), out: &mut Vec<u8>) {
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

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "results are exact")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(values: &[f64]) -> f64 {
        let mut sum = FloatSum::new(0.0);
        for value in values {
            sum.absorb(&FloatSum::new(*value));
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
            absorbed.absorb(&FloatSum::new(value));
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

    #[test]
    fn the_way_may_lead_beyond_the_range() {
        assert_eq!(sum(&[1e308, 1e308, -1e308]), 1e308);
        assert_eq!(sum(&[f64::MAX, f64::MAX, f64::MIN, f64::MIN, 0.25]), 0.25);
        // An infinity among the values stays one, whatever the finite ones add up to.
        assert_eq!(sum(&[f64::MIN, f64::MIN, f64::INFINITY]), f64::INFINITY);
    }

    #[test]
    fn small_parts_are_not_lost() {
        assert_eq!(sum(&[1e16, 1.0, -1e16]), 1.0);
        assert_eq!(sum(&[1.0, 1e30, -1e30]), 1.0);
        assert_eq!(sum(&[0.1; 10]), 1.0);
        assert_eq!(
            sum(&[1e200, 1e100, 1.0, 1e-100, -1e200, -1e100, -1.0]),
            1e-100
        );
    }

    #[test]
    fn a_pair_of_floats_has_no_second_form() {
        // 1, once as one float and once as the exact sum that it also is.
        let mut forged = vec![LAYOUT_EXACT];
        exact(DoubleDouble::new(1.0).unwrap()).encode_into(&mut forged);
        assert!(FloatSum::decode(&mut StateReader::new(&forged)).is_none());
    }

    proptest! {
        #[test]
        fn pairs_and_exact_sums_have_equal_bytes(
            bits in prop::collection::vec((any::<u64>(), 1000u64..1040), 0..30),
        ) {
            // Floats near one another, most of whose sums are pairs.
            let values = bits.iter().map(|(bits, exponent)| {
                f64::from_bits(bits & 0x800f_ffff_ffff_ffff | exponent << 52)
            });
            let (mut sum, mut whole) = (FloatSum::new(0.0), ExactFloat::zero());
            for value in values {
                sum.add(value);
                whole.add_float(value);
                prop_assert_eq!(&sum, &FloatSum(FloatParts::Exact(Box::new(whole.clone()))));
            }
        }
    }
}
