//! The world itself: what can go wrong does, as it should, and the same way each time.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use eciton_engine::base::{InstanceId, Mutant, Position, TxId};
use eciton_engine::coord::{Answered, Bus, Mailbox, OfferId, Offered};
use eciton_engine::storage::{Created, Name, Storage};
use eciton_sim::campaign::{Campaign, Summary};
use eciton_sim::executor::ProcessId;
use eciton_sim::fault::{FAULT_KINDS, FaultKind, Rates};
use eciton_sim::outcome::{Run, run_seed};
use eciton_sim::scenario::Scenario;
use eciton_sim::trace::TraceMode;
use eciton_sim::world::{Happened, Setup, World};
use parking_lot::Mutex;

const A: ProcessId = ProcessId(0);
const B: ProcessId = ProcessId(1);
const OF: InstanceId = InstanceId(1);

fn world(seed: u64, rates: Rates) -> World {
    World::new(Setup {
        seed,
        settings: seed,
        processes: 2,
        bystanders: 1,
        rates,
        suppressed: BTreeSet::new(),
        trace: TraceMode::Full,
        paths: 1,
    })
}

fn only(kind: FaultKind, per_million: u32) -> Rates {
    let mut rates = Rates::none();
    rates.set(kind, per_million);
    rates.stale_ms = 1_000;
    rates
}

/// Runs one task to its end and returns what it found.
fn run<T: Send + 'static>(
    world: &mut World,
    process: ProcessId,
    task: impl Future<Output = T> + Send + 'static,
) -> T {
    let result = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&result);
    world.spawn(process, async move {
        let found = task.await;
        *slot.lock() = Some(found);
    });
    world.finish(process, 100_000).unwrap();
    let found = result.lock().take();
    found.unwrap()
}

fn name(path: &str) -> Name {
    Name::parse(path).unwrap()
}

async fn create(storage: &dyn Storage, path: &str) -> Result<Created, String> {
    let created = storage.create(&name(path), path.as_bytes()).await;
    created.map_err(|error| error.to_string())
}

fn counts(world: &World) -> [u64; FAULT_KINDS] {
    world.shared().plan().counts()
}

/// A little of everything, by both processes.
async fn busy(storage: Arc<dyn Storage>, bus: Arc<dyn Bus>, own: u64) {
    for round in 0..60 {
        let path = name(&format!("log/{}", round * 2 + own));
        drop(storage.create(&path, b"some bytes").await);
        drop(storage.sync_names(&path).await);
        drop(
            storage
                .read(&name(&format!("log/{}", round * 2 + 1 - own)))
                .await,
        );
        drop(storage.list("log").await);
        if round % 7 == 6 {
            drop(storage.remove(&path).await);
        }
        let (txid, bytes) = (TxId(u128::from(round)), Bytes::from_static(b"message"));
        let (own_box, other_box) = (Mailbox(u128::from(own)), Mailbox(u128::from(1 - own)));
        let id = OfferId(txid.0);
        bus.publish(OF, own_box, id, bytes.clone()).await;
        bus.intents(OF, own_box, 10, 1_000).await;
        let answered = Answered {
            to: other_box,
            txid,
            answer: bytes.clone(),
        };
        bus.settle(OF, vec![id], vec![answered]).await;
        bus.answers(OF, own_box, 5).await;
        bus.offer_slot(OF, Position(round), bytes).await;
        bus.slot(OF, Position(round)).await;
        bus.claim(OF, "claim", u128::from(own), 10).await;
    }
}

#[test]
fn every_kind_of_fault_occurs() {
    let mut total = [0; FAULT_KINDS];
    for seed in 0..60 {
        let mut rates = Rates::draw(&mut eciton_sim::random::Random::new(seed, 0));
        rates.set(FaultKind::BitFlip, 1_000);
        let mut world = world(seed, rates);
        for _ in 0..3_000 {
            for (process, own) in [(A, 0), (B, 1)] {
                if !world.is_alive(process) {
                    let (storage, bus) = (world.storage(process), world.bus(process));
                    world.spawn(process, busy(storage, bus, own));
                }
            }
            world.step();
        }
        for (total, count) in total.iter_mut().zip(counts(&world)) {
            *total += count;
        }
    }
    for kind in FaultKind::ALL {
        assert!(total[kind as usize] > 0, "{kind:?} never occurred");
    }
}

