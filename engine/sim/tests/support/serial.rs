//! Histories that are right, since they ran one transaction after the other; and small lies.

use std::collections::VecDeque;

use eciton_sim::history::{Freshness, Operation, Outcome, Transaction};

use super::Dice;

/// What sort of history.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) transactions: u64,
    pub(crate) lists: u64,
    pub(crate) registers: u64,
    pub(crate) operations_max: u64,
    /// How many transactions run at once, about.
    pub(crate) width: u64,
    /// Of a hundred.
    pub(crate) aborted: u64,
    /// Of a hundred.
    pub(crate) unknown: u64,
    /// Of a hundred.
    pub(crate) snapshots: u64,
}

/// What a serial store holds.
#[derive(Clone)]
struct Store {
    lists: Vec<Vec<u64>>,
    registers: Vec<Option<u64>>,
}

/// States that snapshots may be of.
const PAST_MAX: usize = 8;

/// A history of transactions that took effect one after the other, each at a moment of its own
/// between its invocation and its completion.
pub(crate) fn transactions(dice: &Dice, shape: &Shape) -> Vec<Transaction> {
    let length = |count: u64| usize::try_from(count).unwrap();
    let mut past = VecDeque::from([Store {
        lists: vec![Vec::new(); length(shape.lists)],
        registers: vec![None; length(shape.registers)],
    }]);
    let mut value = 0;
    let mut all = Vec::new();
    for at in 1..=shape.transactions {
        let snapshot = dice.percent(shape.snapshots);
        let back = if snapshot { dice.place(past.len()) } else { 0 };
        let mut store = past[back].clone();
        let count = 1 + dice.below(shape.operations_max);
        let operations: Vec<Operation> = (0..count)
            .map(|_| step(dice, &mut store, snapshot, &mut value))
            .collect();
        let outcome = outcome(dice, shape, snapshot);
        let took_effect = match outcome {
            Outcome::Committed => !snapshot,
            Outcome::Aborted => false,
            Outcome::Unknown => dice.percent(50),
        };
        if took_effect {
            past.push_front(store);
            past.truncate(PAST_MAX);
        }
        let moment = (at + shape.width) * 1000;
        let around = 500 * shape.width;
        let completed = moment + 1 + dice.below(around);
        all.push(Transaction {
            process: dice.below(shape.width),
            freshness: match snapshot {
                true => Freshness::Snapshot,
                false => Freshness::Fresh,
            },
            invoked: moment - dice.below(around),
            completed: (outcome != Outcome::Unknown).then_some(completed),
            outcome,
            operations,
        });
    }
    all
}

fn outcome(dice: &Dice, shape: &Shape, snapshot: bool) -> Outcome {
    match dice.below(100) {
        _ if snapshot => Outcome::Committed,
        roll if roll < shape.aborted => Outcome::Aborted,
        roll if roll < shape.aborted + shape.unknown => Outcome::Unknown,
        _ => Outcome::Committed,
    }
}

fn step(dice: &Dice, store: &mut Store, only_read: bool, value: &mut u64) -> Operation {
    let place = dice.place(store.lists.len() + store.registers.len());
    let reads = only_read || dice.percent(50);
    *value += 1;
    if place < store.lists.len() {
        let list = place as u64;
        if reads {
            let values = store.lists[place].clone();
            return Operation::ReadList { list, values };
        }
        store.lists[place].push(*value);
        return Operation::Append {
            list,
            value: *value,
        };
    }
    let place = place - store.lists.len();
    let register = place as u64;
    if reads {
        let value = store.registers[place];
        return Operation::ReadRegister { register, value };
    }
    store.registers[place] = Some(*value);
    Operation::Write {
        register,
        value: *value,
    }
}

/// A way to change what somebody observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// A list read lacks its last element.
    DropLast,
    /// A list read lacks some element.
    DropAny,
    /// A list read shows an element twice.
    Repeat,
    /// A list read has two neighbours the wrong way round.
    Swap,
    /// A register read shows another value of the register.
    Other,
    /// A transaction that committed writes is said to have aborted.
    Abort,
}

pub(crate) const LIES: [Lie; 6] = [
    Lie::DropLast,
    Lie::DropAny,
    Lie::Repeat,
    Lie::Swap,
    Lie::Other,
    Lie::Abort,
];

/// Changes one observation of a committed transaction; tells whether there was one to change.
pub(crate) fn lie(dice: &Dice, lie: Lie, transactions: &mut [Transaction]) -> bool {
    if lie == Lie::Abort {
        return abort(dice, transactions);
    }
    let written = register_values(transactions);
    let mut places: Vec<(usize, usize)> = Vec::new();
    for (at, transaction) in transactions.iter().enumerate() {
        for (step, operation) in transaction.operations.iter().enumerate() {
            let fits = match operation {
                Operation::ReadList { values, .. } => match lie {
                    Lie::DropLast | Lie::DropAny | Lie::Repeat => !values.is_empty(),
                    Lie::Swap => values.len() > 1,
                    Lie::Other | Lie::Abort => false,
                },
                Operation::ReadRegister { register, .. } => {
                    lie == Lie::Other && written.iter().any(|(of, _)| of == register)
                }
                _ => false,
            };
            if fits && transaction.outcome == Outcome::Committed {
                places.push((at, step));
            }
        }
    }
    if places.is_empty() {
        return false;
    }
    let (at, step) = places[dice.place(places.len())];
    match &mut transactions[at].operations[step] {
        Operation::ReadList { values, .. } => change_list(dice, lie, values),
        Operation::ReadRegister { register, value } => {
            let others: Vec<u64> = (written.iter())
                .filter(|(of, other)| of == register && Some(*other) != *value)
                .map(|(_, other)| *other)
                .collect();
            *value = match others.is_empty() {
                true => None,
                false => Some(others[dice.place(others.len())]),
            };
        }
        Operation::Append { .. } | Operation::Write { .. } => unreachable!("no observation"),
    }
    true
}

fn change_list(dice: &Dice, lie: Lie, values: &mut Vec<u64>) {
    match lie {
        Lie::DropLast => {
            values.pop();
        }
        Lie::DropAny => {
            values.remove(dice.place(values.len()));
        }
        Lie::Repeat => {
            let value = values[dice.place(values.len())];
            values.push(value);
        }
        Lie::Swap => {
            let at = dice.place(values.len() - 1);
            values.swap(at, at + 1);
        }
        Lie::Other | Lie::Abort => unreachable!("no lie about lists"),
    }
}

fn register_values(transactions: &[Transaction]) -> Vec<(u64, u64)> {
    let operations = transactions.iter().flat_map(|one| &one.operations);
    let writes = operations.filter_map(|operation| match operation {
        Operation::Write { register, value } => Some((*register, *value)),
        _ => None,
    });
    writes.collect()
}

fn abort(dice: &Dice, transactions: &mut [Transaction]) -> bool {
    let writers: Vec<usize> = (0..transactions.len())
        .filter(|at| {
            let one = &transactions[*at];
            let writes = one.operations.iter().any(|op| op.written().is_some());
            writes && one.outcome == Outcome::Committed
        })
        .collect();
    if writers.is_empty() {
        return false;
    }
    transactions[writers[dice.place(writers.len())]].outcome = Outcome::Aborted;
    true
}
