//! Random numbers that a seed repeats.

use eciton_engine::entropy::SeededEntropy;

/// A source of decisions. The same seed gives the same ones.
#[derive(Debug)]
pub struct Dice(SeededEntropy);

impl Dice {
    /// Dice of a seed.
    pub fn new(seed: u64) -> Dice {
        Dice(SeededEntropy::new(seed))
    }

    /// Dice for one purpose: `parts` tell it from the others of the same seed.
    pub fn of(seed: u64, parts: &[u64]) -> Dice {
        let mixed = parts.iter().fold(seed, |mixed, part| {
            SeededEntropy::new(mixed ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15)).next_u64()
        });
        Dice::new(mixed)
    }

    /// 64 random bits.
    pub fn next(&self) -> u64 {
        self.0.next_u64()
    }

    /// A number from 0 up to `end`, excluded; 0 where there is no choice.
    pub fn below(&self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// True once in `of` times.
    pub fn once_in(&self, of: u64) -> bool {
        self.below(of) == 0
    }

    /// A number from 1 to `max`, small ones as likely as large ones: each doubling has the same chance.
    pub fn scaled(&self, max: u64) -> u64 {
        let doublings = u64::from(max.max(1).ilog2()) + 1;
        let top = 1 << self.below(doublings);
        (top + self.below(top)).min(max)
    }
}
