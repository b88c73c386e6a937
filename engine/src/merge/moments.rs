//! Variances and standard deviations, from exact sums of the values and of their squares.
//!
//! Both sums are integers of as many bits as they need, like those of floats ([`ExactSum`]): the square of a float is an
//! integer multiple of 2^-2148, in at most 4,196 bits. So no difference of two large floats ever cancels, and any cut of the
//! rows and any order of merging give the same bytes. What is read is `(n * sum(x^2) - sum(x)^2) / n^2` (or `n * (n - 1)`),
//! whose numerator is computed exactly and rounded once: the result is within 1e-14 of itself of the exact one, and within
//! 1e-15 where the values are no decimals.

use super::exact_float::{ExactSum, FLOAT_LIMBS, LIMB_BITS, digits_of, low_limb, negate, sign_of};
use super::wire::{StateReader, put_bytes, put_varint};
use super::{Kind, Sum};
use crate::base::Datum;

/// Limbs of a sum of squares: 4,288 bits. 2^64 squares of floats, in units of 2^-2148, take 4,260.
const SQUARE_LIMBS: usize = 67;
/// The exponent of two of the unit of squares of floats.
const FLOAT_UNIT: i32 = -2148;

/// Bytes of a state at most: kind and scale, count, and both sums with their shifts and lengths.
pub(super) const MOMENTS_LEN_MAX: usize =
    2 + 10 + (2 + 2 + FLOAT_LIMBS * 8) + (2 + 2 + SQUARE_LIMBS * 8);

/// Which measure of how far values spread is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spread {
    /// The variance of all values there are: NULL of none.
    VarPop,
    /// The variance that a sample tells of: NULL of fewer than two values.
    VarSamp,
    /// The square root of [`Spread::VarPop`].
    StddevPop,
    /// The square root of [`Spread::VarSamp`].
    StddevSamp,
}

/// What kind of numbers the values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Int,
    Float,
    /// With this scale.
    Decimal(i8),
}

/// How many values there are, the sum of them, and the sum of their squares.
#[derive(Clone, Debug)]
pub struct Moments {
    /// `None` of no value.
    family: Option<Family>,
    /// Whether a value is infinite or NaN: then so is the result, and the sums are dropped, so that equal states have equal
    /// bytes.
    is_marked: bool,
    count: u64,
    sum: ExactSum<FLOAT_LIMBS>,
    squares: ExactSum<SQUARE_LIMBS>,
}

const TAG_NONE: u8 = 0;
const TAG_INT: u8 = 1;
const TAG_FLOAT: u8 = 2;
const TAG_DECIMAL: u8 = 3;
const TAG_MARKED: u8 = 4;

impl Default for Moments {
    fn default() -> Moments {
        Moments {
            family: None,
            is_marked: false,
            count: 0,
            sum: ExactSum::zero(),
            squares: ExactSum::zero(),
        }
    }
}

impl Moments {
    /// Adds one value; `false`, and nothing is added, where it is of another kind than those before.
    #[must_use]
    pub(super) fn add(&mut self, value: &Sum) -> bool {
        let (family, number) = match value {
            Sum::Empty => return true,
            Sum::Int(value) => (Family::Int, Number::of_int(*value)),
            Sum::Float(sum) => (Family::Float, Number::of_float(sum.to_f64())),
            Sum::Decimal(sum) => match sum.to_datum() {
                Some(Datum::Decimal { unscaled, scale }) => {
                    (Family::Decimal(scale), Number::of_int(unscaled))
                }
                _ => return false,
            },
        };
        if self.family.is_some_and(|known| known != family) {
            return false;
        }
        self.family = Some(family);
        self.count = self.count.saturating_add(1);
        match number {
            None => self.mark(),
            Some(number) if !self.is_marked => number.add_to(&mut self.sum, &mut self.squares),
            Some(_) => {}
        }
        true
    }

    fn mark(&mut self) {
        self.is_marked = true;
        self.sum = ExactSum::zero();
        self.squares = ExactSum::zero();
    }

