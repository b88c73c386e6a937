//! Many seeds, on several threads. Each seed is independent of all others, but that a share of them takes over
//! settings of earlier ones ([`steer`](crate::steer)).

use std::collections::BTreeMap;

use eciton_engine::base::Mutant;
use parking_lot::{Condvar, Mutex};

use crate::fault::FAULT_KINDS;
use crate::outcome::{Outcome, Run, run_seed};
use crate::scenario::Scenario;
use crate::steer::{LAG, Reached, Steering};

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
    /// Gives a share of the seeds the settings of earlier ones that reached what few reach.
    pub steers: bool,
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
    /// What they reached.
    pub steering: Steering,
    /// The outcomes with a violation, by seed.
    pub violations: BTreeMap<u64, Outcome>,
}

/// What its threads share.
#[derive(Default)]
struct Progress {
    /// The place of the next seed. Whoever has this locked decides about that seed.
    next: Mutex<u64>,
    done: Mutex<Done>,
    is_done: Condvar,
}

#[derive(Default)]
struct Done {
    summary: Summary,
    /// Results that the ones before still keep from counting, by place.
    ahead: BTreeMap<u64, (u64, Reached)>,
    stops: bool,
}

impl Done {
    /// Lets the result of the next place count; `false` if it is not there yet.
    fn absorb_next(&mut self) -> bool {
        let steering = &mut self.summary.steering;
        match self.ahead.remove(&steering.absorbed()) {
            Some((settings, reached)) => {
                steering.absorb(settings, &reached);
                true
            }
            None => false,
        }
    }
}

impl Campaign {
    /// One of its runs, with the settings of `like` if there is one.
    pub fn run_of(&self, seed: u64, like: Option<u64>) -> Run {
        Run {
            seed,
            like,
            mutant: self.mutant,
            scenario: self.scenario,
            ..Run::default()
        }
    }

    /// Runs all of them; `progress` hears after every seed how many are done, and how many of those
    /// broke a promise.
    pub fn run(&self, progress: impl Fn(u64, u64) + Sync) -> Summary {
        let shared = Progress::default();
        let work = || {
            while let Some((at, run)) = self.take(&shared) {
                let outcome = run_seed(&run);
                let mut done = shared.done.lock();
                done.ahead.insert(at, (run.settings(), outcome.reached));
                let summary = &mut done.summary;
                summary.add(outcome);
                let (seeds, violations) = (summary.seeds, summary.violations.len() as u64);
                // Seeds are handed out in order, so that the first violation is among those begun.
                done.stops |= self.stops_early && violations > 0;
                drop(done);
                shared.is_done.notify_all();
                progress(seeds, violations);
            }
        };
        std::thread::scope(|scope| {
            let extra: Vec<_> = (1..self.jobs.max(1)).map(|_| scope.spawn(work)).collect();
            work();
            drop(extra);
        });
        let mut done = shared.done.into_inner();
        while done.absorb_next() {}
        done.summary
    }

    /// The next seed, with its place; `None` at the end.
    fn take(&self, shared: &Progress) -> Option<(u64, Run)> {
        let mut next = shared.next.lock();
        let at = *next;
        if at >= self.seeds {
            return None;
        }
        let mut done = shared.done.lock();
        while !done.stops && done.summary.steering.absorbed() < at.saturating_sub(LAG) {
            if !done.absorb_next() {
                shared.is_done.wait(&mut done);
            }
        }
        if done.stops {
            return None;
        }
        let like = done.summary.steering.like(at).filter(|_| self.steers);
        *next += 1;
        Some((at, self.run_of(self.from + at, like)))
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
