//! One name, two histories: a volume is cloned below its database and both go on, or is set back to an earlier
//! state, while a bus remembers what was said before (S14).
//!
//! Every transaction puts a mark of its own. A history may hold no mark but those that were tried on its side, or on
//! the side that it was cloned from before that; it must hold every mark that was acknowledged, and every one that
//! anybody was shown, on its side since it began.

use std::collections::BTreeSet;
use std::sync::Arc;

use eciton_engine::base::entropy::SeededEntropy;
use eciton_engine::base::{Bounds, Datum, Error, Key, Result};
use eciton_engine::coord::SharedCoordinator;
use eciton_engine::db::{
    Db, Encoding, Environment, Mode, Options, ScanRange, Snapshot, Store, StoreSchema,
};
use eciton_engine::storage::{MemoryStorage, Storage};
use parking_lot::Mutex;

use crate::clock::sleep;
use crate::context::Shared;
use crate::executor::ProcessId;
use crate::fault::{FaultKind, Rates};
use crate::outcome::Run;
use crate::random::Random;
use crate::violation::Violation;
use crate::world::{Setup, World};

const PROCESSES_MAX: u64 = 6;
/// Steps that the end of a run takes at the most, when nothing goes wrong any more.
const END_STEPS_MAX: u64 = 400_000;

/// Its world: of the faults, those that a bus and processes have. What storage does wrong is for other scenarios.
pub fn setup(run: &Run) -> Setup {
    let mut random = Random::new(run.settings(), 7);
    let drawn = Rates::draw(&mut random);
    let mut rates = Rates::none();
    rates.gap_percent = drawn.gap_percent;
    rates.skew_ms_max = drawn.skew_ms_max;
    for kind in [
        FaultKind::Kill,
        FaultKind::Pause,
        FaultKind::BusFlushed,
        FaultKind::BusRolledBack,
        FaultKind::BusUnreachable,
        FaultKind::Slow,
        FaultKind::BusLost,
        FaultKind::BusDuplicated,
        FaultKind::BusDelayed,
        FaultKind::BusReordered,
        FaultKind::BusCorrupted,
        FaultKind::ClaimForgotten,
        FaultKind::ClaimTwice,
    ] {
        // What is lost all the time shows nothing about what arrives.
        rates.set(kind, drawn.get(kind) / 4);
    }
    Setup {
        seed: run.seed,
        settings: run.settings(),
        processes: u16::try_from(random.between(2, PROCESSES_MAX)).unwrap_or(2),
        bystanders: 1,
        rates,
        suppressed: run.suppressed.clone(),
        trace: run.trace,
        paths: 1,
    }
}

/// What is known of the history of one side.
#[derive(Clone, Default)]
struct Marks {
    /// Those that may be there.
    tried: BTreeSet<u64>,
    /// Those that must be there.
    certain: BTreeSet<u64>,
}

/// One side: a disk and what must be on it.
#[derive(Clone)]
struct Side {
    shared: Arc<Shared>,
    disk: usize,
    marks: Arc<Mutex<Marks>>,
    options: Options,
}

/// A state of a volume, and what was known of it then.
struct Image {
    memory: MemoryStorage,
    marks: Marks,
}

impl Side {
    fn image(&self, world: &World, seed: u64) -> Image {
        Image {
            memory: world
                .disk(self.disk)
                .memory
                .power_loss(&SeededEntropy::new(seed)),
            marks: self.marks.lock().clone(),
        }
    }

    /// Holds what somebody was shown against what may and must be there. What was certain before must be there;
    /// what is shown is certain from now on.
    fn check(&self, who: ProcessId, shown: &BTreeSet<u64>, certain: &BTreeSet<u64>) {
        let mut marks = self.marks.lock();
        let foreign: Vec<_> = shown.difference(&marks.tried).take(5).collect();
        let lost: Vec<_> = certain.difference(shown).take(5).collect();
        if !foreign.is_empty() {
            let details = format!("{who} at disk{} is shown {foreign:?}", self.disk);
            self.shared.violate("another history shows", details);
        }
        if !lost.is_empty() {
            let details = format!("{who} at disk{} misses {lost:?}", self.disk);
            self.shared.violate("what was certain is lost", details);
        }
        marks.certain.extend(shown);
    }
}

