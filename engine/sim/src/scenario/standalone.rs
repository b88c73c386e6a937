//! One process at a time writes to a database in an append file; another reads it beside; copies are
//! taken, opened and written to.
//!
//! Whatever happens, every acknowledged transaction is there, every other one is there whole or not
//! at all, and what a transaction read is what was there at its place in the order.

use std::sync::Arc;

use eciton_engine::base::{Bounds, Error, Result};
use eciton_engine::coord::LocalCoordinator;
use eciton_engine::db::{Db, Environment, Options, verify};
use eciton_engine::storage::Storage;
use futures::channel::oneshot;
use parking_lot::Mutex;

use super::ledger::{Extent, Ledger};
use super::workload::{Stores, WRONG, change, contents, create, find, transact};
use super::{CONTENDERS, is_contended};
use crate::clock::{sleep, yield_now};
use crate::context::Shared;
use crate::executor::ProcessId;
use crate::fault::{FaultKind, Rates};
use crate::outcome::Run;
use crate::random::Random;
use crate::violation::Violation;
use crate::world::{Happened, Setup, World};

const WRITER: ProcessId = ProcessId(0);
const READER: ProcessId = ProcessId(1);
const COPIER: ProcessId = ProcessId(2);

/// Steps between one who reads beside and the next, on average.
const READ_STEPS: u64 = 300;
/// Of a hundred seeds so many have a medium that rots.
const ROT_PERCENT: u64 = 8;
/// Steps that the end of a run takes at the most, when nothing goes wrong any more.
const END_STEPS_MAX: u64 = 200_000;
/// Faults of a medium that many processes share over a network, and of the bus between them.
const CLUSTERED_ONLY: [FaultKind; 10] = [
    FaultKind::LostReply,
    FaultKind::FalseExists,
    FaultKind::HungCreate,
    FaultKind::ServerError,
    FaultKind::StaleLookup,
    FaultKind::StaleList,
    FaultKind::BusFlushed,
    FaultKind::BusRolledBack,
    FaultKind::BusUnreachable,
    // A local disk shows such a loss only to the next machine.
    FaultKind::SyncLoses,
];

/// Its world: a local disk.
pub fn setup(run: &Run) -> Setup {
    let mut random = Random::new(run.settings(), 7);
    let mut rates = Rates::draw(&mut random);
    rates.without(&CLUSTERED_ONLY);
    // The machine goes down with its disk.
    rates.survive_power_loss = false;
    if random.percent(ROT_PERCENT) {
        rates.set(FaultKind::BitFlip, 1_500);
    }
    Setup {
        seed: run.seed,
        settings: run.settings(),
        processes: 2,
        bystanders: 1,
        rates,
        suppressed: run.suppressed.clone(),
        trace: run.trace,
        paths: 1,
    }
}

/// What all processes of the scenario know.
#[derive(Clone)]
struct Scene {
    shared: Arc<Shared>,
    ledger: Arc<Ledger>,
    /// A bit has been flipped: errors are fine, wrong answers are not.
    is_rotten: Arc<Mutex<bool>>,
    options: Options,
    /// Many clients change the same few records, in turn.
    is_contended: bool,
}

impl Scene {
    /// A wrong answer is a violation, and so is damage that nobody did.
    fn judge(&self, who: &str, error: &Error) {
        let is_wrong = matches!(error, Error::Corrupt { object, .. } if object == WRONG);
        let is_damage = matches!(error, Error::Corrupt { .. } | Error::FormatTooNew { .. });
        let details = || format!("{who}: {error}");
        if is_wrong {
            self.shared.violate("a wrong answer", details());
        } else if is_damage && !*self.is_rotten.lock() {
            self.shared.violate("damage that nobody did", details());
        }
    }

    /// How much of the history must be there.
    fn extent(&self, extent: Extent) -> Extent {
        if *self.is_rotten.lock() {
            Extent::Prefix
        } else {
            extent
        }
    }
}

/// What a process has from the world.
struct Seat {
    storage: Arc<dyn Storage>,
    environment: Environment,
    random: Random,
}

fn seat(world: &mut World, process: ProcessId, disk: usize, random: &mut Random) -> Seat {
    Seat {
        storage: world.storage_on(disk, process),
        environment: Environment {
            clock: world.clock(process),
            entropy: world.entropy(),
            spawner: world.spawner(process),
            coordinator: Arc::new(LocalCoordinator::new()),
            witness: None,
        },
        random: Random::new(random.next_u64(), 0),
    }
}

