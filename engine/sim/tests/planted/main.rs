//! One history for each sort of mistake: who catches it, and under which name.

mod cycles;
mod reads;
#[path = "../support/mod.rs"]
mod support;
mod time;

use eciton_sim::history::{self, History, Transaction};
use support::{append, ok, ours, register, write};

struct Planted {
    what: &'static str,
    transactions: Vec<Transaction>,
    ours: &'static [&'static str],
    adya: &'static [&'static str],
}

fn planted(
    what: &'static str,
    transactions: Vec<Transaction>,
    ours: &'static [&'static str],
    adya: &'static [&'static str],
) -> Planted {
    Planted {
        what,
        transactions,
        ours,
        adya,
    }
}

#[test]
fn each_is_caught_by_whom_it_should() {
    let mut wrong = Vec::new();
    let all = [
        reads::values(),
        reads::elements(),
        reads::internal(),
        cycles::orders(),
        cycles::skews(),
        time::violations(),
        time::innocent(),
    ];
    for planted in all.into_iter().flatten() {
        let history = History::new(planted.transactions);
        let found = (ours(&history), support::adyas(&history));
        println!("{}: ours {:?}, adya {:?}", planted.what, found.0, found.1);
        for anomaly in history::check(&history).err().unwrap_or_default() {
            println!("{anomaly}");
        }
        if found.0 != planted.ours || found.1 != planted.adya {
            wrong.push(format!("{}: {found:?}\n{history}", planted.what));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_anomaly_tells_its_story() {
    let history = History::new(vec![
        ok(1, 2, vec![write(5, 1)]),
        ok(3, 4, vec![write(5, 2), append(1, 7)]),
        ok(5, 6, vec![register(5, 1)]),
    ]);
    let anomalies = history::check(&history).err().unwrap_or_default();
    let shown: Vec<String> = anomalies.iter().map(ToString::to_string).collect();
    let story = "\
G-single-realtime: no order explains T2, T1 together
  T2 process 0, steps 5..6, committed: read r5 1
  T1 process 0, steps 3..4, committed: write r5 2, append l1 7
  T2 before T1 (rw): T2 read r5 as 1, which T0 wrote, and T1 wrote 2 after T0 (T0 -realtime-> T1)
  T1 before T2 (realtime): T1 was over at step 4, T2 began at step 5
";
    assert_eq!(shown, [story]);
}
