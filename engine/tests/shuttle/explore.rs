//! Runs a check under many schedules, or one of them again.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use eciton_engine::base::sync::{Break, plant};
use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};

/// Seeds of both schedulers.
const SEEDS: [u64; 3] = [1, 2, 3];
/// Schedules that a seed draws, unless `ECITON_SCHEDULES` says otherwise.
const SCHEDULES: usize = 1000;
/// Preemptions at unlikely places that the second scheduler makes in a schedule.
const PREEMPTIONS: usize = 5;
/// A schedule of these checks takes some thousand steps; more means that it never ends.
const STEPS_MAX: usize = 200_000;
/// A commit's future is some kilobytes, built on the stack.
const STACK_LEN: usize = 1024 * 1024;

/// Draws schedules for `check`, each on a fresh scene; panics on the first that fails.
pub(crate) fn explore(check: fn()) {
    if let Ok(schedule) = std::env::var("ECITON_SCHEDULE") {
        runner(ReplayScheduler::new_from_encoded(&schedule)).run(check);
        return;
    }
    let schedules = std::env::var("ECITON_SCHEDULES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(SCHEDULES);
    for seed in SEEDS {
        for name in ["random", "pct"] {
            if let Err(failure) = draw(name, seed, schedules, check).outcome {
                eprintln!("failed under the scheduler `{name}`, seed {seed}");
                resume_unwind(failure);
            }
        }
    }
}

/// Plants a break and says how `check` fails: the message and the number of schedules drawn.
pub(crate) fn caught(rule: Break, name: &str, check: fn()) -> Option<(String, u64)> {
    plant(Some(rule));
    let drawn = draw(name, SEEDS[0], 2000, check);
    plant(None);
    let failure = drawn.outcome.err()?;
    let message = failure
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| failure.downcast_ref::<&str>().map(ToString::to_string));
    Some((message.unwrap_or_default(), drawn.schedules))
}

struct Drawn {
    outcome: std::thread::Result<()>,
    schedules: u64,
}

fn draw(name: &str, seed: u64, schedules: usize, check: fn()) -> Drawn {
    let begun = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&begun);
    let counted = move || {
        count.fetch_add(1, Ordering::Relaxed);
        check();
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        match name {
            "random" => runner(RandomScheduler::new_from_seed(seed, schedules)).run(counted),
            _ => runner(PctScheduler::new_from_seed(seed, PREEMPTIONS, schedules)).run(counted),
        };
    }));
    Drawn {
        outcome,
        schedules: begun.load(Ordering::Relaxed),
    }
}

fn runner<S: Scheduler + 'static>(scheduler: S) -> Runner<S> {
    let mut config = Config::new();
    config.stack_size = STACK_LEN;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.silence_warnings = true;
    Runner::new(scheduler, config)
}