/// Runs it.
///
/// # Errors
/// The first violation.
pub fn run(world: &mut World) -> Result<(), Violation> {
    let mut settings = world.workload_settings();
    let scene = Scene {
        shared: Arc::clone(world.shared()),
        ledger: Arc::new(Ledger::new(Arc::clone(world.shared()))),
        is_rotten: Arc::new(Mutex::new(false)),
        options: Options {
            fold_len_min: usize::try_from(settings.between(1_000, 20_000)).unwrap_or(1_000),
            cache_len_max: 100_000,
            bounds: Bounds {
                bulk_len_min: settings.pick(&[100, 300, 1_000_000]),
                ..Bounds::default()
            },
            ..Options::default()
        },
        is_contended: is_contended(world.settings()),
    };
    let steps = settings.pick(&[700, 1_200, 2_500]);
    let mut random = world.after_settings(settings);
    let mut copies = Vec::new();
    while world.steps() < steps {
        if !world.is_alive(WRITER) && !*scene.is_rotten.lock() {
            let seat = seat(world, WRITER, 0, &mut random);
            world.spawn(WRITER, write(scene.clone(), seat));
        }
        let is_due = *scene.is_rotten.lock() || random.below(READ_STEPS) == 0;
        if is_due && !world.is_alive(READER) {
            let seat = seat(world, READER, 0, &mut random);
            world.spawn(READER, look(scene.clone(), seat));
        }
        if !world.is_alive(COPIER) && copies.len() < 3 && random.below(steps / 2) == 0 {
            let number = world.copy(0, COPIER);
            copies.push(number);
        }
        if world.step() == Happened::Fault(FaultKind::BitFlip) {
            // Whoever writes on top of damage mends and spreads it; only readers are judged.
            *scene.is_rotten.lock() = true;
            world.kill(WRITER);
        }
        world.check()?;
    }
    end(world, &scene, &mut random, &copies)
}

/// Nothing goes wrong any more: all that was promised must be there.
fn end(
    world: &mut World,
    scene: &Scene,
    random: &mut Random,
    copies: &[usize],
) -> Result<(), Violation> {
    world.calm();
    world.finish(COPIER, END_STEPS_MAX)?;
    world.kill(READER);
    // Half of the seeds end like a process, half like a machine.
    if random.percent(50) {
        world.kill(WRITER);
        world.lose_power(0, random.next_u64());
    }
    world.finish(WRITER, END_STEPS_MAX)?;
    let seat_last = seat(world, WRITER, 0, random);
    world.spawn(WRITER, last(scene.clone(), seat_last));
    world.finish(WRITER, END_STEPS_MAX)?;
    for disk in copies {
        let own = (
            seat(world, READER, *disk, random),
            seat(world, READER, *disk, random),
        );
        let may_miss = world.disk(*disk).is_overtaken();
        world.spawn(READER, write_copy(scene.clone(), own.0, own.1, may_miss));
        world.finish(READER, END_STEPS_MAX)?;
    }
    world.check()
}

/// A process that writes: opens, looks, lets clients work, and ends or closes.
async fn write(scene: Scene, seat: Seat) {
    if let Err(error) = try_write(&scene, seat).await {
        scene
            .shared
            .log(Some(WRITER), format_args!("gives up: {error}"));
        scene.judge("the writer", &error);
    }
    // Whoever starts it again takes a moment.
    sleep(&scene.shared.kernel, 20).await;
}

async fn try_write(scene: &Scene, mut seat: Seat) -> Result<()> {
    let spawner = Arc::clone(&seat.environment.spawner);
    let db = Db::open_storage(seat.storage, scene.options.clone(), seat.environment).await?;
    let stores = create(&db).await?;
    let seen = contents(&db.snapshot(), &stores).await?;
    scene.ledger.check(&seen, scene.extent(Extent::Ended));
    let mut ends = Vec::new();
    let clients = seat.random.between(1, 4);
    let more = if scene.is_contended { CONTENDERS } else { 0 };
    for _ in 0..clients + more {
        let (end, ended) = oneshot::channel();
        let client = Client {
            scene: scene.clone(),
            db: db.clone(),
            stores: stores.clone(),
            random: Random::new(seat.random.next_u64(), 0),
        };
        spawner.spawn(Box::pin(async move {
            // Nobody listens any more once the process ends.
            drop(end.send(client.run().await));
        }));
        ends.push(ended);
    }
    let mut failure = None;
    for ended in ends {
        failure = failure.or(ended.await.ok().flatten());
    }
    match failure {
        Some(error) => Err(error),
        None if seat.random.percent(50) => db.close().await,
        None => Ok(()),
    }
}

struct Client {
    scene: Scene,
    db: Db,
    stores: Stores,
    random: Random,
}

impl Client {
    /// Works for a while; the error that ended it.
    async fn run(mut self) -> Option<Error> {
        for _ in 0..self.random.between(5, 40) {
            let done = match self.random.below(24) {
                0 | 1 => self.db.fold().await.map(drop),
                2 | 3 => self.look().await,
                4 => self.db.collect().await.map(drop),
                5 => self.db.compact().await.map(drop),
                _ => {
                    let Client {
                        db,
                        stores,
                        scene,
                        random,
                    } = &mut self;
                    if scene.is_contended && random.percent(80) {
                        change(db, stores, &scene.ledger, random).await
                    } else {
                        transact(db, stores, &scene.ledger, random).await
                    }
                }
            };
            if let Err(error) = done {
                self.scene.judge("a client", &error);
                return Some(error);
            }
            if self.random.percent(20) {
                sleep(&self.scene.shared.kernel, self.random.below(30)).await;
            }
        }
        None
    }

