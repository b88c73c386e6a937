//! A swarm over a model of a bucket: the same figures every time, and nothing that grows faster than the swarm.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use eciton_sim::scale::{Swarm, Went, run};

/// Five processes of eight, or twenty: a few virtual seconds each.
fn swarm(workers: u64) -> Swarm {
    Swarm {
        workers,
        seconds: 10,
        ..Swarm::default()
    }
}

fn went(workers: u64) -> Went {
    let (went, _) = run(&swarm(workers)).unwrap();
    println!("{workers} workers: {went:?}");
    went
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    let one = went(16);
    assert_eq!(one, went(16));
    let (other, _) = run(&Swarm {
        seed: 2,
        ..swarm(16)
    })
    .unwrap();
    assert_ne!(one, other);
}

/// Virtual time: what is asserted does not depend on the machine.
#[test]
fn four_times_as_many_workers_do_four_times_as_much() {
    let (few, many) = (went(40), went(160));
    assert!(
        few.shards > 40.0 * 0.7,
        "of 40 shards a second {}",
        few.shards
    );
    assert!(
        many.shards > 3.5 * few.shards,
        "{} and {} shards a second",
        few.shards,
        many.shards
    );
    for went in [few, many] {
        assert!(went.saturated < 0.01, "storage is far from its limits");
        assert!(
            went.conflicts + went.wasted < 1.0,
            "nobody is in another's way"
        );
    }
    // One slot serves all who wait, so there are not more of them; and what is asked of storage is a look now and then by
    // each process, not by each commit.
    assert!(many.slots < 2.0 * few.slots, "{} slots", many.slots);
    assert!(
        many.reads < 20.0 * 4.0,
        "20 processes read {} times a second",
        many.reads
    );
    // A slot is one write; folding is one process's work.
    assert!(
        many.writes < 2.0 * many.slots,
        "{} writes a second for {} slots",
        many.writes,
        many.slots
    );
}
