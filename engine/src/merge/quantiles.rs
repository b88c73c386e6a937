//! About which value so many of the others do not exceed.
//!
//! Numbers are counted by their sign, exponent and leading seven bits, as `HdrHistogram` does. So every bin is at most 1/128
//! wide in relation to its values, as the bins of `DDSketch` (Masson, Rim and Lee, 2019) are, and no logarithm has to give the
//! same digits on every machine. Bins are never merged: the same values give the same bytes in any order.

use std::collections::BTreeMap;

use super::wire::{StateReader, put_signed, put_varint};

/// Bits of the mantissa that tell one bin from another.
const MANTISSA_BITS: u32 = 7;
const SHIFT: u32 = f64::MANTISSA_DIGITS - 1 - MANTISSA_BITS;
/// The bin of NaN, which is larger than everything.
const NAN_BIN: i32 = 1 << (63 - SHIFT);

/// Parts of one that a quantile is given in.
pub const QUANTILE_PARTS: u32 = 1_000_000;

/// How many numbers lie where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// Negative bins are those of negative numbers. No count is 0.
    bins: BTreeMap<i32, u64>,
}

impl Quantiles {
    pub(super) fn add(&mut self, value: f64) {
        self.add_many(bin_of(value), 1);
    }

    fn add_many(&mut self, bin: i32, more: u64) {
        let count = self.bins.entry(bin).or_insert(0);
        *count = count.saturating_add(more);
    }

    /// Adds the numbers of another one.
    pub(super) fn absorb(&mut self, other: &Quantiles) {
        for (bin, count) in &other.bins {
            self.add_many(*bin, *count);
        }
    }

    /// About the smallest number that `parts` of [`QUANTILE_PARTS`] of all do not exceed; `None` of no number. It is at most
    /// 1/128 of itself closer to 0 than that number; exact where that has at most eight significant bits, as whole
    /// numbers up to 256 have.
    pub(super) fn at(&self, parts: u32) -> Option<f64> {
        debug_assert!(parts <= QUANTILE_PARTS, "{parts} of {QUANTILE_PARTS}");
        let all: u128 = self.bins.values().map(|count| u128::from(*count)).sum();
        let rank = (all * u128::from(parts))
            .div_ceil(QUANTILE_PARTS.into())
            .max(1);
        let mut below = 0;
        let found = self.bins.iter().find(|(_, count)| {
            below += u128::from(**count);
            below >= rank
        });
        found.map(|(bin, _)| lowest_of(*bin))
    }

    /// Bytes in memory, about.
    pub(super) fn len_bytes(&self) -> usize {
        self.bins.len() * 24
    }

    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        put_varint(self.bins.len() as u128, out);
        let mut before: Option<i32> = None;
        for (bin, count) in &self.bins {
            match before {
                None => put_signed((*bin).into(), out),
                Some(before) => put_varint(bin.abs_diff(before).into(), out),
            }
            put_varint((*count).into(), out);
            before = Some(*bin);
        }
    }

    pub(super) fn decode(reader: &mut StateReader<'_>) -> Option<Quantiles> {
        let len = reader.varint()?;
        let mut bins = BTreeMap::new();
        let mut before: Option<i32> = None;
        for _ in 0..len {
            let bin = match before {
                None => i32::try_from(reader.signed()?).ok()?,
                Some(before) => {
                    let apart = i32::try_from(reader.varint()?)
                        .ok()
                        .filter(|apart| *apart > 0)?;
                    before.checked_add(apart)?
                }
            };
            let count = reader.varint_u64().filter(|count| *count > 0)?;
            if !is_bin(bin) {
                return None;
            }
            bins.insert(bin, count);
            before = Some(bin);
        }
        Some(Quantiles { bins })
    }
}

/// The bin of a number: 0 for zeros, in the order of numbers.
fn bin_of(value: f64) -> i32 {
    if value.is_nan() {
        return NAN_BIN;
    }
    let magnitude = i32::try_from(value.abs().to_bits() >> SHIFT).unwrap_or(NAN_BIN);
    match value < 0.0 {
        // Below zero even where the magnitude is too small for a bin of its own.
        true => -magnitude - 1,
        false => magnitude,
    }
}

/// The number of a bin that is closest to 0.
fn lowest_of(bin: i32) -> f64 {
    if bin == NAN_BIN {
        return f64::NAN;
    }
    let magnitude = |bin: i32| f64::from_bits(u64::from(bin.unsigned_abs()) << SHIFT);
    match bin < 0 {
        // Never -0.0, which would be another text for the same number.
        true => 0.0 - magnitude(bin + 1),
        false => magnitude(bin),
    }
}

/// Whether any number falls into it.
fn is_bin(bin: i32) -> bool {
    let value = lowest_of(bin);
    let is_plain = !value.is_nan() && (-NAN_BIN..NAN_BIN).contains(&bin);
    bin == NAN_BIN || is_plain && bin_of(value) == bin || bin == -1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: impl IntoIterator<Item = f64>) -> Quantiles {
        let mut quantiles = Quantiles::default();
        for value in values {
            quantiles.add(value);
        }
        quantiles
    }

    #[test]
    fn small_whole_numbers_are_exact() {
        let hundred = of((1..=100).map(f64::from));
        for (parts, value) in [
            (0, 1.0),
            (10_000, 1.0),
            (10_001, 2.0),
            (500_000, 50.0),
            (950_000, 95.0),
            (1_000_000, 100.0),
        ] {
            assert_eq!(hundred.at(parts), Some(value), "{parts}");
        }
        let around = of([-200.0, -3.0, 0.0, 7.0]);
        assert_eq!(around.at(1), Some(-200.0));
        assert_eq!(around.at(500_000), Some(-3.0));
        assert_eq!(around.at(750_000), Some(0.0));
        assert_eq!(of([]).at(500_000), None);
    }

    #[test]
    fn what_is_not_finite_has_its_place() {
        let all = of([f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, 1.0]);
        assert_eq!(all.at(1), Some(f64::NEG_INFINITY));
        assert_eq!(all.at(400_000), Some(1.0));
        assert_eq!(all.at(800_000), Some(f64::INFINITY));
        assert!(all.at(1_000_000).is_some_and(f64::is_nan));
    }

    proptest! {
        #[test]
        fn quantiles_are_off_by_a_128th_at_most(
            mut values in prop::collection::vec(
                prop_oneof![-1e9..1e9, -10.0..10.0f64, 1e-300..1e-290f64], 1..200),
            parts in 0..=QUANTILE_PARTS,
        ) {
            let found = of(values.iter().copied()).at(parts).unwrap();
            values.sort_by(f64::total_cmp);
            let rank = (values.len() as u64 * u64::from(parts)).div_ceil(QUANTILE_PARTS.into());
            let exact = values[usize::try_from(rank.max(1)).unwrap() - 1];
            prop_assert!(found.abs() <= exact.abs(), "{found} is farther from 0 than {exact}");
            prop_assert!((found - exact).abs() <= exact.abs() / 128.0, "{found} for {exact}");
        }

        #[test]
        fn every_number_has_a_bin_and_comes_back(bits in any::<u64>(), more in any::<u64>()) {
            let all = of([f64::from_bits(bits), f64::from_bits(more)]);
            let mut bytes = Vec::new();
            all.encode_into(&mut bytes);
            let mut reader = StateReader::new(&bytes);
            prop_assert_eq!(Quantiles::decode(&mut reader), Some(all));
            prop_assert!(reader.is_empty());
        }
    }
}
