//! Numbers as text, exactly.
//!
//! Every function here returns the number that its text says, or `None`: nothing is rounded unless the caller asks for
//! it, nothing wraps, and nothing is cut.

use arrow::array::types::{Float32Type, Float64Type};
use arrow::compute::kernels::cast_utils::Parser;

/// How a number may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// As programs write numbers: no `+`, no leading zero, no `NaN`. `007` is a code, not a number. Digits that a float
    /// would lose are refused.
    Canonical,
    /// Any way, since the job file says that it is a number. A float is the nearest one.
    Free,
}

/// Digits that every float of normal size keeps.
const FLOAT_DIGITS: usize = 15;
/// Bytes of a number that certainly has no more than [`FLOAT_DIGITS`] digits.
const SHORT_LEN_MAX: usize = 15;
/// Digits that surely fit 64 bits.
const SMALL_DIGITS_MAX: usize = 18;
/// Digits that surely fit 128 bits, and the largest precision of a decimal.
const WIDE_DIGITS_MAX: i64 = 38;

/// The sign, and the digits behind it as far as the spelling allows them.
fn signed(text: &[u8], spelling: Spelling) -> Option<(bool, &[u8])> {
    let free = spelling == Spelling::Free;
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] if free => (false, rest),
        all => (false, all),
    };
    let zero_led = *digits.first()? == b'0' && (negative || digits.len() > 1);
    (free || !zero_led).then_some((negative, digits))
}

/// An integer of 64 bits.
#[inline]
pub(super) fn int64(text: &[u8], spelling: Spelling) -> Option<i64> {
    let (negative, digits) = signed(text, spelling)?;
    if digits.len() > SMALL_DIGITS_MAX {
        return i64::try_from(integer(text, spelling)?).ok();
    }
    let mut value = 0_i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if negative { -value } else { value })
}

/// An integer of 128 bits.
pub(super) fn integer(text: &[u8], spelling: Spelling) -> Option<i128> {
    let (negative, digits) = signed(text, spelling)?;
    let mut value = 0_i128;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        let tens = value.checked_mul(10)?;
        value = match negative {
            true => tens.checked_sub(i128::from(digit))?,
            false => tens.checked_add(i128::from(digit))?,
        };
    }
    Some(value)
}

/// A float of 64 bits.
pub(super) fn float64(text: &str, spelling: Spelling) -> Option<f64> {
    let bytes = text.as_bytes();
    if spelling == Spelling::Canonical && !is_canonical(bytes) {
        return None;
    }
    let value = Float64Type::parse(bare(text)?)?;
    let short = bytes.len() <= SHORT_LEN_MAX;
    let plain = value.is_normal() || (value == 0.0 && is_zero(bytes));
    if short && plain {
        return Some(value);
    }
    let limits = Limits {
        normal: value.is_normal(),
        finite: value.is_finite(),
        spelling,
    };
    is_held(bytes, value, limits).then_some(value)
}

/// The float of 32 bits that is nearest.
pub(super) fn float32(text: &str) -> Option<f32> {
    let value = Float32Type::parse(bare(text)?)?;
    let limits = Limits {
        normal: value.is_normal(),
        finite: value.is_finite(),
        spelling: Spelling::Free,
    };
    is_held(text.as_bytes(), f64::from(value), limits).then_some(value)
}

/// The text, unless white space is around it: the parser of floats passes over that, and a column of numbers would take
/// two different texts for one.
fn bare(text: &str) -> Option<&str> {
    let is_space = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_whitespace);
    let bytes = text.as_bytes();
    (!is_space(bytes.first()) && !is_space(bytes.last())).then_some(text)
}

/// Whether a text begins as a float of canonical spelling does; what follows is for the parser.
fn is_canonical(bytes: &[u8]) -> bool {
    match bytes.strip_prefix(b"-").unwrap_or(bytes) {
        [b'0', next, ..] => !next.is_ascii_digit(),
        [first, ..] => first.is_ascii_digit() || *first == b'.',
        [] => false,
    }
}

