//! Sums of decimals of one scale.

use super::wire::StateReader;
use crate::base::Datum;

/// A sum of decimals that all have the same scale, in 192 bits: a 128-bit value can be added 2^64
/// times before the sum could wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecimalSum {
    scale: i8,
    /// Two's complement, the lowest limb first.
    limbs: [u64; 3],
}

const LEN_MAX: usize = 24;

impl DecimalSum {
    /// The sum of one value, `unscaled · 10^-scale`.
    pub fn new(unscaled: i128, scale: i8) -> DecimalSum {
        let sign = if unscaled < 0 { 0xff } else { 0x00 };
        DecimalSum {
            scale,
            limbs: limbs_of(&unscaled.to_le_bytes(), sign),
        }
    }

    /// The scale of every value of the sum.
    pub fn scale(self) -> i8 {
        self.scale
    }

    /// Adds another sum; `false`, and nothing is added, where the scales differ.
    #[must_use]
    pub fn absorb(&mut self, other: DecimalSum) -> bool {
        if self.scale != other.scale {
            return false;
        }
        let mut carry = false;
        for (limb, addend) in self.limbs.iter_mut().zip(other.limbs) {
            let (sum, first) = limb.overflowing_add(addend);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            *limb = sum;
            carry = first || second;
        }
        true
    }

    /// The sum, `None` beyond 128 bits.
    pub fn to_datum(self) -> Option<Datum> {
        self.unscaled().map(|unscaled| Datum::Decimal {
            unscaled,
            scale: self.scale,
        })
    }

    /// A float near the sum: within a few units in the last place.
    #[allow(clippy::cast_precision_loss, reason = "a float is what is asked for")]
    pub fn to_f64(self) -> f64 {
        let unscaled = if let Some(exact) = self.unscaled() {
            exact as f64
        } else {
            let [low, middle, high] = self.limbs;
            let limb = 2f64.powi(64);
            (high.cast_signed() as f64 * limb + middle as f64) * limb + low as f64
        };
        // Powers of ten up to 10^22 are exact, so a division rounds once.
        let power = 10f64.powi(i32::from(self.scale).abs());
        if self.scale < 0 {
            unscaled * power
        } else {
            unscaled / power
        }
    }

    fn unscaled(self) -> Option<i128> {
        let [low, middle, high] = self.limbs;
        let unscaled = ((u128::from(middle) << 64) | u128::from(low)).cast_signed();
        let sign = if unscaled < 0 { u64::MAX } else { 0 };
        (high == sign).then_some(unscaled)
    }

    fn to_le_bytes(self) -> [u8; LEN_MAX] {
        let mut bytes = [0u8; LEN_MAX];
        for (chunk, limb) in bytes.chunks_exact_mut(8).zip(self.limbs) {
            chunk.copy_from_slice(&limb.to_le_bytes());
        }
        bytes
    }

    pub(super) fn encode_into(self, out: &mut Vec<u8>) {
        let bytes = self.to_le_bytes();
        let len = short_len(&bytes);
        out.push(self.scale.cast_unsigned());
        super::wire::put_bytes(&bytes[..len], out);
    }

    pub(super) fn decode(reader: &mut StateReader<'_>) -> Option<DecimalSum> {
        let scale = reader.byte()?.cast_signed();
        let bytes = reader.bytes().filter(|bytes| bytes.len() <= LEN_MAX)?;
        let sign = if bytes.last().is_some_and(|top| top & 0x80 != 0) {
            0xff
        } else {
            0x00
        };
        let sum = DecimalSum {
            scale,
            limbs: limbs_of(bytes, sign),
        };
        (short_len(&sum.to_le_bytes()) == bytes.len()).then_some(sum)
    }
}

/// The limbs of at most 24 bytes, continued with the byte `sign`.
fn limbs_of(bytes: &[u8], sign: u8) -> [u64; 3] {
    let mut all = [sign; LEN_MAX];
    for (to, from) in all.iter_mut().zip(bytes) {
        *to = *from;
    }
    let mut limbs = [0u64; 3];
    for (limb, chunk) in limbs.iter_mut().zip(all.as_chunks::<8>().0) {
        *limb = u64::from_le_bytes(*chunk);
    }
    limbs
}

/// How many low bytes say everything: the rest repeats the sign. Zero needs none.
fn short_len(bytes: &[u8; LEN_MAX]) -> usize {
    let sign = if bytes[LEN_MAX - 1] & 0x80 == 0 {
        0x00
    } else {
        0xff
    };
    let len = LEN_MAX - bytes.iter().rev().take_while(|byte| **byte == sign).count();
    let top_says_sign = match len.checked_sub(1) {
        Some(top) => bytes[top] & 0x80 == sign & 0x80,
        None => sign == 0x00,
    };
    if top_says_sign { len } else { len + 1 }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "results are exact")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sums_beyond_128_bits_come_back(values in prop::collection::vec(any::<i128>(), 1..40)) {
            let mut sum = DecimalSum::new(0, 2);
            for value in values.iter().chain(&values) {
                prop_assert!(sum.absorb(DecimalSum::new(*value, 2)));
            }
            let mut out = Vec::new();
            sum.encode_into(&mut out);
            prop_assert_eq!(DecimalSum::decode(&mut StateReader::new(&out)), Some(sum));
            for value in values.iter().chain(&values[1..]) {
                // -i128::MIN is beyond 128 bits: its two halves are not.
                let half = value / 2;
                prop_assert!(sum.absorb(DecimalSum::new(-half, 2)));
                prop_assert!(sum.absorb(DecimalSum::new(half - value, 2)));
            }
            let rest = Datum::Decimal { unscaled: values[0], scale: 2 };
            prop_assert_eq!(sum.to_datum(), Some(rest));
        }

        #[test]
        fn a_sum_has_one_form(bytes in prop::collection::vec(any::<u8>(), 0..28)) {
            let mut reader = StateReader::new(&bytes);
            if let Some(sum) = DecimalSum::decode(&mut reader) {
                let mut out = Vec::new();
                sum.encode_into(&mut out);
                prop_assert!(bytes.starts_with(&out));
            }
        }
    }

    #[test]
    fn floats_are_near() {
        assert_eq!(DecimalSum::new(1230, 2).to_f64(), 12.3);
        assert_eq!(DecimalSum::new(-5, -3).to_f64(), -5000.0);
        let mut beyond = DecimalSum::new(i128::MIN, 0);
        assert!(beyond.absorb(DecimalSum::new(i128::MIN, 0)));
        assert_eq!(beyond.to_f64(), -(2f64.powi(128)));
        assert_eq!(beyond.to_datum(), None);
    }

    #[test]
    fn small_sums_are_short() {
        for (unscaled, len) in [
            (0, 2),
            (1, 3),
            (-1, 3),
            (127, 3),
            (128, 4),
            (-128, 3),
            (-129, 4),
        ] {
            let mut out = Vec::new();
            DecimalSum::new(unscaled, 2).encode_into(&mut out);
            assert_eq!(out.len(), len, "{unscaled}: {out:?}");
        }
    }
}
