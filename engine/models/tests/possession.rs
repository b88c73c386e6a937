//! What comes over the bus counts from those alone who have the same storage, and what each rule of it is there for.

#![allow(missing_docs, clippy::panic, reason = "a test fails by panicking")]

use eciton_models::explore::explore;
use eciton_models::possession::{Bounds, Mutant, Possession};

#[test]
fn a_volume_is_cloned_or_set_back_at_any_moment() {
    let bounds = Bounds::default();
    let mutant = None;
    let found = explore(Possession { mutant, bounds }, None);
    assert!(found.failures.is_empty(), "{found}");
    assert!(found.unreached.is_empty(), "{found}");
    assert!(found.states >= 1_000_000, "{found}");
}

#[test]
fn every_mutant_breaks_what_it_should() {
    for (name, mutant) in Mutant::ALL {
        let (bounds, property) = (Bounds::default(), mutant.breaks());
        let mutant = Some(mutant);
        let found = explore(Possession { mutant, bounds }, Some(property));
        assert!(found.failure(property).is_some(), "{name}: {found}");
    }
}