/// Whether no digit before the exponent is other than 0.
fn is_zero(bytes: &[u8]) -> bool {
    let mantissa = bytes.iter().take_while(|byte| !matches!(byte, b'e' | b'E'));
    mantissa.copied().all(|byte| !(b'1'..=b'9').contains(&byte))
}

/// What the float that was parsed is.
struct Limits {
    normal: bool,
    finite: bool,
    spelling: Spelling,
}

/// Whether a float holds what its text says. Integers must be held exactly; digits behind the point must come back when
/// the float is written with as many, unless the nearest float is asked for.
fn is_held(bytes: &[u8], value: f64, limits: Limits) -> bool {
    let Some(literal) = Literal::parse(bytes) else {
        // `NaN` and `inf`, which parse and are no digits.
        return limits.spelling == Spelling::Free;
    };
    if !limits.finite {
        return false;
    }
    if literal.digits.is_empty() {
        return true;
    }
    if value == 0.0 {
        return false;
    }
    if literal.is_integer {
        let zeros = usize::try_from(literal.exponent).unwrap_or(0);
        let written = [literal.digits.as_slice(), &b"0".repeat(zeros)].concat();
        return format!("{:.0}", value.abs()).as_bytes() == written;
    }
    if limits.spelling == Spelling::Free || (limits.normal && literal.digits.len() <= FLOAT_DIGITS)
    {
        return true;
    }
    let is_again = |again: &str| {
        let mantissa = again.bytes().take_while(|byte| *byte != b'e');
        let digits = mantissa.filter(u8::is_ascii_digit);
        digits.eq(literal.digits.iter().copied())
    };
    // Of two numbers with so many digits that are equally near, the shortest text of a float may be either.
    is_again(&format!("{:.*e}", literal.digits.len() - 1, value.abs()))
        || is_again(&format!("{:e}", value.abs()))
}

/// A number as it is written: `digits * 10^exponent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Literal {
    negative: bool,
    /// Without zeros at either end; empty for nought.
    digits: Vec<u8>,
    exponent: i64,
    /// Whether it has neither a point nor an exponent.
    is_integer: bool,
}

impl Literal {
    /// Reads `[+-]digits[.digits][e[+-]digits]` with at least one digit before the exponent.
    pub(super) fn parse(bytes: &[u8]) -> Option<Literal> {
        let (negative, rest) = match bytes {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            all => (false, all),
        };
        let (whole, rest) = digits(rest);
        let (fraction, rest, pointed) = match rest {
            [b'.', rest @ ..] => {
                let (fraction, rest) = digits(rest);
                (fraction, rest, true)
            }
            rest => (&[][..], rest, false),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let (power, powered) = match rest {
            [] => (0, false),
            [b'e' | b'E', rest @ ..] => (power(rest)?, true),
            _ => return None,
        };
        let mut kept = [whole, fraction].concat();
        let zeros = kept.iter().rev().take_while(|digit| **digit == b'0');
        let zeros = zeros.count();
        kept.truncate(kept.len() - zeros);
        let led = kept.iter().take_while(|digit| **digit == b'0').count();
        kept.drain(..led);
        let moved = i64::try_from(zeros).ok()? - i64::try_from(fraction.len()).ok()?;
        Some(Literal {
            negative,
            digits: kept,
            exponent: power.saturating_add(moved),
            is_integer: !pointed && !powered,
        })
    }

    /// The number times `10^scale`, where that is an integer of at most 38 digits.
    pub(super) fn scaled(&self, scale: i64) -> Option<i128> {
        if self.digits.is_empty() {
            return Some(0);
        }
        let zeros = self.exponent.saturating_add(scale);
        let len = i64::try_from(self.digits.len()).ok()?;
        if zeros < 0 || len.saturating_add(zeros) > WIDE_DIGITS_MAX {
            return None;
        }
        let power = 10_i128.checked_pow(u32::try_from(zeros).ok()?)?;
        Some(self.sign(value(&self.digits).checked_mul(power)?))
    }

    /// The same, half of the last place rounded away from zero.
    pub(super) fn rounded(&self, scale: i64) -> Option<i128> {
        let zeros = self.exponent.saturating_add(scale);
        if zeros >= 0 || self.digits.is_empty() {
            return self.scaled(scale);
        }
        let len = i64::try_from(self.digits.len()).ok()?;
        let Ok(kept) = usize::try_from(len.saturating_add(zeros)) else {
            // The first digit is behind the first place that is dropped.
            return Some(0);
        };
        if kept > usize::try_from(WIDE_DIGITS_MAX).ok()? {
            return None;
        }
        let up = i128::from(self.digits[kept] >= b'5');
        Some(self.sign(value(&self.digits[..kept]) + up))
    }

    fn sign(&self, value: i128) -> i128 {
        if self.negative { -value } else { value }
    }
}

/// The digits that a text begins with, and the rest.
fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    text.split_at(count)
}