#[test]
fn a_seed_repeats_to_the_byte_and_seeds_differ() {
    let trace = |seed| {
        let run = Run {
            seed,
            trace: TraceMode::Full,
            ..Run::default()
        };
        run_seed(&run).trace
    };
    for seed in 0..8 {
        let first = trace(seed);
        assert!(first.len() > 100, "seed {seed}: {} lines", first.len());
        assert_eq!(first, trace(seed), "seed {seed}");
    }
    assert_ne!(trace(1), trace(2));
}

#[test]
fn a_seed_takes_the_settings_of_its_like_and_repeats_to_the_byte() {
    let run = |seed, like| {
        run_seed(&Run {
            seed,
            like,
            trace: TraceMode::Full,
            ..Run::default()
        })
    };
    for (seed, like) in [(1, 2), (3, 8), (9, 7)] {
        let own = run(seed, None);
        assert_eq!(own.trace, run(seed, Some(seed)).trace, "its own settings");
        let steered = run(seed, Some(like));
        assert_eq!(
            steered.trace,
            run(seed, Some(like)).trace,
            "{seed} like {like}"
        );
        assert_eq!(steered.reached, run(seed, Some(like)).reached);
        assert_ne!(steered.trace, own.trace, "{seed} like {like}");
        assert_ne!(steered.trace, run(like, None).trace, "{seed} like {like}");
        assert!(steered.violation.is_none(), "{:?}", steered.violation);
    }
}