    /// Adds the values of another one; `false` where the kinds differ.
    #[must_use]
    pub(super) fn absorb(&mut self, other: &Moments) -> bool {
        if other.family.is_none() {
            return true;
        }
        if self.family.is_some_and(|known| Some(known) != other.family) {
            return false;
        }
        self.family = other.family;
        self.count = self.count.saturating_add(other.count);
        if self.is_marked || other.is_marked {
            self.mark();
        } else {
            self.sum.absorb(&other.sum);
            self.squares.absorb(&other.squares);
        }
        true
    }

    /// The kind of the values, `None` while there are none.
    pub(super) fn kind(&self) -> Option<Kind> {
        Some(match self.family? {
            Family::Int => Kind::Int,
            Family::Float => Kind::Float,
            Family::Decimal(scale) => Kind::Decimal { scale },
        })
    }

    /// The measure, NULL where the values are too few.
    pub(super) fn to_datum(&self, spread: Spread) -> Datum {
        let least = match spread {
            Spread::VarPop | Spread::StddevPop => 1,
            Spread::VarSamp | Spread::StddevSamp => 2,
        };
        if self.count < least {
            return Datum::Null;
        }
        if self.is_marked {
            return Datum::Float(f64::NAN);
        }
        let (unit, scale) = match self.family {
            Some(Family::Float) => (FLOAT_UNIT, 0),
            Some(Family::Decimal(scale)) => (0, i32::from(scale)),
            Some(Family::Int) | None => (0, 0),
        };
        let (digits, exponent) = leading(&self.deviations());
        let pairs = u128::from(self.count) * u128::from(self.count - (least - 1));
        #[allow(clippy::cast_precision_loss, reason = "a float is what is asked for")]
        let (mut quotient, mut exponent) = (digits as f64 / pairs as f64, exponent + unit);
        let is_root = matches!(spread, Spread::StddevPop | Spread::StddevSamp);
        if is_root {
            if exponent % 2 != 0 {
                quotient *= 2.0;
                exponent -= 1;
            }
            quotient = quotient.sqrt();
            exponent /= 2;
        }
        let power = if is_root { scale } else { 2 * scale };
        let tens = 10f64.powi(power.abs());
        let value = scaled(quotient, exponent);
        Datum::Float(if power < 0 {
            value * tens
        } else {
            value / tens
        })
    }

    /// `n * sum(x^2) - sum(x)^2`, in the unit of the squares; 0 where forged bytes would make it negative.
    fn deviations(&self) -> Vec<u64> {
        let (mut squares, is_negative) = magnitude(&self.squares);
        if is_negative {
            return Vec::new();
        }
        squares = product(&squares, &[self.count]);
        let (sum, _) = magnitude(&self.sum);
        let square = product(&sum, &sum);
        difference(squares, &square).unwrap_or_default()
    }

    /// Bytes on the heap.
    pub(super) fn len_bytes(&self) -> usize {
        self.sum.len_bytes() + self.squares.len_bytes()
    }

    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        let Some(family) = self.family else {
            return out.push(TAG_NONE);
        };
        if self.is_marked {
            out.push(TAG_MARKED);
            return put_varint(self.count.into(), out);
        }
        match family {
            Family::Int => out.push(TAG_INT),
            Family::Float => out.push(TAG_FLOAT),
            Family::Decimal(scale) => out.extend_from_slice(&[TAG_DECIMAL, scale.cast_unsigned()]),
        }
        put_varint(self.count.into(), out);
        encode_sum(&self.sum, out);
        encode_sum(&self.squares, out);
    }

    pub(super) fn decode(reader: &mut StateReader<'_>) -> Option<Moments> {
        let (family, is_marked) = match reader.byte()? {
            TAG_NONE => return Some(Moments::default()),
            TAG_INT => (Family::Int, false),
            TAG_FLOAT => (Family::Float, false),
            TAG_DECIMAL => (Family::Decimal(reader.byte()?.cast_signed()), false),
            TAG_MARKED => (Family::Float, true),
            _ => return None,
        };
        let count = reader.varint_u64().filter(|count| *count > 0)?;
        let (sum, squares) = match is_marked {
            true => (ExactSum::zero(), ExactSum::zero()),
            false => (decode_sum(reader)?, decode_sum(reader)?),
        };
        Some(Moments {
            family: Some(family),
            is_marked,
            count,
            sum,
            squares,
        })
    }
}

