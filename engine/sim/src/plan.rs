//! Decides what goes wrong, keeps a record of it, and can leave single faults out.

use std::collections::BTreeSet;
use std::fmt;

use crate::executor::ProcessId;
use crate::fault::{FAULT_KINDS, FaultKind, Rates};
use crate::random::Random;

/// A fault of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its number within the run, counting those that were left out.
    pub ordinal: u64,
    /// The step in which it was injected.
    pub step: u64,
    /// The process that it hit, `None` for all.
    pub process: Option<ProcessId>,
    /// What it was.
    pub kind: FaultKind,
    /// What it hit.
    pub object: String,
    /// It was left out.
    pub suppressed: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault {
            ordinal,
            step,
            kind,
            object,
            ..
        } = self;
        let process = self
            .process
            .map_or_else(|| "all".to_owned(), |process| process.to_string());
        write!(f, "#{ordinal} step {step} {process} {kind:?} {object}")
    }
}

/// A fault that was drawn and may be injected, with bits that choose its particulars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Drawn {
    pub(crate) kind: FaultKind,
    pub(crate) bits: u64,
}

/// The faults of one run: its stream of random numbers, rates, and what it has injected so far.
///
/// A fault that is left out has drawn the same numbers as one that is injected, so that up to it
/// nothing differs.
#[derive(Debug)]
pub struct Plan {
    stream: Random,
    rates: Rates,
    suppressed: BTreeSet<u64>,
    injected: Vec<Fault>,
    counts: [u64; FAULT_KINDS],
    is_calm: bool,
}

impl Plan {
    /// A plan that leaves out the faults of these numbers.
    pub fn new(seed: u64, rates: Rates, suppressed: BTreeSet<u64>) -> Plan {
        Plan {
            stream: Random::new(seed, 2),
            rates,
            suppressed,
            injected: Vec::new(),
            counts: [0; FAULT_KINDS],
            is_calm: false,
        }
    }

    /// The rates of this run.
    pub fn rates(&self) -> &Rates {
        &self.rates
    }

    /// From here on nothing goes wrong any more.
    pub fn calm(&mut self) {
        self.is_calm = true;
    }

    /// What has been injected or left out so far, in order.
    pub fn take_faults(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.injected)
    }

    /// How often each kind has been injected.
    pub fn counts(&self) -> [u64; FAULT_KINDS] {
        self.counts
    }

    /// One draw: at most one of `kinds`.
    pub(crate) fn draw(&mut self, kinds: &[FaultKind]) -> Option<Drawn> {
        let number = self.stream.next_u64();
        if self.is_calm {
            return None;
        }
        let mut at = ((number >> 32) * 1_000_000) >> 32;
        for &kind in kinds {
            let rate = u64::from(self.rates.get(kind));
            if at < rate {
                // The upper half chose the kind; mixed again, the lower half chooses the rest.
                let bits = Random::new(number, 5).next_u64();
                return Some(Drawn { kind, bits });
            }
            at -= rate;
        }
        None
    }

    /// Records a fault; `false` if it is to be left out.
    pub(crate) fn inject(
        &mut self,
        step: u64,
        process: Option<ProcessId>,
        kind: FaultKind,
        object: String,
    ) -> bool {
        let ordinal = self.injected.len() as u64;
        let suppressed = self.suppressed.contains(&ordinal);
        self.counts[kind.index()] += u64::from(!suppressed);
        self.injected.push(Fault {
            ordinal,
            step,
            process,
            kind,
            object,
            suppressed,
        });
        !suppressed
    }
}
