//! All that the processes of a run were told, by transaction.

use std::collections::BTreeMap;

use super::journal::{Entry, Step};

/// What became of a transaction, as its client knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody was told.
    Open,
    /// Committed in this slot; of one that only reads, the slot that it saw.
    Done {
        /// When that was known, on the machine's clock.
        at_ns: u64,
        /// The slot.
        position: u64,
    },
    /// Not committed, for good.
    Refused {
        /// When that was known, on the machine's clock.
        at_ns: u64,
    },
}

/// A transaction as its client knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The place of its process.
    pub worker: u64,
    /// It must see whatever was acknowledged before it began.
    pub fresh: bool,
    /// Before it did anything, on the machine's clock.
    pub from_ns: u64,
    /// All that it did.
    pub steps: Vec<Step>,
    /// What became of it.
    pub outcome: Outcome,
}

impl Told {
    /// Whether it leaves a mark if it commits.
    pub fn writes(&self) -> bool {
        self.steps.iter().any(Step::writes)
    }
}

/// Everything that was said in a run.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// By number.
    pub told: BTreeMap<u64, Told>,
    /// What must not have been said.
    pub wrong: Vec<String>,
    /// What was said for people.
    pub notes: Vec<String>,
    /// Transactions that others were in the way of.
    pub conflicts: u64,
    /// Transactions that were refused for other reasons.
    pub refused: u64,
    /// Commits that returned without an outcome.
    pub unknown: u64,
}

impl Said {
    /// Notes a line that a process of this place said, or what is none.
    pub fn hear(&mut self, worker: u64, line: Result<Entry, String>) {
        match line {
            Ok(Entry::Begin {
                id,
                fresh,
                from_ns,
                steps,
            }) => {
                let told = Told {
                    worker,
                    fresh,
                    from_ns,
                    steps,
                    outcome: Outcome::Open,
                };
                if self.told.insert(id, told).is_some() {
                    self.wrong.push(format!("transaction {id} begins twice"));
                }
            }
            Ok(Entry::Done {
                id,
                at_ns,
                position,
            }) => self.end(id, Outcome::Done { at_ns, position }),
            Ok(Entry::Refused {
                id,
                at_ns,
                conflict,
                why,
            }) => {
                self.end(id, Outcome::Refused { at_ns });
                if conflict {
                    self.conflicts += 1;
                } else {
                    self.refused += 1;
                    self.notes.push(format!("refused: {why}"));
                }
            }
            Ok(Entry::Unknown(_, why)) => {
                self.unknown += 1;
                self.notes.push(format!("unknown: {why}"));
            }
            Ok(Entry::Bad(what)) => self.wrong.push(format!("process {worker}: {what}")),
            Ok(Entry::Note(what)) => self.notes.push(what),
            Ok(Entry::End) => {}
            Err(garbled) => {
                let what = format!("process {worker} said what is no line: {garbled}");
                self.wrong.push(what);
            }
        }
    }

    fn end(&mut self, id: u64, outcome: Outcome) {
        match self.told.get_mut(&id) {
            Some(told) if told.outcome == Outcome::Open => told.outcome = outcome,
            _ => {
                let what = format!("transaction {id} has an end without a beginning, or two");
                self.wrong.push(what);
            }
        }
    }

    /// Transactions whose client was told that they have committed: those that write, and the others.
    pub fn acknowledged(&self) -> (usize, usize) {
        let done = |told: &&Told| matches!(told.outcome, Outcome::Done { .. });
        let (writes, reads): (Vec<_>, Vec<_>) =
            (self.told.values().filter(done)).partition(|told| told.writes());
        (writes.len(), reads.len())
    }

    /// Transactions that write and whose client, mostly for having been killed, was told nothing.
    pub fn open(&self) -> usize {
        let open = |told: &&Told| told.outcome == Outcome::Open && told.writes();
        self.told.values().filter(open).count()
    }
}
