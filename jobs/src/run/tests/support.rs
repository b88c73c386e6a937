use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use eciton_engine::storage::MemoryStorage;
use eciton_engine::{Db, Environment, Options, Result as EngineResult, ScanRange, merge};
use tempfile::TempDir;

use crate::run::{CancellationToken, Event, JobReport, Observer, RunOptions, run, submit};
use crate::spec::JobFile;

/// A folder with job files and sources.
pub(super) struct JobFolder(pub(super) TempDir);

impl JobFolder {
    pub(super) fn new() -> JobFolder {
        JobFolder(tempfile::tempdir().unwrap())
    }

    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(super) fn job(&self, text: &str) -> JobFile {
        JobFile::parse(&self.0.path().join("job.toml"), text).unwrap()
    }
}

/// A job that sums a column of all `*.csv` by carrier.
pub(super) const SUM_JOB: &str = r#"
name = "sums"
[source]
format = "csv"
paths = ["*.csv"]
shard_size = "1KiB"
[transform]
sql = "SELECT carrier, delay FROM source"
[merge]
store = "by_carrier"
key = ["carrier"]
[merge.values]
rows = "count()"
total = "sum(delay)"
top = "max(delay)"
"#;

/// A job that keeps the last row of each id.
pub(super) const UPSERT_JOB: &str = r#"
name = "last"
[source]
format = "csv"
paths = ["*.csv"]
shard_size = "1KiB"
[upsert]
store = "rows"
key = ["id"]
"#;

/// Rows `carrier,delay`, and what [`SUM_JOB`] must make of them.
pub(super) fn flights(rows: u64) -> (String, BTreeMap<String, String>) {
    let mut text = "carrier,delay\n".to_owned();
    let mut sums: BTreeMap<String, (u64, i64, i64)> = BTreeMap::new();
    for row in 0..rows {
        let carrier = ["AA", "B6", "DL", "UA"][usize::try_from(row * 7 % 4).unwrap()];
        let delay = i64::try_from(row * 31 % 1009).unwrap() - 300;
        writeln!(text, "{carrier},{delay}").unwrap();
        let sum = sums.entry(carrier.to_owned()).or_insert((0, 0, i64::MIN));
        *sum = (sum.0 + 1, sum.1 + delay, sum.2.max(delay));
    }
    (text, shown(&sums))
}

/// Records of [`SUM_JOB`] as JSON.
pub(super) fn shown(sums: &BTreeMap<String, (u64, i64, i64)>) -> BTreeMap<String, String> {
    sums.iter()
        .map(|(carrier, (rows, total, top))| {
            (
                format!("\"{carrier}\""),
                format!(r#"{{"rows":{rows},"total":{total},"top":{top}}}"#),
            )
        })
        .collect()
}

pub(super) async fn open(storage: &MemoryStorage) -> EngineResult<Db> {
    // Little memory, so that folding goes on during the tests.
    let options = Options {
        fold_len_min: 64 * 1024,
        ..Options::default()
    };
    Db::open_storage(Arc::new(storage.clone()), options, Environment::default()).await
}

pub(super) async fn memory_db() -> Db {
    open(&MemoryStorage::new()).await.unwrap()
}

/// All records of a store as JSON.
pub(super) async fn records(db: &Db, store: &str) -> BTreeMap<String, String> {
    let Some(store) = db.store(store).await.unwrap() else {
        return BTreeMap::new();
    };
    let mut scan = db.snapshot().scan(&store, &ScanRange::all());
    let mut records = BTreeMap::new();
    while let Some(record) = scan.next().await.unwrap() {
        let json = merge::read_json(&store.schema().columns, &record.key, &record.value).unwrap();
        records.insert(record.key.to_string(), json.to_string());
    }
    records
}

pub(super) fn options(workers: usize) -> RunOptions {
    RunOptions {
        workers,
        ..RunOptions::default()
    }
}

pub(super) async fn submit_and_run(db: &Db, job: &JobFile, workers: usize) -> JobReport {
    let submitted = submit(db, job).await.unwrap();
    run(db, &submitted.name, options(workers)).await.unwrap()
}

/// Asks the run to stop once so many shards are done.
pub(super) struct StopAfter {
    pub(super) left: std::sync::atomic::AtomicU64,
    pub(super) stop: CancellationToken,
}

impl Observer for StopAfter {
    fn observe(&self, event: &Event<'_>) {
        let ended = matches!(event, Event::ShardDone { .. } | Event::ShardFailed { .. });
        if ended && self.left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) == 1 {
            self.stop.cancel();
        }
    }
}

pub(super) fn stop_after(shards: u64, workers: usize) -> RunOptions {
    let stop = CancellationToken::new();
    let observer = StopAfter {
        left: shards.into(),
        stop: stop.clone(),
    };
    RunOptions {
        workers,
        observer: Arc::new(observer),
        stop,
        commit_interval: Duration::ZERO,
        ..RunOptions::default()
    }
}

/// Polls until it is so, for minutes if need be.
pub(super) async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let polls = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_mins(3), polls).await;
    assert!(waited.is_ok(), "{what}");
}

/// Holds a run where it begins a shard for the so many-th time, until it is let go.
pub(super) struct Gate {
    left: std::sync::atomic::AtomicU64,
    state: parking_lot::Mutex<(bool, bool)>,
    changed: parking_lot::Condvar,
}

impl Gate {
    pub(super) fn at(shards: u64) -> Gate {
        Gate {
            left: shards.into(),
            state: parking_lot::Mutex::default(),
            changed: parking_lot::Condvar::new(),
        }
    }

    pub(super) fn is_reached(&self) -> bool {
        self.state.lock().0
    }

    pub(super) fn open(&self) {
        self.state.lock().1 = true;
        self.changed.notify_all();
    }

    /// A run of one worker that commits each shard by itself.
    pub(super) fn options(self: &Arc<Self>) -> RunOptions {
        RunOptions {
            workers: 1,
            observer: Arc::clone(self) as Arc<dyn Observer>,
            commit_interval: Duration::ZERO,
            ..RunOptions::default()
        }
    }
}

impl Observer for Gate {
    fn observe(&self, event: &Event<'_>) {
        let begins = matches!(event, Event::ShardStarted { .. });
        if begins && self.left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) == 1 {
            let mut state = self.state.lock();
            state.0 = true;
            while !state.1 {
                self.changed.wait(&mut state);
            }
        }
    }
}
