//! How a swarm grows where nothing but waiting costs: thousands of workers at one database in a bucket.
//!
//! The engine is the production code, its storage and bus are models ([`bucket`], [`bus`]) of what takes time out there: an object
//! store's latency and its limits, a Redis's round trip. Processors are taken to be infinitely fast ([`Pace::Nothing`]), so
//! what shows is what the protocol waits for, how often it asks storage, and where that ends. What the
//! model leaves out is told beside: the processor time that the whole simulation took, by process and virtual second.
//!
//! The workers (`crew`) lease, read and commit as those of a job do, and compute by sleeping.

pub mod bucket;
pub mod bus;
mod crew;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use eciton_engine::base::entropy::SeededEntropy;
use eciton_engine::base::{Error, Result};
use eciton_engine::coord::{Board, SharedCoordinator};
use eciton_engine::db::{Db, Environment, Mode, Options};
use parking_lot::Mutex;

use self::bucket::{Bucket, Latencies};
use self::bus::LateBus;
use self::crew::{Counts, Crew, Stores};
use crate::clock::{SimClock, sleep};
use crate::executor::{Executor, Pace, ProcessId, Step};
use crate::kernel::Kernel;
use crate::random::Random;
use crate::spawner::SimSpawner;

/// Milliseconds before measuring begins: leases, first reads and averages settle.
const WARM_UP_MS: u64 = 5_000;
/// Milliseconds that opening and creating may take.
const OPEN_MS_MAX: u64 = 120_000;
/// Milliseconds over which processes begin, so that they do not go in step.
const BEGIN_WITHIN_MS: u64 = 1_000;
/// Bytes of each process's page cache: what thousands of processes leave of one machine's memory.
const CACHE_LEN: usize = 1024 * 1024;

/// A swarm.
#[derive(Clone, Copy, Debug)]
pub struct Swarm {
    /// Decides everything.
    pub seed: u64,
    /// Workers in all.
    pub workers: u64,
    /// Workers of one process, at most.
    pub slots: u64,
    /// Milliseconds that a shard takes on the average: from half to one and a half of it, evenly.
    pub shard_ms: u64,
    /// Virtual seconds that are measured.
    pub seconds: u64,
    /// What storage takes.
    pub latencies: Latencies,
    /// Milliseconds of a call to the bus and back.
    pub bus_ms: u64,
}

impl Swarm {
    /// Processes that the workers are in.
    pub fn processes(&self) -> u64 {
        self.workers.div_ceil(self.slots.max(1))
    }
}

impl Default for Swarm {
    /// A thousand workers, eight a process, at shards of a second, over S3 and a Redis nearby.
    fn default() -> Swarm {
        Swarm {
            seed: 1,
            workers: 1_000,
            slots: 8,
            shard_ms: 1_000,
            seconds: 20,
            latencies: Latencies::S3,
            bus_ms: 1,
        }
    }
}

/// How it went, a virtual second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Went {
    /// Shards whose results and marks were committed.
    pub shards: f64,
    /// Shards that were computed and then found to be done.
    pub wasted: f64,
    /// Slots of the log.
    pub slots: f64,
    /// Commits that lost and were tried again.
    pub conflicts: f64,
    /// Objects that were read, looked for or listed.
    pub reads: f64,
    /// Objects that were written or removed.
    pub writes: f64,
    /// Of the time, the share in which storage had more to read than it takes, and more to write.
    pub saturated: f64,
    /// Calls to the bus.
    pub calls: f64,
    /// Bytes to and from the bus.
    pub bus_len: f64,
    /// Milliseconds from a shard's being computed to its being committed, the mean.
    pub commit_ms: f64,
}

/// Runs a swarm. Gives how it went, and how many virtual seconds it took altogether.
///
/// # Errors
/// What the engine refuses; a swarm that does nothing any more.
pub fn run(swarm: &Swarm) -> Result<(Went, f64)> {
    let processes = usize::try_from(swarm.processes()).unwrap_or(usize::MAX);
    let mut executor = Executor::new(processes, Pace::Nothing);
    let scene = Scene::new(swarm, &executor);
    let mut random = Random::new(swarm.seed, 1);
    for number in 0..processes {
        let seat = ProcessId(u16::try_from(number).map_err(|_| too_many(processes))?);
        let workers = swarm.slots.min(swarm.workers - number as u64 * swarm.slots);
        let live = scene.clone().live(
            seat,
            number == 0,
            workers,
            Random::new(swarm.seed, 2 + number as u64),
        );
        executor.spawn(seat, live);
    }
    let is_ready = |scene: &Scene| scene.ready.lock().len() == processes;
    go_on(&mut executor, &mut random, OPEN_MS_MAX, &scene, is_ready)?;
    let begun = executor.now_ms();
    go_on(
        &mut executor,
        &mut random,
        begun + WARM_UP_MS,
        &scene,
        |_| false,
    )?;
    let before = scene.seen();
    let end = executor.now_ms() + swarm.seconds * 1_000;
    go_on(&mut executor, &mut random, end, &scene, |_| false)?;
    let seen = scene.seen();
    #[allow(clippy::cast_precision_loss, reason = "some seconds")]
    let seconds = seen.at_ms as f64 / 1e3;
    Ok((seen.since(&before), seconds))
}

fn too_many(processes: usize) -> Error {
    Error::Invalid(format!("{processes} processes are too many"))
}