/// Equal sums, whatever limbs they are kept in.
impl PartialEq for Moments {
    fn eq(&self, other: &Moments) -> bool {
        let bytes = |moments: &Moments| {
            let mut out = Vec::new();
            moments.encode_into(&mut out);
            out
        };
        bytes(self) == bytes(other)
    }
}

/// A value: digits times a power of two, in units.
struct Number {
    is_negative: bool,
    digits: u128,
    shift: usize,
}

impl Number {
    #[allow(clippy::unnecessary_wraps, reason = "as the other one")]
    fn of_int(value: i128) -> Option<Number> {
        Some(Number {
            is_negative: value < 0,
            digits: value.unsigned_abs(),
            shift: 0,
        })
    }

    /// `None` of what is not finite.
    fn of_float(value: f64) -> Option<Number> {
        value.is_finite().then(|| {
            let (digits, shift) = digits_of(value);
            Number {
                is_negative: value.is_sign_negative(),
                digits: digits.into(),
                shift,
            }
        })
    }

    fn add_to(&self, sum: &mut ExactSum<FLOAT_LIMBS>, squares: &mut ExactSum<SQUARE_LIMBS>) {
        if self.digits == 0 {
            return;
        }
        let limbs = [low_limb(self.digits), low_limb(self.digits >> LIMB_BITS)];
        let mut value = shifted(&limbs, self.shift % LIMB_BITS);
        if self.is_negative {
            negate(&mut value);
        }
        sum.add_limbs(self.shift / LIMB_BITS, trimmed(&value));
        let square = shifted(&product(&limbs, &limbs), 2 * self.shift % LIMB_BITS);
        squares.add_limbs(2 * self.shift / LIMB_BITS, trimmed(&square));
    }
}

/// The limbs times `2^bits`, fewer bits than a limb has, with a limb of nothing but sign above.
fn shifted(limbs: &[u64], bits: usize) -> Vec<u64> {
    let mut shifted = Vec::with_capacity(limbs.len() + 2);
    let mut below = 0;
    for limb in limbs.iter().chain([&0]) {
        shifted.push(match bits {
            0 => *limb,
            _ => limb << bits | below >> (LIMB_BITS - bits),
        });
        below = *limb;
    }
    shifted.push(0);
    shifted
}

/// As few limbs of a number in two's complement as keep it, at least one: no limb beyond the last that a sum has.
fn trimmed(limbs: &[u64]) -> &[u64] {
    let sign = sign_of(limbs);
    let mut len = limbs.len();
    while len > 1 && limbs[len - 1] == sign && sign_of(&limbs[..len - 1]) == sign {
        len -= 1;
    }
    &limbs[..len]
}

/// The magnitude of a sum, from its lowest limb on, and whether it is negative.
fn magnitude<const LIMBS: usize>(sum: &ExactSum<LIMBS>) -> (Vec<u64>, bool) {
    let (low, limbs) = sum.parts();
    let mut magnitude = vec![0; low];
    magnitude.extend_from_slice(limbs);
    let is_negative = sign_of(&magnitude) != 0;
    if is_negative {
        negate(&mut magnitude);
    }
    (magnitude, is_negative)
}

/// The product of two magnitudes.
fn product(a: &[u64], b: &[u64]) -> Vec<u64> {
    let mut product = vec![0u64; a.len() + b.len()];
    for (at, left) in a.iter().enumerate() {
        let mut carry = 0u128;
        for (limb, right) in product[at..].iter_mut().zip(b.iter().chain([&0])) {
            let sum = u128::from(*left) * u128::from(*right) + u128::from(*limb) + carry;
            *limb = low_limb(sum);
            carry = sum >> LIMB_BITS;
        }
        debug_assert!(carry == 0, "{carry} is left of a product");
    }
    product
}

