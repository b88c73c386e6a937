//! What is done to whom and when: a function of the seed.

use std::ops::Range;

use super::split::{Cut, SIDES};
use crate::dice::Dice;

/// What is between the processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One Redis.
    One,
    /// A Redis Cluster, of which masters are struck.
    Cluster,
    /// One Redis, and links to it that are cut.
    Split,
}

impl Form {
    /// The word on a command line, if it needs one.
    pub fn word(self) -> &'static str {
        match self {
            Form::One => "",
            Form::Cluster => "--cluster",
            Form::Split => "--split",
        }
    }

    /// The form of a word.
    pub fn parse(word: &str) -> Option<Form> {
        [Form::Cluster, Form::Split]
            .into_iter()
            .find(|form| form.word() == word)
    }
}

/// Something that is done to the processes or to Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strike {
    /// A process is killed, and another takes its place after so many milliseconds.
    Kill {
        /// Its place, or that of the next one that runs.
        worker: u64,
        /// Milliseconds without it.
        away_ms: u64,
    },
    /// A process is stopped and goes on after so many milliseconds.
    Stop {
        /// Its place, or that of the next one that runs.
        worker: u64,
        /// Milliseconds that it stands still.
        still_ms: u64,
    },
    /// Redis forgets everything.
    Flush,
    /// Redis, or a master of it, is killed and comes back, empty, after so many milliseconds.
    RedisKill {
        /// Decides which.
        which: u64,
        /// Milliseconds without it.
        away_ms: u64,
    },
    /// Redis, or a master of it, is stopped and goes on after so many milliseconds.
    RedisStop {
        /// Decides which.
        which: u64,
        /// Milliseconds that it stands still.
        still_ms: u64,
    },
    /// The link of some of the processes is cut for so many milliseconds.
    Cut {
        /// The link.
        side: usize,
        /// How.
        cut: Cut,
        /// Milliseconds without it.
        apart_ms: u64,
    },
}

/// Milliseconds between two strikes of a kind.
const KILL_MS: Range<u64> = 400..1_700;
const STOP_MS: Range<u64> = 2_500..6_000;
const FLUSH_MS: Range<u64> = 1_500..4_000;
const REDIS_KILL_MS: Range<u64> = 7_000..16_000;
const REDIS_STOP_MS: Range<u64> = 6_000..16_000;
const CUT_MS: Range<u64> = 2_000..6_000;

/// How long it lasts. A process stands still for longer than any lease (2 s), patience (4 s) and, mostly,
/// than its intents can be seen (10 s).
const AWAY_MS: Range<u64> = 0..1_500;
const STILL_MS: Range<u64> = 5_000..13_000;
const REDIS_AWAY_MS: Range<u64> = 0..3_000;
const REDIS_STILL_MS: Range<u64> = 300..4_000;
/// A master is away for so long that its replica mostly takes its place.
const MASTER_AWAY_MS: Range<u64> = 0..6_000;
/// A link is away for longer than any patience, too.
const APART_MS: Range<u64> = 300..7_000;

/// All strikes of a run of so many processes and milliseconds, with their moments, in order.
pub fn plan(seed: u64, form: Form, workers: u64, run_ms: u64) -> Vec<(u64, Strike)> {
    let mut all = Vec::new();
    let mut add = |kind: u64, every: Range<u64>, strike: &dyn Fn(&Dice) -> Strike| {
        let dice = Dice::of(seed, &[kind]);
        let mut at_ms = within(&dice, &every);
        while at_ms < run_ms {
            all.push((at_ms, strike(&dice)));
            at_ms += within(&dice, &every);
        }
    };
    add(1, KILL_MS, &|dice| Strike::Kill {
        worker: dice.below(workers),
        away_ms: within(dice, &AWAY_MS),
    });
    add(2, STOP_MS, &|dice| Strike::Stop {
        worker: dice.below(workers),
        still_ms: within(dice, &STILL_MS),
    });
    add(3, FLUSH_MS, &|_| Strike::Flush);
    let (away_ms, still_ms) = match form {
        Form::One | Form::Split => (REDIS_AWAY_MS, REDIS_STILL_MS),
        Form::Cluster => (MASTER_AWAY_MS, MASTER_AWAY_MS),
    };
    add(4, REDIS_KILL_MS, &|dice| Strike::RedisKill {
        away_ms: within(dice, &away_ms),
        which: dice.below(u64::MAX),
    });
    add(5, REDIS_STOP_MS, &|dice| Strike::RedisStop {
        still_ms: within(dice, &still_ms),
        which: dice.below(u64::MAX),
    });
    if form == Form::Split {
        add(6, CUT_MS, &|dice| {
            let below = |bound: usize| usize::try_from(dice.below(bound as u64)).unwrap_or(0);
            Strike::Cut {
                side: below(SIDES),
                cut: Cut::ALL[below(Cut::ALL.len())],
                apart_ms: within(dice, &APART_MS),
            }
        });
    }
    all.sort_unstable();
    all
}

fn within(dice: &Dice, range: &Range<u64>) -> u64 {
    range.start + dice.below(range.end - range.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_strikes_the_same_and_ten_minutes_have_hundreds_of_kills() {
        let all = plan(1, Form::Split, 16, 600_000);
        assert_eq!(all, plan(1, Form::Split, 16, 600_000));
        assert_ne!(all, plan(2, Form::Split, 16, 600_000));
        assert!(all.is_sorted());
        let count = |is: fn(&Strike) -> bool| all.iter().filter(|(_, one)| is(one)).count();
        assert!(count(|one| matches!(one, Strike::Kill { .. })) > 400);
        assert!(count(|one| matches!(one, Strike::Stop { .. })) > 100);
        assert!(count(|one| matches!(one, Strike::Flush)) > 150);
        assert!(count(|one| matches!(one, Strike::RedisKill { .. })) > 35);
        assert!(count(|one| matches!(one, Strike::RedisStop { .. })) > 35);
        assert!(count(|one| matches!(one, Strike::Cut { .. })) > 100);
    }

    #[test]
    fn links_are_cut_only_where_there_are_some() {
        for form in [Form::One, Form::Cluster] {
            let all = plan(1, form, 16, 600_000);
            assert!(!all.iter().any(|(_, one)| matches!(one, Strike::Cut { .. })));
        }
    }
}