#[test]
fn a_fault_that_is_left_out_changes_nothing_before_it() {
    let outcome = |seed, suppressed: BTreeSet<u64>| {
        run_seed(&Run {
            seed,
            suppressed,
            trace: TraceMode::Full,
            ..Run::default()
        })
    };
    let with = (0..100).map(|seed| outcome(seed, BTreeSet::new()));
    let with = with
        .into_iter()
        .find(|with| with.faults.len() > 10)
        .unwrap();
    let without = outcome(with.seed, [5].into());
    assert_eq!(with.faults[..5], without.faults[..5]);
    assert!(without.faults[5].suppressed);
    assert_eq!(with.faults[5].kind, without.faults[5].kind);
    let same = with
        .trace
        .iter()
        .zip(&without.trace)
        .take_while(|(a, b)| a == b);
    let step = |line: &str| {
        line.trim()
            .split(' ')
            .next()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let at = same.count();
    assert!(step(&with.trace[at]) >= with.faults[5].step);
}

#[test]
fn threads_make_no_difference() {
    let summary = |jobs| {
        let campaign = Campaign {
            from: 100,
            seeds: 160,
            jobs,
            mutant: Some(Mutant::AcceptTorn),
            scenario: None,
            stops_early: false,
            steers: true,
        };
        campaign.run(|_, _| {})
    };
    let (one, three) = (summary(1), summary(3));
    assert_eq!(
        (one.seeds, one.steps, one.counts),
        (160, three.steps, three.counts)
    );
    assert_eq!(one.steering.seeds(), three.steering.seeds());
    let violations = |summary: &Summary| -> Vec<_> {
        let all = summary.violations.iter();
        all.map(|(seed, outcome)| (*seed, outcome.violation.clone()))
            .collect()
    };
    assert_eq!(violations(&one), violations(&three));
}

#[test]
fn mutants_of_the_append_file_are_caught() {
    for mutant in [Mutant::AcceptTorn, Mutant::ReopenNoSync] {
        let caught = (0..600).any(|seed| {
            let run = Run {
                seed,
                mutant: Some(mutant),
                scenario: Some(Scenario::Standalone),
                ..Run::default()
            };
            run_seed(&run).violation.is_some()
        });
        assert!(caught, "{mutant:?} was missed");
    }
}

#[test]
fn a_lost_reply_is_an_error_and_a_false_one_says_that_it_exists() {
    let expected = [
        (FaultKind::LostReply, Err(()), true),
        (FaultKind::FalseExists, Ok(Created::Exists), true),
        (FaultKind::IoError, Err(()), false),
        (FaultKind::NoSpace, Err(()), false),
    ];
    for (kind, answer, is_there) in expected {
        let mut world = world(1, only(kind, 1_000_000));
        let storage = world.storage(A);
        let found = run(
            &mut world,
            A,
            async move { create(&*storage, "log/1").await },
        );
        assert_eq!(found.map_err(|_| ()), answer, "{kind:?}");
        world.calm();
        let storage = world.storage(B);
        let read = run(
            &mut world,
            B,
            async move { storage.read(&name("log/1")).await },
        );
        assert_eq!(read.unwrap().is_some(), is_there, "{kind:?}");
    }
}

#[test]
fn a_hung_create_lands_later_even_if_its_process_has_gone() {
    let mut world = world(1, only(FaultKind::HungCreate, 1_000_000));
    let storage = world.storage(A);
    let answer = run(
        &mut world,
        A,
        async move { create(&*storage, "log/1").await },
    );
    assert!(answer.unwrap_err().contains("timed out"));
    world.kill(A);
    let storage = world.storage(B);
    let at_once = run(
        &mut world,
        B,
        async move { storage.read(&name("log/1")).await },
    );
    while world.step() != Happened::Idle {}
    let storage = world.storage(B);
    let later = run(
        &mut world,
        B,
        async move { storage.read(&name("log/1")).await },
    );
    assert_eq!(at_once.unwrap(), None);
    assert_eq!(later.unwrap().unwrap(), "log/1");
}

#[test]
fn a_failed_sync_may_lose_what_was_not_synced() {
    let lost = |kind, seed| {
        let mut world = world(seed, only(kind, 1_000_000));
        let storage = world.storage(A);
        run(&mut world, A, async move {
            create(&*storage, "log/1").await.unwrap();
            assert!(storage.sync_names(&name("log/1")).await.is_err());
            storage.read(&name("log/1")).await.unwrap().is_none()
        })
    };
    assert!((0..20).any(|seed| lost(FaultKind::SyncLoses, seed)));
    assert!((0..20).any(|seed| !lost(FaultKind::SyncLoses, seed)));
    assert!((0..20).all(|seed| !lost(FaultKind::SyncFails, seed)));
}

#[test]
fn others_may_miss_a_new_name_but_never_a_floor_nor_twice_once_they_know() {
    let mut world = world(1, only(FaultKind::StaleLookup, 1_000_000));
    let storage = world.storage(A);
    run(&mut world, A, async move {
        for path in ["log/1", "floor/1"] {
            create(&*storage, path).await.unwrap();
            assert!(
                storage.stat(&name(path)).await.unwrap().is_some(),
                "its own"
            );
        }
    });
    let storage = world.storage(B);
    run(&mut world, B, async move {
        assert!(storage.read(&name("floor/1")).await.unwrap().is_some());
        assert!(storage.read(&name("log/1")).await.unwrap().is_none());
        assert_eq!(create(&*storage, "log/1").await, Ok(Created::Exists));
        assert!(storage.read(&name("log/1")).await.unwrap().is_some());
    });
}

#[test]
fn listings_lack_new_names_and_have_old_ones() {
    let mut seen = BTreeSet::new();
    for seed in 0..40 {
        let mut world = world(seed, only(FaultKind::StaleList, 1_000_000));
        let storage = world.storage(A);
        run(&mut world, A, async move {
            create(&*storage, "log/old").await.unwrap();
            storage.remove(&name("log/old")).await.unwrap();
            create(&*storage, "log/new").await.unwrap();
            assert_eq!(storage.list("log").await.unwrap(), [name("log/new")]);
        });
        let storage = world.storage(B);
        let names = run(
            &mut world,
            B,
            async move { storage.list("log").await.unwrap() },
        );
        seen.insert(names);
    }
    assert!(seen.contains(&vec![]) && seen.contains(&vec![name("log/new"), name("log/old")]));
}

#[test]
fn the_bus_delivers_what_it_is_given_when_nothing_goes_wrong() {
    let mut world = world(1, Rates::none());
    let (a, b) = (world.bus(A), world.bus(B));
    let waits = world.bus(B);
    let (nobody, by) = (Mailbox(0), Mailbox(1));
    world.spawn(A, async move {
        let early = waits.answers(OF, by, 100_000).await;
        assert_eq!(early, [(TxId(2), Bytes::from("two"))]);
    });
    run(&mut world, B, async move {
        for (id, bytes) in [(2, "b"), (1, "a"), (3, "c")] {
            b.publish(OF, by, OfferId(id), Bytes::from(bytes)).await;
        }
        let offered = |offers: &[(u128, &'static str)]| -> Vec<Offered> {
            let offered = |(id, bytes): &(u128, &'static str)| Offered {
                by,
                id: OfferId(*id),
                intents: Bytes::from(*bytes),
            };
            offers.iter().map(offered).collect()
        };
        let two = offered(&[(2, "b"), (1, "a")]);
        assert_eq!(a.intents(OF, nobody, 2, 100).await, two, "oldest first");
        assert_eq!(a.intents(OF, nobody, 9, 2).await, two, "bounded in bytes");
        assert!(a.intents(OF, by, 9, 100).await.is_empty(), "one's own");
        assert!(a.intents(InstanceId(2), nobody, 9, 100).await.is_empty());
        let answered = Answered {
            to: by,
            txid: TxId(2),
            answer: Bytes::from("two"),
        };
        a.settle(OF, vec![OfferId(2)], vec![answered]).await;
        a.settle(OF, vec![OfferId(1)], Vec::new()).await;
        assert_eq!(a.intents(OF, nobody, 9, 100).await, offered(&[(3, "c")]));
        assert_eq!(b.answers(OF, nobody, 50).await, []);
        assert!(a.claim(OF, "fold", 1, 100).await);
        assert!(!b.claim(OF, "fold", 2, 100).await);
        b.release(OF, "fold", 2).await;
        assert!(!b.claim(OF, "fold", 2, 100).await);
        a.release(OF, "fold", 1).await;
        assert!(b.claim(OF, "fold", 2, 100).await);
        a.offer_slot(OF, Position(7), Bytes::from("seven")).await;
        assert_eq!(b.slot(OF, Position(7)).await.unwrap(), "seven");
    });
    world.finish(A, 1_000).unwrap();
}

#[test]
fn the_storage_restarts_under_processes_that_live_on() {
    let mut rates = only(FaultKind::PowerLoss, 20_000);
    rates.survive_power_loss = true;
    let mut lost = 0;
    for seed in 0..20 {
        let mut world = world(seed, rates.clone());
        let storage = world.storage(A);
        lost += run(&mut world, A, async move {
            let mut lost = 0;
            for round in 0..50 {
                let path = format!("log/{round}");
                create(&*storage, &path).await.unwrap();
                lost += u64::from(storage.read(&name(&path)).await.unwrap().is_none());
                storage.sync_names(&name(&path)).await.unwrap();
            }
            lost
        });
    }
    assert!(lost > 0, "nothing was ever lost between create and read");
}

#[test]
fn a_copy_is_taken_file_by_file_and_is_its_own() {
    let mut torn = 0;
    for seed in 0..20 {
        let mut world = world(seed, Rates::none());
        let storage = world.storage(A);
        world.spawn(A, async move {
            for round in 0..60 {
                create(&*storage, &format!("log/{round:02}")).await.unwrap();
                create(&*storage, &format!("seg/{round:02}")).await.unwrap();
            }
        });
        for _ in 0..40 {
            world.step();
        }
        let copy = world.copy(0, ProcessId(2));
        world.finish(ProcessId(2), 10_000).unwrap();
        world.finish(A, 10_000).unwrap();
        let (from, to) = (world.storage(B), world.storage_on(copy, B));
        torn += run(&mut world, B, async move {
            let names = to.list("").await.unwrap();
            for name in &names {
                let (old, new) = (from.stat(name).await.unwrap(), to.stat(name).await.unwrap());
                assert_ne!(old.unwrap().identity, new.unwrap().identity);
            }
            let logs = names.iter().filter(|name| name.dir() == "log").count();
            u64::from(logs * 2 != names.len())
        });
    }
    assert!(torn > 0, "every copy was taken at one moment");
}
