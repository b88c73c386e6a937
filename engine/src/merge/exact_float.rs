//! Exact sums of floats of any size.
//!
//! Every finite float is an integer multiple of 2⁻¹⁰⁷⁴, so a sum of floats is one, too: an integer of at
//! most 2,163 bits for 2⁶⁴ of them. Keeping it as an integer is R. M. Neal's superaccumulator, "Fast
//! exact summation using small and large superaccumulators", 2015; here it has only the limbs that it
//! needs, since nearly all sums need few.

use super::wire::{StateReader, put_bytes, put_varint};

/// An exact sum of integers of many bits, of at most `LIMBS` limbs. What could only come from forged bytes wraps, which
/// keeps the laws.
#[derive(Clone, Debug)]
pub(super) struct ExactSum<const LIMBS: usize> {
    /// How many limbs are left out below the first: they are zero.
    low: usize,
    /// Two's complement, the lowest limb first; the last one goes on for ever as its sign.
    limbs: Vec<u64>,
}

/// Limbs of any sum of floats: 2,240 bits.
pub(super) const FLOAT_LIMBS: usize = 35;
/// An exact sum of finite floats.
pub(super) type ExactFloat = ExactSum<FLOAT_LIMBS>;

pub(super) const LIMB_BITS: usize = 64;
/// Bits of a float's digits, the leading one included.
const DIGITS: usize = 53;

/// The digits of a finite float, and by how many bits they are shifted: it is their product times 2^-1074.
pub(super) fn digits_of(value: f64) -> (u64, usize) {
    debug_assert!(value.is_finite(), "{value} is no number of units");
    let bits = value.to_bits();
    let exponent = usize::try_from(bits >> (DIGITS - 1) & 0x7ff).unwrap_or(0);
    let fraction = bits & ((1 << (DIGITS - 1)) - 1);
    // A subnormal float has the unit of the smallest normal one and no leading digit.
    match exponent {
        0 => (fraction, 0),
        _ => (fraction | 1 << (DIGITS - 1), exponent - 1),
    }
}

impl ExactFloat {
    /// Adds a finite float.
    pub(super) fn add_float(&mut self, value: f64) {
        let (digits, shift) = digits_of(value);
        let magnitude = u128::from(digits) << (shift % LIMB_BITS);
        let mut limbs = [low_limb(magnitude), low_limb(magnitude >> LIMB_BITS), 0];
        if value.is_sign_negative() {
            negate(&mut limbs);
        }
        self.add_limbs(shift / LIMB_BITS, &limbs);
    }

    /// The nearest float, of two that are equally near the even one; an infinity beyond their range.
    pub(super) fn to_f64(&self) -> f64 {
        // With a limb below the lowest there is, 53 digits below the leading one are always there.
        let spare = self.low.min(1);
        let mut magnitude = vec![0; spare];
        magnitude.extend_from_slice(&self.limbs);
        let is_negative = sign_of(&magnitude) != 0;
        if is_negative {
            negate(&mut magnitude);
        }
        let Some(top) = magnitude.iter().rposition(|limb| *limb != 0) else {
            return 0.0;
        };
        let below = (self.low - spare) * LIMB_BITS;
        let len = below + (top + 1) * LIMB_BITS - magnitude[top].leading_zeros() as usize;
        let dropped = len.saturating_sub(DIGITS);
        let bits = if dropped == 0 {
            // The smallest floats: their bits are the number of units.
            magnitude[0]
        } else {
            let (digits, half) = (dropped - below, dropped - below - 1);
            let digits = digits_from(&magnitude, digits);
            let is_up =
                bit_at(&magnitude, half) && (digits & 1 == 1 || is_any_below(&magnitude, half));
            // The leading digit adds one to the exponent, and so do digits that round up to a power
            // of two.
            ((dropped as u64) << (DIGITS - 1)) + digits + u64::from(is_up)
        };
        let value = f64::from_bits(bits.min(f64::INFINITY.to_bits()));
        if is_negative { -value } else { value }
    }

