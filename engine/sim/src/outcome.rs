//! A run of one seed, and what came of it.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use eciton_engine::base::{Mutant, Rare};

use crate::fault::FAULT_KINDS;
use crate::plan::Fault;
use crate::scenario::{self, Scenario};
use crate::steer::Reached;
use crate::trace::TraceMode;
use crate::violation::Violation;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The seed whose settings it had, if not its own.
    pub like: Option<u64>,
    /// The broken promise, if any.
    pub violation: Option<Violation>,
    /// Every fault, those that were left out included.
    pub faults: Vec<Fault>,
    /// How often each kind of fault was injected.
    pub counts: [u64; FAULT_KINDS],
    /// How often it reached each of [`Rare::ALL`].
    pub reached: Reached,
    /// Steps that the run took.
    pub steps: u64,
    /// What happened, as far as it was to be kept.
    pub trace: Vec<String>,
}

impl Outcome {
    /// The faults that took place.
    pub fn active(&self) -> impl Iterator<Item = &Fault> {
        self.faults.iter().filter(|fault| !fault.suppressed)
    }
}

/// Which seed is run, and how.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// The seed whose settings it has, if not its own.
    pub like: Option<u64>,
    /// The rule that is broken on purpose.
    pub mutant: Option<Mutant>,
    /// Faults that are left out, by number.
    pub suppressed: BTreeSet<u64>,
    /// How much is remembered.
    pub trace: TraceMode,
    /// The scenario, if it is not the seed's own.
    pub scenario: Option<Scenario>,
}

impl Run {
    /// The seed that its settings are drawn from.
    pub fn settings(&self) -> u64 {
        self.like.unwrap_or(self.seed)
    }
}

/// Runs one seed. The same arguments give the same outcome, to the byte. A panic is a violation.
pub fn run_seed(run: &Run) -> Outcome {
    quieten_panics();
    Mutant::set(run.mutant);
    Rare::take();
    let scenario = run
        .scenario
        .unwrap_or_else(|| scenario::of_seed(run.settings()));
    let mut world = scenario.world(run);
    PANIC.set(Some(String::new()));
    let ended = catch_unwind(AssertUnwindSafe(|| scenario.run(&mut world)));
    let panic = PANIC.take().unwrap_or_default();
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(violation)) => world.shared().violate(&violation.what, violation.details),
        Err(_) => world.shared().violate("a panic", panic),
    }
    let mut plan = world.shared().plan();
    let (faults, counts) = (plan.take_faults(), plan.counts());
    drop(plan);
    let outcome = Outcome {
        seed: run.seed,
        like: run.like,
        violation: world.shared().violation(),
        faults,
        counts,
        reached: Rare::take(),
        steps: world.steps(),
        trace: world.shared().trace.take(),
    };
    // After a panic what is left may panic again when it is dropped; the first one counts.
    PANIC.set(Some(String::new()));
    drop(catch_unwind(AssertUnwindSafe(|| drop(world))));
    PANIC.take();
    Mutant::set(None);
    outcome
}

thread_local! {
    /// The message of the last panic, while a seed runs on this thread.
    static PANIC: std::cell::RefCell<Option<String>> = const { std::cell::RefCell::new(None) };
}

/// Panics within a run go into its outcome instead of to the terminal.
fn quieten_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let is_ours = PANIC.with_borrow_mut(|panic| match panic {
                Some(message) => {
                    if message.is_empty() {
                        *message = info.to_string();
                    }
                    true
                }
                None => false,
            });
            if !is_ours {
                usual(info);
            }
        }));
    });
}
