//! Randomness as a parameter: ids and nonces come from here and nowhere else.

use parking_lot::Mutex;

/// Where the engine takes random bytes from.
pub trait Entropy: Send + Sync + 'static {
    /// 128 bits that no other call, process or machine returns.
    fn next_u128(&self) -> u128;
}

/// The operating system's generator.
#[derive(Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[allow(
        clippy::expect_used,
        reason = "without randomness nothing can be named safely"
    )]
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the one place that draws randomness"
    )]
    fn next_u128(&self) -> u128 {
        let mut bytes = [0u8; 16];
        getrandom::fill(&mut bytes).expect("the operating system has no randomness");
        u128::from_le_bytes(bytes)
    }
}

/// A generator that a seed replays: `SplitMix64` (Steele, Lea, Flood, OOPSLA 2014).
#[derive(Debug)]
pub struct SeededEntropy {
    state: Mutex<u64>,
}

impl SeededEntropy {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> SeededEntropy {
        SeededEntropy {
            state: Mutex::new(seed),
        }
    }

    /// The next 64 bits.
    pub fn next_u64(&self) -> u64 {
        let mut state = self.state.lock();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Entropy for SeededEntropy {
    fn next_u128(&self) -> u128 {
        (u128::from(self.next_u64()) << 64) | u128::from(self.next_u64())
    }
}
