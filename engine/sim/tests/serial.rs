//! Histories that are right pass, and what one lie makes of them mostly does not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use eciton_sim::history::{self, History};
use proptest::prelude::*;
use support::serial::{LIES, Lie, Shape, lie, transactions};
use support::{Dice, adyas, ours};

const BUSY: Shape = Shape {
    transactions: 60,
    lists: 3,
    registers: 3,
    operations_max: 4,
    width: 6,
    aborted: 10,
    unknown: 10,
    snapshots: 10,
};

fn assert_right(history: &History) {
    let ours = history::check(history);
    assert!(ours.is_ok(), "{:#?}\n{history}", ours.err());
    let adyas = history::check_with_adya(history);
    assert!(adyas.is_ok(), "{:#?}\n{history}", adyas.err());
}

proptest! {
    // The seed is an argument: a failure prints all that it takes to repeat it.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn what_ran_in_some_order_passes(
        seed: u64,
        transactions in 1..120u64,
        (lists, registers) in (0..4u64, 0..4u64).prop_filter("no keys", |(l, r)| l + r > 0),
        operations_max in 1..6u64,
        width in 1..16u64,
        (aborted, unknown, snapshots) in (0..30u64, 0..30u64, 0..40u64),
    ) {
        let shape = Shape {
            transactions, lists, registers, operations_max, width, aborted, unknown, snapshots,
        };
        let dice = Dice::new(seed);
        assert_right(&History::new(support::serial::transactions(&dice, &shape)));
    }
}

/// Of a hundred lies of a kind, how many we find and how many `adya` does.
fn found(kind: Lie, shape: &Shape) -> (usize, usize) {
    let (mut told, mut by_us, mut by_adya) = (0, 0, 0);
    for seed in 0.. {
        if told == 100 {
            break;
        }
        let dice = Dice::new(seed);
        let mut all = transactions(&dice, shape);
        let right = History::new(all.clone());
        if !lie(&dice, kind, &mut all) {
            continue;
        }
        told += 1;
        let wrong = History::new(all);
        assert_ne!(right, wrong, "the lie is none");
        assert_right(&right);
        let (ours, adyas) = (ours(&wrong), adyas(&wrong));
        by_us += usize::from(!ours.is_empty());
        by_adya += usize::from(!adyas.is_empty());
        assert!(
            adyas.is_empty() || !ours.is_empty(),
            "seed {seed}: {kind:?}: only adya finds {adyas:?}\n{wrong}"
        );
    }
    (by_us, by_adya)
}

#[test]
fn one_lie_is_mostly_found() {
    for kind in LIES {
        let (by_us, by_adya) = found(kind, &BUSY);
        println!("{kind:?}: ours {by_us} of 100, adya {by_adya} of 100");
        assert!(by_us >= 70, "{kind:?}: {by_us} of 100");
    }
}

#[test]
fn both_agree_on_lists() {
    let shape = Shape {
        registers: 0,
        unknown: 0,
        ..BUSY
    };
    for kind in LIES.into_iter().filter(|kind| *kind != Lie::Other) {
        let (by_us, by_adya) = found(kind, &shape);
        println!("{kind:?}: ours {by_us} of 100, adya {by_adya} of 100");
        assert_eq!(by_us, by_adya, "{kind:?}");
    }
}

#[test]
fn the_same_history_gives_the_same_answer() {
    let dice = Dice::new(1);
    let mut all = transactions(&dice, &BUSY);
    for kind in LIES {
        lie(&dice, kind, &mut all);
    }
    let history = History::new(all);
    let first = history::check(&history);
    assert!(first.is_err(), "five lies pass");
    for _ in 0..10 {
        assert_eq!(history::check(&history), first);
    }
}

/// The size of a seed's history: both checkers judge it, right and wrong.
#[test]
fn five_hundred_transactions_are_judged_too() {
    let shape = Shape {
        transactions: 500,
        ..BUSY
    };
    for (what, lists, registers) in [("lists", 5, 0), ("registers", 0, 5), ("both", 4, 4)] {
        let shape = Shape {
            lists,
            registers,
            ..shape
        };
        let dice = Dice::new(7);
        let mut all = transactions(&dice, &shape);
        let right = History::new(all.clone());
        assert!(history::check(&right).is_ok(), "{what}");
        assert!(history::check_with_adya(&right).is_ok(), "{what}");
        for kind in LIES {
            lie(&dice, kind, &mut all);
        }
        assert!(history::check(&History::new(all)).is_err(), "{what}");
    }
}
