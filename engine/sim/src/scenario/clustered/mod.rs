//! Many processes write to one database, over shared storage and a bus.
//!
//! Three judges look on. The white-box one (`truth`) sees every slot before anybody can read it. The
//! black-box one sees only what clients were told ([`crate::history`]). And in the end a fresh process must
//! find the whole history, and `verify` no damage; copies that were taken meanwhile must hold a prefix of it.

mod client;
mod copies;
mod life;
mod stores;
mod truth;

use std::sync::Arc;

use eciton_engine::base::{Bounds, Error};
use eciton_engine::db::{mirrored, verify};
use eciton_engine::storage::Access;
use parking_lot::Mutex;

use self::life::{Scene, Seat, live, take_seat};
use self::stores::Stores;
use self::truth::Truth;
use crate::executor::ProcessId;
use crate::fault::{FaultKind, Rates};
use crate::history::{self, Recorder};
use crate::outcome::Run;
use crate::random::Random;
use crate::scenario::is_contended;
use crate::violation::Violation;
use crate::world::{Happened, Setup, World};

/// Whether seeds choose this scenario.
pub const IS_READY: bool = true;

/// Processes at the most.
const PROCESSES_MAX: u64 = 16;
/// Of a hundred seeds so many have a medium that rots.
const ROT_PERCENT: u64 = 4;
/// Of a hundred seeds so many are looked at by the second black-box checker too, which is slower.
const ADYA_PERCENT: u64 = 10;
/// Of a hundred seeds so many are about little but folding and collecting.
const HOT_PERCENT: u64 = 20;
/// In so many of a hundred seeds processes live on until they end by themselves, which takes twice the steps of all that
/// comes before.
const LIVES_ON_PERCENT: u64 = 10;
/// Of a hundred seeds on two storage paths so many have paths that are away often.
const OUTAGE_PERCENT: u64 = 60;
/// Copies of the database at the most.
const COPIES_MAX: usize = 2;
/// Steps that the end of a run takes at the most, when nothing goes wrong any more.
const END_STEPS_MAX: u64 = 2_000_000;

/// Where the database lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In one place.
    Plain,
    /// On two storage paths, disks 0 and 1.
    Mirrored,
}

/// Its world on two storage paths: either may be away, for one process or for all, for long.
pub fn setup_mirrored(run: &Run) -> Setup {
    let mut setup = setup(run);
    let mut random = Random::new(run.settings(), 27);
    // What rots is found by reading, and mended from the other path: that is not this scenario's.
    setup.rates.without(&[FaultKind::BitFlip]);
    if random.percent(OUTAGE_PERCENT) {
        setup
            .rates
            .set(FaultKind::Outage, random.pick(&[500, 2_000, 6_000]));
    }
    setup.paths = 2;
    setup
}

/// Its world.
pub fn setup(run: &Run) -> Setup {
    let mut random = Random::new(run.settings(), 7);
    let mut rates = Rates::draw(&mut random);
    if random.percent(ROT_PERCENT) {
        rates.set(FaultKind::BitFlip, 1_000);
    }
    if is_hot(run.settings()) {
        heat(&mut rates, &mut random);
    }
    let processes = match random.below(10) {
        0..=6 => random.between(2, 4),
        7..=8 => random.between(4, 8),
        _ => random.between(8, PROCESSES_MAX),
    };
    Setup {
        seed: run.seed,
        settings: run.settings(),
        processes: u16::try_from(processes).unwrap_or(2),
        bystanders: 2,
        rates,
        suppressed: run.suppressed.clone(),
        trace: run.trace,
        paths: 1,
    }
}

/// Whether a seed is about folding and collecting on a storage that restarts all the time.
fn is_hot(seed: u64) -> bool {
    Random::new(seed, 11).percent(HOT_PERCENT)
}

fn heat(rates: &mut Rates, random: &mut Random) {
    rates.survive_power_loss = true;
    rates.set(FaultKind::PowerLoss, random.pick(&[5_000, 15_000, 30_000]));
    rates.set(FaultKind::Kill, random.pick(&[0, 4_000, 12_000]));
    rates.set(FaultKind::SyncFails, random.pick(&[0, 10_000, 50_000]));
    rates.set(FaultKind::Pause, random.pick(&[5_000, 20_000, 40_000]));
    rates.without(&[FaultKind::StaleLookup, FaultKind::Outage]);
}

fn bounds(random: &mut Random) -> Bounds {
    let len = |random: &mut Random, choices: &[u64]| {
        usize::try_from(random.pick(choices)).unwrap_or(1_000)
    };
    Bounds {
        window_slots_max: random.pick(&[5, 12, 24, 80]),
        window_len_max: len(random, &[0, 3_000, 1_000_000]),
        bulk_len_min: 1_000,
        spill_len_min: len(random, &[500, 4_000]),
        fold_slots_max: random.pick(&[3, 8, 24]),
        manifests_min: len(random, &[1, 2]),
    }
}

