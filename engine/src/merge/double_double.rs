//! Sums in twice the precision of a float.
//!
//! A number is the unevaluated sum of two floats, the second at most half a unit in the last place of
//! the first. One addition is exact to 3·2⁻¹⁰⁶ of its result: M. Joldes, J.-M. Muller and V. Popescu,
//! "Tight and rigorous error bounds for basic building blocks of double-word arithmetic", ACM TOMS
//! 44(2), 2017, algorithm 6; the error-free sum is T. J. Dekker's, Numer. Math. 18, 1971.

/// A finite number of about 106 bits; zero has no sign.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DoubleDouble {
    hi: f64,
    lo: f64,
}

impl DoubleDouble {
    /// Zero.
    pub const ZERO: DoubleDouble = DoubleDouble { hi: 0.0, lo: 0.0 };

    /// The number that a float is, `None` for NaN and the infinities.
    pub fn new(value: f64) -> Option<DoubleDouble> {
        // Adding zero turns -0.0 into 0.0 and leaves everything else alone.
        value.is_finite().then_some(DoubleDouble {
            hi: value + 0.0,
            lo: 0.0,
        })
    }

    /// The number of two floats, `None` where they are not how a number is kept.
    pub(super) fn from_parts(hi: f64, lo: f64) -> Option<DoubleDouble> {
        let negative_zero = |part: f64| part == 0.0 && part.is_sign_negative();
        #[allow(clippy::float_cmp, reason = "whether the sum rounds to exactly `hi`")]
        let kept = hi.is_finite() && lo.is_finite() && hi + lo == hi;
        (kept && !negative_zero(hi) && !negative_zero(lo)).then_some(DoubleDouble { hi, lo })
    }

    /// Both floats.
    pub(super) fn parts(self) -> (f64, f64) {
        (self.hi, self.lo)
    }

    /// The sum, bit for bit the same either way round; `None` beyond the range of floats.
    #[must_use]
    pub fn checked_add(self, other: DoubleDouble) -> Option<DoubleDouble> {
        let (high, high_rest) = exact_sum(self.hi, other.hi);
        let (low, low_rest) = exact_sum(self.lo, other.lo);
        let (first, second) = exact_sum(high, high_rest + low);
        let (hi, lo) = exact_sum(first, low_rest + second);
        (hi.is_finite() && lo.is_finite()).then_some(DoubleDouble { hi, lo })
    }

    /// As [`DoubleDouble::checked_add`] of a number that one float holds, or `None` for what is no number:
    /// with the second float zero one of the four exact sums is known.
    #[inline]
    pub(super) fn checked_add_float(self, value: f64) -> Option<DoubleDouble> {
        let (high, high_rest) = exact_sum(self.hi, value);
        let (first, second) = exact_sum(high, high_rest + self.lo);
        let (hi, lo) = exact_sum(first, second);
        (hi.is_finite() && lo.is_finite()).then_some(DoubleDouble { hi, lo })
    }

    /// The nearest float.
    pub fn to_f64(self) -> f64 {
        self.hi
    }
}

/// The rounded sum of two floats, and exactly what rounding took away. The order of the two does not
/// matter: the larger one is put first, and where they tie the sum is exact.
#[inline]
fn exact_sum(a: f64, b: f64) -> (f64, f64) {
    let (large, small) = if a.abs() < b.abs() { (b, a) } else { (a, b) };
    let sum = large + small;
    (sum, small - (sum - large))
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "results are exact")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(values: impl IntoIterator<Item = f64>) -> DoubleDouble {
        values.into_iter().fold(DoubleDouble::ZERO, |sum, value| {
            sum.checked_add(DoubleDouble::new(value).unwrap()).unwrap()
        })
    }

    #[test]
    fn small_parts_are_not_lost() {
        assert_eq!(sum([1e16, 1.0, -1e16]).to_f64(), 1.0);
        assert_eq!(sum([1.0, 1e30, -1e30]).to_f64(), 1.0);
        assert_eq!(sum(std::iter::repeat_n(0.1, 10)).to_f64(), 1.0);
        assert_eq!(DoubleDouble::new(-0.0).unwrap().to_f64().to_bits(), 0);
    }

    #[test]
    fn beyond_the_range_is_nothing() {
        let max = DoubleDouble::new(f64::MAX).unwrap();
        assert_eq!(max.checked_add(max), None);
        assert_eq!(DoubleDouble::new(f64::NAN), None);
        assert_eq!(DoubleDouble::new(f64::INFINITY), None);
    }

    proptest! {
        #[test]
        fn integers_add_up_exactly(values in prop::collection::vec(any::<i64>(), 0..200)) {
            // Every i64 is the sum of two floats, so nothing is lost on the way in.
            let halves = values.iter().flat_map(|v| [*v >> 32 << 32, v & 0xffff_ffff]);
            let exact: i128 = values.iter().map(|value| i128::from(*value)).sum();
            #[allow(clippy::cast_precision_loss, reason = "each half has at most 32 bits")]
            let sum = sum(halves.map(|half| half as f64));
            #[allow(clippy::cast_possible_truncation, reason = "parts are integers below 2^72")]
            let back = sum.hi as i128 + sum.lo as i128;
            prop_assert_eq!(back, exact);
        }

        #[test]
        fn results_are_kept_in_one_form(a in any::<f64>(), b in any::<f64>(), c in any::<f64>()) {
            let parts = [a, b, c].map(|x| DoubleDouble::new(x).unwrap_or_default());
            let Some(pair) = parts[0].checked_add(parts[1]) else { return Ok(()) };
            let Some(sum) = pair.checked_add(parts[2]) else { return Ok(()) };
            prop_assert_eq!(DoubleDouble::from_parts(sum.hi, sum.lo), Some(sum));
            let swapped = parts[2].checked_add(pair).unwrap();
            prop_assert_eq!(
                (swapped.hi.to_bits(), swapped.lo.to_bits()),
                (sum.hi.to_bits(), sum.lo.to_bits())
            );
        }
    }
}
