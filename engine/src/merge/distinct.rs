//! About how many distinct values there are: `HyperLogLog`.
//!
//! Registers and their merging follow Flajolet, Fusy, Gandouet and Meunier, *`HyperLogLog`: the analysis of a near-optimal
//! cardinality estimation algorithm* (2007). The estimate follows Ertl, *New cardinality estimation algorithms for
//! `HyperLogLog` sketches* (2017), algorithm 6: it depends on the registers alone, needs no tables, and is unbiased over
//! the whole range. So the same values give the same bytes and the same estimate in any order.

use xxhash_rust::xxh3::xxh3_64;

use super::wire::{StateReader, put_varint};

/// Bits of a hash that choose the register. The standard error is 1.04 / sqrt(2^14), that is 0.81 %.
const INDEX_BITS: u32 = 14;
const REGISTERS: usize = 1 << INDEX_BITS;
/// The largest value of a register: the other 50 bits are zeros.
const RANK_MAX: u8 = 51;
/// Registers that are listed one by one; more of them are written as a whole.
const LISTED_MAX: usize = 4096;
/// Bits of a register that is written among all.
const PACKED_BITS: usize = 6;
const PACKED_LEN: usize = REGISTERS * PACKED_BITS / 8;

/// The distinct values seen, as far as their number needs to be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distinct(Registers);

/// Whichever of the two it is follows from how many registers are not 0.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Registers {
    /// Those that are not 0, in order: index and rank.
    Listed(Vec<(u16, u8)>),
    All(Box<[u8; REGISTERS]>),
}

/// Bytes of a state at most: a tag and all registers. A list has at most two bytes for each of 4,096 registers, a few of
/// three, and their number.
pub(super) const DISTINCT_LEN_MAX: usize = 1 + PACKED_LEN;
const _: () = assert!(2 + 2 * LISTED_MAX + REGISTERS / 128 <= PACKED_LEN);

const TAG_LISTED: u8 = 0;
const TAG_ALL: u8 = 1;

impl Default for Distinct {
    fn default() -> Distinct {
        Distinct(Registers::Listed(Vec::new()))
    }
}

impl Distinct {
    /// Adds a value: an ascending field of a key.
    pub(super) fn add(&mut self, field: &[u8]) {
        let hash = xxh3_64(field);
        let (index, rest) = ((hash >> (64 - INDEX_BITS)), hash << INDEX_BITS);
        // The bit behind the last one ends the count.
        let rank = (rest | 1 << (INDEX_BITS - 1)).leading_zeros() + 1;
        #[allow(clippy::cast_possible_truncation, reason = "14 bits, and at most 51")]
        self.raise(index as u16, rank as u8);
    }

    fn raise(&mut self, index: u16, rank: u8) {
        debug_assert!(usize::from(index) < REGISTERS, "register {index}");
        debug_assert!((1..=RANK_MAX).contains(&rank), "rank {rank}");
        match &mut self.0 {
            Registers::All(all) => {
                let register = &mut all[usize::from(index)];
                *register = rank.max(*register);
            }
            Registers::Listed(listed) => {
                match listed.binary_search_by_key(&index, |(index, _)| *index) {
                    Ok(at) => listed[at].1 = rank.max(listed[at].1),
                    Err(at) => listed.insert(at, (index, rank)),
                }
                if listed.len() > LISTED_MAX {
                    let mut all = Box::new([0; REGISTERS]);
                    for (index, rank) in listed {
                        all[usize::from(*index)] = *rank;
                    }
                    self.0 = Registers::All(all);
                }
            }
        }
    }

    /// Adds the values of another one.
    pub(super) fn absorb(&mut self, other: &Distinct) {
        match (&mut self.0, &other.0) {
            (Registers::All(all), Registers::All(others)) => {
                for (register, other) in all.iter_mut().zip(others.iter()) {
                    *register = (*register).max(*other);
                }
            }
            (Registers::Listed(_), Registers::All(_)) => {
                let listed = std::mem::replace(self, other.clone());
                self.absorb(&listed);
            }
            (_, Registers::Listed(listed)) => {
                for (index, rank) in listed {
                    self.raise(*index, *rank);
                }
            }
        }
    }

    /// About how many values: exact of none and of one, within 0.81 % (one standard error) of many.
    pub(super) fn estimate(&self) -> u64 {
        let mut counts = [0u32; RANK_MAX as usize + 1];
        match &self.0 {
            Registers::All(all) => {
                for rank in all.iter() {
                    counts[usize::from(*rank)] += 1;
                }
            }
            Registers::Listed(listed) => {
                for (_, rank) in listed {
                    counts[usize::from(*rank)] += 1;
                }
                counts[0] = u32::try_from(REGISTERS - listed.len()).unwrap_or(0);
            }
        }
        estimate_of(&counts)
    }