/// Runs it.
///
/// # Errors
/// The first violation.
pub fn run(world: &mut World, form: Form) -> Result<(), Violation> {
    let mut settings = world.workload_settings();
    let truth = Arc::new(Truth::new(
        Arc::clone(world.shared()),
        (0..world.paths())
            .map(|path| Arc::clone(world.disk(path)))
            .collect(),
    ));
    let is_stale = world.shared().plan().rates().get(FaultKind::StaleLookup) > 0;
    let scene = Scene {
        shared: Arc::clone(world.shared()),
        form,
        truth,
        recorder: Arc::new(Mutex::new(Recorder::new())),
        bounds: bounds(&mut settings),
        fold_len_min: usize::try_from(settings.between(2_000, 40_000)).unwrap_or(2_000),
        is_stale,
        is_hot: is_hot(world.settings()),
        is_contended: is_contended(world.settings()),
    };
    let steps = settings.pick(&[1_500, 3_000, 6_000]);
    let mut random = world.after_settings(settings);
    let mortals: Vec<ProcessId> = (0..world.mortals()).map(ProcessId).collect();
    let copier = ProcessId(world.mortals());
    let mut copies = Vec::new();
    while world.steps() < steps {
        for process in &mortals {
            if !world.is_alive(*process) {
                let seat = take_seat(world, &scene, *process, 0, &mut random);
                world.spawn(*process, live(scene.clone(), seat));
            }
        }
        if form == Form::Plain
            && copies.len() < COPIES_MAX
            && !world.is_alive(copier)
            && random.below(steps) == 0
        {
            copies.push(world.copy(0, copier));
        }
        if world.step() == Happened::Fault(FaultKind::BitFlip) {
            scene.truth.rot();
        }
        world.check()?;
    }
    end(world, &scene, &mut random, &mortals, &copies)
}

/// Nothing goes wrong any more: all that was promised must be there.
fn end(
    world: &mut World,
    scene: &Scene,
    random: &mut Random,
    mortals: &[ProcessId],
    copies: &[usize],
) -> Result<(), Violation> {
    world.calm();
    let copier = ProcessId(world.mortals());
    world.finish(copier, END_STEPS_MAX)?;
    for process in mortals {
        // Whoever lives gets to its end: a process that waits for ever would not.
        if Random::new(world.seed(), 13).percent(LIVES_ON_PERCENT) {
            world.finish(*process, END_STEPS_MAX)?;
        }
        world.kill(*process);
    }
    if random.percent(50) {
        for path in 0..world.paths() {
            world.lose_power(path, random.next_u64());
        }
    }
    if !scene.truth.is_rotten() {
        let seat = take_seat(world, scene, copier, 0, random);
        world.spawn(copier, last(scene.clone(), seat));
        world.finish(copier, END_STEPS_MAX)?;
        scene.truth.settle();
        world.check()?;
        for disk in copies {
            let seats = [0, 1].map(|_| take_seat(world, scene, copier, *disk, random));
            world.spawn(copier, copies::open(scene.clone(), seats));
            world.finish(copier, END_STEPS_MAX)?;
        }
    }
    black_box(world, scene, random);
    world.check()
}

/// What clients were told has an order that explains it.
fn black_box(world: &World, scene: &Scene, random: &mut Random) {
    let recorder = std::mem::take(&mut *scene.recorder.lock());
    let history = recorder.into_history();
    if let Err(anomalies) = history::check(&history) {
        let first = anomalies
            .first()
            .map(ToString::to_string)
            .unwrap_or_default();
        world.shared().violate("not strictly serializable", first);
    } else if random.percent(ADYA_PERCENT)
        && let Err(findings) = history::check_with_adya(&history)
    {
        let first = findings
            .first()
            .map(ToString::to_string)
            .unwrap_or_default();
        world.shared().violate("not serializable, says adya", first);
    }
}

/// The last process: the whole history is there, and nothing is damaged.
async fn last(scene: Scene, seat: Seat) {
    if let Err(error) = try_last(&scene, seat).await {
        scene.shared.violate("the database cannot be opened", error);
    }
}

async fn try_last(scene: &Scene, seat: Seat) -> Result<(), Error> {
    let (paths, environment) = (seat.paths.clone(), seat.environment.clone());
    let shown = scene.truth.shown();
    let db = seat.open(scene).await?;
    db.refresh().await?;
    let snapshot = db.snapshot();
    let at = snapshot.position().0;
    if at < shown {
        let details = format!("{at}, and slot {shown} was shown");
        scene.shared.violate("the log has become shorter", details);
    }
    if let Some(stores) = Stores::find(&db).await? {
        let seen = stores.contents(&snapshot).await?;
        scene.truth.compare("the last process", at, &seen);
    }
    let storage = match scene.form {
        Form::Plain => Arc::clone(&paths[0]),
        Form::Mirrored => mirrored(&paths, Access::ReadWrite, &environment).await?,
    };
    let report = verify(storage, &|_| {}).await?;
    if !report.broken.is_empty() {
        let details = format!("{:?}", report.broken);
        scene.shared.violate("verify finds damage", details);
    }
    db.fold().await?;
    db.collect().await?;
    if let Some(stores) = Stores::find(&db).await? {
        let snapshot = db.snapshot();
        let seen = stores.contents(&snapshot).await?;
        scene
            .truth
            .compare("after the last fold", snapshot.position().0, &seen);
    }
    db.close().await
}
