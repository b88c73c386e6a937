//! Whether what is there in the end is what the processes were told, and whether all that they were told
//! has one order.
//!
//! | what must hold | by |
//! |---|---|
//! | the folder is whole | `db verify`, before and after it is opened once more |
//! | acknowledged is there, refused is not, the rest is there or not, and nothing else | the marks |
//! | balances, counters and lists are what the transactions that are there make of them | the marks |
//! | slots keep to real time: later transactions stand in later slots, and see them | positions |
//! | counters were read as the slots before made them | positions |
//! | one order explains all reads and keeps to real time | [`eciton_sim::history`], twice |

use std::collections::{BTreeMap, BTreeSet};

use eciton_sim::history::{self, Freshness, History, Operation, Transaction};

use super::cells::{ACCOUNTS, LAST, OPENING_BALANCE};
use super::journal::Step;
use super::remains::Remains;
use super::said::{Outcome, Said, Told};

/// Violations of one kind that are told.
const SHOWN_MAX: usize = 10;
/// Transactions that `adya` judges at one time. For registers its time grows with the square of them, and
/// faster: from each it walks along all later ones that did not touch the same register.
const WINDOW: usize = 1000;

/// What does not hold.
pub fn judge(said: &Said, remains: &Remains) -> Vec<String> {
    let mut wrong = said.wrong.clone();
    wrong.extend(remains.broken.iter().cloned());
    let case = Case { said, remains };
    for found in [
        case.marks(),
        case.derived(),
        case.lists(),
        case.real_time(),
        case.counters_read(),
    ] {
        let more = found.len().saturating_sub(SHOWN_MAX);
        wrong.extend(found.into_iter().take(SHOWN_MAX));
        if more > 0 {
            wrong.push(format!("and {more} more like the last"));
        }
    }
    wrong
}

/// What has no order that explains it: what the simulator's checker finds in the whole, and what `adya` does
/// in windows of a thousand transactions that overlap by half. What only more of them show together is found
/// by the first alone.
pub fn judge_history(history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    if let Err(anomalies) = history::check(history) {
        let shown = anomalies.iter().take(SHOWN_MAX);
        wrong.extend(shown.map(|one| format!("not strictly serializable: {one}")));
    }
    for (first, window) in windows(history) {
        if let Err(findings) = history::check_with_adya(&window) {
            let shown = findings.iter().take(SHOWN_MAX);
            wrong.extend(shown.map(|one| {
                format!("not serializable, says adya (its T0 is the history's T{first}): {one}")
            }));
            break;
        }
    }
    wrong
}

/// Parts of a history whose transactions stand by their beginnings, each with its first one's place.
fn windows(history: &History) -> impl Iterator<Item = (usize, History)> {
    let all = history.transactions();
    let beginnings = (0..all.len()).step_by(WINDOW / 2);
    // Another one that begins within the last half of the one before, and ends with it, shows nothing new.
    let beginnings = beginnings.filter(|first| *first == 0 || first + WINDOW / 2 < all.len());
    beginnings.map(|first| {
        let window = &all[first..all.len().min(first + WINDOW)];
        (first, History::new(window.to_vec()))
    })
}

/// What was said, as the checkers take it; what nobody was told is settled by what is there.
pub fn history(said: &Said, remains: &Remains) -> History {
    let case = Case { said, remains };
    let all = said.told.iter();
    let mut transactions: Vec<Transaction> = all
        .filter_map(|(id, told)| case.transaction(*id, told))
        .collect();
    transactions.sort_by_key(|transaction| transaction.invoked);
    transactions.push(case.last());
    History::new(transactions)
}

struct Case<'a> {
    said: &'a Said,
    remains: &'a Remains,
}

/// The merges into one counter.
#[derive(Default)]
struct Merges {
    /// Slot and amount of those whose client was told, by slot.
    known: Vec<(u64, i64)>,
    /// How many stand in slots that nobody was told.
    unknown: usize,
}