    /// The two floats whose sum it is, the first the nearest to it; `None` where no two are.
    pub(super) fn to_parts(&self) -> Option<(f64, f64)> {
        let hi = self.to_f64();
        if !hi.is_finite() {
            return None;
        }
        let mut rest = self.clone();
        rest.add_float(-hi);
        let lo = rest.to_f64();
        rest.add_float(-lo);
        rest.is_zero().then_some((hi, lo))
    }
}

impl<const LIMBS: usize> ExactSum<LIMBS> {
    /// Zero.
    pub(super) fn zero() -> ExactSum<LIMBS> {
        ExactSum {
            low: 0,
            limbs: Vec::new(),
        }
    }

    /// Adds another sum.
    pub(super) fn absorb(&mut self, other: &ExactSum<LIMBS>) {
        self.add_limbs(other.low, &other.limbs);
    }

    /// Where its lowest limb stands, and its limbs in two's complement.
    pub(super) fn parts(&self) -> (usize, &[u64]) {
        (self.low, &self.limbs)
    }

    /// Whether it is zero.
    pub(super) fn is_zero(&self) -> bool {
        self.limbs.iter().all(|limb| *limb == 0)
    }

    /// Bytes on the heap.
    pub(super) fn len_bytes(&self) -> usize {
        size_of::<Self>() + self.limbs.capacity() * size_of::<u64>()
    }

    /// Adds the number of trailing zero bits, and the bytes of what stands above them.
    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        let first = self.limbs.iter().position(|limb| *limb != 0).unwrap_or(0);
        let limbs = &self.limbs[first..];
        let zeros = limbs.first().map_or(0, |limb| limb.trailing_zeros());
        let mut bytes = Vec::with_capacity((limbs.len() + 1) * 8);
        for (index, limb) in limbs.iter().enumerate() {
            let above = limbs.get(index + 1).copied().unwrap_or(sign_of(limbs));
            let pair = u128::from(above) << LIMB_BITS | u128::from(*limb);
            bytes.extend_from_slice(&low_limb(pair >> zeros).to_le_bytes());
        }
        bytes.truncate(short_len(&bytes));
        let shift = (self.low + first) * LIMB_BITS + zeros as usize;
        put_varint(shift as u128, out);
        put_bytes(&bytes, out);
    }

    /// The next sum, `None` where the bytes are not what encoding gives.
    pub(super) fn decode(reader: &mut StateReader<'_>) -> Option<ExactSum<LIMBS>> {
        let shift = usize::try_from(reader.varint()?).ok()?;
        let bytes = reader.bytes()?;
        let bits_max = LIMBS * LIMB_BITS;
        let is_short = bytes.len() * 8 <= bits_max && shift <= bits_max - bytes.len() * 8;
        let is_odd = bytes.first().is_some_and(|byte| byte & 1 == 1);
        if !is_short || !is_odd || short_len(bytes) != bytes.len() {
            return None;
        }
        let sign = if bytes.last()? & 0x80 == 0 { 0 } else { 0xff };
        let chunks = bytes.chunks(8).map(|chunk| {
            let mut limb = [sign; 8];
            limb[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(limb)
        });
        let mut limbs: Vec<u64> = chunks.collect();
        let (low, zeros) = (shift / LIMB_BITS, shift % LIMB_BITS);
        if zeros > 0 {
            limbs.push(sign_of(&limbs));
            for index in (0..limbs.len()).rev() {
                let below = index.checked_sub(1).map_or(0, |below| limbs[below]);
                let pair = u128::from(limbs[index]) << LIMB_BITS | u128::from(below);
                limbs[index] = low_limb(pair >> (LIMB_BITS - zeros));
            }
        }
        limbs.truncate(LIMBS - low);
        Some(ExactSum { low, limbs })
    }

    /// Adds a number in two's complement that begins at limb `at`.
    pub(super) fn add_limbs(&mut self, at: usize, addend: &[u64]) {
        if self.limbs.is_empty() {
            self.low = at;
        }
        if at < self.low {
            let more = self.low - at;
            self.limbs.splice(0..0, std::iter::repeat_n(0, more));
            self.low = at;
        }
        // Both numbers with a limb of nothing but sign above them: then their sum fits.
        let end = |low: usize, limbs: &[u64]| {
            let has_room = limbs.last().is_some_and(|top| *top == sign_of(limbs));
            low + limbs.len() + usize::from(!has_room)
        };
        let end = end(self.low, &self.limbs).max(end(at, addend)).min(LIMBS);
        let (own_sign, sign) = (sign_of(&self.limbs), sign_of(addend));
        if end - self.low > self.limbs.len() {
            self.limbs.resize(end - self.low, own_sign);
        }
        let mut carry = false;
        let from = at - self.low;
        for (index, limb) in self.limbs.iter_mut().enumerate().skip(from) {
            let more = addend.get(index - from).copied();
            // Adding 2^64 - 1 and a carry changes nothing, and neither does adding neither.
            if more.is_none() && carry == (sign != 0) {
                break;
            }
            let (sum, first) = limb.overflowing_add(more.unwrap_or(sign));
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            *limb = sum;
            carry = first || second;
        }
        debug_assert!(
            self.low + self.limbs.len() <= LIMBS,
            "{} limbs from {}",
            self.limbs.len(),
            self.low
        );
    }
}

