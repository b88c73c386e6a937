//! Sums that two floats hold exactly.
//!
//! A number is the unevaluated sum of two floats, the second at most half a unit in the last place of
//! the first. The error-free sum of two floats is T. J. Dekker's, "A floating-point technique for
//! extending the available precision", Numer. Math. 18, 1971. Sums of most columns fit for as long as
//! they grow; those that do not are an `ExactFloat`.

/// A finite number that is the sum of two floats; zero has no sign.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct DoubleDouble {
    hi: f64,
    lo: f64,
}

impl DoubleDouble {
    /// The number that a float is, `None` for NaN and the infinities.
    pub(super) fn new(value: f64) -> Option<DoubleDouble> {
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

    /// The exact sum, `None` where two floats do not hold it.
    pub(super) fn exact_add(self, other: DoubleDouble) -> Option<DoubleDouble> {
        let (high, high_rest) = exact_sum(self.hi, other.hi);
        let (low, low_rest) = exact_sum(self.lo, other.lo);
        let (middle, middle_rest) = exact_sum_of_any(high_rest, low);
        if low_rest != 0.0 && middle_rest != 0.0 {
            return None;
        }
        let (first, second) = exact_sum(high, middle);
        // One of the two is zero, so nothing is lost here.
        let (second, rest) = exact_sum(second, low_rest + middle_rest);
        if rest != 0.0 {
            return None;
        }
        DoubleDouble::finite(exact_sum(first, second))
    }

    /// As [`DoubleDouble::exact_add`] of a number that one float holds; `None` also for what is no
    /// number.
    #[inline]
    pub(super) fn exact_add_float(self, value: f64) -> Option<DoubleDouble> {
        let (high, high_rest) = exact_sum(self.hi, value);
        let (low, rest) = exact_sum_of_any(high_rest, self.lo);
        // What is no number differs from zero, too.
        if rest != 0.0 {
            return None;
        }
        DoubleDouble::finite(exact_sum(high, low))
    }

    #[inline]
    fn finite((hi, lo): (f64, f64)) -> Option<DoubleDouble> {
        (hi.is_finite() && lo.is_finite()).then_some(DoubleDouble { hi, lo })
    }

    /// The nearest float.
    pub(super) fn to_f64(self) -> f64 {
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

/// The same for floats of which nobody can foretell which is larger, without a branch: D. E. Knuth, "The Art of
/// Computer Programming", volume 2, section 4.2.2, theorem B.
#[inline]
fn exact_sum_of_any(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let second = sum - a;
    (sum, (a - (sum - second)) + (b - second))
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "results are exact")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_two_floats_do_not_hold_is_nothing() {
        let number = |value| DoubleDouble::new(value).unwrap();
        assert_eq!(number(f64::MAX).exact_add(number(f64::MAX)), None);
        assert_eq!(number(f64::MAX).exact_add_float(f64::MAX), None);
        assert_eq!(number(1.0).exact_add_float(f64::NAN), None);
        assert_eq!(number(1.0).exact_add_float(f64::NEG_INFINITY), None);
        assert_eq!(DoubleDouble::new(f64::NAN), None);
        assert_eq!(DoubleDouble::new(f64::INFINITY), None);
        let wide = number(1e200).exact_add_float(1.0).unwrap();
        assert_eq!(wide.parts(), (1e200, 1.0));
        assert_eq!(wide.exact_add_float(1e-200), None);
        assert_eq!(wide.exact_add_float(-1e200), Some(number(1.0)));
        assert_eq!(number(-0.0).to_f64().to_bits(), 0);
    }

    proptest! {
        #[test]
        fn integers_add_up_exactly(values in prop::collection::vec(any::<i64>(), 0..200)) {
            // Every i64 is the sum of two floats, so nothing is lost on the way in.
            let halves = values.iter().flat_map(|v| [*v >> 32 << 32, v & 0xffff_ffff]);
            let exact: i128 = values.iter().map(|value| i128::from(*value)).sum();
            let sum = halves.fold(DoubleDouble::default(), |sum, half| {
                #[allow(clippy::cast_precision_loss, reason = "each half has at most 32 bits")]
                let half = half as f64;
                sum.exact_add_float(half).unwrap()
            });
            #[allow(clippy::cast_possible_truncation, reason = "parts are integers below 2^72")]
            let back = sum.hi as i128 + sum.lo as i128;
            prop_assert_eq!(back, exact);
        }

        #[test]
        fn results_are_kept_in_one_form(a in any::<f64>(), b in any::<f64>(), c in any::<f64>()) {
            let parts = [a, b, c].map(|x| DoubleDouble::new(x).unwrap_or_default());
            let Some(pair) = parts[0].exact_add(parts[1]) else { return Ok(()) };
            let Some(sum) = pair.exact_add(parts[2]) else { return Ok(()) };
            prop_assert_eq!(DoubleDouble::from_parts(sum.hi, sum.lo), Some(sum));
            let swapped = parts[2].exact_add(pair).unwrap();
            prop_assert_eq!(
                (swapped.hi.to_bits(), swapped.lo.to_bits()),
                (sum.hi.to_bits(), sum.lo.to_bits())
            );
        }
    }
}
