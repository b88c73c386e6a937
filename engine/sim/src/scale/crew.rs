//! The workers of one process, as far as others notice them: what they lease, read and commit.
//!
//! As those of a job they go through it in blocks, in an order of their own; one looks for shards for all that wait, after
//! having looked what others have done; and what they have computed is committed for all of them, results and marks in one
//! transaction, while they are at their next shards.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use eciton_engine::base::{Action, Datum, Key, Result};
use eciton_engine::db::{Db, Encoding, Store, StoreSchema, Transaction};
use eciton_engine::merge::{Column, Kind, Operand, Operator, States};
use futures::future::join_all;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Swarm;
use crate::clock::sleep;
use crate::kernel::Kernel;
use crate::random::Random;

/// Consecutive shards that one process does one after the other.
const BLOCK: u64 = 64;
/// What others have done is looked at so often at most, in milliseconds.
const LOOKS_APART_MS: u64 = 100;
/// Milliseconds of a lease.
const LEASE_MS: u64 = 30_000;
/// Groups that shards add to, one each.
const GROUPS: u64 = 1_000;
/// How many times as many shards the job has as could be done: a run sees the middle of a job.
const JOB_TIMES: u64 = 4;
/// Bytes of a mark.
const MARK: &[u8] = &[8, 1];

/// What the workers of all processes did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) shards: u64,
    pub(super) wasted: u64,
    pub(super) conflicts: u64,
    /// Milliseconds from computed to committed, of all of them.
    pub(super) waited_ms: u64,
}

/// The stores that a job uses.
#[derive(Clone)]
pub(super) struct Stores {
    jobs: Store,
    sums: Store,
}

fn columns() -> Result<Vec<Column>> {
    Ok(vec![
        Column::new("rows", Operator::Count, Kind::Any)?,
        Column::new("sum", Operator::Sum, Kind::Int)?,
    ])
}

fn operand() -> Result<Operand> {
    let mut states = States::new(&columns()?);
    states[0].add_rows(1);
    states[1].add_i64(1);
    states.to_operand()
}

fn key(kind: &str, number: u64) -> Result<Key> {
    Key::from_datums(&[Datum::from(kind), Datum::from(number)])
}

impl Stores {
    pub(super) async fn create(db: &Db) -> Result<Stores> {
        let raw = StoreSchema {
            encoding: Encoding::Raw,
            ..StoreSchema::default()
        };
        let merged = StoreSchema {
            columns: columns()?,
            ..StoreSchema::default()
        };
        Ok(Stores {
            jobs: db.create_store("jobs", raw).await?,
            sums: db.create_store("sums", merged).await?,
        })
    }
}

/// A shard that waits to be committed.
struct Computed {
    shard: u64,
    at_ms: u64,
}

/// The workers of one process.
pub(super) struct Crew {
    db: Db,
    stores: Stores,
    swarm: Swarm,
    kernel: Arc<Kernel>,
    counts: Arc<Mutex<Counts>>,
    /// Leased, and not begun.
    ready: Mutex<VecDeque<u64>>,
    waiting: AtomicU64,
    looking: futures::lock::Mutex<Looking>,
    computed: Mutex<Vec<Computed>>,
    is_computed: Notify,
}

/// Where a process is in a job, in an order of its own.
struct Looking {
    random: Random,
    block: Vec<u64>,
    looked_ms: Option<u64>,
}

impl Crew {
    pub(super) fn new(
        db: Db,
        stores: Stores,
        swarm: Swarm,
        kernel: Arc<Kernel>,
        counts: Arc<Mutex<Counts>>,
        seed: u64,
    ) -> Crew {
        let looking = Looking {
            random: Random::new(seed, 0),
            block: Vec::new(),
            looked_ms: None,
        };
        Crew {
            db,
            stores,
            swarm,
            kernel,
            counts,
            ready: Mutex::default(),
            waiting: AtomicU64::new(0),
            looking: futures::lock::Mutex::new(looking),
            computed: Mutex::default(),
            is_computed: Notify::new(),
        }
    }

