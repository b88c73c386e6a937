//! Who wrote what, and whose writes took effect.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::observed::History;
use super::reads::{ListRead, Reads, RegisterRead};
use super::transaction::{Key, Operation, Outcome};

/// One write, by whomever.
#[derive(Clone, Copy)]
pub(super) struct Write {
    pub(super) writer: usize,
    /// What its transaction wrote to the key before.
    pub(super) previous: Option<u64>,
    /// Whether its transaction wrote the key no more.
    pub(super) last: bool,
}

/// Who wrote what, and whose writes took effect.
pub(super) struct Index<'h> {
    pub(super) history: &'h History,
    /// Looked up, never walked: the order of a hash map must not show.
    writes: HashMap<(Key, u64), Write>,
    /// Whether a transaction took effect: it committed, or it may have and was seen.
    counted: Vec<bool>,
    /// What counted transactions read.
    pub(super) reads: Reads<'h>,
    /// Counted transactions that contradict themselves, and how.
    pub(super) contradictions: Vec<(usize, String)>,
}

impl<'h> Index<'h> {
    pub(super) fn new(history: &'h History) -> Index<'h> {
        let mut index = Index {
            history,
            writes: writes(history),
            counted: vec![false; history.len()],
            reads: Reads::default(),
            contradictions: Vec::new(),
        };
        index.count();
        index
    }

    /// Who wrote this value.
    pub(super) fn write(&self, key: Key, value: u64) -> Option<&Write> {
        self.writes.get(&(key, value))
    }

    /// Who wrote this value, if that took effect.
    pub(super) fn counted_write(&self, key: Key, value: u64) -> Option<&Write> {
        self.write(key, value)
            .filter(|write| self.counts(write.writer))
    }

    /// Whether the transaction took effect.
    pub(super) fn counts(&self, transaction: usize) -> bool {
        self.counted[transaction]
    }

    /// Every write that took effect, by transaction and then as it went.
    pub(super) fn effects(&self) -> impl Iterator<Item = (usize, Key, u64)> {
        let all = self.history.transactions().iter().enumerate();
        let counted = all.filter(|(at, _)| self.counted[*at]);
        counted.flat_map(|(at, transaction)| {
            let operations = transaction.operations.iter();
            operations.filter_map(move |op| op.written().map(|value| (at, op.key(), value)))
        })
    }

    /// Finds out who took effect. A transaction of unknown outcome did if one that did has seen
    /// it; then what it read counts as well, and may show others.
    fn count(&mut self) {
        let transactions = self.history.transactions();
        let mut found: Vec<usize> = (0..transactions.len())
            .filter(|at| transactions[*at].outcome == Outcome::Committed)
            .collect();
        let all_known = (transactions.iter()).all(|one| one.outcome != Outcome::Unknown);
        for at in &found {
            self.counted[*at] = true;
        }
        let mut shown = Shown::default();
        while let Some(at) = found.pop() {
            let lists = self.reads.lists.len();
            let registers = self.reads.registers.len();
            if let Err(how) = self.reads.add(at, &transactions[at]) {
                self.contradictions.push((at, how));
            }
            if all_known {
                continue;
            }
            for read in &self.reads.lists[lists..] {
                shown.add_list(read);
            }
            for read in &self.reads.registers[registers..] {
                shown.add_register(*read);
            }
            for (key, value) in shown.new.drain(..) {
                let writer = self.writes.get(&(key, value)).map(|write| write.writer);
                let unknown = |at: &usize| transactions[*at].outcome == Outcome::Unknown;
                if let Some(writer) = writer.filter(unknown)
                    && !self.counted[writer]
                {
                    self.counted[writer] = true;
                    found.push(writer);
                }
            }
        }
        // The stack turned them round; people read from the beginning.
        self.reads.lists.sort_by_key(|read| read.reader);
        self.reads.registers.sort_by_key(|read| read.reader);
        self.contradictions.sort_unstable();
    }
}

/// Values that reads show, each told about once: reads of one list mostly repeat each other.
#[derive(Default)]
struct Shown<'h> {
    longest: BTreeMap<u64, &'h [u64]>,
    new: Vec<(Key, u64)>,
}

impl<'h> Shown<'h> {
    fn add_list(&mut self, read: &ListRead<'h>) {
        let longest = self.longest.entry(read.list).or_default();
        if longest.starts_with(read.values) {
            return;
        }
        let pairs = longest.iter().zip(read.values);
        let common = pairs.take_while(|(a, b)| a == b).count();
        let new = read.values[common..].iter();
        self.new
            .extend(new.map(|value| (Key::List(read.list), *value)));
        if read.values.len() > longest.len() {
            *longest = read.values;
        }
    }

    fn add_register(&mut self, read: RegisterRead) {
        let key = Key::Register(read.register);
        self.new.extend(read.value.map(|value| (key, value)));
    }
}

/// Every write of the history. Asserts that no value was written to a key twice: the reader of
/// such a value could not be told who it read.
fn writes(history: &History) -> HashMap<(Key, u64), Write> {
    let mut writes = HashMap::with_capacity(history.len() * 2);
    for (writer, transaction) in history.transactions().iter().enumerate() {
        for (at, operation) in transaction.operations.iter().enumerate() {
            let Some(value) = operation.written() else {
                continue;
            };
            let key = operation.key();
            let same = |other: &&Operation| other.key() == key && other.written().is_some();
            let before = transaction.operations[..at].iter().rev().find(same);
            let after = transaction.operations[at + 1..].iter().find(same);
            let write = Write {
                writer,
                previous: before.and_then(Operation::written),
                last: after.is_none(),
            };
            let twin = writes.insert((key, value), write);
            assert!(
                twin.is_none(),
                "{value} was written to {key} twice: the history cannot be judged"
            );
        }
    }
    writes
}
