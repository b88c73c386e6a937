//! Decimals: one form for equal values, an encoding in numeric order, and their text.
//!
//! A value that is not zero is written `± 0.d₁d₂…dₙ · 10^e` with `d₁` and `dₙ` not zero. Ordering by
//! sign, then exponent, then digits is numeric order, whatever the scales were.

use std::cmp::Ordering;

use super::codes;

/// Digits of the largest magnitude, 2^127.
const DIGITS_MAX: usize = 39;

/// The digits of a magnitude, without trailing zeros, and the exponent.
struct Normal {
    digits: [u8; DIGITS_MAX + 1],
    len: usize,
    exponent: i16,
}

impl Normal {
    /// The normal form of a value that is not zero.
    fn new(magnitude: u128, scale: i8) -> Normal {
        debug_assert!(magnitude != 0, "zero has no normal form");
        let mut reversed = [0u8; DIGITS_MAX];
        let mut total = 0;
        let mut rest = magnitude;
        while rest > u128::from(u64::MAX) {
            reversed[total] = digit(rest % 10);
            rest /= 10;
            total += 1;
        }
        // Division of 64 bits is many times faster than that of 128, and most decimals are short.
        let mut rest = u64::try_from(rest).unwrap_or(u64::MAX);
        while rest > 0 {
            reversed[total] = digit(u128::from(rest % 10));
            rest /= 10;
            total += 1;
        }
        let zeros = reversed.iter().take_while(|digit| **digit == 0).count();
        let len = total - zeros;
        let mut digits = [0u8; DIGITS_MAX + 1];
        for (to, from) in digits.iter_mut().zip(reversed[zeros..total].iter().rev()) {
            *to = *from;
        }
        let total = i16::try_from(total).unwrap_or(i16::MAX);
        Normal {
            digits,
            len,
            exponent: total - i16::from(scale),
        }
    }
}

fn digit(value: u128) -> u8 {
    let [low, ..] = value.to_le_bytes();
    low
}

/// Numeric order of `unscaled · 10^-scale`.
pub(super) fn compare(a: (i128, i8), b: (i128, i8)) -> Ordering {
    let signs = a.0.signum().cmp(&b.0.signum());
    if signs != Ordering::Equal || a.0 == 0 {
        return signs;
    }
    let (left, right) = (
        Normal::new(a.0.unsigned_abs(), a.1),
        Normal::new(b.0.unsigned_abs(), b.1),
    );
    // Digits behind the last one are zero, so the arrays compare as the fractions do.
    let magnitudes = (left.exponent, left.digits).cmp(&(right.exponent, right.digits));
    if a.0 < 0 {
        magnitudes.reverse()
    } else {
        magnitudes
    }
}

/// Adds the ascending field of `unscaled · 10^-scale`.
pub(super) fn encode(unscaled: i128, scale: i8, out: &mut Vec<u8>) {
    if unscaled == 0 {
        out.push(codes::DECIMAL_ZERO);
        return;
    }
    let normal = Normal::new(unscaled.unsigned_abs(), scale);
    let (code, flip) = if unscaled < 0 {
        (codes::DECIMAL_NEGATIVE, 0xff)
    } else {
        (codes::DECIMAL_POSITIVE, 0)
    };
    out.push(code);
    let exponent = normal.exponent.cast_unsigned() ^ (1 << 15);
    out.extend(exponent.to_be_bytes().map(|byte| byte ^ flip));
    let pairs = normal.len.div_ceil(2);
    for (index, pair) in normal.digits.chunks_exact(2).take(pairs).enumerate() {
        // An odd byte says that more pairs follow; of two magnitudes, the one that ends is smaller.
        let more = u8::from(index + 1 < pairs);
        out.push((2 * (10 * pair[0] + pair[1]) + more) ^ flip);
    }
}

/// A magnitude on its way from the encoding.
pub(super) struct Magnitude {
    exponent: i16,
    value: u128,
    digits: i16,
}

