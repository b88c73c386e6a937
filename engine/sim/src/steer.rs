//! Steering: a share of a campaign's seeds takes over the settings of seeds that reached what few have reached.
//!
//! Settings are the scenario, what goes wrong how often, how many processes there are, bounds and lengths: all that
//! is drawn before the first step. A steered seed has those of another one, its like, and everything else from its
//! own number; the two numbers replay it. Which like a seed gets depends on the seeds that lie [`LAG`] and more
//! before it in the campaign, and on nothing else, so threads make no difference.

use std::collections::BTreeSet;

use eciton_engine::base::Rare;

/// Rare points that there are.
pub const RARE_POINTS: usize = Rare::ALL.len();

/// How often each of [`Rare::ALL`] was reached.
pub type Reached = [u32; RARE_POINTS];

/// Of so many seeds one is steered.
const STEERED_EVERY: u64 = 4;
/// Seeds between one that is steered and the last whose result counts for that.
pub const LAG: u64 = 64;
/// Points that it is steered towards at a time: those that fewest seeds have reached.
const SELDOM_MAX: usize = 12;
/// A point that one in so many seeds reaches is not rare.
const COMMON_EVERY: u64 = 20;
/// Settings that are remembered for each point.
const EXAMPLES_MAX: usize = 16;

/// What the seeds of a campaign have reached so far.
#[derive(Clone, Debug)]
pub struct Steering {
    absorbed: u64,
    /// Seeds that reached each point.
    seeds: [u64; RARE_POINTS],
    /// The seeds whose settings led to each point.
    examples: [BTreeSet<u64>; RARE_POINTS],
}

impl Default for Steering {
    fn default() -> Steering {
        Steering {
            absorbed: 0,
            seeds: [0; RARE_POINTS],
            examples: std::array::from_fn(|_| BTreeSet::new()),
        }
    }
}

impl Steering {
    /// Seeds that have been absorbed.
    pub fn absorbed(&self) -> u64 {
        self.absorbed
    }

    /// Seeds that reached each point.
    pub fn seeds(&self) -> &[u64; RARE_POINTS] {
        &self.seeds
    }

    /// Takes note of what a seed with the settings of `settings` reached.
    pub fn absorb(&mut self, settings: u64, reached: &Reached) {
        self.absorbed += 1;
        for (point, count) in reached.iter().enumerate() {
            if *count == 0 {
                continue;
            }
            self.seeds[point] += 1;
            let examples = &mut self.examples[point];
            if examples.len() < EXAMPLES_MAX {
                examples.insert(settings);
            }
        }
    }

    /// The like of the seed at this place of the campaign; `None` for one with settings of its own.
    pub fn like(&self, at: u64) -> Option<u64> {
        if at % STEERED_EVERY != STEERED_EVERY - 1 {
            return None;
        }
        let is_seldom = |point: &usize| {
            self.seeds[*point] > 0 && self.seeds[*point] * COMMON_EVERY < self.absorbed
        };
        let mut seldom: Vec<usize> = (0..RARE_POINTS).filter(is_seldom).collect();
        seldom.sort_by_key(|point| self.seeds[*point]);
        seldom.truncate(SELDOM_MAX);
        let turn = at / STEERED_EVERY;
        let point = seldom.get(within(turn, seldom.len())?)?;
        let examples = &self.examples[*point];
        let turn = turn / seldom.len() as u64;
        examples.iter().nth(within(turn, examples.len())?).copied()
    }
}

/// The place of a turn among so many; `None` among none.
fn within(turn: u64, len: usize) -> Option<usize> {
    let place = turn.checked_rem(len as u64)?;
    usize::try_from(place).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(points: &[usize]) -> Reached {
        std::array::from_fn(|point| u32::from(points.contains(&point)))
    }

    #[test]
    fn a_share_of_the_seeds_takes_after_those_that_reached_what_few_reach() {
        let mut steering = Steering::default();
        assert_eq!(steering.like(3), None, "nothing is known");
        for seed in 0..100 {
            let points: &[usize] = match seed {
                7 => &[0, 2],
                8 => &[0, 3],
                _ => &[0],
            };
            steering.absorb(seed, &reached(points));
        }
        let steered: Vec<_> = (0..16).filter_map(|at| steering.like(at)).collect();
        assert_eq!(
            steered,
            [7, 8, 7, 8],
            "point 0 is common, 1 was never reached"
        );
        assert_eq!((steering.absorbed(), steering.seeds()[0]), (100, 100));
    }
}
