//! A sync that fails, on a system that forgets about it.
//!
//! Found by the harness: the commit whose sync failed could still be read when the database was opened
//! again, the sync of that opening had nothing to write and succeeded, others committed on top, and the
//! power loss left a hole in the middle of the log.

#![cfg(target_os = "linux")]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use eciton_crash::dice::Dice;
use eciton_crash::disk::Faults;
use eciton_crash::medium::Medium;
use eciton_crash::stores::{key, plain};
use eciton_crash::worker::open;
use eciton_engine::{Db, Error, Options, Result, verify_folder};

async fn put(db: &Db, number: u64) -> Result<()> {
    let store = db.create_store("numbers", plain()).await?;
    let mut transaction = db.begin();
    transaction.put(&store, &key(&[number])?, vec![7; 700])?;
    transaction.commit().await.map(drop)
}

async fn has(db: &Db, number: u64) -> bool {
    let store = db.create_store("numbers", plain()).await.unwrap();
    let found = db.snapshot().get(&store, &key(&[number]).unwrap()).await;
    found.unwrap().is_some()
}

/// Fails the sync that comes after `syncs` others of a first commit, or of the one after it.
async fn survives(seed: u64, syncs: u64, stays: bool, medium: &mut Medium) {
    let folder = medium.database();
    let fail = |medium: &Medium, failing_sync| {
        let gate = medium.gate().unwrap();
        gate.look().set_faults(Faults {
            failing_sync,
            failed_stays: stays,
            ..Faults::default()
        });
    };
    let db = open(&folder, Options::default()).await.unwrap();
    fail(medium, Some(syncs));
    let mut acknowledged = Vec::new();
    for number in 0..3 {
        match put(&db, number).await {
            Ok(()) => acknowledged.push(number),
            Err(Error::Storage { .. } | Error::CommitUnknown { .. } | Error::Halted { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    drop(db);
    fail(medium, None);

    let db = open(&folder, Options::default()).await.unwrap();
    let mut seen = acknowledged;
    for number in 0..3 {
        if has(&db, number).await && !seen.contains(&number) {
            seen.push(number);
        }
    }
    put(&db, 9).await.unwrap();
    seen.push(9);
    drop(db);

    medium.power_loss(&Dice::new(seed)).unwrap();
    let report = verify_folder(&folder, &|_| {}).await.unwrap();
    assert_eq!(report.broken, [], "seed {seed}, sync {syncs}");
    let db = open(&folder, Options::default()).await.unwrap();
    for number in seen {
        assert!(
            has(&db, number).await,
            "seed {seed}, sync {syncs}: {number} was seen and is lost"
        );
    }
}

#[test]
fn what_was_seen_after_a_failed_sync_survives_a_power_loss() {
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    for seed in 0..48 {
        let mut medium = match Medium::mount(Dice::new(seed)) {
            Ok(medium) => medium,
            Err(cause) => {
                eprintln!("skipped: no file system can be mounted here: {cause}");
                return;
            }
        };
        runtime.block_on(survives(seed, seed % 12, seed % 2 == 0, &mut medium));
    }
}