    /// Bytes in memory, about.
    pub(super) fn len_bytes(&self) -> usize {
        match &self.0 {
            Registers::Listed(listed) => listed.capacity() * size_of::<(u16, u8)>(),
            Registers::All(_) => REGISTERS,
        }
    }

    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Registers::Listed(listed) => {
                out.push(TAG_LISTED);
                put_varint(listed.len() as u128, out);
                let mut next = 0;
                for (index, rank) in listed {
                    put_varint((index - next).into(), out);
                    out.push(*rank);
                    next = index + 1;
                }
            }
            Registers::All(all) => {
                out.push(TAG_ALL);
                for four in all.chunks_exact(4) {
                    let packed = four.iter().rev().fold(0u32, |packed, rank| {
                        packed << PACKED_BITS | u32::from(*rank)
                    });
                    out.extend_from_slice(&packed.to_le_bytes()[..3]);
                }
            }
        }
    }

    pub(super) fn decode(reader: &mut StateReader<'_>) -> Option<Distinct> {
        match reader.byte()? {
            TAG_LISTED => {
                let len = usize::try_from(reader.varint()?).ok()?;
                if len > LISTED_MAX {
                    return None;
                }
                let mut listed = Vec::with_capacity(len);
                let mut next = 0u64;
                for _ in 0..len {
                    let index = next.checked_add(reader.varint_u64()?)?;
                    let rank = reader.byte().filter(|rank| (1..=RANK_MAX).contains(rank))?;
                    let at = u16::try_from(index).ok()?;
                    if usize::from(at) >= REGISTERS {
                        return None;
                    }
                    listed.push((at, rank));
                    next = index + 1;
                }
                Some(Distinct(Registers::Listed(listed)))
            }
            TAG_ALL => {
                let packed = reader.take(PACKED_LEN)?;
                let mut all = Box::new([0; REGISTERS]);
                for (four, bytes) in all.chunks_exact_mut(4).zip(packed.chunks_exact(3)) {
                    let mut packed = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
                    for register in four {
                        let [rank, ..] = (packed & 0x3f).to_le_bytes();
                        *register = rank;
                        packed >>= PACKED_BITS;
                    }
                }
                let is_canonical = all.iter().all(|rank| *rank <= RANK_MAX)
                    && all.iter().filter(|rank| **rank > 0).count() > LISTED_MAX;
                is_canonical.then_some(Distinct(Registers::All(all)))
            }
            _ => None,
        }
    }
}

/// Algorithm 6 of Ertl (2017), from how many registers have which rank.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a positive estimate far below 2^64; it is rounded anyway"
)]
fn estimate_of(counts: &[u32; RANK_MAX as usize + 1]) -> u64 {
    let registers = REGISTERS as f64;
    let (lowest, highest) = (
        f64::from(counts[0]),
        f64::from(counts[usize::from(RANK_MAX)]),
    );
    let mut sum = registers * tau(1.0 - highest / registers);
    for count in counts[1..usize::from(RANK_MAX)].iter().rev() {
        sum = 0.5 * (sum + f64::from(*count));
    }
    sum += registers * sigma(lowest / registers);
    let estimate = registers / (2.0 * std::f64::consts::LN_2) * registers / sum;
    estimate.round() as u64
}

/// The share of registers that are 0: the small range.
#[allow(clippy::float_cmp, reason = "until nothing changes any more")]
fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// The share of registers that are full: the large range.
#[allow(clippy::float_cmp, reason = "until nothing changes any more")]
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::key::encode_u64;

    fn of(values: impl IntoIterator<Item = u64>) -> Distinct {
        let mut distinct = Distinct::default();
        for value in values {
            distinct.add(encode_u64(value).as_bytes());
        }
        distinct
    }

    #[test]
    fn estimates_are_within_four_standard_errors() {
        assert_eq!(of([]).estimate(), 0);
        assert_eq!(of([7, 7, 7]).estimate(), 1);
        for count in [10u64, 100, 1_000, 4_000, 10_000, 100_000, 1_000_000] {
            let estimate = of(0..count).estimate();
            #[allow(clippy::cast_precision_loss, reason = "small numbers")]
            let error = (estimate as f64 - count as f64).abs() / count as f64;
            assert!(error < 4.0 * 0.0081, "{count}: {estimate}, off by {error}");
        }
    }

    #[test]
    fn the_cut_does_not_show_on_either_side_of_the_list() {
        for count in [10u64, 3_000, 6_000, 50_000] {
            let whole = of(0..count);
            for cut in [0, 1, count / 3, count] {
                let (mut first, rest) = (of(0..cut), of(cut / 2..count));
                first.absorb(&rest);
                assert_eq!(first, whole, "{count} cut at {cut}");
                let (first, mut rest) = (of(0..cut), of(cut / 2..count));
                rest.absorb(&first);
                assert_eq!(rest, whole, "{count} cut at {cut}");
            }
            let mut bytes = Vec::new();
            whole.encode_into(&mut bytes);
            let mut reader = StateReader::new(&bytes);
            assert_eq!(Distinct::decode(&mut reader).as_ref(), Some(&whole));
            assert!(reader.is_empty());
            assert!(bytes.len() < 12_300, "{} bytes", bytes.len());
        }
    }

    #[test]
    fn one_form_decodes() {
        let decode = |bytes: &[u8]| Distinct::decode(&mut StateReader::new(bytes));
        assert!(decode(&[TAG_LISTED, 0]).is_some());
        assert_eq!(decode(&[TAG_LISTED, 1, 0, 0]), None, "rank 0");
        assert_eq!(decode(&[TAG_LISTED, 1, 0, 52]), None, "rank 52");
        let beyond = [TAG_LISTED, 1, 0x80, 0x80, 0x01, 1];
        assert_eq!(decode(&beyond), None, "register 16,384");
        let mut few = vec![TAG_ALL];
        few.resize(1 + PACKED_LEN, 0);
        assert_eq!(decode(&few), None, "no register, written as a whole");
    }
}