    /// A snapshot shows everything that was acknowledged before it was taken.
    async fn look(&self) -> Result<()> {
        let certain = self.scene.ledger.certain();
        let seen = contents(&self.db.snapshot(), &self.stores).await?;
        self.scene.ledger.check(&seen, Extent::Since(certain));
        Ok(())
    }
}

/// Reads beside whoever writes: what was acknowledged before must be there.
async fn look(scene: Scene, seat: Seat) {
    if let Err(error) = try_look(&scene, seat).await {
        scene
            .shared
            .log(Some(READER), format_args!("gives up: {error}"));
        scene.judge("the reader", &error);
    }
}

async fn try_look(scene: &Scene, seat: Seat) -> Result<()> {
    let certain = scene.ledger.certain();
    let db =
        Db::open_storage_read_only(seat.storage, scene.options.clone(), seat.environment).await?;
    if let Some(stores) = find(&db).await? {
        let seen = contents(&db.snapshot(), &stores).await?;
        scene
            .ledger
            .check(&seen, scene.extent(Extent::Since(certain)));
    }
    Ok(())
}

/// The last process: everything is there, nothing is damaged, and it stays so when it is opened again.
async fn last(scene: Scene, seat: Seat) {
    if let Err(error) = try_last(&scene, seat).await {
        scene.judge("the last process", &error);
        if !*scene.is_rotten.lock() {
            scene.shared.violate("the database cannot be opened", error);
        }
    }
}

async fn try_last(scene: &Scene, seat: Seat) -> Result<()> {
    let storage = Arc::clone(&seat.storage);
    if *scene.is_rotten.lock() {
        return try_look(scene, seat).await;
    }
    let options = || scene.options.clone();
    let environment = || seat.environment.clone();
    let db = Db::open_storage(Arc::clone(&storage), options(), environment()).await?;
    let stores = create(&db).await?;
    let seen = contents(&db.snapshot(), &stores).await?;
    scene.ledger.check(&seen, Extent::Ended);
    scene.ledger.check_reads(&seen);
    let report = verify(Arc::clone(&storage), &|_| {}).await?;
    if !report.broken.is_empty() {
        let details = format!("{:?}", report.broken);
        scene.shared.violate("verify finds damage", details);
    }
    db.close().await?;
    drop(stores);
    let again = reopen(&storage, &options(), &environment()).await?;
    let stores = create(&again).await?;
    if contents(&again.snapshot(), &stores).await? != seen {
        scene
            .shared
            .violate("opening again shows something else", "");
    }
    Ok(())
}

/// Opens again what this process has just closed: background work holds the lock until it ends.
async fn reopen(
    storage: &Arc<dyn Storage>,
    options: &Options,
    environment: &Environment,
) -> Result<Db> {
    loop {
        let storage = Arc::clone(storage);
        match Db::open_storage(storage, options.clone(), environment.clone()).await {
            Err(Error::Locked { .. }) => yield_now().await,
            opened => return opened,
        }
    }
}

/// A copy holds a prefix of the history, becomes a database of its own, and can be written to. One that
/// `may_miss` something, since collection overtook the copying, may be refused, saying what is missing.
async fn write_copy(scene: Scene, first: Seat, second: Seat, may_miss: bool) {
    match try_write_copy(&scene, first, second).await {
        // Copied before there was a database, or while its first file was on its way.
        Ok(()) | Err(Error::NotADatabase { .. }) => {}
        Err(Error::Corrupt { detail, .. }) if may_miss && says_what_is_missing(&detail) => {}
        Err(error) => {
            scene.judge("who writes to a copy", &error);
            if !*scene.is_rotten.lock() {
                scene.shared.violate("a copy cannot be opened", error);
            }
        }
    }
}

/// How a copy without something that it needs is refused: the thing by name, or its own floor.
fn says_what_is_missing(detail: &str) -> bool {
    detail.contains("missing") || detail.contains("overtaken by collection")
}

async fn try_write_copy(scene: &Scene, first: Seat, mut second: Seat) -> Result<()> {
    let options = || Options {
        create: false,
        ..scene.options.clone()
    };
    let db = Db::open_storage(first.storage, options(), first.environment).await?;
    if !db.info().copied {
        scene.shared.violate("a copy is taken for its original", "");
    }
    let stores = create(&db).await?;
    let seen = contents(&db.snapshot(), &stores).await?;
    scene.ledger.check(&seen, Extent::Prefix);
    // What is written to the copy is no part of the original's history.
    let own = Ledger::new(Arc::clone(&scene.shared));
    for _ in 0..=seen.lists.values().flatten().max().copied().unwrap_or(0) {
        own.begin();
    }
    for _ in 0..5 {
        transact(&db, &stores, &own, &mut second.random).await?;
    }
    let before = contents(&db.snapshot(), &stores).await?;
    db.close().await?;
    drop(stores);
    let again = reopen(&second.storage, &options(), &second.environment).await?;
    let stores = create(&again).await?;
    if again.info().copied || contents(&again.snapshot(), &stores).await? != before {
        scene
            .shared
            .violate("a copy lost what was written to it", "");
    }
    Ok(())
}
