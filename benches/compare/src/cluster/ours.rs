//! This project's engine: one folder, opened clustered, and Redis between the processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use eciton_engine::coord::SharedCoordinator;
use eciton_engine::coord::redis::{RedisBus, RedisOptions};
use eciton_engine::merge::{self, Column, Kind, Operator, States};
use eciton_engine::{
    Db, Encoding, Environment, Error, Key, KeyBuilder, Mode, Options, ScanRange, Store,
    StoreSchema, Transaction,
};
use tokio::runtime::{Builder, Runtime};

use super::child::wait_for_the_word;
use super::{Client, Done, Orders, Place, Side, Work};
use crate::engine::{Result, text};

pub(super) const SIDE: Side = Side {
    name: "ours",
    by_name: false,
    serve: super::redis::serve,
    prepare,
    work,
    count,
};

const STORE: &str = "records";
/// Milliseconds that Redis is given to be reached before the measurement begins.
const CONNECT_MS: u64 = 10_000;

fn runtime() -> Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(text)
}

fn schema(work: Work) -> Result<StoreSchema> {
    let columns = match work {
        Work::Add => vec![Column::new("n", Operator::Count, Kind::Any).map_err(text)?],
        Work::Disjoint | Work::Near | Work::Replace => Vec::new(),
    };
    let encoding = match work {
        Work::Add => StoreSchema::default().encoding,
        Work::Disjoint | Work::Near | Work::Replace => Encoding::Raw,
    };
    Ok(StoreSchema {
        encoding,
        columns,
        ..StoreSchema::default()
    })
}

fn prepare(place: &Place, work: Work) -> Result<()> {
    runtime()?.block_on(async {
        let db = Db::open(&place.folder, Options::default())
            .await
            .map_err(text)?;
        db.create_store(STORE, schema(work)?).await.map_err(text)?;
        db.close().await.map_err(text)
    })
}

fn work(orders: &Orders) -> Result<Done> {
    runtime()?.block_on(async {
        let environment = Environment::default();
        let (clock, entropy) = (
            Arc::clone(&environment.clock),
            Arc::clone(&environment.entropy),
        );
        let redis = RedisOptions::at(&orders.server);
        let bus = RedisBus::new(redis, Arc::clone(&clock), Arc::clone(&entropy)).map_err(text)?;
        let bus = Arc::new(bus);
        let coordinator = SharedCoordinator::new(Arc::clone(&bus) as _, clock, entropy);
        let environment = Environment {
            coordinator: Arc::new(coordinator),
            ..environment
        };
        let options = Options {
            mode: Mode::Clustered,
            ..Options::default()
        };
        let db = Db::open_among(&orders.folder, options, environment)
            .await
            .map_err(text)?;
        let store = db
            .store(STORE)
            .await
            .map_err(text)?
            .ok_or("there is no store")?;
        if !bus.connected(db.info().instance, CONNECT_MS).await {
            return Err("Redis cannot be reached".to_owned());
        }
        wait_for_the_word()?;
        let done = all(&db, &store, orders).await?;
        db.close().await.map_err(text)?;
        Ok(done)
    })
}

async fn all(db: &Db, store: &Store, orders: &Orders) -> Result<Done> {
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..orders.clients)
        .map(|number| {
            let client = Client {
                process: orders.process,
                number,
            };
            let (db, store, is_over) = (db.clone(), store.clone(), Arc::clone(&is_over));
            tokio::spawn(one(db, store, orders.work, client, is_over))
        })
        .collect();
    tokio::time::sleep(orders.lasts).await;
    is_over.store(true, Ordering::Relaxed);
    let mut done = Done::default();
    for client in clients {
        done.join(&client.await.map_err(text)??);
    }
    Ok(done)
}

async fn one(
    db: Db,
    store: Store,
    work: Work,
    client: Client,
    is_over: Arc<AtomicBool>,
) -> Result<Done> {
    let mut done = Done::default();
    let mut builder = KeyBuilder::new();
    let mut number = 0;
    while !is_over.load(Ordering::Relaxed) {
        let start = Instant::now();
        builder.clear();
        for part in work.key(client, number) {
            builder.push_int(i128::from(part)).map_err(text)?;
        }
        let key = builder.to_key().map_err(text)?;
        let mut retry = db.retry();
        loop {
            let mut transaction = retry.begin().await.map_err(text)?;
            write(&mut transaction, &store, &key, work, client, number).map_err(text)?;
            if retry.commit(transaction).await.map_err(text)?.is_some() {
                break;
            }
        }
        done.conflicts += u64::from(retry.lost_tries());
        done.commits += 1;
        if !is_over.load(Ordering::Relaxed) {
            done.in_time += 1;
            done.latency.add(start.elapsed());
        }
        number += 1;
    }
    Ok(done)
}

fn write(
    transaction: &mut Transaction,
    store: &Store,
    key: &Key,
    work: Work,
    client: Client,
    number: u64,
) -> std::result::Result<(), Error> {
    if work == Work::Add {
        let mut states = States::new(&store.schema().columns);
        states[0].add_rows(1);
        return transaction.merge(store, key, &states.to_operand()?);
    }
    transaction.put(store, key, Work::value(client, number).to_vec())
}

fn count(place: &Place, work: Work) -> Result<u64> {
    runtime()?.block_on(async {
        let db = Db::open_read_only(&place.folder, Options::default())
            .await
            .map_err(text)?;
        let store = db
            .store(STORE)
            .await
            .map_err(text)?
            .ok_or("there is no store")?;
        if work != Work::Add {
            return db
                .store_stats(&store)
                .await
                .map(|stats| stats.records)
                .map_err(text);
        }
        let mut scan = db.snapshot().scan(&store, &ScanRange::all());
        let record = scan
            .next()
            .await
            .map_err(text)?
            .ok_or("nothing was added")?;
        let json = merge::read_json(&store.schema().columns, &record.key, &record.value);
        let json = json.map_err(text)?.to_string();
        let told: serde_json::Value = serde_json::from_str(&json).map_err(text)?;
        told["n"].as_u64().ok_or(format!("no count: {told}"))
    })
}