    /// One worker, for ever.
    ///
    /// # Errors
    /// What the engine refuses.
    pub(super) async fn work(&self, mut random: Random) -> Result<()> {
        loop {
            let shard = self.next().await?;
            let ms = self.swarm.shard_ms;
            sleep(&self.kernel, random.between(ms / 2, ms + ms / 2)).await;
            let at_ms = self.kernel.now_ms();
            self.computed.lock().push(Computed { shard, at_ms });
            self.is_computed.notify_one();
        }
    }

    /// Commits what workers have computed, for ever: all that there is at a time.
    ///
    /// # Errors
    /// What the engine refuses.
    pub(super) async fn settle(&self) -> Result<()> {
        loop {
            self.is_computed.notified().await;
            let computed = std::mem::take(&mut *self.computed.lock());
            self.commit(&computed).await?;
        }
    }

    async fn next(&self) -> Result<u64> {
        loop {
            if let Some(shard) = self.ready.lock().pop_front() {
                return Ok(shard);
            }
            self.waiting.fetch_add(1, Ordering::Relaxed);
            let mut looking = self.looking.lock().await;
            if self.ready.lock().is_empty() {
                let count = self.waiting.load(Ordering::Relaxed);
                self.look(&mut looking, count).await?;
            }
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Leases so many shards that nobody has done.
    async fn look(&self, looking: &mut Looking, count: u64) -> Result<()> {
        let now = self.kernel.now_ms();
        if looking
            .looked_ms
            .is_none_or(|at| at + LOOKS_APART_MS <= now)
        {
            looking.looked_ms = Some(now);
            self.db.catch_up().await?;
        }
        let snapshot = self.db.snapshot();
        let mut open = Vec::new();
        while (open.len() as u64) < count {
            if looking.block.is_empty() {
                let first = looking.random.below(self.blocks()) * BLOCK;
                looking.block.extend((first..first + BLOCK).rev());
            }
            let Some(shard) = looking.block.pop() else {
                continue;
            };
            if snapshot
                .get(&self.stores.jobs, &key("shard", shard)?)
                .await?
                .is_none()
            {
                open.push(shard);
            }
        }
        let lease = async |shard: &u64| self.db.lease(&format!("job/1/0/{shard}"), LEASE_MS).await;
        let taken = join_all(open.iter().map(lease)).await;
        let ours = open.into_iter().zip(taken).filter(|(_, taken)| *taken);
        self.ready.lock().extend(ours.map(|(shard, _)| shard));
        Ok(())
    }

    fn blocks(&self) -> u64 {
        let Swarm {
            workers,
            shard_ms,
            seconds,
            ..
        } = self.swarm;
        (workers * (seconds + 30) * 1_000 / shard_ms.max(1) * JOB_TIMES)
            .div_ceil(BLOCK)
            .max(1)
    }

    async fn commit(&self, computed: &[Computed]) -> Result<()> {
        let mut conflicts = 0;
        let done = loop {
            let mut tx = self.db.begin();
            let done = self.mark(&mut tx, computed).await?;
            match tx.commit().await {
                Ok(_) => break done,
                Err(error) if error.action() == Action::Retry => conflicts += 1,
                Err(error) => return Err(error),
            }
        };
        let now_ms = self.kernel.now_ms();
        let mut counts = self.counts.lock();
        counts.shards += done;
        counts.wasted += computed.len() as u64 - done;
        counts.conflicts += conflicts;
        counts.waited_ms += computed.iter().map(|one| now_ms - one.at_ms).sum::<u64>();
        Ok(())
    }

    /// Adds the results and marks of what has not been done; how many that are.
    async fn mark(&self, tx: &mut Transaction, computed: &[Computed]) -> Result<u64> {
        let Stores { jobs, sums } = &self.stores;
        tx.get(jobs, &key("job", 1)?).await?;
        let mut done = 0;
        for Computed { shard, .. } in computed {
            let mark = key("shard", *shard)?;
            if tx.get(jobs, &mark).await?.is_some() {
                continue;
            }
            tx.put(jobs, &mark, MARK)?;
            tx.merge(sums, &key("group", shard % GROUPS)?, &operand()?)?;
            done += 1;
        }
        tx.merge(sums, &key("tally", 1)?, &operand()?)?;
        Ok(done)
    }
}