/// Runs it.
///
/// # Errors
/// The first violation.
pub fn run(world: &mut World) -> std::result::Result<(), Violation> {
    let mut settings = world.workload_settings();
    let mut sides = vec![Side {
        shared: Arc::clone(world.shared()),
        disk: 0,
        marks: Arc::default(),
        options: Options {
            mode: Mode::Clustered,
            bounds: Bounds {
                window_slots_max: settings.pick(&[12, 80]),
                fold_slots_max: settings.pick(&[8, 24, 200]),
                ..Bounds::default()
            },
            cache_len_max: 100_000,
            ..Options::default()
        },
    }];
    let steps = settings.pick(&[2_000, 4_000]);
    let taken_at = settings.between(200, steps / 2);
    let used_at = taken_at + settings.pick(&[0, 50, 300, 1_000]);
    let is_clone = settings.percent(60);
    let mut random = world.after_settings(settings);
    let mut image = None;
    while world.steps() < steps {
        let step = world.steps();
        if step >= taken_at && image.is_none() {
            image = Some(sides[0].image(world, random.next_u64()));
            world
                .shared()
                .log(None, format_args!("an image of disk0 is taken"));
        }
        if step >= used_at
            && sides.len() == 1
            && let Some(taken) = image.as_mut().filter(|taken| !taken.marks.tried.is_empty())
        {
            let memory = taken.memory.restart();
            if is_clone {
                let side = Side {
                    disk: world.mount(memory),
                    marks: Arc::new(Mutex::new(taken.marks.clone())),
                    ..sides[0].clone()
                };
                sides.push(side);
            } else {
                (0..world.mortals()).for_each(|process| world.kill(ProcessId(process)));
                let side = Side {
                    disk: world.mount(memory),
                    marks: Arc::new(Mutex::new(taken.marks.clone())),
                    ..sides[0].clone()
                };
                sides = vec![side];
                taken.marks = Marks::default();
            }
        }
        for process in (0..world.mortals()).map(ProcessId) {
            if !world.is_alive(process) {
                // On both sides from the moment on from which there are two.
                let side = sides[random.index(sides.len())].clone();
                let environment = environment(world, process);
                let storage = world.storage_on(side.disk, process);
                let random = Random::new(random.next_u64(), 0);
                world.spawn(process, live(side, process, storage, environment, random));
            }
        }
        world.step();
        world.check()?;
    }
    world.calm();
    for process in (0..world.mortals()).map(ProcessId) {
        // Whoever lives gets to its end.
        world.finish(process, END_STEPS_MAX)?;
        world.kill(process);
    }
    let last = ProcessId(world.mortals());
    for side in sides {
        let environment = environment(world, last);
        let storage = world.storage_on(side.disk, last);
        world.spawn(last, look_last(side, last, storage, environment));
        world.finish(last, END_STEPS_MAX)?;
    }
    world.check()
}

fn environment(world: &mut World, process: ProcessId) -> Environment {
    let (clock, entropy) = (world.clock(process), world.entropy());
    let coordinator =
        SharedCoordinator::new(world.bus(process), Arc::clone(&clock), Arc::clone(&entropy));
    Environment {
        clock,
        entropy,
        spawner: world.spawner(process),
        coordinator: Arc::new(coordinator),
        witness: None,
    }
}

