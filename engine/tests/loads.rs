//! Transactions that outgrow memory, against `BTreeMap`: in whatever order they write, and whatever they read
//! of it on the way.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::support::{Dice, environment, seeds};
use bytes::Bytes;
use eciton_engine::base::limits::UNFOLDED_RUNS_MAX;
use eciton_engine::base::{Bounds, Datum, Key};
use eciton_engine::db::{Db, Options, ScanRange, Snapshot, Store, StoreSchema, verify};
use eciton_engine::storage::{MemoryStorage, Name, Storage};
use futures::executor::block_on;

const SEEDS: u64 = 60;
const STORES: u64 = 3;
const KEYS: u64 = 3_000;

type Model = BTreeMap<(u64, u64), Vec<u8>>;

fn key(number: u64) -> Key {
    Key::from_datums(&[Datum::Int(number.into())]).unwrap()
}

fn options(dice: &Dice) -> Options {
    Options {
        fold_len_min: 40_000,
        bounds: Bounds {
            bulk_len_min: 1_000 + dice.below(6_000) as usize,
            spill_len_min: 8_000 + dice.below(20_000) as usize,
            ..Bounds::default()
        },
        ..Options::default()
    }
}

/// The next key to write: on from the last one, on into the next store, or anywhere.
fn next(dice: &Dice, order: u64, last: (u64, u64)) -> (u64, u64) {
    let anywhere = (dice.below(STORES), dice.below(KEYS));
    let (store, number) = last;
    match order {
        // Ascending, with a step back now and then.
        0 if dice.below(300) > 0 && number + 3 < KEYS => (store, number + 1 + dice.below(3)),
        0 if store + 1 < STORES => (store + 1, 0),
        // Few keys, many times.
        1 => (store, dice.below(20)),
        _ => anywhere,
    }
}

async fn check(snapshot: &Snapshot, stores: &[Store], model: &Model) {
    for (number, store) in stores.iter().enumerate() {
        let mut scan = snapshot.scan(store, &ScanRange::all());
        let mut found = Vec::new();
        while let Some(record) = scan.next().await.unwrap() {
            found.push((record.key, record.value.to_vec()));
        }
        let of_store = model.range((number as u64, 0)..(number as u64 + 1, 0));
        let expected: Vec<_> = of_store
            .map(|((_, n), value)| (key(*n), value.clone()))
            .collect();
        assert!(
            found == expected,
            "store {number}: {} of {}",
            found.len(),
            expected.len()
        );
    }
}

async fn run(seed: u64) {
    let dice = Dice::new(seed);
    let (storage, options) = (Arc::new(MemoryStorage::new()), options(&dice));
    let (outside, spawner) = environment(seed);
    let open = || Db::open_storage(storage.clone(), options.clone(), outside.clone());
    let db = open().await.unwrap();
    let mut stores = Vec::new();
    for number in 0..STORES {
        let name = format!("s{number}");
        stores.push(
            db.create_store(&name, StoreSchema::default())
                .await
                .unwrap(),
        );
    }
    let mut model = Model::new();
    for _ in 0..3 {
        let (order, reads) = (dice.below(3), [0, 0, 40, 400][dice.below(4) as usize]);
        let (mut transaction, mut written) = (db.begin(), model.clone());
        let mut last = (0, 0);
        for _ in 0..200 + dice.below(2_000) {
            last = next(&dice, order, last);
            let store = &stores[last.0 as usize];
            if dice.below(8) == 0 {
                transaction.delete(store, &key(last.1)).unwrap();
                written.remove(&last);
            } else {
                let value = vec![dice.below(256) as u8; dice.below(60) as usize];
                transaction
                    .blind_put(store, &key(last.1), value.clone())
                    .unwrap();
                written.insert(last, value);
            }
            transaction.relieve().await.unwrap();
            if reads > 0 && dice.below(reads) == 0 {
                let asked = if dice.below(2) == 0 {
                    last
                } else {
                    next(&dice, 2, last)
                };
                let found = transaction
                    .get(&stores[asked.0 as usize], &key(asked.1))
                    .await;
                let expected = written.get(&asked).map(|value| Bytes::from(value.clone()));
                assert_eq!(found.unwrap(), expected, "{asked:?}");
            }
        }
        if reads > 0 {
            let all = transaction
                .scan(&stores[0], &ScanRange::all())
                .await
                .unwrap();
            assert_eq!(all.len(), written.range((0, 0)..(1, 0)).count());
        }
        if dice.below(5) > 0 {
            transaction.commit().await.unwrap();
            model = written;
        }
        if dice.below(2) == 0 {
            spawner.run().await;
        }
        check(&db.snapshot(), &stores, &model).await;
    }
    spawner.clear();
    db.close().await.unwrap();
    let db = open().await.unwrap();
    check(&db.snapshot(), &stores, &model).await;
}

#[test]
fn transactions_of_any_order_are_what_a_map_would_be() {
    for seed in seeds(SEEDS) {
        println!("seed {seed}");
        block_on(run(seed));
    }
}

/// Writes that ascend go to the open run at once, however seldom anybody makes room there.
#[test]
fn what_ascends_is_one_run_however_seldom_it_is_relieved() {
    const RECORDS: u64 = 20_000;
    for relieved_every in [1, 700, 15_000] {
        block_on(async {
            let (outside, _spawner) = environment(1);
            let options = options(&Dice::new(1));
            let storage = Arc::new(MemoryStorage::new());
            let db = Db::open_storage(storage.clone(), options, outside);
            let db = db.await.unwrap();
            let store = db.create_store("s", StoreSchema::default()).await.unwrap();
            let mut transaction = db.begin();
            let mut model = Model::new();
            for number in 0..RECORDS {
                let value = vec![number as u8; if number % 3_000 == 5 { 5_000 } else { 100 }];
                let put = transaction.blind_put(&store, &key(number), value.clone());
                put.unwrap();
                model.insert((0, number), value);
                if number < 1_000 || number % relieved_every == 0 {
                    transaction.relieve().await.unwrap();
                }
            }
            transaction.commit().await.unwrap();
            assert_eq!(storage.list(Name::SEGMENT).await.unwrap().len(), 1);
            check(&db.snapshot(), &[store], &model).await;
        });
    }
}