/// An exponent; one that no number of a text's length brings back into range is as good as any such.
fn power(text: &[u8]) -> Option<i64> {
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    let (digits, rest) = digits(rest);
    if digits.is_empty() || !rest.is_empty() {
        return None;
    }
    let size = digits.iter().fold(0_i64, |size, digit| {
        size.saturating_mul(10)
            .saturating_add(i64::from(digit - b'0'))
    });
    let size = size.min(1 << 40);
    Some(if negative { -size } else { size })
}

/// At most 38 digits.
fn value(digits: &[u8]) -> i128 {
    digits
        .iter()
        .fold(0, |value, digit| value * 10 + i128::from(digit - b'0'))
}

/// The unscaled value of a decimal; with `round`, half of the last place is rounded away from zero.
pub(super) fn decimal(text: &str, precision: u8, scale: i8, round: bool) -> Option<i128> {
    let literal = Literal::parse(text.as_bytes())?;
    let scale = i64::from(scale);
    let unscaled = match round {
        true => literal.rounded(scale)?,
        false => literal.scaled(scale)?,
    };
    let bound = 10_u128.checked_pow(u32::from(precision))?;
    (unscaled.unsigned_abs() < bound).then_some(unscaled)
}

#[cfg(test)]
mod tests {
    use super::Spelling::{Canonical, Free};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn white_space_is_no_part_of_a_float() {
        for text in [
            "1.5 ",
            " 1.5",
            "\t1.5",
            "9007199254740993 ",
            "1e400 ",
            " inf",
        ] {
            assert_eq!(float64(text, Free), None, "{text:?}");
            assert_eq!(float32(text), None, "{text:?}");
        }
        assert_eq!(float64("1.5", Free), Some(1.5));
    }