/// Lives once.
async fn live(
    side: Side,
    process: ProcessId,
    storage: Arc<dyn Storage>,
    environment: Environment,
    random: Random,
) {
    let shared = Arc::clone(&side.shared);
    if let Err(error) = try_live(&side, process, storage, environment, random).await {
        shared.log(Some(process), format_args!("ends: {error}"));
        if matches!(error, Error::Corrupt { .. } | Error::FormatTooNew { .. }) {
            shared.violate("damage that nobody did", format!("{process}: {error}"));
        }
    }
    sleep(&shared.kernel, 10).await;
}

async fn try_live(
    side: &Side,
    process: ProcessId,
    storage: Arc<dyn Storage>,
    environment: Environment,
    mut random: Random,
) -> Result<()> {
    let db = Db::open_storage(storage, side.options.clone(), environment).await?;
    let store = store(&db).await?;
    for _ in 0..random.between(3, 40) {
        match random.below(10) {
            0 => drop(db.fold().await?),
            1 | 2 => look(side, process, &db, &store).await?,
            _ => put(side, &db, &store, &mut random).await?,
        }
        if random.percent(30) {
            sleep(&side.shared.kernel, random.below(40)).await;
        }
    }
    match random.percent(50) {
        true => db.close().await,
        false => Ok(()),
    }
}

async fn store(db: &Db) -> Result<Store> {
    let raw = StoreSchema {
        encoding: Encoding::Raw,
        ..StoreSchema::default()
    };
    db.create_store("marks", raw).await
}

fn key(mark: u64) -> Result<Key> {
    Key::from_datums(&[Datum::from(mark)])
}

/// Puts a mark, and reads one that others write all the time.
async fn put(side: &Side, db: &Db, store: &Store, random: &mut Random) -> Result<()> {
    // Large enough that none is drawn twice.
    let mark = random.next_u64() >> 1;
    let mut transaction = db.begin();
    let hot = key(random.below(3))?;
    transaction.get(store, &hot).await?;
    transaction.put(store, &hot, mark.to_le_bytes().to_vec())?;
    transaction.put(store, &key(mark)?, Vec::new())?;
    side.marks.lock().tried.insert(mark);
    match transaction.commit().await {
        Ok(_) => drop(side.marks.lock().certain.insert(mark)),
        Err(
            Error::Conflict { .. }
            | Error::TooOld { .. }
            | Error::Cancelled { .. }
            | Error::CommitUnknown { .. },
        ) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

async fn look(side: &Side, process: ProcessId, db: &Db, store: &Store) -> Result<()> {
    // A snapshot shows at least what this process knew; only a refreshed one shows what anybody was told.
    let certain = side.marks.lock().certain.clone();
    db.refresh().await?;
    let shown = marks(&db.snapshot(), store).await?;
    side.check(process, &shown, &certain);
    Ok(())
}

async fn marks(snapshot: &Snapshot, store: &Store) -> Result<BTreeSet<u64>> {
    let mut scan = snapshot.scan(store, &ScanRange::all());
    let mut marks = BTreeSet::new();
    while let Some(record) = scan.next().await? {
        if let [Datum::Int(mark)] = record.key.datums()?[..]
            && let Some(mark) = u64::try_from(mark).ok().filter(|mark| *mark >= 3)
        {
            marks.insert(mark);
        }
    }
    Ok(marks)
}

/// The last process: opens beside a bus that remembers everything, and writes once more.
async fn look_last(
    side: Side,
    process: ProcessId,
    storage: Arc<dyn Storage>,
    environment: Environment,
) {
    let opened = async {
        let db = Db::open_storage(storage, side.options.clone(), environment).await?;
        let store = store(&db).await?;
        let certain = side.marks.lock().certain.clone();
        let shown = marks(&db.snapshot(), &store).await?;
        side.check(process, &shown, &certain);
        put(&side, &db, &store, &mut Random::new(side.disk as u64, 3)).await?;
        look(&side, process, &db, &store).await?;
        db.close().await
    };
    if let Err(error) = opened.await {
        side.shared.violate("the database cannot be opened", error);
    }
}