/// Runs of loads do not pile up before whoever reads, however little else is written.
#[test]
fn many_loads_are_folded_in_the_background() {
    block_on(async {
        let (outside, spawner) = environment(1);
        let options = Options {
            bounds: Bounds {
                bulk_len_min: 1_000,
                ..Bounds::default()
            },
            ..Options::default()
        };
        let storage = Arc::new(MemoryStorage::new());
        let db = Db::open_storage(storage, options, outside).await.unwrap();
        let store = db.create_store("s", StoreSchema::default()).await.unwrap();
        for load in 1..=UNFOLDED_RUNS_MAX as u64 {
            let mut transaction = db.begin();
            for number in 0..100 {
                let value = vec![7; 100];
                transaction
                    .blind_put(&store, &key(number * 100 + load), value)
                    .unwrap();
            }
            transaction.commit().await.unwrap();
            spawner.run().await;
            let folded = db.info().folded;
            assert_eq!(
                folded == db.info().position,
                load == UNFOLDED_RUNS_MAX as u64,
                "load {load}"
            );
        }
        // Of those that stay each is half as long as the next one at the most; on them lies what was there before.
        let runs_max = u64::from(UNFOLDED_RUNS_MAX.ilog2()) + 1;
        assert!(db.info().runs <= runs_max + 1, "{:?}", db.info());
    });
}

/// What was committed before a load, the catalog above all, lies below it. It is not worth writing the load again.
#[test]
fn a_load_is_not_written_again_for_what_came_before_it() {
    block_on(async {
        let (outside, _spawner) = environment(1);
        let options = options(&Dice::new(1));
        let storage = Arc::new(MemoryStorage::new());
        let db = Db::open_storage(storage.clone(), options, outside);
        let db = db.await.unwrap();
        let mut stores = Vec::new();
        for name in ["a", "b", "c"] {
            let store = db.create_store(name, StoreSchema::default()).await;
            stores.push(store.unwrap());
        }
        let put = async |store: &Store, numbers: std::ops::Range<u64>| {
            let mut transaction = db.begin();
            for number in numbers {
                let value = vec![7; 100];
                transaction.blind_put(store, &key(number), value).unwrap();
            }
            transaction.commit().await.unwrap();
        };
        put(&stores[0], 0..5).await;
        put(&stores[2], 0..5).await;
        put(&stores[1], 0..1_000).await;
        let load = storage.list(Name::SEGMENT).await.unwrap();
        put(&stores[0], 3..9).await;
        db.fold().await.unwrap();
        db.collect().await.unwrap();
        let all = storage.list(Name::SEGMENT).await.unwrap();
        assert_eq!((load.len(), all.len()), (1, 2));
        assert!(all.contains(&load[0]));
        let copy = Arc::new(storage.read_only());
        let report = verify(copy, &|_| {}).await.unwrap();
        assert_eq!(report.broken, []);
        // Now there is something of the load below it.
        put(&stores[1], 500..501).await;
        put(&stores[1], 0..1_000).await;
        db.fold().await.unwrap();
        let info = db.info();
        assert_eq!((info.runs, info.runs_entries), (1, 4 + 9 + 5 + 1_000));
        for (store, count) in stores.iter().zip([9, 1_000, 5]) {
            let mut scan = db.snapshot().scan(store, &ScanRange::all());
            let mut found = 0;
            while scan.next().await.unwrap().is_some() {
                found += 1;
            }
            assert_eq!(found, count);
        }
    });
}

/// What many hold in memory together is bounded as what one holds is.
#[test]
fn many_transactions_share_the_memory_of_one() {
    const SPILL_LEN: usize = 100_000;
    block_on(async {
        let (outside, _spawner) = environment(1);
        let options = Options {
            bounds: Bounds {
                bulk_len_min: SPILL_LEN / 10,
                spill_len_min: SPILL_LEN,
                ..Bounds::default()
            },
            ..Options::default()
        };
        let storage = Arc::new(MemoryStorage::new());
        let db = Db::open_storage(storage.clone(), options, outside)
            .await
            .unwrap();
        let store = db.create_store("s", StoreSchema::default()).await.unwrap();
        let runs = || async { storage.list(Name::SEGMENT).await.unwrap().len() };
        let mut open = Vec::new();
        for number in 0..4 {
            assert_eq!(runs().await, 0, "{number} transactions");
            let mut transaction = db.begin();
            // Descending: nothing of it can be poured into a run on the way.
            for i in (0..SPILL_LEN as u64 / 4_000).rev() {
                let key = key(number * 1_000 + i);
                transaction.put(&store, &key, vec![7; 1_100]).unwrap();
                transaction.relieve().await.unwrap();
            }
            open.push(transaction);
        }
        assert_eq!(runs().await, 1, "the last one made room");
        for transaction in open {
            transaction.commit().await.unwrap();
        }
        let mut scan = db.snapshot().scan(&store, &ScanRange::all());
        let mut count = 0;
        while scan.advance().await.unwrap() {
            count += 1;
        }
        assert_eq!(count, 4 * (SPILL_LEN / 4_000));
    });
}