impl Magnitude {
    /// Begins with the two bytes of the exponent.
    pub(super) fn new(exponent: [u8; 2]) -> Magnitude {
        let exponent = (u16::from_be_bytes(exponent) ^ (1 << 15)).cast_signed();
        Magnitude {
            exponent,
            value: 0,
            digits: 0,
        }
    }

    /// Adds two digits; whether more follow, or `None` where encoding would not have written this.
    pub(super) fn push(&mut self, byte: u8) -> Option<bool> {
        let (pair, more) = (byte / 2, byte % 2 == 1);
        let leading_zero = self.digits == 0 && pair < 10;
        let trailing_zero = !more && pair == 0;
        if pair > 99 || leading_zero || trailing_zero {
            return None;
        }
        let (step, value, digits) = if !more && pair.is_multiple_of(10) {
            (10, pair / 10, 1)
        } else {
            (100, pair, 2)
        };
        self.value = self
            .value
            .checked_mul(step)?
            .checked_add(u128::from(value))?;
        self.digits += digits;
        Some(more)
    }

    /// The decimal, or `None` where it does not fit.
    pub(super) fn finish(self, negative: bool) -> Option<(i128, i8)> {
        let unscaled = if negative {
            0i128.checked_sub_unsigned(self.value)?
        } else {
            i128::try_from(self.value).ok()?
        };
        let scale = i32::from(self.digits) - i32::from(self.exponent);
        whole_if_possible(unscaled, scale)
    }
}

/// Takes a negative scale up to zero, as far as the digits fit.
fn whole_if_possible(mut unscaled: i128, mut scale: i32) -> Option<(i128, i8)> {
    while scale < 0 {
        let Some(next) = unscaled.checked_mul(10) else {
            break;
        };
        unscaled = next;
        scale += 1;
    }
    Some((unscaled, i8::try_from(scale).ok()?))
}

/// The plain digits of `unscaled · 10^-scale`; trailing zeros are kept.
pub(in crate::base) fn format(unscaled: i128, scale: i8) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = unscaled.unsigned_abs().to_string();
    let after_point = usize::from(scale.unsigned_abs());
    if scale <= 0 {
        let zeros = if unscaled == 0 { 0 } else { after_point };
        return format!("{sign}{digits}{:0<zeros$}", "");
    }
    // At least one digit stands before the point.
    let padded = format!("{digits:0>width$}", width = after_point + 1);
    let (whole, fraction) = padded.split_at(padded.len() - after_point);
    format!("{sign}{whole}.{fraction}")
}

/// The decimal of a text like `-12.30` or `1.5e3`; trailing zeros are kept as far as they fit.
/// `None` where the text is something else, or the number does not fit.
pub(in crate::base) fn parse(text: &str) -> Option<(i128, i8)> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i16>().ok()?),
        None => (text, 0),
    };
    let (negative, unsigned) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let point_without_fraction = unsigned.contains('.') && fraction.is_empty();
    if whole.is_empty() || point_without_fraction || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let digits = format!("{whole}{fraction}");
    let scale = i32::try_from(fraction.len())
        .ok()?
        .checked_sub(i32::from(exponent))?;
    fit(digits.trim_start_matches('0'), scale, negative)
}

/// Drops trailing zeros until digits and scale fit.
fn fit(digits: &str, mut scale: i32, negative: bool) -> Option<(i128, i8)> {
    let needed = digits.trim_end_matches('0').len();
    if needed == 0 {
        return Some((0, i8::try_from(scale.clamp(0, i8::MAX.into())).ok()?));
    }
    // Nothing longer fits, so a text of a million zeros costs no more than one of forty.
    let kept = digits.len().min(DIGITS_MAX).max(needed);
    scale = scale.checked_sub(i32::try_from(digits.len() - kept).ok()?)?;
    for len in (needed..=kept).rev() {
        let sign = if negative { "-" } else { "" };
        if scale <= i8::MAX.into()
            && let Ok(unscaled) = format!("{sign}{}", &digits[..len]).parse::<i128>()
        {
            return whole_if_possible(unscaled, scale);
        }
        scale -= 1;
    }
    None
}
