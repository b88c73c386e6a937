//! Many seeds, on several threads. Each seed is independent of all others.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use eciton_engine::base::Mutant;
use parking_lot::Mutex;

use crate::fault::FAULT_KINDS;
use crate::outcome::{Outcome, Run, run_seed};
use crate::scenario::Scenario;

/// Which seeds are run, and how.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// The first seed.
    pub from: u64,
    /// How many.
    pub seeds: u64,
    /// Threads.
    pub jobs: usize,
    /// The rule that is broken on purpose.
    pub mutant: Option<Mutant>,
    /// The scenario, if it is not each seed's own.
    pub scenario: Option<Scenario>,
    /// Stops soon after the first violation.
    pub stops_early: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Summary {
    /// Seeds run.
    pub seeds: u64,
    /// Steps of all of them.
    pub steps: u64,
    /// How often each kind of fault was injected.
    pub counts: [u64; FAULT_KINDS],
    /// The outcomes with a violation, by seed.
    pub violations: BTreeMap<u64, Outcome>,
}

impl Campaign {
    /// One of its runs.
    pub fn run_of(&self, seed: u64) -> Run {
        Run {
            seed,
            mutant: self.mutant,
            scenario: self.scenario,
            ..Run::default()
        }
    }

    /// Runs all of them; `progress` hears after every seed how many are done, and how many of those
    /// broke a promise.
    pub fn run(&self, progress: impl Fn(u64, u64) + Sync) -> Summary {
        let next = AtomicU64::new(0);
        let summary = Mutex::new(Summary::default());
        let work = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= self.seeds {
                    return;
                }
                let outcome = run_seed(&self.run_of(self.from + at));
                let mut summary = summary.lock();
                summary.add(outcome);
                if self.stops_early && !summary.violations.is_empty() {
                    // Seeds are handed out in order, so that the first violation is among those begun.
                    next.store(self.seeds, Ordering::Relaxed);
                }
                let (done, violations) = (summary.seeds, summary.violations.len() as u64);
                drop(summary);
                progress(done, violations);
            }
        };
        std::thread::scope(|scope| {
            let extra: Vec<_> = (1..self.jobs.max(1)).map(|_| scope.spawn(work)).collect();
            work();
            drop(extra);
        });
        summary.into_inner()
    }
}

impl Summary {
    fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.steps += outcome.steps;
        for (total, count) in self.counts.iter_mut().zip(outcome.counts) {
            *total += count;
        }
        if outcome.violation.is_some() {
            self.violations.insert(outcome.seed, outcome);
        }
    }
}
