//! How fast is one run? A million records in memory: build, lookups, seeks, scans, size.
//!
//! `cargo run --release -p eciton-engine --example run_speed -- [ITEMS]`
#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use eciton_engine::base::Op;
use eciton_engine::entropy::SeededEntropy;
use eciton_engine::storage::{Created, Object, ObjectWriter};
use eciton_engine::tree::{Cursor, PageCache, Run, RunBuilder, RunOptions, RunSummary, key_hash};
use eciton_engine::{Compression, Result};
use futures::executor::block_on;
use parking_lot::Mutex;

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

#[async_trait]
impl ObjectWriter for Memory {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.lock().extend_from_slice(bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Created> {
        Ok(Created::New)
    }
}

struct File(Bytes);

#[async_trait]
impl Object for File {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        // Copied, as a read of a file does.
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        Ok(Bytes::copy_from_slice(&self.0[from..from + len]))
    }
}

type Keys = Vec<[u8; 16]>;

/// Half of each value is random, half is zeros.
fn value(random: &SeededEntropy, compressible: bool) -> Bytes {
    let mut value = [0; 100];
    let len = if compressible { 50 } else { 100 };
    for part in value[..len].chunks_mut(8) {
        let number = random.next_u64().to_le_bytes();
        part.copy_from_slice(&number[..part.len()]);
    }
    Bytes::copy_from_slice(&value)
}

async fn build(keys: &Keys, options: RunOptions, compressible: bool) -> Result<(RunSummary, File)> {
    let random = SeededEntropy::new(2);
    let ops: Vec<Op> = keys
        .iter()
        .map(|_| Op::Put(value(&random, compressible)))
        .collect();
    let memory = Memory::default();
    let start = Start::now();
    let mut builder = RunBuilder::new(Box::new(memory.clone()), options);
    for (key, op) in keys.iter().zip(&ops) {
        builder.add(key, op).await?;
    }
    let summary = builder.finish().await?;
    rate("build", keys.len(), &start);
    println!("size                 {:.1} MB", summary.len as f64 / 1e6);
    let file = Bytes::from(std::mem::take(&mut *memory.0.lock()));
    Ok((summary, File(file)))
}

/// Time this thread has run, in nanoseconds, where Linux tells: on a machine that others use as well,
/// the clock on the wall says more about them.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|ns| ns.parse().ok())
        .unwrap_or(0)
}

/// A moment: by the clock, and in time this thread has run.
struct Start(Instant, u64);

impl Start {
    fn now() -> Start {
        Start(Instant::now(), cpu_ns())
    }
}

fn rate(what: &str, n: usize, start: &Start) {
    let wall_ns = start.0.elapsed().as_nanos() as f64 / n as f64;
    let cpu_ns = (cpu_ns() - start.1) as f64 / n as f64;
    let (wall, cpu) = (1e3 / wall_ns, 1e3 / cpu_ns);
    println!(
        "{what:20} {wall:7.3} M/s, {wall_ns:6.0} ns each; of CPU {cpu:7.3} M/s, {cpu_ns:6.0} ns"
    );
}

async fn scan(run: &Arc<Run>) -> Result<usize> {
    let mut cursor = Cursor::new(run.clone());
    let mut here = cursor.first().await?;
    let mut len = 0;
    while here {
        len += cursor.key().len() + cursor.inline_payload().map_or(0, <[u8]>::len);
        here = cursor.next().await?;
    }
    Ok(len)
}

async fn measure(keys: &Keys, file: File) -> Result<()> {
    let cache = Arc::new(PageCache::new(1 << 30));
    let start = Start::now();
    let run = Arc::new(Run::open(Arc::new(file), cache, "run".to_owned()).await?);
    println!("open                     {:?}", start.0.elapsed());

    let start = Start::now();
    black_box(scan(&run).await?);
    rate("scan, cold", keys.len(), &start);

    let mut shuffled = keys.clone();
    let random = SeededEntropy::new(3);
    for i in (1..shuffled.len()).rev() {
        let bound = u64::try_from(i + 1).unwrap_or(1);
        shuffled.swap(i, usize::try_from(random.next_u64() % bound).unwrap_or(0));
    }
    for round in ["get", "get, again", "get, again"] {
        let start = Start::now();
        let mut found = 0;
        for key in &shuffled {
            found += usize::from(run.get(key, key_hash(key)).await?.is_some());
        }
        rate(round, keys.len(), &start);
        assert_eq!(found, keys.len());
    }

    let start = Start::now();
    let mut found = 0;
    for key in &shuffled {
        let mut absent = *key;
        absent[15] ^= 1;
        found += usize::from(run.get(&absent, key_hash(&absent)).await?.is_some());
    }
    rate("get of absent keys", keys.len(), &start);
    assert!(found < keys.len() / 100);
    let absent = keys
        .iter()
        .map(|key| key_hash(&[&key[..], b"absent"].concat()));
    let passed = absent.filter(|&hash| run.may_contain(hash)).count();
    let percent = passed as f64 * 100.0 / keys.len() as f64;
    println!("filter               {percent:.2} % of absent keys pass");

    let start = Start::now();
    black_box(scan(&run).await?);
    rate("scan, warm", keys.len(), &start);

    let start = Start::now();
    let mut cursor = Cursor::new(run.clone());
    let scans = shuffled.len() / 20;
    for key in &shuffled[..scans] {
        let mut here = cursor.seek(key).await?;
        for _ in 0..100 {
            if !here {
                break;
            }
            black_box(cursor.inline_payload());
            here = cursor.next().await?;
        }
    }
    rate("scan of 100", scans, &start);

    let start = Start::now();
    let found = run.check(&mut |_| {}).await;
    println!(
        "check                    {:?}, {} problems",
        start.0.elapsed(),
        found.problems.len()
    );
    Ok(())
}

fn main() -> Result<()> {
    let items = std::env::args()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(1_000_000);
    let random = SeededEntropy::new(1);
    let number = || (u128::from(random.next_u64()) << 64) | u128::from(random.next_u64());
    let mut keys: Keys = (0..items).map(|_| number().to_be_bytes()).collect();
    keys.sort_unstable();
    keys.dedup();
    for (compression, compressible) in [
        (Compression::None, false),
        (Compression::None, true),
        (Compression::Lz4, true),
    ] {
        println!(
            "-- {compression:?}, {} values",
            if compressible { "half-zero" } else { "random" }
        );
        let options = RunOptions {
            compression,
            ..RunOptions::default()
        };
        let (_, file) = block_on(build(&keys, options, compressible))?;
        block_on(measure(&keys, file))?;
    }
    Ok(())
}
