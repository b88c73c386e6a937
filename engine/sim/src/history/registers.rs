//! Registers: a read shows who wrote last, but not in which order the others wrote.
//!
//! The order is won from what has to hold in every order that explains the reads (the saturation
//! of Biswas and Enea, "On the Complexity of Checking Transactional Consistency", OOPSLA 2019).
//! Say R read what W wrote, and V wrote the register too. If W comes before V, then R comes before
//! V; if V comes before R, then V comes before W. The beginning, without a value, comes before all.
//! So a transaction that reads a register and then writes it shows whom it replaced, and two that
//! replaced the same are a lost update; blind writes are put in order by real time and by whatever
//! else the transactions did.
//!
//! What this cannot see: two blind writes that nothing orders may stand either way, and each way
//! is tried only for itself. A history that fails for every combination of several such choices,
//! but for none of them alone, passes; to find it is NP-complete (Papadimitriou, JACM 1979).

use std::collections::BTreeMap;

use super::anomaly::{Anomaly, EdgeKind};
use super::direct;
use super::graph::{Because, Graph};
use super::index::Index;
use super::reach::{self, Reach};
use super::transaction::Key;

/// Rounds of one saturation. Each finds everything that follows from the one before; a few do,
/// and to stop early only means to see less.
const ROUNDS_MAX: u32 = 64;

/// A read that shows which write it followed.
struct Read {
    reader: usize,
    value: Option<u64>,
    /// Who wrote the value; none if it shows the beginning.
    writer: Option<usize>,
}

/// What is known of one register.
#[derive(Default)]
struct Register {
    reads: Vec<Read>,
    /// Who set it with effect, and to what, in the history's order.
    writers: Vec<(usize, u64)>,
    /// The writers as a set.
    set: Vec<u64>,
}

/// Every register of a history.
pub(super) struct Registers(BTreeMap<u64, Register>);

impl Registers {
    /// Finds what reads of registers show to be wrong, and links writers to their readers.
    pub(super) fn link(
        index: &Index<'_>,
        graph: &mut Graph,
        anomalies: &mut Vec<Anomaly>,
    ) -> Registers {
        let mut registers: BTreeMap<u64, Register> = BTreeMap::new();
        for (writer, key, value) in index.effects() {
            let last = index.write(key, value).is_some_and(|write| write.last);
            if let Key::Register(register) = key
                && last
            {
                let known = registers.entry(register).or_default();
                known.set.resize(reach::words(index.history.len()), 0);
                reach::put(&mut known.set, writer);
                known.writers.push((writer, value));
            }
        }
        for read in &index.reads.registers {
            direct::register(index, *read, anomalies);
            let key = Key::Register(read.register);
            let reader = read.reader;
            let value = read.value;
            let writer = match value {
                None => None,
                Some(value) => match index.counted_write(key, value) {
                    Some(write) => {
                        let because = Because::Saw { key, value };
                        graph.link(write.writer, reader, EdgeKind::WriteRead, because);
                        Some(write.writer)
                    }
                    // Wrong already; it says nothing of the order.
                    None => continue,
                },
            };
            let reads = &mut registers.entry(read.register).or_default().reads;
            reads.push(Read {
                reader,
                value,
                writer,
            });
        }
        Registers(registers)
    }

    /// Adds links until none follows any more, or until there is a cycle.
    pub(super) fn saturate(&self, graph: &mut Graph, transactions: usize) {
        if self.0.is_empty() {
            return;
        }
        for _ in 0..ROUNDS_MAX {
            let components = graph.components();
            if components.cyclic() {
                return;
            }
            let reach = Reach::new(graph, &components, transactions);
            let before = graph.links().len();
            graph.round += 1;
            for (number, register) in &self.0 {
                for read in &register.reads {
                    register.link_replaced(graph, &reach, *number, read);
                    register.link_hidden(graph, &reach, *number, read);
                }
            }
            if graph.links().len() == before {
                return;
            }
        }
    }
}

impl Register {
    /// From the read to those who replaced what it read, unless that is known.
    fn link_replaced(&self, graph: &mut Graph, reach: &Reach, number: u64, read: &Read) {
        let known = reach.after(read.reader);
        let mut others = match read.writer {
            Some(writer) => {
                let after = reach.after(writer);
                self.writers_in(|word| after[word] & !known[word])
            }
            None => self.writers_in(|word| !known[word]),
        };
        others.retain(|other| *other != read.reader);
        // The first lead to the rest: few links say it all.
        others.sort_unstable_by_key(|other| reach.rank(*other));
        let mut linked: Vec<usize> = Vec::new();
        for other in others {
            if linked.iter().any(|earlier| reach.leads(*earlier, other)) {
                continue;
            }
            let because = Because::Replaced {
                register: number,
                read: read.value,
                written: self.written(other),
                writer: read.writer,
            };
            graph.link(read.reader, other, EdgeKind::ReadWrite, because);
            linked.push(other);
        }
    }

    /// To whom was read, from those that came before the read and did not show, unless that is
    /// known. Those that came after whom was read close a circle by the other link, which tells
    /// it better.
    fn link_hidden(&self, graph: &mut Graph, reach: &Reach, number: u64, read: &Read) {
        let (Some(writer), Some(value)) = (read.writer, read.value) else {
            return;
        };
        let before = reach.before(read.reader);
        let (earlier, later) = (reach.before(writer), reach.after(writer));
        let mut others = self.writers_in(|word| before[word] & !earlier[word] & !later[word]);
        others.retain(|other| *other != writer);
        others.sort_unstable_by_key(|other| std::cmp::Reverse(reach.rank(*other)));
        let mut linked: Vec<usize> = Vec::new();
        for other in others {
            if linked.iter().any(|later| reach.leads(other, *later)) {
                continue;
            }
            let because = Because::Hidden {
                register: number,
                hidden: self.written(other),
                read: value,
                reader: read.reader,
            };
            graph.link(other, writer, EdgeKind::WriteWrite, because);
            linked.push(other);
        }
    }

    /// The writers that are in a set, which is given word by word.
    fn writers_in(&self, set: impl Fn(usize) -> u64) -> Vec<usize> {
        let words = self.set.iter().enumerate();
        words
            .flat_map(|(word, writers)| reach::members(word, writers & set(word)))
            .collect()
    }

    fn written(&self, writer: usize) -> u64 {
        let at = (self.writers).binary_search_by_key(&writer, |(writer, _)| *writer);
        assert!(at.is_ok(), "T{writer} set no such register");
        self.writers[at.unwrap_or_default()].1
    }
}
