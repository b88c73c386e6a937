//! How many small transactions several processes commit to one folder, with Redis between them and without.
//!
//! `cargo run --release -p eciton-engine --features redis --example shared_commits -- PROCESSES TASKS SECONDS
//! [REDIS_URL|none] [FOLDER]`

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use eciton_engine::clock::SystemClock;
use eciton_engine::coord::redis::{RedisBus, RedisOptions};
use eciton_engine::coord::{Bus, SharedCoordinator, Silence};
use eciton_engine::entropy::SystemEntropy;
use eciton_engine::spawn::RayonSpawner;
use eciton_engine::storage::{Access, LocalStorage};
use eciton_engine::{
    Datum, Db, Encoding, Environment, Error, Key, Mode, Options, Result, Store, StoreSchema,
};

/// Bytes of a value.
const VALUE_LEN: usize = 100;
/// Milliseconds that Redis is given to come up before it is measured.
const CONNECT_MS: u64 = 10_000;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default| {
        let text: Option<&String> = args.get(at);
        text.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (processes, tasks, seconds) = (number(0, 1), number(1, 64), number(2, 5));
    let url = args.get(3).map_or("none", String::as_str);
    if let Some(folder) = args.get(5) {
        return child(Path::new(folder), number(0, 0), tasks, seconds, url);
    }
    let folder = args.get(4).map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = folder.join(format!("eciton-shared-commits-{}", std::process::id()));
    let measured = measure(&folder, processes, tasks, seconds, url);
    if let Err(error) = std::fs::remove_dir_all(&folder) {
        eprintln!("{}: {error}", folder.display());
    }
    measured
}

fn measure(folder: &Path, processes: u64, tasks: u64, seconds: u64, url: &str) -> Result<()> {
    let failed = |error: std::io::Error| Error::Invalid(error.to_string());
    let program = std::env::current_exe().map_err(failed)?;
    let start = |process: u64| {
        let mut command = Command::new(&program);
        command.args([process, tasks, seconds].map(|number| number.to_string()));
        command.args([url, "child"]).arg(folder);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().map_err(failed)
    };
    let mut children: Vec<Child> = (0..processes).map(start).collect::<Result<_>>()?;
    let mut outputs = Vec::new();
    for child in &mut children {
        let stdout = child.stdout.take();
        let mut lines = stdout
            .into_iter()
            .flat_map(|out| BufReader::new(out).lines());
        // It is ready.
        lines.next();
        outputs.push(lines);
    }
    for child in &mut children {
        if let Some(stdin) = &mut child.stdin {
            writeln!(stdin, "go").map_err(failed)?;
        }
    }
    let mut sum = 0.0;
    for lines in outputs {
        for line in lines {
            let line = line.map_err(failed)?;
            println!("{line}");
            let rate = line.split_once(' ').and_then(|(rate, _)| rate.parse().ok());
            sum += rate.unwrap_or(0.0);
        }
    }
    for mut child in children {
        child.wait().map_err(failed)?;
    }
    println!("{processes} x {tasks}, {url}: {sum:.0} commits/s in sum");
    Ok(())
}

fn child(folder: &Path, process: u64, tasks: u64, seconds: u64, url: &str) -> Result<()> {
    let failed = |error: std::io::Error| Error::Invalid(error.to_string());
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.enable_all().worker_threads(2).build();
    runtime.map_err(failed)?.block_on(async {
        let (db, redis) = open(folder, url).await?;
        let schema = StoreSchema {
            encoding: Encoding::Raw,
            ..StoreSchema::default()
        };
        let store = db.create_store("s", schema).await?;
        if let Some(redis) = redis {
            let is_there = redis.connected(db.info().instance, CONNECT_MS).await;
            assert!(is_there, "Redis is not there");
        }
        println!("ready");
        std::io::stdin()
            .read_line(&mut String::new())
            .map_err(failed)?;
        work(Arc::new(db), store, process, tasks, seconds).await
    })
}

async fn open(folder: &Path, url: &str) -> Result<(Db, Option<Arc<RedisBus>>)> {
    let (clock, entropy) = (Arc::new(SystemClock::new()), Arc::new(SystemEntropy));
    let redis = match url {
        "none" => None,
        url => {
            let bus = RedisBus::new(
                RedisOptions::at(url),
                Arc::clone(&clock) as _,
                Arc::clone(&entropy) as _,
            );
            Some(Arc::new(bus?))
        }
    };
    let bus: Arc<dyn Bus> = match &redis {
        Some(redis) => Arc::clone(redis) as _,
        None => Arc::new(Silence),
    };
    let coordinator =
        SharedCoordinator::new(bus, Arc::clone(&clock) as _, Arc::clone(&entropy) as _);
    let environment = Environment {
        clock,
        entropy,
        spawner: Arc::new(RayonSpawner),
        coordinator: Arc::new(coordinator),
        witness: None,
    };
    let options = Options {
        mode: Mode::Clustered,
        ..Options::default()
    };
    let storage = Arc::new(LocalStorage::open(folder, Access::ReadWrite)?);
    let db = Db::open_storage(storage, options, environment).await?;
    Ok((db, redis))
}

#[allow(clippy::disallowed_methods, reason = "it measures")]
#[allow(clippy::cast_precision_loss, reason = "for people")]
async fn work(db: Arc<Db>, store: Store, process: u64, tasks: u64, seconds: u64) -> Result<()> {
    let (is_over, commits) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let start = Instant::now();
    let workers: Vec<_> = (0..tasks)
        .map(|task| {
            let (db, store) = (Arc::clone(&db), store.clone());
            let (is_over, commits) = (Arc::clone(&is_over), Arc::clone(&commits));
            tokio::spawn(async move {
                let mut number = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let key = [process, task, number].map(|part| Datum::Int(i128::from(part)));
                    let mut transaction = db.begin();
                    transaction.put(&store, &Key::from_datums(&key)?, vec![7; VALUE_LEN])?;
                    transaction.commit().await?;
                    commits.fetch_add(1, Ordering::Relaxed);
                    number += 1;
                }
                Ok::<(), Error>(())
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let (count, lasted) = (commits.load(Ordering::Relaxed), start.elapsed());
    is_over.store(true, Ordering::Relaxed);
    for worker in workers {
        let done = worker.await;
        done.map_err(|error| Error::Invalid(error.to_string()))??;
    }
    let position = db.snapshot().position().0;
    let rate = count as f64 / lasted.as_secs_f64();
    println!("{rate:.0} commits/s by process {process}; the log ends at slot {position}");
    Ok(())
}
