//! What the judge of many processes makes of small runs: a right one, and one for each thing that is wrong.

#![cfg(target_os = "linux")]
#![allow(missing_docs, reason = "a test")]

use eciton_crash::among::cells::{ACCOUNTS, OPENING_BALANCE, SETUP};
use eciton_crash::among::journal::{Entry, Step};
use eciton_crash::among::judge::{history, judge, judge_history};
use eciton_crash::among::remains::Remains;
use eciton_crash::among::said::Said;

/// A run of some transactions on lists and counters: 10 and 11 append to list 7, 12 is refused, 13 was
/// under way when its process died and is there, 14 reads.
struct Run {
    lines: Vec<Entry>,
    remains: Remains,
}

fn begin(id: u64, from_ns: u64, steps: &[Step]) -> Entry {
    Entry::Begin {
        id,
        fresh: true,
        from_ns,
        steps: steps.to_vec(),
    }
}

fn done(id: u64, at_ns: u64, position: u64) -> Entry {
    Entry::Done {
        id,
        at_ns,
        position,
    }
}

fn run() -> Run {
    let accounts: Vec<Step> = (0..ACCOUNTS).map(Step::Set).collect();
    let lines = vec![
        begin(SETUP, 1, &accounts),
        done(SETUP, 2, 1),
        begin(10, 10, &[Step::List(7, vec![]), Step::Append(7)]),
        done(10, 20, 2),
        begin(
            11,
            30,
            &[Step::List(7, vec![10]), Step::Append(7), Step::Add(1, 5)],
        ),
        done(11, 40, 3),
        begin(12, 35, &[Step::List(7, vec![10]), Step::Append(7)]),
        Entry::Refused {
            id: 12,
            at_ns: 45,
            conflict: true,
            why: String::new(),
        },
        begin(13, 50, &[Step::Add(1, -2), Step::Set(100)]),
        begin(14, 60, &[Step::List(7, vec![10, 11]), Step::Count(1, 2, 3)]),
        done(14, 70, 4),
    ];
    let remains = Remains {
        from_ns: 100,
        position: 4,
        marks: [SETUP, 10, 11, 13].into(),
        accounts: (0..ACCOUNTS)
            .map(|account| (account, (OPENING_BALANCE, SETUP)))
            .collect(),
        registers: [(100, 13)].into(),
        lists: [(7, vec![10, 11])].into(),
        counters: [(1, (2, 3))].into(),
        broken: Vec::new(),
    };
    Run { lines, remains }
}

impl Run {
    fn wrong(self) -> Vec<String> {
        let mut said = Said::default();
        for line in self.lines {
            said.hear(0, Ok(line));
        }
        let mut wrong = judge(&said, &self.remains);
        wrong.extend(judge_history(&history(&said, &self.remains)));
        wrong
    }

    /// Whether something of this kind is found.
    fn shows(self, what: &str) {
        let wrong = self.wrong();
        assert!(
            wrong.iter().any(|one| one.contains(what)),
            "{what}: {wrong:#?}"
        );
    }
}

#[test]
fn nothing_is_wrong_with_what_is_right() {
    assert_eq!(run().wrong(), Vec::<String>::new());
}

#[test]
fn marks_are_compared_with_outcomes() {
    let mut lost = run();
    lost.remains.marks.remove(&11);
    lost.shows("transaction 11 is lost");
    let mut refused = run();
    refused.remains.marks.insert(12);
    refused.shows("transaction 12 is there, it was refused");
    let mut unsaid = run();
    unsaid.remains.marks.insert(15);
    unsaid.shows("transaction 15 is there, nobody began it");
}

#[test]
fn sums_follow_from_the_marks() {
    let mut account = run();
    account
        .remains
        .accounts
        .insert(0, (OPENING_BALANCE - 1, SETUP));
    account.shows("the accounts hold");
    let mut counter = run();
    counter.remains.counters.insert(1, (3, 8));
    counter.shows("counters are");
    let mut half = run();
    half.remains.marks.remove(&13);
    half.shows("counters are");
}

#[test]
fn lists_hold_each_append_once_and_in_order() {
    for (list, what) in [
        (vec![10], "lacks 11"),
        (vec![10, 11, 10], "has 10 twice"),
        (vec![10, 11, 12], "has 12, which is not there"),
        (vec![11, 10], "too late"),
    ] {
        let mut run = run();
        run.remains.lists.insert(7, list);
        run.shows(what);
    }
}

#[test]
fn what_is_read_has_an_order() {
    let mut stale = run();
    let stale_read = [Step::List(7, vec![10]), Step::Count(1, 1, 5)];
    stale
        .lines
        .extend([begin(16, 80, &stale_read), done(16, 90, 2)]);
    stale.shows("was over before it began");
    let mut stale = run();
    stale
        .lines
        .extend([begin(16, 80, &stale_read), done(16, 90, 4)]);
    stale.shows("not strictly serializable");
    let mut miscounted = run();
    miscounted
        .lines
        .extend([begin(16, 80, &[Step::Count(1, 3, 3)]), done(16, 90, 4)]);
    miscounted.shows("read 3 rows of 3 in counter 1");
    let mut off = run();
    off.lines
        .extend([begin(16, 41, &[Step::Count(1, 1, 6)]), done(16, 49, 3)]);
    off.shows("read 1 rows of 6 in counter 1");
    let mut never = run();
    never
        .lines
        .extend([begin(16, 80, &[Step::Get(100, Some(9))]), done(16, 90, 4)]);
    never.shows("not strictly serializable");
}

/// A run of far more transactions than `adya` takes at one time, each of which replaces what the one before
/// has set; the one of this number read what stood there earlier.
fn long_run(stale: Option<u64>) -> Run {
    let mut run = run();
    let first = 100;
    for at in 0..2500 {
        let (id, from_ns) = (first + at, 100 + 10 * at);
        let seen = if stale == Some(at) { id - 5 } else { id - 1 };
        let seen = (at > 0).then_some(seen);
        let steps = [Step::Get(101, seen), Step::Set(101)];
        run.lines.push(begin(id, from_ns, &steps));
        run.lines.push(done(id, from_ns + 5, 5 + at));
        run.remains.marks.insert(id);
        run.remains.registers.insert(101, id);
    }
    run.remains.from_ns = 1_000_000;
    run
}

#[test]
fn a_long_history_is_judged_in_parts() {
    assert_eq!(long_run(None).wrong(), Vec::<String>::new());
    for stale in [600, 1700, 2490] {
        long_run(Some(stale)).shows("not strictly serializable");
        long_run(Some(stale)).shows("not serializable, says adya");
    }
}

#[test]
fn what_must_not_be_said_and_what_is_broken_is_told() {
    let mut bad = run();
    bad.lines.push(Entry::Bad("so".to_owned()));
    bad.shows("process 0: so");
    let mut twice = run();
    twice.lines.push(done(10, 95, 2));
    twice.shows("has an end without a beginning, or two");
    let mut broken = run();
    broken.remains.broken.push("segment 3".to_owned());
    broken.shows("segment 3");
}
