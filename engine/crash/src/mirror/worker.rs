//! The process that commits numbers, and says so, until its input ends.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use eciton_engine::storage::Access;
use eciton_engine::{
    Action, Datum, Db, Encoding, Error, Key, Position, Result, Settled, Store, StoreSchema, TxId,
};

use super::places::{Places, environment, options};

/// The store of the numbers.
pub const STORE: &str = "numbers";
/// Failures of one number after which the worker gives up.
const FAILURES_MAX: u32 = 2000;
/// Time between commits, and between a failure and the next try.
const PAUSE: Duration = Duration::from_millis(2);

/// Works as the arguments say: the places, and the number of this worker.
///
/// # Errors
/// Why it does not go on.
pub async fn main(args: &[String]) -> Result<(), String> {
    let told = |error: Error| error.to_string();
    let orders = Places::parse(args);
    let (places, number) = match &orders {
        Some((places, [number])) => (places, number.parse::<u64>().ok()),
        _ => return Err(format!("these are no orders: {args:?}")),
    };
    let number = number.ok_or("the worker has no number")?;
    let ends = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&ends);
    std::thread::spawn(move || {
        // Until the harness closes it.
        std::io::stdin().lock().lines().for_each(drop);
        flag.store(true, Ordering::Relaxed);
    });
    let places = places.open(Access::ReadWrite).await;
    let opened = Db::open_mirrored(&places, options(), environment()).await;
    let db = opened.map_err(told)?;
    let store = store(&db).await.map_err(told)?;
    say(format_args!("ready"))?;
    let mut count = 0;
    while !ends.load(Ordering::Relaxed) {
        say(format_args!("begin {count}"))?;
        let begun = Instant::now();
        commit(&db, &store, number, count).await.map_err(told)?;
        say(format_args!("ack {count} {}", begun.elapsed().as_micros()))?;
        count += 1;
        tokio::time::sleep(PAUSE).await;
    }
    say(format_args!("done"))
}

/// The store, which the first process creates.
async fn store(db: &Db) -> Result<Store> {
    loop {
        if let Some(store) = db.store(STORE).await? {
            return Ok(store);
        }
        let schema = StoreSchema {
            encoding: Encoding::Raw,
            ..StoreSchema::default()
        };
        match db.create_store(STORE, schema).await {
            Err(error) if error.action() == Action::Retry => db.refresh().await?,
            done => return done,
        }
    }
}

/// The key of a number of a worker.
///
/// # Errors
/// None.
pub fn key(worker: u64, count: u64) -> Result<Key> {
    Key::from_datums(&[Datum::from(worker), Datum::from(count)])
}

/// Adds one to the value of a number, once, however often that has to be tried.
async fn commit(db: &Db, store: &Store, worker: u64, count: u64) -> Result<()> {
    let key = key(worker, count)?;
    let mut failures = 0;
    loop {
        let mut transaction = db.begin();
        let done = match transaction.get(store, &key).await {
            Ok(before) => {
                let times = before.map_or(0, |bytes| bytes.len());
                transaction.put(store, &key, vec![b'1'; times + 1])?;
                let read_at = transaction.position();
                match transaction.commit().await {
                    // Where nobody can tell, this number is not tried again.
                    Err(Error::CommitUnknown { txid, .. }) => {
                        match settled(db, txid, read_at).await? {
                            Settled::Committed(_) => return Ok(()),
                            Settled::Cancelled => Ok(None),
                        }
                    }
                    done => done.map(Some),
                }
            }
            Err(error) => Err(error),
        };
        match done {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => {}
            Err(error) if error.action() == Action::Retry => db.refresh().await?,
            Err(error) if failures == FAILURES_MAX => return Err(error),
            Err(_) => {
                failures += 1;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// What became of a commit. Asked again where storage fails at that moment, too.
async fn settled(db: &Db, txid: TxId, read_at: Position) -> Result<Settled> {
    let mut failures = 0;
    loop {
        match db.settle(txid, read_at).await {
            Err(_) if failures < FAILURES_MAX => {
                failures += 1;
                tokio::time::sleep(PAUSE).await;
            }
            settled => return settled,
        }
    }
}

/// Says a line to the harness.
///
/// # Errors
/// Nobody listens.
pub fn say(line: std::fmt::Arguments<'_>) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    let said = writeln!(out, "{line}").and_then(|()| out.flush());
    said.map_err(|cause| cause.to_string())
}
