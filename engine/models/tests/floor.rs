//! What collection has passed is never brought back, and what each rule of it is there for.

#![allow(missing_docs, clippy::panic, reason = "a test fails by panicking")]

use eciton_models::explore::explore;
use eciton_models::floor::{Bounds, Floor, Mutant};

/// All properties hold in at least `states_min` states, and all that should be possible is.
fn assert_holds(mutant: Option<Mutant>, bounds: Bounds, states_min: usize) {
    let found = explore(Floor { mutant, bounds }, None);
    assert!(found.failures.is_empty(), "{found}");
    assert!(found.unreached.is_empty(), "{found}");
    assert!(found.states >= states_min, "{found}");
}

#[test]
fn two_that_write_and_collect() {
    assert_holds(None, Bounds::default(), 1_000_000);
}

#[test]
fn three_of_whom_one_collects() {
    assert_holds(None, Bounds::three_processes(), 1_000_000);
}

#[test]
fn every_mutant_breaks_what_it_should_or_is_harmless() {
    for (name, mutant) in Mutant::ALL {
        let bounds = mutant.bounds();
        let Some(property) = mutant.breaks() else {
            assert_holds(Some(mutant), bounds, 100_000);
            continue;
        };
        let mutant = Some(mutant);
        let found = explore(Floor { mutant, bounds }, Some(property));
        assert!(found.failure(property).is_some(), "{name}: {found}");
    }
}
