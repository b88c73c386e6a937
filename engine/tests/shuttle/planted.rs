//! The checks can fail: each catches a break of the rule that it is there for.

use eciton_engine::base::sync::Break;

use super::explore::caught;
use super::{group_commit, in_turn, shared_view};

/// The view's check fails with one of these, not by anything else.
fn assert_fails(rule: Break, causes: &[&str]) {
    for name in ["random", "pct"] {
        let (message, _) = caught(rule, name, shared_view::slots_are_seen_whole).unwrap();
        let expected = causes.iter().any(|cause| message.contains(cause));
        assert!(expected, "{rule:?}, {name}: {message}");
    }
}

#[test]
fn a_turn_that_ends_with_one_who_went_away_is_caught() {
    let check = group_commit::going_away_leaves_nobody_waiting;
    for name in ["random", "pct"] {
        let (message, _) = caught(Break::TurnLost, name, check).unwrap();
        assert!(message.contains("deadlock"), "{name}: {message}");
    }
}

#[test]
fn a_lead_that_ends_with_one_who_went_away_is_caught() {
    let check = in_turn::going_away_leaves_nobody_waiting;
    for name in ["random", "pct"] {
        let (message, _) = caught(Break::LeadLost, name, check).unwrap();
        assert!(message.contains("deadlock"), "{name}: {message}");
    }
}

#[test]
fn a_slot_that_is_seen_before_it_is_whole_is_caught() {
    assert_fails(Break::PublishedEarly, &["as of"]);
}

#[test]
fn a_snapshot_taken_at_two_moments_is_caught() {
    assert_fails(Break::SnapshotTorn, &["as of"]);
}

#[test]
fn a_view_that_replaces_one_it_did_not_see_is_caught() {
    // A layer is gone, perhaps with the newest slots, or an older manifest is back, whose successor's name
    // is taken.
    let causes = [
        "as of",
        "manifest",
        "every slot has been applied",
        "nobody else folds",
    ];
    assert_fails(Break::ViewUnlocked, &causes);
}

#[test]
fn a_failure_is_found_again_by_its_seed() {
    let check = shared_view::slots_are_seen_whole;
    for name in ["random", "pct"] {
        let first = caught(Break::PublishedEarly, name, check).unwrap();
        let again = caught(Break::PublishedEarly, name, check).unwrap();
        assert_eq!(first, again, "{name}");
    }
}
