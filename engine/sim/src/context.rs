//! What everything in one simulated world shares.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use eciton_engine::base::entropy::SeededEntropy;
use parking_lot::Mutex;

use crate::clock::yield_now;
use crate::executor::ProcessId;
use crate::fault::{FaultKind, Rates};
use crate::kernel::Kernel;
use crate::plan::{Drawn, Plan};
use crate::random::Random;
use crate::trace::{Trace, TraceMode};
use crate::violation::Violation;

/// Something that happens at a moment of its own, whatever the processes do.
type Due = Box<dyn FnOnce() + Send>;

/// One world: time, faults, trace, and what has been found out.
pub struct Shared {
    /// Time and tasks.
    pub kernel: Arc<Kernel>,
    /// What happened.
    pub trace: Trace,
    plan: Mutex<Plan>,
    /// Part of the schedule: where operations let others go first.
    gaps: Mutex<Random>,
    gap_percent: u64,
    agenda: Mutex<BTreeMap<(u64, u64), Due>>,
    agenda_begun: AtomicU64,
    agenda_next: AtomicU64,
    violation: Mutex<Option<Violation>>,
    is_violated: AtomicBool,
}

impl Shared {
    pub(crate) fn new(
        kernel: Arc<Kernel>,
        seed: u64,
        rates: Rates,
        suppressed: BTreeSet<u64>,
        trace: TraceMode,
    ) -> Shared {
        let gap_percent = rates.gap_percent;
        Shared {
            kernel,
            trace: Trace::new(trace),
            plan: Mutex::new(Plan::new(seed, rates, suppressed)),
            gaps: Mutex::new(Random::new(seed, 3)),
            gap_percent,
            agenda: Mutex::new(BTreeMap::new()),
            agenda_begun: AtomicU64::new(0),
            agenda_next: AtomicU64::new(u64::MAX),
            violation: Mutex::new(None),
            is_violated: AtomicBool::new(false),
        }
    }

    /// The plan of faults.
    pub fn plan(&self) -> parking_lot::MutexGuard<'_, Plan> {
        self.plan.lock()
    }

    /// At most one fault of these kinds, which the caller injects if it makes sense here.
    pub(crate) fn draw(&self, kinds: &[FaultKind]) -> Option<Drawn> {
        self.plan.lock().draw(kinds)
    }

    /// Records a fault; `false` if it is to be left out.
    pub(crate) fn inject(
        &self,
        process: Option<ProcessId>,
        kind: FaultKind,
        object: impl fmt::Display,
    ) -> bool {
        let step = self.kernel.steps();
        let object = object.to_string();
        let text = self.trace.is_on().then(|| object.clone());
        let takes_place = self.plan.lock().inject(step, process, kind, object);
        if let Some(text) = text {
            let left_out = if takes_place { "" } else { " (left out)" };
            self.log(process, format_args!("FAULT {kind:?} {text}{left_out}"));
        }
        takes_place
    }

    /// A source of random numbers for one fault.
    pub(crate) fn entropy(bits: u64) -> SeededEntropy {
        SeededEntropy::new(bits)
    }

    /// Adds a line to the trace.
    pub fn log(&self, process: Option<ProcessId>, what: fmt::Arguments<'_>) {
        if self.trace.is_on() {
            self.trace.add(self.kernel.steps(), process, what);
        }
    }

    /// Lets others go first, after the effect of an operation and before its reply, in as many cases
    /// as the seed will have.
    pub(crate) async fn gap(&self) {
        if self.gap_percent > 0 && self.gaps.lock().percent(self.gap_percent) {
            yield_now().await;
        }
    }

    /// A number of the schedule.
    pub(crate) fn schedule_below(&self, bound: u64) -> u64 {
        self.gaps.lock().below(bound)
    }

    /// Does something so many virtual milliseconds from now.
    pub(crate) fn later(&self, ms: u64, what: impl FnOnce() + Send + 'static) {
        let due = self.kernel.now_ms() + ms;
        let number = self.agenda_begun.fetch_add(1, Ordering::Relaxed);
        self.agenda.lock().insert((due, number), Box::new(what));
        self.agenda_next.fetch_min(due, Ordering::Relaxed);
    }

    /// Does what is due, or everything that is left.
    pub(crate) fn do_due(&self, everything: bool) {
        let now = self.kernel.now_ms();
        while everything || self.agenda_next.load(Ordering::Relaxed) <= now {
            let mut agenda = self.agenda.lock();
            let Some((&(due, number), _)) = agenda.first_key_value() else {
                self.agenda_next.store(u64::MAX, Ordering::Relaxed);
                return;
            };
            self.agenda_next.store(due, Ordering::Relaxed);
            if due > now && !everything {
                return;
            }
            let what = agenda.remove(&(due, number));
            drop(agenda);
            if let Some(what) = what {
                what();
            }
        }
    }

    /// When the next thing on the agenda is due.
    pub(crate) fn due_next(&self) -> Option<u64> {
        self.agenda.lock().keys().next().map(|(due, _)| *due)
    }

    /// Forgets what was to happen.
    pub(crate) fn clear_agenda(&self) {
        // Outside of the lock: what is dropped may hold anything.
        let dropped = std::mem::take(&mut *self.agenda.lock());
        drop(dropped);
    }

    /// Reports that a promise was broken; the first report counts.
    pub fn violate(&self, what: &str, details: impl fmt::Display) {
        let mut first = self.violation.lock();
        if first.is_none() {
            let violation = Violation {
                what: what.to_owned(),
                step: self.kernel.steps(),
                details: details.to_string(),
            };
            self.log(None, format_args!("VIOLATION {violation}"));
            *first = Some(violation);
            self.is_violated.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a promise was broken.
    pub fn is_violated(&self) -> bool {
        self.is_violated.load(Ordering::Relaxed)
    }

    /// The broken promise.
    pub fn violation(&self) -> Option<Violation> {
        self.violation.lock().clone()
    }
}