/// `a - b`, `None` where that is negative.
fn difference(mut a: Vec<u64>, b: &[u64]) -> Option<Vec<u64>> {
    a.resize(a.len().max(b.len()), 0);
    let mut borrow = false;
    for (index, limb) in a.iter_mut().enumerate() {
        let (rest, first) = limb.overflowing_sub(b.get(index).copied().unwrap_or(0));
        let (rest, second) = rest.overflowing_sub(u64::from(borrow));
        *limb = rest;
        borrow = first || second;
    }
    (!borrow).then_some(a)
}

/// The highest 64 bits of a magnitude, and by how many bits they are shifted. The last bit says whether any below is set, so
/// that the digits round as the whole number does.
fn leading(magnitude: &[u64]) -> (u64, i32) {
    let Some(top) = magnitude.iter().rposition(|limb| *limb != 0) else {
        return (0, 0);
    };
    let zeros = magnitude[top].leading_zeros();
    let below = top.checked_sub(1).map_or(0, |index| magnitude[index]);
    let pair = u128::from(magnitude[top]) << LIMB_BITS | u128::from(below);
    let digits = low_limb(pair << zeros >> LIMB_BITS);
    let is_more = low_limb(pair << zeros) != 0
        || magnitude[..top.saturating_sub(1)]
            .iter()
            .any(|limb| *limb != 0);
    let exponent = i32::try_from(top * LIMB_BITS).unwrap_or(i32::MAX) - zeros.cast_signed();
    (digits | u64::from(is_more), exponent)
}

/// `value * 2^exponent`, without leaving the range of floats on the way.
fn scaled(mut value: f64, mut exponent: i32) -> f64 {
    const STEP: i32 = 512;
    while exponent > STEP && value.is_finite() && value != 0.0 {
        value *= 2f64.powi(STEP);
        exponent -= STEP;
    }
    while exponent < -STEP && value != 0.0 {
        value *= 2f64.powi(-STEP);
        exponent += STEP;
    }
    match value == 0.0 || value.is_infinite() {
        true => value,
        false => value * 2f64.powi(exponent),
    }
}

/// Adds a sum, which may be zero.
fn encode_sum<const LIMBS: usize>(sum: &ExactSum<LIMBS>, out: &mut Vec<u8>) {
    if sum.is_zero() {
        put_varint(0, out);
        put_bytes(&[], out);
    } else {
        sum.encode_into(out);
    }
}