/// Steps until a moment, or until something holds.
fn go_on(
    executor: &mut Executor,
    random: &mut Random,
    until_ms: u64,
    scene: &Scene,
    is_enough: impl Fn(&Scene) -> bool,
) -> Result<()> {
    while executor.now_ms() < until_ms && !is_enough(scene) {
        if executor.step(random) == Step::Idle {
            return Err(Error::Invalid("nobody does anything any more".to_owned()));
        }
        if let Some(error) = scene.failure.lock().take() {
            return Err(error);
        }
    }
    Ok(())
}

/// What all processes have in common.
#[derive(Clone)]
struct Scene {
    kernel: Arc<Kernel>,
    swarm: Swarm,
    bucket: Arc<Bucket>,
    board: Arc<Board>,
    bus: Arc<Mutex<bus::Meter>>,
    counts: Arc<Mutex<Counts>>,
    /// The stores are there.
    is_made: Arc<AtomicBool>,
    ready: Arc<Mutex<Vec<Db>>>,
    failure: Arc<Mutex<Option<Error>>>,
}

impl Scene {
    fn new(swarm: &Swarm, executor: &Executor) -> Scene {
        let kernel = Arc::clone(executor.kernel());
        let clock = Arc::new(SimClock::new(Arc::clone(&kernel), 0));
        let bucket = Bucket::new(
            Arc::clone(&kernel),
            swarm.latencies,
            Random::new(swarm.seed, 0),
        );
        Scene {
            kernel,
            swarm: *swarm,
            bucket: Arc::new(bucket),
            board: Arc::new(Board::new(clock)),
            bus: Arc::default(),
            counts: Arc::default(),
            is_made: Arc::default(),
            ready: Arc::default(),
            failure: Arc::default(),
        }
    }

    async fn live(self, seat: ProcessId, is_first: bool, workers: u64, random: Random) {
        let failure = Arc::clone(&self.failure);
        if let Err(error) = self.try_live(seat, is_first, workers, random).await {
            failure.lock().get_or_insert(error);
        }
    }

    async fn try_live(
        self,
        seat: ProcessId,
        is_first: bool,
        workers: u64,
        mut random: Random,
    ) -> Result<()> {
        let kernel = &self.kernel;
        // Whoever comes first makes everything; the others come to what is there, as pods do.
        while !is_first && !self.is_made.load(Ordering::Relaxed) {
            sleep(kernel, 100).await;
        }
        if !is_first {
            sleep(kernel, random.below(BEGIN_WITHIN_MS)).await;
        }
        let clock = Arc::new(SimClock::new(Arc::clone(kernel), 0));
        let entropy = Arc::new(SeededEntropy::new(random.next_u64()));
        let bus = LateBus::new(
            Arc::clone(&self.board),
            Arc::clone(kernel),
            self.swarm.bus_ms,
            Arc::clone(&self.bus),
        );
        let environment = Environment {
            clock: clock.clone(),
            entropy: entropy.clone(),
            spawner: Arc::new(SimSpawner::new(Arc::clone(kernel), seat)),
            coordinator: Arc::new(SharedCoordinator::new(Arc::new(bus), clock, entropy)),
            witness: None,
        };
        let options = Options {
            mode: Mode::Clustered,
            cache_len_max: CACHE_LEN,
            ..Options::default()
        };
        let storage = Arc::clone(&self.bucket) as _;
        let db = Db::open_storage(storage, options, environment).await?;
        let stores = Stores::create(&db).await?;
        self.is_made.store(true, Ordering::Relaxed);
        self.ready.lock().push(db.clone());
        let crew = Crew::new(
            db,
            stores,
            self.swarm,
            Arc::clone(kernel),
            Arc::clone(&self.counts),
            random.next_u64(),
        );
        let crew = Arc::new(crew);
        let workers = (0..workers).map(|_| crew.work(Random::new(random.next_u64(), 0)));
        let work = futures::future::try_join_all(workers);
        futures::future::try_join(work, crew.settle()).await?;
        Ok(())
    }

    /// Everything that is counted, as it stands now.
    fn seen(&self) -> Seen {
        let slots = self
            .ready
            .lock()
            .iter()
            .map(|db| db.info().position.0)
            .max();
        Seen {
            at_ms: self.kernel.now_ms(),
            counts: *self.counts.lock(),
            bucket: self.bucket.meter(),
            bus: *self.bus.lock(),
            slots: slots.unwrap_or(0),
        }
    }
}

struct Seen {
    at_ms: u64,
    counts: Counts,
    bucket: bucket::Meter,
    bus: bus::Meter,
    slots: u64,
}

impl Seen {
    #[allow(clippy::cast_precision_loss, reason = "counts of one measurement")]
    fn since(&self, before: &Seen) -> Went {
        let seconds = (self.at_ms - before.at_ms) as f64 / 1e3;
        let rate = |of: fn(&Seen) -> u64| (of(self) - of(before)) as f64 / seconds;
        let computed = |seen: &Seen| seen.counts.shards + seen.counts.wasted;
        let computed = (computed(self) - computed(before)).max(1) as f64;
        Went {
            shards: rate(|seen| seen.counts.shards),
            wasted: rate(|seen| seen.counts.wasted),
            slots: rate(|seen| seen.slots),
            conflicts: rate(|seen| seen.counts.conflicts),
            reads: rate(|seen| seen.bucket.reads),
            writes: rate(|seen| seen.bucket.writes),
            saturated: rate(|seen| seen.bucket.saturated_ms) / 1e3,
            calls: rate(|seen| seen.bus.calls),
            bus_len: rate(|seen| seen.bus.len),
            commit_ms: (self.counts.waited_ms - before.counts.waited_ms) as f64 / computed,
        }
    }
}
