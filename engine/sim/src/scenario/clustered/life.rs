//! The life of a process: opens the database among others, lets clients work, and ends or closes.

use std::sync::Arc;

use eciton_engine::base::{Bounds, Error, Result};
use eciton_engine::coord::SharedCoordinator;
use eciton_engine::db::{Db, Environment, Mode, Options, Reinstate, reinstate};
use eciton_engine::storage::Storage;
use futures::channel::oneshot;
use parking_lot::Mutex;

use super::Form;
use super::client::Client;
use super::stores::Stores;
use super::truth::{Eye, Truth};
use crate::clock::sleep;
use crate::context::Shared;
use crate::executor::ProcessId;
use crate::history::Recorder;
use crate::random::Random;
use crate::scenario::CONTENDERS;
use crate::world::World;

/// What all processes of the scenario know.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) shared: Arc<Shared>,
    pub(super) form: Form,
    pub(super) truth: Arc<Truth>,
    pub(super) recorder: Arc<Mutex<Recorder>>,
    pub(super) bounds: Bounds,
    pub(super) fold_len_min: usize,
    pub(super) is_stale: bool,
    pub(super) is_hot: bool,
    /// Many clients change the same few records, in turn.
    pub(super) is_contended: bool,
}

impl Scene {
    pub(super) fn options(&self) -> Options {
        Options {
            mode: Mode::Clustered,
            bounds: self.bounds,
            fold_len_min: self.fold_len_min,
            cache_len_max: 100_000,
            ..Options::default()
        }
    }

    /// Damage that nobody did is a violation.
    pub(super) fn judge(&self, who: ProcessId, error: &Error) {
        let is_damage = matches!(error, Error::Corrupt { .. } | Error::FormatTooNew { .. });
        if is_damage && !self.truth.is_rotten() && !self.is_stale {
            let details = format!("{who}: {error}");
            self.shared.violate("damage that nobody did", details);
        }
    }
}

/// What a process has from the world.
pub(super) struct Seat {
    pub(super) process: ProcessId,
    /// The storage of the database, or each of its paths.
    pub(super) paths: Vec<Arc<dyn Storage>>,
    pub(super) environment: Environment,
    pub(super) random: Random,
}

impl Seat {
    pub(super) async fn open(&self, scene: &Scene) -> Result<Db> {
        let (options, environment) = (scene.options(), self.environment.clone());
        match scene.form {
            Form::Plain => Db::open_storage(Arc::clone(&self.paths[0]), options, environment).await,
            Form::Mirrored => Db::open_mirrored(&self.paths, options, environment).await,
        }
    }
}

/// A process that begins at a disk; on disk 0 the truth watches it.
pub(super) fn take_seat(
    world: &mut World,
    scene: &Scene,
    process: ProcessId,
    disk: usize,
    random: &mut Random,
) -> Seat {
    let (clock, entropy) = (world.clock(process), world.entropy());
    let coordinator =
        SharedCoordinator::new(world.bus(process), Arc::clone(&clock), Arc::clone(&entropy));
    let eye = Eye {
        truth: Arc::clone(&scene.truth),
        process,
    };
    let disks = match scene.form {
        Form::Plain => disk..disk + 1,
        Form::Mirrored => 0..world.paths(),
    };
    let paths = disks.map(|disk| world.storage_on(disk, process) as Arc<dyn Storage>);
    let paths = paths.collect();
    Seat {
        process,
        paths,
        environment: Environment {
            clock,
            entropy,
            spawner: world.spawner(process),
            coordinator: Arc::new(coordinator),
            witness: (disk == 0).then(|| Arc::new(eye) as _),
        },
        random: Random::new(random.next_u64(), 0),
    }
}

/// Lives once.
pub(super) async fn live(scene: Scene, seat: Seat) {
    let process = seat.process;
    if let Err(error) = try_live(&scene, seat).await {
        scene
            .shared
            .log(Some(process), format_args!("ends: {error}"));
        scene.judge(process, &error);
    }
    // Whoever starts it again takes a moment.
    sleep(&scene.shared.kernel, 10).await;
}

/// Of a hundred lives on two storage paths so many try to bring a path back meanwhile, or before.
const REINSTATE_PERCENT: u64 = 60;
/// How often such a process tries.
const REINSTATE_TRIES_MAX: u64 = 12;

/// Brings a storage path back, wherever the database stands by now; most often there is nothing to do.
async fn bring_back(scene: Scene, seat: Seat) {
    let Seat {
        process,
        paths,
        environment,
        mut random,
    } = seat;
    for _ in 0..random.between(1, REINSTATE_TRIES_MAX) {
        let at = random.index(paths.len());
        let how = Reinstate {
            replace: random.percent(95),
        };
        let done = reinstate(&paths, &paths[at], how, &environment, &|_| {}).await;
        match &done {
            Ok(done) => {
                let details = format_args!("reinstates disk{at}: {done:?}");
                scene.shared.log(Some(process), details);
            }
            Err(error) => {
                let details = format_args!("does not reinstate disk{at}: {error}");
                scene.shared.log(Some(process), details);
                scene.judge(process, error);
            }
        }
        sleep(&scene.shared.kernel, random.below(120)).await;
    }
}

async fn try_live(scene: &Scene, mut seat: Seat) -> Result<()> {
    let spawner = Arc::clone(&seat.environment.spawner);
    if scene.form == Form::Mirrored && seat.random.percent(REINSTATE_PERCENT) {
        let mut random = Random::new(seat.random.next_u64(), 0);
        let is_before = random.percent(30);
        let task = bring_back(
            scene.clone(),
            Seat {
                process: seat.process,
                paths: seat.paths.clone(),
                environment: seat.environment.clone(),
                random,
            },
        );
        match is_before {
            true => task.await,
            false => spawner.spawn(Box::pin(task)),
        }
    }
    let db = seat.open(scene).await?;
    let stores = Stores::create(&db).await?;
    let mut ends = Vec::new();
    let clients = seat.random.between(1, 3);
    let more = if scene.is_contended { CONTENDERS } else { 0 };
    for _ in 0..clients + more {
        let (end, ended) = oneshot::channel();
        let client = Client {
            shared: Arc::clone(&scene.shared),
            truth: Arc::clone(&scene.truth),
            recorder: Arc::clone(&scene.recorder),
            process: seat.process,
            db: db.clone(),
            stores: stores.clone(),
            random: Random::new(seat.random.next_u64(), 0),
            is_stale: scene.is_stale,
            is_hot: scene.is_hot,
            is_contended: scene.is_contended,
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
