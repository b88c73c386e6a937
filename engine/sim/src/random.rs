//! Random numbers that a seed replays.

/// A stream of random numbers: `SplitMix64` (Steele, Lea, Flood, OOPSLA 2014), without a lock, since
/// the simulator draws several numbers a step.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed and purpose give the same numbers; different purposes give unrelated ones.
    pub fn new(seed: u64, purpose: u64) -> Random {
        let mut random = Random(seed ^ purpose.wrapping_mul(0xd6e8_feb8_6659_fd93));
        let mixed = random.next_u64();
        Random(mixed ^ purpose)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "nothing lies below 0");
        scaled(self.next_u64(), bound)
    }

    /// A place in something of `len` elements, which is at least 1.
    pub fn index(&mut self, len: usize) -> usize {
        place(self.next_u64(), len)
    }

    /// A number of `from..=to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        assert!(from <= to, "{from} to {to} is no range");
        from + self.below(to - from + 1)
    }

    /// True in so many of a hundred calls.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// One of `choices`, of which there is at least one.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    /// Brings `items` into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }
}

/// 64 random bits as a number below `bound`.
pub(crate) fn scaled(bits: u64, bound: u64) -> u64 {
    let wide = u128::from(bits) * u128::from(bound);
    u64::try_from(wide >> 64).unwrap_or(0)
}

/// 64 random bits as a place in something of `len` elements.
pub(crate) fn place(bits: u64, len: usize) -> usize {
    assert!(len > 0, "there is no place in nothing");
    usize::try_from(scaled(bits, len as u64)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ_by_purpose() {
        let draw = |seed, purpose| {
            let mut random = Random::new(seed, purpose);
            [random.next_u64(), random.next_u64()]
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }

    #[test]
    fn bounds_hold_and_are_reached() {
        let mut random = Random::new(7, 7);
        let mut seen = [0; 3];
        for _ in 0..300 {
            seen[random.index(3)] += 1;
            assert!((5..=6).contains(&random.between(5, 6)));
        }
        assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
    }

    #[test]
    fn a_shuffle_keeps_everything() {
        let mut items: Vec<u64> = (0..20).collect();
        Random::new(3, 3).shuffle(&mut items);
        assert_ne!(items, (0..20).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..20).collect::<Vec<_>>());
    }
}