    #[test]
    fn integers_are_exact_or_refused() {
        for (text, canonical, free) in [
            ("0", Some(0), Some(0)),
            ("-1", Some(-1), Some(-1)),
            ("007", None, Some(7)),
            ("00", None, Some(0)),
            ("-0", None, Some(0)),
            ("-07", None, Some(-7)),
            ("+5", None, Some(5)),
            ("9223372036854775807", Some(i64::MAX), Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN), Some(i64::MIN)),
            ("9223372036854775808", None, None),
            ("999999999999999999999999999999999999999999", None, None),
            ("1_000", None, None),
            ("1e3", None, None),
            ("1.0", None, None),
            (" 1", None, None),
            ("", None, None),
            ("-", None, None),
            ("+", None, None),
            ("--1", None, None),
        ] {
            assert_eq!(int64(text.as_bytes(), Canonical), canonical, "{text}");
            assert_eq!(int64(text.as_bytes(), Free), free, "{text}");
        }
    }

    #[test]
    fn floats_keep_their_digits_or_are_refused() {
        for (text, canonical, free) in [
            ("0.1", Some(0.1), Some(0.1)),
            ("1", Some(1.0), Some(1.0)),
            ("-0", Some(-0.0), Some(-0.0)),
            ("0.0", Some(0.0), Some(0.0)),
            ("1e3", Some(1000.0), Some(1000.0)),
            (".5", Some(0.5), Some(0.5)),
            ("0.30000000000000004", Some(0.1 + 0.2), Some(0.1 + 0.2)),
            (
                "8.999535535595383e14",
                Some(899_953_553_559_538.3),
                Some(899_953_553_559_538.3),
            ),
            ("0.10000000000000000000", Some(0.1), Some(0.1)),
            ("0.1000000000000000055511151231257827", Some(0.1), Some(0.1)),
            ("3.141592653589793238", None, Some(std::f64::consts::PI)),
            (
                "9007199254740992",
                Some(9_007_199_254_740_992.0),
                Some(9_007_199_254_740_992.0),
            ),
            ("9007199254740993", None, None),
            ("1e400", None, None),
            ("-1e400", None, None),
            ("1e-400", None, None),
            ("5e-324", Some(5e-324), Some(5e-324)),
            ("1.7976931348623157e308", Some(f64::MAX), Some(f64::MAX)),
            ("00.5", None, Some(0.5)),
            ("+1.5", None, Some(1.5)),
            ("inf", None, Some(f64::INFINITY)),
            ("1.2.3", None, None),
            ("1_0.5", None, None),
            ("", None, None),
        ] {
            assert_eq!(float64(text, Canonical), canonical, "{text}");
            assert_eq!(float64(text, Free), free, "{text}");
        }
        assert!(float64("NaN", Free).is_some_and(f64::is_nan));
        assert_eq!(float64("NaN", Canonical), None);
        assert_eq!(float32("0.1"), Some(0.1));
        assert_eq!(float32("16777217"), None);
        assert_eq!(float32("1e39"), None);
    }

    #[test]
    fn decimals_are_exact_or_rounded_half_away_from_zero() {
        for (text, exact, rounded) in [
            ("0.019", None, Some(2)),
            ("0.015", None, Some(2)),
            ("-0.015", None, Some(-2)),
            ("0.0149", None, Some(1)),
            ("0.010", Some(1), Some(1)),
            ("12.3", Some(1230), Some(1230)),
            ("1e2", Some(10_000), Some(10_000)),
            ("15e-3", None, Some(2)),
            ("4e-1000000000000000000000", None, Some(0)),
            ("9e1000000000000000000000", None, None),
            ("999.99", Some(99_999), Some(99_999)),
            ("999.995", None, None),
            ("1000", None, None),
            (".5", Some(50), Some(50)),
            ("5.", Some(500), Some(500)),
            ("+007", Some(700), Some(700)),
            ("", None, None),
            (".", None, None),
            ("1e", None, None),
            ("x", None, None),
        ] {
            assert_eq!(decimal(text, 5, 2, false), exact, "{text}");
            assert_eq!(decimal(text, 5, 2, true), rounded, "{text}");
        }
        let most = "9".repeat(38);
        assert_eq!(decimal(&most, 38, 0, false), Some(10_i128.pow(38) - 1));
        assert_eq!(decimal(&format!("{most}.5"), 38, 0, true), None);
        assert_eq!(decimal(&"9".repeat(39), 38, 0, false), None);
    }

    proptest! {
        #[test]
        fn floats_that_programs_write_come_back(value in any::<f64>()) {
            for text in [format!("{value}"), format!("{value:e}"), format!("{value:.16e}")] {
                let text = text.as_str();
                // Written with all its digits, a large one is an integer, and another one.
                let is_integer = text.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit());
                if value.is_finite() && !is_integer {
                    prop_assert_eq!(float64(text, Canonical).map(f64::to_bits), Some(value.to_bits()), "{}", text);
                }
            }
        }

        #[test]
        fn integers_come_back(value in any::<i128>()) {
            prop_assert_eq!(integer(value.to_string().as_bytes(), Canonical), Some(value));
            let short = i64::try_from(value >> 64).unwrap();
            prop_assert_eq!(int64(short.to_string().as_bytes(), Canonical), Some(short));
        }
    }
}
