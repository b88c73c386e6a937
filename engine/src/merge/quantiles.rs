//! About which value so many of the others do not exceed.
//!
//! Numbers are counted by their sign, exponent and leading seven bits, as `HdrHistogram` does. So every bin is at most 1/128
//! wide in relation to its values, as the bins of `DDSketch` (Masson, Rim and Lee, 2019) are, and no logarithm has to give the
//! same digits on every machine.
//!
//! A sketch keeps at most [`BINS_MAX`] bins. Where the numbers need more, all bins are merged with their neighbors, two and
//! two, until they fit: the uniform collapse of `UDDSketch` (Epicoco, Melle, Cafaro, Pulimeno and Morleo, 2020). The number
//! of collapses, the *level*, is the smallest at which the bins of all numbers fit. More numbers never need a lower level,
//! so it follows from the set of numbers alone: the same numbers give the same bytes in any order. Each level doubles the
//! width of a bin: at level `n` a quantile is at most 2^n / 128 of itself closer to 0 than the exact one, and at
//! [`LEVEL_MAX`], the highest, at most 3/4. NaN and the infinities have bins of their own at every level.

use std::collections::BTreeMap;

use super::wire::{StateReader, put_signed, put_varint};

/// Bits of the mantissa that tell one bin from another.
const MANTISSA_BITS: u32 = 7;
const SHIFT: u32 = f64::MANTISSA_DIGITS - 1 - MANTISSA_BITS;
/// The bin of NaN, which is larger than everything.
const NAN_BIN: i32 = 1 << (63 - SHIFT);
/// The bin of positive infinity: all bins of finite numbers that are not negative are below it.
const INFINITY_BIN: i32 = 0x7ff << MANTISSA_BITS;
/// The bin of negative infinity.
const NEGATIVE_INFINITY_BIN: i32 = -INFINITY_BIN - 1;
/// Bins of finite numbers that a sketch keeps at most: numbers of one sign that span 16 powers of two need so many.
pub(super) const BINS_MAX: usize = 2048;
/// Bins that are no part of those: NaN and the infinities.
const SPECIAL_BINS: usize = 3;
/// How often the bins of all floats are halved until they fit.
const LEVEL_MAX: u32 = 8;
// At the highest level the bins of both signs fit, whatever comes.
const _: () = assert!(2 * (((INFINITY_BIN - 1) >> LEVEL_MAX) as usize + 1) <= BINS_MAX);
const _: () = assert!(2 * (((INFINITY_BIN - 1) >> (LEVEL_MAX - 1)) as usize + 1) > BINS_MAX);

/// Bytes of a state at most: level, number of bins, and for each a distance of at most 3 bytes and a count of at most 10.
pub(super) const QUANTILES_LEN_MAX: usize = 1 + 2 + (BINS_MAX + SPECIAL_BINS) * (3 + 10);

/// The version of a state of level 0, which is not written. Programs that knew no levels wrote all bins so, however many.
const VERSION_PLAIN: u8 = 1;
/// The version of a state of any other level.
const VERSION_COLLAPSED: u8 = 2;

/// Parts of one that a quantile is given in.
pub const QUANTILE_PARTS: u32 = 1_000_000;

/// How many numbers lie where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// Negative bins are those of negative numbers. No count is 0. Bins of finite numbers are shifted by the level.
    bins: BTreeMap<i32, u64>,
    /// How often all bins were merged with their neighbors.
    level: u32,
}

impl Quantiles {
    pub(super) fn add(&mut self, value: f64) {
        self.add_many(collapsed(bin_of(value), self.level), 1);
        self.fit();
    }

    fn add_many(&mut self, bin: i32, more: u64) {
        let count = self.bins.entry(bin).or_insert(0);
        *count = count.saturating_add(more);
    }

    /// Adds the numbers of another one.
    pub(super) fn absorb(&mut self, other: &Quantiles) {
        self.collapse_to(other.level);
        let more = self.level - other.level;
        for (bin, count) in &other.bins {
            self.add_many(collapsed(*bin, more), *count);
        }
        self.fit();
    }

    /// Collapses until the bins of finite numbers fit.
    fn fit(&mut self) {
        while self.bins.len() > BINS_MAX && self.finite_len() > BINS_MAX {
            self.collapse_to(self.level + 1);
        }
        debug_assert!(
            self.level <= LEVEL_MAX && self.finite_len() <= BINS_MAX,
            "{} bins at level {}",
            self.bins.len(),
            self.level
        );
    }

    /// How many bins of finite numbers there are.
    fn finite_len(&self) -> usize {
        let specials = [NAN_BIN, INFINITY_BIN, NEGATIVE_INFINITY_BIN];
        let special = specials.iter().filter(|bin| self.bins.contains_key(bin));
        self.bins.len() - special.count()
    }

    /// Merges bins up to this level, if it is higher than that of now.
    fn collapse_to(&mut self, level: u32) {
        let more = level.saturating_sub(self.level);
        if more == 0 {
            return;
        }
        self.level = level;
        for (bin, count) in std::mem::take(&mut self.bins) {
            self.add_many(collapsed(bin, more), count);
        }
    }

