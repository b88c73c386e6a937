//! A recorder writes down what happened, and takes nothing that cannot have.

mod support;

use eciton_sim::history::{self, Freshness, History, Outcome, Recorder};
use support::{append, list, ok, snapshot, unknown, write};

#[test]
fn what_is_recorded_is_the_history() {
    let mut recorder = Recorder::new();
    let first = recorder.begin(0, Freshness::Fresh, 1);
    let crashed = recorder.begin(0, Freshness::Fresh, 2);
    recorder.op(crashed, append(1, 2));
    recorder.op(first, append(1, 1));
    recorder.finish(first, Outcome::Committed, 5);
    let reader = recorder.begin(0, Freshness::Snapshot, 6);
    recorder.op(reader, list(1, &[1]));
    recorder.finish(reader, Outcome::Committed, 7);
    assert_eq!((first.index(), crashed.index(), reader.index()), (0, 1, 2));
    let history = recorder.into_history();
    let expected = History::new(vec![
        ok(1, 5, vec![append(1, 1)]),
        unknown(2, vec![append(1, 2)]),
        snapshot(6, 7, vec![list(1, &[1])]),
    ]);
    assert_eq!(history, expected);
}

#[test]
fn an_unknown_outcome_may_become_known() {
    let mut recorder = Recorder::new();
    let id = recorder.begin(0, Freshness::Fresh, 1);
    recorder.op(id, append(1, 1));
    recorder.finish(id, Outcome::Unknown, 2);
    recorder.finish(id, Outcome::Committed, 9);
    let history = recorder.into_history();
    assert_eq!(history.transactions()[0].completed, Some(9));
}

#[test]
#[should_panic(expected = "ends twice")]
fn an_answer_is_final() {
    let mut recorder = Recorder::new();
    let id = recorder.begin(0, Freshness::Fresh, 1);
    recorder.finish(id, Outcome::Aborted, 2);
    recorder.finish(id, Outcome::Committed, 3);
}

#[test]
#[should_panic(expected = "a snapshot writes")]
fn a_snapshot_only_reads() {
    History::new(vec![snapshot(1, 2, vec![write(1, 1)])]);
}

#[test]
#[should_panic(expected = "written to l1 twice")]
fn values_are_unique() {
    let twice = History::new(vec![
        ok(1, 2, vec![append(1, 1)]),
        ok(3, 4, vec![append(1, 1)]),
    ]);
    assert!(history::check(&twice).is_ok());
}

#[test]
fn a_long_list_is_shortened_in_print() {
    let all: Vec<u64> = (1..=20).collect();
    let history = History::new(vec![snapshot(1, 2, vec![list(1, &all)])]);
    let shown = "T0 process 0, steps 1..2, committed, snapshot: \
                 read l1 [8 more, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]\n";
    assert_eq!(history.to_string(), shown);
}