fn decode_sum<const LIMBS: usize>(reader: &mut StateReader<'_>) -> Option<ExactSum<LIMBS>> {
    let mut ahead = *reader;
    if ahead.varint()? == 0 && ahead.bytes()?.is_empty() {
        *reader = ahead;
        return Some(ExactSum::zero());
    }
    ExactSum::decode(reader)
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "results are exact")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::merge::FloatSum;

    fn of_floats(values: &[f64]) -> Moments {
        let mut moments = Moments::default();
        for value in values {
            assert!(moments.add(&Sum::Float(FloatSum::new(*value))));
        }
        moments
    }

    fn of_ints(values: &[i128]) -> Moments {
        let mut moments = Moments::default();
        for value in values {
            assert!(moments.add(&Sum::Int(*value)));
        }
        moments
    }

    fn float(moments: &Moments, spread: Spread) -> f64 {
        match moments.to_datum(spread) {
            Datum::Float(value) => value,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn known_variances() {
        let eight = of_ints(&[2, 4, 4, 4, 5, 5, 7, 9]);
        assert_eq!(float(&eight, Spread::VarPop), 4.0);
        assert_eq!(float(&eight, Spread::StddevPop), 2.0);
        assert_eq!(float(&eight, Spread::VarSamp), 32.0 / 7.0);
        assert_eq!(float(&of_floats(&[7.5]), Spread::VarPop), 0.0);
        assert_eq!(of_floats(&[7.5]).to_datum(Spread::VarSamp), Datum::Null);
        assert_eq!(of_floats(&[]).to_datum(Spread::VarPop), Datum::Null);
        // The NIST data set "Numerical accuracy 4": sums of squares of floats lose every digit of it.
        let near: Vec<f64> = std::iter::once(10_000_000.2)
            .chain((0..1000).map(|index| 10_000_000.1 + f64::from(index % 2) * 0.2))
            .collect();
        assert!((float(&of_floats(&near), Spread::StddevSamp) - 0.1).abs() < 1e-9);
    }

    #[test]
    fn what_is_large_small_or_not_finite() {
        assert_eq!(
            float(&of_floats(&[f64::MAX, -f64::MAX]), Spread::StddevPop),
            f64::MAX
        );
        assert_eq!(
            float(&of_floats(&[f64::MAX, -f64::MAX]), Spread::VarPop),
            f64::INFINITY
        );
        assert_eq!(
            float(&of_floats(&[5e-324, -5e-324]), Spread::StddevPop),
            5e-324
        );
        assert!(float(&of_floats(&[1.0, f64::INFINITY]), Spread::VarPop).is_nan());
        assert_eq!(
            of_floats(&[f64::NAN]).to_datum(Spread::VarSamp),
            Datum::Null
        );
        let mut large = of_ints(&[i128::MIN, i128::MAX]);
        let more = large.clone();
        assert!(large.absorb(&more));
        assert_eq!(float(&large, Spread::StddevPop), 2f64.powi(127));
        assert!(!large.absorb(&of_floats(&[1.0])), "two kinds");
        let mut bytes = Vec::new();
        large.encode_into(&mut bytes);
        assert!(bytes.len() <= MOMENTS_LEN_MAX);
    }

    proptest! {
        #[test]
        fn variances_of_integers_are_those_of_whole_arithmetic(
            values in prop::collection::vec(-1_000_000_000i64..1_000_000_000, 2..60),
        ) {
            let moments = of_ints(&values.iter().map(|value| i128::from(*value)).collect::<Vec<_>>());
            let n = values.len() as i128;
            let sum: i128 = values.iter().map(|value| i128::from(*value)).sum();
            let squares: i128 = values.iter().map(|value| i128::from(*value).pow(2)).sum();
            #[allow(clippy::cast_precision_loss, reason = "rounded once")]
            let exact = (n * squares - sum * sum) as f64 / (n * (n - 1)) as f64;
            let found = float(&moments, Spread::VarSamp);
            prop_assert!((found - exact).abs() <= exact * 1e-15, "{found} for {exact}");
            let root = float(&moments, Spread::StddevSamp);
            prop_assert!((root - exact.sqrt()).abs() <= exact.sqrt() * 1e-15);
        }

        #[test]
        fn floats_that_are_whole_vary_as_integers_do(
            values in prop::collection::vec(-1_000_000i32..1_000_000, 2..60),
        ) {
            let ints = of_ints(&values.iter().map(|value| i128::from(*value)).collect::<Vec<_>>());
            let floats = of_floats(&values.iter().map(|value| f64::from(*value)).collect::<Vec<_>>());
            for spread in [Spread::VarPop, Spread::VarSamp, Spread::StddevPop, Spread::StddevSamp] {
                prop_assert_eq!(float(&ints, spread), float(&floats, spread));
            }
        }

        #[test]
        fn states_come_back_within_their_bound(bits in prop::collection::vec(any::<u64>(), 0..40)) {
            let values: Vec<f64> = bits.iter().map(|bits| f64::from_bits(*bits)).collect();
            let moments = of_floats(&values);
            let mut bytes = Vec::new();
            moments.encode_into(&mut bytes);
            prop_assert!(bytes.len() <= MOMENTS_LEN_MAX, "{} bytes", bytes.len());
            let mut reader = StateReader::new(&bytes);
            prop_assert_eq!(Moments::decode(&mut reader), Some(moments));
            prop_assert!(reader.is_empty());
        }
    }
}
