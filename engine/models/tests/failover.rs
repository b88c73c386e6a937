//! Two mirrored paths tell one history, and what each rule of it is there for.

#![allow(missing_docs, clippy::panic, reason = "a test fails by panicking")]

use eciton_models::explore::explore;
use eciton_models::failover::{Bounds, Failover, Mutant};

/// All properties hold in at least `states_min` states, and all that should be possible is.
fn assert_holds(bounds: Bounds, states_min: usize) {
    let mutant = None;
    let found = explore(Failover { mutant, bounds }, None);
    assert!(found.failures.is_empty(), "{found}");
    assert!(found.unreached.is_empty(), "{found}");
    assert!(found.states >= states_min, "{found}");
}

#[test]
fn paths_come_and_go_without_an_arbiter() {
    assert_holds(Bounds::without_arbiter(), 500_000);
}

#[test]
fn an_arbiter_grants_and_a_create_is_carried_out_late() {
    assert_holds(Bounds::with_late_creates(), 1_000_000);
}

#[test]
fn a_path_loses_power_and_a_process_crashes() {
    assert_holds(Bounds::with_power_losses(), 1_000_000);
}

#[test]
fn three_processes() {
    assert_holds(Bounds::three_processes(), 100_000);
}

#[test]
fn every_mutant_breaks_what_it_should() {
    for (name, mutant) in Mutant::ALL {
        let (bounds, property) = (mutant.bounds(), mutant.breaks());
        let mutant = Some(mutant);
        let found = explore(Failover { mutant, bounds }, property);
        let broken = property.and_then(|property| found.failure(property));
        assert!(broken.is_some(), "{name}: {found}");
    }
}