/// The limb that goes on for ever above a number in two's complement.
pub(super) fn sign_of(limbs: &[u64]) -> u64 {
    match limbs.last() {
        Some(top) if top.cast_signed() < 0 => u64::MAX,
        _ => 0,
    }
}

/// The number of the other sign, in as many limbs.
pub(super) fn negate(limbs: &mut [u64]) {
    let mut carry = true;
    for limb in limbs {
        let (negated, more) = (!*limb).overflowing_add(u64::from(carry));
        *limb = negated;
        carry = more;
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the rest is not wanted")]
pub(super) fn low_limb(wide: u128) -> u64 {
    wide as u64
}

/// The 64 bits from `bit` on.
fn digits_from(limbs: &[u64], bit: usize) -> u64 {
    let (index, shift) = (bit / LIMB_BITS, bit % LIMB_BITS);
    let above = limbs.get(index + 1).copied().unwrap_or(0);
    low_limb((u128::from(above) << LIMB_BITS | u128::from(limbs[index])) >> shift)
}

fn bit_at(limbs: &[u64], bit: usize) -> bool {
    limbs[bit / LIMB_BITS] >> (bit % LIMB_BITS) & 1 == 1
}

/// Whether a bit below `bit` is set.
fn is_any_below(limbs: &[u64], bit: usize) -> bool {
    let (index, shift) = (bit / LIMB_BITS, bit % LIMB_BITS);
    limbs[..index].iter().any(|limb| *limb != 0) || limbs[index] & ((1 << shift) - 1) != 0
}

/// As few bytes as keep the number in two's complement, at least one.
fn short_len(bytes: &[u8]) -> usize {
    let sign = match bytes.last() {
        Some(top) if top & 0x80 != 0 => 0xff,
        _ => 0,
    };
    let mut len = bytes.len();
    while len > 1 && bytes[len - 1] == sign && bytes[len - 2] & 0x80 == sign & 0x80 {
        len -= 1;
    }
    len
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "results are exact")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(values: &[f64]) -> ExactFloat {
        let mut sum = ExactFloat::zero();
        for value in values {
            sum.add_float(*value);
        }
        sum
    }

    fn bytes(sum: &ExactFloat) -> Vec<u8> {
        let mut out = Vec::new();
        sum.encode_into(&mut out);
        out
    }

    /// Any finite float, most of them far from one another.
    fn finite() -> impl Strategy<Value = f64> {
        let any = any::<u64>().prop_map(f64::from_bits);
        let edges = [
            0.0,
            -0.0,
            5e-324,
            -5e-324,
            f64::MIN_POSITIVE,
            f64::MAX,
            f64::MIN,
            1.0,
            -1.0,
        ];
        prop_oneof![
            6 => any.prop_filter("finite", |value| value.is_finite()),
            3 => -1e6..1e6f64,
            1 => prop::sample::select(edges.to_vec()),
        ]
    }

    #[test]
    fn ties_round_to_even() {
        let half = f64::EPSILON / 2.0;
        assert_eq!(sum(&[1.0, half]).to_f64(), 1.0);
        assert_eq!(sum(&[1.0, half, 5e-324]).to_f64(), 1.0 + f64::EPSILON);
        assert_eq!(
            sum(&[1.0 + f64::EPSILON, half]).to_f64(),
            1.0 + 2.0 * f64::EPSILON
        );
        assert_eq!(sum(&[-1.0, -half]).to_f64(), -1.0);
        // The last float and half of its last digit: the next even one is beyond the range.
        assert_eq!(sum(&[f64::MAX, 2f64.powi(970)]).to_f64(), f64::INFINITY);
        assert_eq!(sum(&[f64::MAX, 2f64.powi(969)]).to_f64(), f64::MAX);
        assert_eq!(
            sum(&[f64::MIN, -(2f64.powi(970))]).to_f64(),
            f64::NEG_INFINITY
        );
    }

    #[test]
    fn what_passes_beyond_the_range_comes_back() {
        let values = [f64::MAX; 100].into_iter().chain([f64::MIN; 99]);
        let mut all = sum(&values.collect::<Vec<_>>());
        assert_eq!(all.to_f64(), f64::MAX);
        all.absorb(&sum(&[f64::MIN, 5e-324]));
        assert_eq!(all.to_f64(), 5e-324);
        assert_eq!(all.to_parts(), Some((5e-324, 0.0)));
    }

    #[test]
    fn forged_bytes_do_not_decode() {
        // Even digits, a needless byte, beyond all sums, nothing, and zero.
        for forged in [
            &[0, 1, 2][..],
            &[0, 2, 1, 0],
            &[0, 2, 0xff, 0xff],
            &[0xc0, 0x11, 1, 1],
            &[0, 0],
            &[0, 1, 0],
        ] {
            assert!(
                ExactFloat::decode(&mut StateReader::new(forged)).is_none(),
                "{forged:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn one_float_comes_back(value in finite()) {
            prop_assert_eq!(sum(&[value]).to_f64(), value);
        }

        #[test]
        fn two_floats_add_up_as_the_processor_has_it(a in finite(), b in finite()) {
            prop_assert_eq!(sum(&[a, b]).to_f64(), a + b);
        }

        #[test]
        fn order_and_grouping_leave_the_same_bytes(
            values in prop::collection::vec(finite(), 1..40),
            cut in any::<prop::sample::Index>(),
            seed in any::<u64>(),
        ) {
            let all = sum(&values);
            let mut shuffled = values.clone();
            shuffled.sort_by_key(|value| value.to_bits().wrapping_mul(seed | 1));
            let (first, rest) = shuffled.split_at(cut.index(values.len()));
            let mut parts = sum(rest);
            parts.absorb(&sum(first));
            prop_assert_eq!(bytes(&parts), bytes(&all));
            prop_assert_eq!(parts.to_f64(), all.to_f64());
            if !all.is_zero() {
                let encoded = bytes(&all);
                let mut reader = StateReader::new(&encoded);
                let back = ExactFloat::decode(&mut reader).map(|sum| bytes(&sum));
                prop_assert!(reader.is_empty());
                prop_assert_eq!(back, Some(encoded));
            }
        }

        #[test]
        fn what_is_taken_away_again_leaves_nothing(values in prop::collection::vec(finite(), 0..40)) {
            let mut all = sum(&values);
            for value in values {
                all.add_float(-value);
            }
            prop_assert!(all.is_zero());
        }

        #[test]
        fn forged_sums_wrap_in_any_order(
            parts in prop::collection::vec((0usize..2240, prop::collection::vec(any::<u8>(), 1..260)), 2..6),
        ) {
            let decoded: Vec<ExactFloat> = parts.iter().filter_map(|(shift, bytes)| {
                let mut encoded = Vec::new();
                put_varint(*shift as u128, &mut encoded);
                put_bytes(bytes, &mut encoded);
                ExactFloat::decode(&mut StateReader::new(&encoded))
            }).collect();
            let (mut forward, mut backward) = (ExactFloat::zero(), ExactFloat::zero());
            for (part, other) in decoded.iter().zip(decoded.iter().rev()) {
                forward.absorb(part);
                backward.absorb(other);
            }
            prop_assert_eq!(bytes(&forward), bytes(&backward));
        }
    }
}