    /// About the smallest number that `parts` of [`QUANTILE_PARTS`] of all do not exceed; `None` of no number. It is at most
    /// 2^level / 128 of itself closer to 0 than that number, where that is not within 2^-1021 of 0. At level 0 it is exact
    /// where the number has at most eight significant bits, as whole numbers up to 256 have.
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
        found.map(|(bin, _)| lowest_of(*bin, self.level))
    }

    /// Bytes in memory, about.
    pub(super) fn len_bytes(&self) -> usize {
        self.bins.len() * 24
    }

    /// The version of the state's layout.
    pub(super) fn version(&self) -> u8 {
        match self.level {
            0 => VERSION_PLAIN,
            _ => VERSION_COLLAPSED,
        }
    }

    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        if self.level > 0 {
            put_varint(self.level.into(), out);
        }
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

    /// The next state of this version.
    pub(super) fn decode(version: u8, reader: &mut StateReader<'_>) -> Option<Quantiles> {
        if version == VERSION_PLAIN {
            let bins = decode_bins(reader, 0, usize::MAX)?;
            let mut quantiles = Quantiles { bins, level: 0 };
            quantiles.fit();
            return Some(quantiles);
        }
        let level = u32::try_from(reader.varint()?).ok()?;
        if version != VERSION_COLLAPSED || !(1..=LEVEL_MAX).contains(&level) {
            return None;
        }
        let bins = decode_bins(reader, level, BINS_MAX + SPECIAL_BINS)?;
        let quantiles = Quantiles { bins, level };
        // One level less had more than fit, so that more than half of that is left.
        let finite = quantiles.finite_len();
        let is_needed = finite > BINS_MAX / 2;
        (finite <= BINS_MAX && is_needed).then_some(quantiles)
    }
}

/// So many bins of a level, each with its count.
fn decode_bins(
    reader: &mut StateReader<'_>,
    level: u32,
    len_max: usize,
) -> Option<BTreeMap<i32, u64>> {
    let len = usize::try_from(reader.varint()?).ok();
    let len = len.filter(|len| *len <= len_max)?;
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
        if !is_bin(bin, level) {
            return None;
        }
        bins.insert(bin, count);
        before = Some(bin);
    }
    Some(bins)
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

/// Whether it is the bin of finite numbers at level 0.
fn is_finite(bin: i32) -> bool {
    (NEGATIVE_INFINITY_BIN + 1..INFINITY_BIN).contains(&bin)
}

/// The bin so many levels higher. The shift keeps the sign: a negative bin is the complement of that of the magnitude.
fn collapsed(bin: i32, levels: u32) -> i32 {
    if is_finite(bin) { bin >> levels } else { bin }
}

/// The number of a bin that is closest to 0.
fn lowest_of(bin: i32, level: u32) -> f64 {
    if bin == NAN_BIN {
        return f64::NAN;
    }
    let level = if is_finite(bin) { level } else { 0 };
    let magnitude = |bin: i32| f64::from_bits(u64::from(bin.unsigned_abs()) << (SHIFT + level));
    match bin < 0 {
        // Never -0.0, which would be another text for the same number.
        true => 0.0 - magnitude(bin + 1),
        false => magnitude(bin),
    }
}

