//! Small histories, against a judge that tries every order: what we report is wrong indeed, and
//! what is wrong we mostly report.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

use eciton_sim::history::{self, Freshness, History, Key, Operation, Outcome, Transaction};
use support::serial::{LIES, Shape, lie, transactions};
use support::{Dice, ok, register, write};

/// What one order of transactions has made of the keys.
type Store = BTreeMap<Key, Vec<u64>>;

/// The store after the transaction, if it would have observed what it did.
fn run(transaction: &Transaction, store: &Store) -> Option<Store> {
    let mut store = store.clone();
    for operation in &transaction.operations {
        let values = store.entry(operation.key()).or_default();
        let holds = match operation {
            Operation::Append { value, .. } | Operation::Write { value, .. } => {
                values.push(*value);
                true
            }
            Operation::ReadList { values: read, .. } => read == values,
            Operation::ReadRegister { value, .. } => *value == values.last().copied(),
        };
        if !holds {
            return None;
        }
    }
    Some(store)
}

/// Whether `first` has to take effect before `second`.
fn precedes(first: &Transaction, second: &Transaction) -> bool {
    second.freshness == Freshness::Fresh
        && first
            .completed
            .is_some_and(|completed| completed < second.invoked)
}

/// Whether some order of what committed, and of any of what may have, explains everything.
fn explained(all: &[Transaction], done: u32, store: &Store) -> bool {
    let open = |at: &usize| done >> at & 1 == 0;
    let committed = |at: &usize| all[*at].outcome == Outcome::Committed;
    let left: Vec<usize> = (0..all.len()).filter(open).collect();
    if !left.iter().any(committed) {
        return true;
    }
    left.iter().any(|at| {
        let mut others = left.iter().filter(|other| committed(other));
        all[*at].outcome != Outcome::Aborted
            && !others.any(|other| precedes(&all[*other], &all[*at]))
            && run(&all[*at], store).is_some_and(|after| explained(all, done | 1 << at, &after))
    })
}

/// A small history with some lies.
fn with_lies(dice: &Dice, lists: u64, registers: u64) -> Vec<Transaction> {
    let shape = Shape {
        transactions: 2 + dice.below(6),
        lists,
        registers,
        operations_max: 4,
        width: 1 + dice.below(7),
        aborted: 10,
        unknown: 15,
        snapshots: 15,
    };
    let mut all = transactions(dice, &shape);
    for _ in 0..dice.below(3) {
        let kind = LIES[dice.place(LIES.len())];
        lie(dice, kind, &mut all);
    }
    all
}

/// Transactions that all run at once, write registers blindly and read whatever others wrote.
fn made_up(dice: &Dice) -> Vec<Transaction> {
    let count = 4 + dice.below(4);
    let registers = 2 + dice.below(2);
    // Transaction `t` may write `t` to any register.
    let mut operations = vec![Vec::new(); usize::try_from(count).unwrap()];
    let mut written = Vec::new();
    for (value, own) in (0..).zip(&mut operations) {
        for key in (0..registers).filter(|_| dice.percent(40)) {
            own.push(write(key, value));
            written.push((key, value));
        }
    }
    for (value, own) in (0..).zip(&mut operations) {
        for key in (0..registers).filter(|_| dice.percent(40)) {
            let others: Vec<u64> = (written.iter())
                .filter(|(of, other)| *of == key && *other != value)
                .map(|(_, other)| *other)
                .collect();
            if !others.is_empty() {
                own.insert(0, register(key, others[dice.place(others.len())]));
            }
        }
    }
    operations.into_iter().map(|own| ok(1, 9, own)).collect()
}

/// How many of the histories are wrong, and how many of those we report.
fn judged(seeds: u64, history: impl Fn(&Dice) -> Vec<Transaction>) -> (u32, u32) {
    let (mut wrong, mut reported) = (0, 0);
    for seed in 1..=seeds {
        let all = history(&Dice::new(seed));
        let explained = explained(&all, 0, &Store::new());
        let history = History::new(all);
        let ours = history::check(&history);
        if explained {
            assert!(ours.is_ok(), "seed {seed}: {:#?}\n{history}", ours.err());
            let adyas = history::check_with_adya(&history);
            assert!(adyas.is_ok(), "seed {seed}: {:#?}\n{history}", adyas.err());
        } else {
            wrong += 1;
            reported += u32::from(ours.is_err());
            if ours.is_ok() {
                println!("seed {seed}: not found to be wrong:\n{history}");
            }
        }
    }
    println!("{reported} of {wrong} wrong ones are reported, of {seeds}");
    (wrong, reported)
}

#[test]
fn lists_are_judged_completely() {
    let (wrong, reported) = judged(4000, |dice| with_lies(dice, 3, 0));
    assert!(wrong > 1000, "only {wrong} histories are wrong");
    assert_eq!(reported, wrong);
}

#[test]
fn registers_of_small_histories_are_too() {
    let (wrong, reported) = judged(4000, |dice| with_lies(dice, 0, 3));
    assert!(wrong > 500, "only {wrong} histories are wrong");
    assert_eq!(reported, wrong);
}

#[test]
fn lists_beside_registers_are_too() {
    let (wrong, reported) = judged(4000, |dice| with_lies(dice, 2, 2));
    assert!(wrong > 500, "only {wrong} histories are wrong");
    assert_eq!(reported, wrong);
}

#[test]
fn blind_writes_at_once_are_too() {
    let (wrong, reported) = judged(6000, made_up);
    assert!(wrong > 2000, "only {wrong} histories are wrong");
    assert_eq!(reported, wrong);
}

/// Two writers of register 0 and two of register 9 write blindly; the readers of either register
/// have seen both writers of the other one. Whichever writer of 0 is the first, its reader comes
/// before the second, so both writers of 9 do; but then a reader of 9 is too late for its value.
/// Either order of either pair looks possible for itself, so neither checker sees it.
#[test]
fn what_only_a_search_would_find_passes() {
    let at_once = |operations| ok(1, 9, operations);
    let mut all = Vec::new();
    for (own, others, marks) in [(0, 9, 1), (9, 0, 10)] {
        for value in 1..=2 {
            all.push(at_once(vec![write(own, value), write(marks + value, 1)]));
            let seen = if others == 9 { 10 } else { 1 };
            all.push(at_once(vec![
                register(own, value),
                register(seen + 1, 1),
                register(seen + 2, 1),
            ]));
        }
    }
    assert!(!explained(&all, 0, &Store::new()));
    let history = History::new(all);
    assert!(history::check(&history).is_ok(), "{history}");
    assert!(history::check_with_adya(&history).is_ok(), "{history}");
}
