//! SQLite: one file in WAL mode with `synchronous=FULL`, which any number of processes of one machine may write,
//! one after the other; a connection and a thread a client, with a busy handler that waits.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior, params};

use super::child::wait_for_the_word;
use super::{Client, Done, Orders, Place, Side, Work};
use crate::engine::{Result, text};

pub(super) const SIDE: Side = Side {
    name: "sqlite",
    by_name: false,
    serve: |_| Ok(None),
    prepare,
    work,
    count,
};

/// How long a connection waits for another's write.
const BUSY: Duration = Duration::from_mins(2);
const TABLES: &str = "CREATE TABLE records (a INTEGER, b INTEGER, c INTEGER, value BLOB, PRIMARY KEY (a, b, c)) WITHOUT ROWID;
    CREATE TABLE counters (key INTEGER PRIMARY KEY, n INTEGER);
    INSERT INTO counters VALUES (0, 0);";
const PUT: &str = "INSERT OR REPLACE INTO records (a, b, c, value) VALUES (?1, ?2, ?3, ?4)";
const ADD: &str = "UPDATE counters SET n = n + 1 WHERE key = 0";

fn connect(folder: &Path) -> Result<Connection> {
    let connection = Connection::open(folder.join("records.sqlite")).map_err(text)?;
    connection.busy_timeout(BUSY).map_err(text)?;
    for (name, value) in [("journal_mode", "WAL"), ("synchronous", "FULL")] {
        connection.pragma_update(None, name, value).map_err(text)?;
    }
    Ok(connection)
}

fn prepare(place: &Place, _work: Work) -> Result<()> {
    connect(&place.folder)?.execute_batch(TABLES).map_err(text)
}

fn work(orders: &Orders) -> Result<Done> {
    let connections = (0..orders.clients).map(|_| connect(&orders.folder));
    let connections: Vec<Connection> = connections.collect::<Result<_>>()?;
    wait_for_the_word()?;
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients = connections
            .into_iter()
            .zip(0..)
            .map(|(connection, number)| {
                let client = Client {
                    process: orders.process,
                    number,
                };
                let (work, is_over) = (orders.work, &is_over);
                scope.spawn(move || one(connection, work, client, is_over))
            });
        let clients: Vec<_> = clients.collect();
        std::thread::sleep(orders.lasts);
        is_over.store(true, Ordering::Relaxed);
        let mut done = Done::default();
        for client in clients {
            let ended = client
                .join()
                .map_err(|_| "a client has panicked".to_owned())?;
            done.join(&ended?);
        }
        Ok(done)
    })
}

fn one(
    mut connection: Connection,
    work: Work,
    client: Client,
    is_over: &AtomicBool,
) -> Result<Done> {
    let mut done = Done::default();
    let mut number = 0;
    while !is_over.load(Ordering::Relaxed) {
        let start = Instant::now();
        commit(&mut connection, work, client, number).map_err(text)?;
        done.commits += 1;
        if !is_over.load(Ordering::Relaxed) {
            done.in_time += 1;
            done.latency.add(start.elapsed());
        }
        number += 1;
    }
    Ok(done)
}

/// At once for writing: a reader that becomes a writer would be refused where another came in between.
fn commit(
    connection: &mut Connection,
    work: Work,
    client: Client,
    number: u64,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if work == Work::Add {
        transaction.prepare_cached(ADD)?.execute([])?;
    } else {
        let [a, b, c] = work.key(client, number).map(u64::cast_signed);
        let value = Work::value(client, number);
        transaction
            .prepare_cached(PUT)?
            .execute(params![a, b, c, &value[..]])?;
    }
    transaction.commit()
}

fn count(place: &Place, work: Work) -> Result<u64> {
    let sql = match work {
        Work::Add => "SELECT n FROM counters WHERE key = 0",
        Work::Disjoint | Work::Near | Work::Replace => "SELECT count(*) FROM records",
    };
    let counted = connect(&place.folder)?.query_row(sql, [], |row| row.get::<_, i64>(0));
    u64::try_from(counted.map_err(text)?).map_err(text)
}