/// Whether any number falls into it.
fn is_bin(bin: i32, level: u32) -> bool {
    let highest = (INFINITY_BIN - 1) >> level;
    let is_special = matches!(bin, NAN_BIN | INFINITY_BIN | NEGATIVE_INFINITY_BIN);
    is_special || (-highest - 1..=highest).contains(&bin)
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

    fn encoded(quantiles: &Quantiles) -> Vec<u8> {
        let mut bytes = Vec::new();
        quantiles.encode_into(&mut bytes);
        bytes
    }

    /// Finite floats whose exponents lie within `2^spread` of 1, with some that are not finite; of a seed.
    fn floats(seed: u64, len: usize, spread: u32) -> Vec<f64> {
        let mut state = seed | 1;
        let mut next = move || {
            // SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let span = 1 + u64::from(spread) * 32;
        (0..len)
            .map(|_| {
                let bits = next();
                match next() % 1000 {
                    0 => f64::INFINITY,
                    1 => f64::NEG_INFINITY,
                    2 => 0.0,
                    _ => {
                        let exponent = (1023 - span / 2 + next() % span).min(2046);
                        f64::from_bits(bits & 0x800f_ffff_ffff_ffff | exponent << 52)
                    }
                }
            })
            .collect()
    }

    #[test]
    fn a_state_of_every_bin_stays_within_its_bound() {
        let mut all = Quantiles::default();
        for bin in 0..NAN_BIN {
            let value = f64::from_bits(u64::try_from(bin).unwrap() << SHIFT);
            all.add(value);
            all.add(-value);
        }
        for _ in 0..64 {
            let more = all.clone();
            all.absorb(&more);
        }
        assert_eq!(all.level, LEVEL_MAX);
        assert_eq!(all.finite_len(), BINS_MAX);
        assert!(all.bins.values().all(|count| *count > u64::from(u32::MAX)));
        assert!(encoded(&all).len() <= QUANTILES_LEN_MAX);
        // Only saturated counts have the full ten bytes.
        assert!(encoded(&all).len() > QUANTILES_LEN_MAX / 2);
        assert_eq!(all.at(1), Some(f64::NEG_INFINITY));
        let back = Quantiles::decode(2, &mut StateReader::new(&encoded(&all)));
        assert_eq!(back, Some(all));
    }

    #[test]
    fn a_state_without_a_bound_still_reads_and_fits_then() {
        // Written before there were levels: the number of bins, then each.
        let mut old = Vec::new();
        let bins: Vec<i32> = (0..5000).map(|index| 130_000 + index).collect();
        put_varint(bins.len() as u128, &mut old);
        put_signed(bins[0].into(), &mut old);
        put_varint(3, &mut old);
        for _ in &bins[1..] {
            put_varint(1, &mut old);
            put_varint(3, &mut old);
        }
        let mut reader = StateReader::new(&old);
        let read = Quantiles::decode(1, &mut reader).unwrap();
        assert!(reader.is_empty());
        let value = |bin: i32| f64::from_bits(u64::try_from(bin).unwrap() << SHIFT);
        let mut expected = Quantiles::default();
        for _ in 0..3 {
            expected.absorb(&of(bins.iter().map(|bin| value(*bin))));
        }
        assert_eq!(read, expected);
        assert_eq!(read.level, 2);
        // A few bins are what they were.
        let few = [3u8, 0, 1, 2, 5, 4, 7];
        let read = Quantiles::decode(1, &mut StateReader::new(&few)).unwrap();
        assert_eq!(read.level, 0);
        assert_eq!((read.version(), encoded(&read)), (1, few.to_vec()));
    }

    #[test]
    fn forged_levels_do_not_decode() {
        let one_bin = |level: u8, bin: i32| {
            let mut bytes = vec![level, 1];
            put_signed(bin.into(), &mut bytes);
            bytes.push(1);
            Quantiles::decode(2, &mut StateReader::new(&bytes))
        };
        assert!(one_bin(0, 7).is_none(), "level 0 has another version");
        assert!(one_bin(1, 7).is_none(), "a level that was not needed");
        assert!(one_bin(9, 7).is_none(), "a level that there is not");
        let mut no_number = vec![1];
        put_signed((INFINITY_BIN + 1).into(), &mut no_number);
        no_number.push(1);
        assert!(Quantiles::decode(1, &mut StateReader::new(&no_number)).is_none());
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

        /// Floats of all sizes, cut into sketches that are merged in another order: the same bytes, of a size known
        /// beforehand, and quantiles within the error of the level.
        #[test]
        fn any_cut_of_all_floats_is_bounded_and_gives_the_same_bytes(
            seed in any::<u64>(),
            len in 1usize..9000,
            spread in 0u32..64,
            cut in any::<prop::sample::Index>(),
            parts in 0..=QUANTILE_PARTS,
        ) {
            let values = floats(seed, len, spread);
            let whole = of(values.iter().copied());
            let at = cut.index(len);
            let (first, rest) = values.split_at(at);
            let mut back = of(rest.iter().rev().copied());
            back.absorb(&of(first.iter().copied()));
            prop_assert_eq!(encoded(&back), encoded(&whole));
            prop_assert!(encoded(&whole).len() <= QUANTILES_LEN_MAX);
            let bins: std::collections::BTreeSet<i32> = values.iter().map(|value| bin_of(*value)).collect();
            let finite = |level| {
                let finite = bins.iter().filter(|bin| is_finite(**bin));
                finite.map(|bin| bin >> level).collect::<std::collections::BTreeSet<_>>().len()
            };
            let level = (0..=LEVEL_MAX).find(|level| finite(*level) <= BINS_MAX);
            prop_assert_eq!(Some(whole.level), level);
            let mut sorted = values;
            sorted.sort_by(f64::total_cmp);
            let rank = (len as u64 * u64::from(parts)).div_ceil(QUANTILE_PARTS.into()).max(1);
            let exact = sorted[usize::try_from(rank).unwrap() - 1];
            let found = whole.at(parts).unwrap();
            if exact.abs() > 1e-300 {
                let bound = (f64::from(1 << whole.level) / 128.0).min(0.75);
                prop_assert!(found.abs() <= exact.abs(), "{found} is farther from 0 than {exact}");
                let is_same = found.to_bits() == exact.to_bits();
                prop_assert!(is_same || (found - exact).abs() <= exact.abs() * bound,
                    "{found} for {exact} at level {}", whole.level);
            }
        }

        #[test]
        fn every_number_has_a_bin_and_comes_back(bits in any::<u64>(), more in any::<u64>()) {
            let all = of([f64::from_bits(bits), f64::from_bits(more)]);
            let mut bytes = Vec::new();
            all.encode_into(&mut bytes);
            let mut reader = StateReader::new(&bytes);
            prop_assert_eq!(Quantiles::decode(all.version(), &mut reader), Some(all));
            prop_assert!(reader.is_empty());
        }
    }
}