impl Case<'_> {
    fn is_there(&self, id: u64) -> bool {
        self.remains.marks.contains(&id)
    }

    /// Transactions that are there.
    fn there(&self) -> impl Iterator<Item = (u64, &Told)> {
        let all = self.said.told.iter();
        all.filter(|(id, _)| self.is_there(**id))
            .map(|(id, told)| (*id, told))
    }

    fn marks(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (id, told) in self.said.told.iter().filter(|(_, told)| told.writes()) {
            match told.outcome {
                Outcome::Done { position, .. } if !self.is_there(*id) => wrong.push(format!(
                    "transaction {id} is lost, it was acknowledged in slot {position}: {}",
                    show(told)
                )),
                Outcome::Refused { .. } if self.is_there(*id) => wrong.push(format!(
                    "transaction {id} is there, it was refused: {}",
                    show(told)
                )),
                _ => {}
            }
        }
        let marks = self.remains.marks.iter();
        let unsaid = marks.filter(|id| !self.said.told.contains_key(id));
        wrong.extend(unsaid.map(|id| format!("transaction {id} is there, nobody began it")));
        wrong
    }

    /// Balances and counters.
    fn derived(&self) -> Vec<String> {
        let mut balances: BTreeMap<u64, i64> = BTreeMap::new();
        let mut counters: BTreeMap<u64, (i64, i64)> = BTreeMap::new();
        for account in 0..ACCOUNTS {
            balances.insert(account, OPENING_BALANCE);
        }
        for (_, told) in self.there() {
            for step in &told.steps {
                match step {
                    Step::Pay(account, amount) => *balances.entry(*account).or_default() += amount,
                    Step::Add(counter, amount) => {
                        let entry = counters.entry(*counter).or_default();
                        *entry = (entry.0 + 1, entry.1 + amount);
                    }
                    _ => {}
                }
            }
        }
        let mut wrong = Vec::new();
        let accounts = self.remains.accounts.iter();
        let found: BTreeMap<u64, i64> = accounts.map(|(number, one)| (*number, one.0)).collect();
        let total: i64 = found.values().sum();
        let expected = OPENING_BALANCE * i64::try_from(ACCOUNTS).unwrap_or(0);
        if total != expected {
            wrong.push(format!("the accounts hold {total} instead of {expected}"));
        }
        if found != balances {
            wrong.push(format!("accounts are {found:?}, expected {balances:?}"));
        }
        let found = &self.remains.counters;
        if *found != counters {
            wrong.push(format!("counters are {found:?}, expected {counters:?}"));
        }
        wrong
    }

    /// Every append that is there stands in its list, once, and in the order of the slots.
    fn lists(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut expected: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for (id, told) in self.there() {
            for step in &told.steps {
                if let Step::Append(list) = step {
                    expected.entry(*list).or_default().insert(id);
                }
            }
        }
        for (list, expected) in &expected {
            let empty = Vec::new();
            let found = self.remains.lists.get(list).unwrap_or(&empty);
            let distinct: BTreeSet<u64> = found.iter().copied().collect();
            for id in expected.difference(&distinct) {
                wrong.push(format!("list {list} lacks {id}, which is there"));
            }
        }
        for (list, found) in &self.remains.lists {
            let (mut seen, mut newest) = (BTreeSet::new(), 0);
            let expected = expected.get(list);
            for id in found {
                if !seen.insert(*id) {
                    wrong.push(format!("list {list} has {id} twice"));
                }
                if !expected.is_some_and(|expected| expected.contains(id)) {
                    wrong.push(format!("list {list} has {id}, which is not there"));
                }
                if let Some(position) = self.position(*id) {
                    if position <= newest {
                        let what = format!("list {list} has {id} of slot {position} too late");
                        wrong.push(what);
                    }
                    newest = newest.max(position);
                }
            }
        }
        wrong
    }

    fn position(&self, id: u64) -> Option<u64> {
        match self.said.told.get(&id)?.outcome {
            Outcome::Done { position, .. } => Some(position),
            _ => None,
        }
    }

    /// What began after something was over stands in a later slot than it, or sees its slot.
    fn real_time(&self) -> Vec<String> {
        let mut over: Vec<(u64, u64, u64)> = Vec::new();
        for (id, told) in &self.said.told {
            if let Outcome::Done { at_ns, position } = told.outcome {
                over.push((at_ns, position, *id));
            }
        }
        over.sort_unstable();
        // The newest slot that anybody knew of at each moment, and who.
        let mut newest = Vec::with_capacity(over.len());
        for (_, position, id) in &over {
            let before = newest.last().copied().unwrap_or((0, 0));
            newest.push(before.max((*position, *id)));
        }
        let mut wrong = Vec::new();
        for (id, told) in self.said.told.iter().filter(|(_, told)| told.fresh) {
            let Some(position) = self.position(*id) else {
                continue;
            };
            let earlier = over.partition_point(|(at_ns, _, _)| *at_ns < told.from_ns);
            let Some((known, by)) = earlier.checked_sub(1).map(|at| newest[at]) else {
                continue;
            };
            if position < known || (position == known && told.writes()) {
                wrong.push(format!(
                    "transaction {id} is of slot {position}, and {by} of slot {known} was over before it began"
                ));
            }
        }
        wrong
    }

    /// Counters were read as the merges of all slots up to that of the read make them.
    fn counters_read(&self) -> Vec<String> {
        let merges = self.merges();
        let mut wrong = Vec::new();
        for (id, told) in &self.said.told {
            let Some(position) = self.position(*id) else {
                continue;
            };
            for step in &told.steps {
                let Step::Count(counter, rows, sum) = step else {
                    continue;
                };
                let none = Merges::default();
                let merges = merges.get(counter).unwrap_or(&none);
                let least = merges.known.partition_point(|(at, _)| *at <= position);
                let known: i64 = merges.known[..least].iter().map(|(_, amount)| amount).sum();
                let rows = usize::try_from(*rows).unwrap_or(usize::MAX);
                let is_off = rows == least && *sum != known;
                if rows < least || rows > least + merges.unknown || is_off {
                    wrong.push(format!(
                        "transaction {id} read {rows} rows of {sum} in counter {counter} in slot \
                         {position}, expected {least} of {known} and up to {} rows more",
                        merges.unknown
                    ));
                }
            }
        }
        wrong
    }

    /// All merges that are there, by counter.
    fn merges(&self) -> BTreeMap<u64, Merges> {
        let mut merges: BTreeMap<u64, Merges> = BTreeMap::new();
        for (id, told) in self.there() {
            for step in &told.steps {
                if let Step::Add(counter, amount) = step {
                    let entry = merges.entry(*counter).or_default();
                    match self.position(id) {
                        Some(position) => entry.known.push((position, *amount)),
                        None => entry.unknown += 1,
                    }
                }
            }
        }
        for one in merges.values_mut() {
            one.known.sort_unstable();
        }
        merges
    }

    fn transaction(&self, id: u64, told: &Told) -> Option<Transaction> {
        let operations: Vec<Operation> = (told.steps.iter())
            .filter_map(|step| operation(id, step))
            .collect();
        if operations.is_empty() {
            return None;
        }
        // Whoever was under way when their process died took effect before the end, or never.
        let last = self.remains.from_ns - 1;
        let (outcome, completed) = match told.outcome {
            Outcome::Done { at_ns, .. } => (history::Outcome::Committed, at_ns),
            _ if !told.writes() => return None,
            _ if self.is_there(id) => (history::Outcome::Committed, last),
            Outcome::Refused { at_ns } => (history::Outcome::Aborted, at_ns),
            Outcome::Open => (history::Outcome::Aborted, last),
        };
        Some(Transaction {
            process: told.worker,
            freshness: match told.fresh {
                true => Freshness::Fresh,
                false => Freshness::Snapshot,
            },
            invoked: told.from_ns,
            completed: Some(completed.max(told.from_ns + 1)),
            outcome,
            operations,
        })
    }

    /// The reading of everything in the end.
    fn last(&self) -> Transaction {
        let remains = self.remains;
        let accounts = remains
            .accounts
            .iter()
            .map(|(number, one)| (*number, one.1));
        let registers = remains.registers.iter().map(|(number, id)| (*number, *id));
        let mut steps: Vec<Step> = accounts
            .chain(registers)
            .map(|(register, writer)| Step::Get(register, Some(writer)))
            .collect();
        let lists = remains.lists.iter();
        steps.extend(lists.map(|(list, all)| Step::List(*list, all.clone())));
        let operations = steps.iter().filter_map(|step| operation(LAST, step));
        Transaction {
            process: u64::MAX,
            freshness: Freshness::Fresh,
            invoked: remains.from_ns,
            completed: Some(remains.from_ns + 1),
            outcome: history::Outcome::Committed,
            operations: operations.collect(),
        }
    }
}

fn operation(id: u64, step: &Step) -> Option<Operation> {
    Some(match step {
        Step::Append(list) => Operation::Append {
            list: *list,
            value: id,
        },
        Step::List(list, values) => Operation::ReadList {
            list: *list,
            values: values.clone(),
        },
        Step::Set(register) => Operation::Write {
            register: *register,
            value: id,
        },
        Step::Get(register, value) => Operation::ReadRegister {
            register: *register,
            value: *value,
        },
        Step::Pay(..) | Step::Add(..) | Step::Count(..) => return None,
    })
}

fn show(told: &Told) -> String {
    let steps: Vec<String> = told.steps.iter().map(Step::to_string).collect();
    format!("process {}, {}", told.worker, steps.join(" "))
}
