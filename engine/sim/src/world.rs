//! One world: processes, a storage, a bus, and everything that befalls them.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use eciton_engine::base::clock::Clock;
use eciton_engine::base::entropy::{Entropy, SeededEntropy};
use eciton_engine::base::spawn::Spawner;
use eciton_engine::storage::{MemoryStorage, Storage};
use futures::FutureExt;

use crate::bus::{BusHub, SimBus};
use crate::clock::SimClock;
use crate::context::Shared;
use crate::copier::Copier;
use crate::disk::{Disk, EIO, ENOSPC, EROFS, Outage};
use crate::executor::{Executor, Pace, ProcessId, Step};
use crate::fault::{FaultKind, Rates};
use crate::plan::Drawn;
use crate::random::{Random, place, scaled};
use crate::spawner::SimSpawner;
use crate::storage::SimStorage;
use crate::trace::TraceMode;
use crate::violation::Violation;

const PAUSE_MS: [u64; 6] = [10, 60, 300, 1_000, 3_000, 20_000];
const OUTAGE_MS: [u64; 4] = [10, 50, 200, 1_000];
const PATH_OUTAGE_MS: [u64; 4] = [100, 1_000, 10_000, 1_000_000];
const OUTAGE_PREFIXES: [&str; 6] = ["log/", "manifest/", "seg/", "floor/", "log/", ""];
const OUTAGE_ERRNOS: [i32; 3] = [EIO, ENOSPC, EROFS];
const BUS_CUT_MS: [u64; 4] = [20, 100, 500, 3_000];
/// The bus is remembered for a roll-back every so many steps.
const BUS_SNAPSHOT_STEPS: u64 = 512;
/// Identities of the objects of different disks are so far apart.
const IDENTITIES: u64 = 1 << 32;

/// What a world begins with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Decides everything but the settings.
    pub seed: u64,
    /// The seed that the settings are drawn from, most often the same.
    pub settings: u64,
    /// Processes that faults may hit, from number 0 on.
    pub processes: u16,
    /// Further seats that no fault ends or pauses: who copies, who looks on.
    pub bystanders: u16,
    /// How often what goes wrong.
    pub rates: Rates,
    /// Faults that are left out, by number.
    pub suppressed: BTreeSet<u64>,
    /// How much is remembered.
    pub trace: TraceMode,
    /// Disks that hold the database, from number 0 on.
    pub paths: u8,
}

/// What a step brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A task of this process went on.
    Polled(ProcessId),
    /// Time went by.
    Waited,
    /// Nothing can go on, ever, unless something is spawned.
    Idle,
    /// A process was killed; its seat is free.
    Killed(ProcessId),
    /// The storage restarted. Unless processes survive that in this seed, all were killed, bystanders
    /// excepted.
    PowerLost,
    /// Something else befell the world.
    Fault(FaultKind),
}

/// See the [module](self).
pub struct World {
    shared: Arc<Shared>,
    executor: Executor,
    schedule: Random,
    disks: Vec<Arc<Disk>>,
    bus: Arc<BusHub>,
    seed: u64,
    settings: u64,
    entropies: Random,
    mortals: u16,
    skews_ms: Vec<i64>,
    survive_power_loss: bool,
    stale_ms: Option<u64>,
    paths: usize,
}

impl World {
    /// A world with one empty disk, its number 0.
    pub fn new(setup: Setup) -> World {
        let seats = setup.processes + setup.bystanders;
        let executor = Executor::new(usize::from(seats), Pace::Millisecond);
        let mut random = Random::new(setup.seed, 4);
        let rates = &setup.rates;
        let skew_max = rates.skew_ms_max;
        let skews_ms = (0..seats)
            .map(|_| random.below(2 * skew_max + 1).cast_signed() - skew_max.cast_signed())
            .collect();
        let is_stale = [FaultKind::StaleList, FaultKind::StaleLookup]
            .iter()
            .any(|kind| rates.get(*kind) > 0);
        let stale_ms = is_stale.then_some(rates.stale_ms);
        let survive_power_loss = rates.survive_power_loss;
        let shared = Arc::new(Shared::new(
            Arc::clone(executor.kernel()),
            setup.seed,
            setup.rates,
            setup.suppressed,
            setup.trace,
        ));
        let mut world = World {
            bus: Arc::new(BusHub::new(Arc::clone(&shared))),
            shared,
            executor,
            schedule: Random::new(setup.seed, 1),
            disks: Vec::new(),
            seed: setup.seed,
            settings: setup.settings,
            entropies: Random::new(setup.seed, 8),
            mortals: setup.processes,
            skews_ms,
            survive_power_loss,
            stale_ms,
            paths: usize::from(setup.paths),
        };
        (0..setup.paths).for_each(|_| drop(Arc::clone(world.add_disk())));
        world
    }

    /// What decides everything.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Processes that faults may hit: seats from number 0 on. Bystanders follow.
    pub fn mortals(&self) -> u16 {
        self.mortals
    }

    /// Time, trace, faults, violations.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// A stream of random numbers for what a scenario does, a different one for each purpose.
    pub fn workload(&self, purpose: u64) -> Random {
        Random::new(self.seed, 1_000 + purpose)
    }

    /// The seed that the settings are drawn from.
    pub fn settings(&self) -> u64 {
        self.settings
    }

    /// The stream that a scenario draws its settings from, to be followed by [`World::after_settings`].
    pub fn workload_settings(&self) -> Random {
        Random::new(self.settings, 1_000)
    }

    /// The stream for what a scenario does once its settings are drawn: the rest of that stream where they are
    /// the seed's own.
    pub fn after_settings(&self, drawn: Random) -> Random {
        match self.settings == self.seed {
            true => drawn,
            false => self.workload(0),
        }
    }

    /// A disk, by number.
    pub fn disk(&self, number: usize) -> &Arc<Disk> {
        &self.disks[number]
    }

    /// Disks that hold the database, from number 0 on.
    pub fn paths(&self) -> usize {
        self.paths
    }

    /// Disks so far.
    pub fn disks(&self) -> usize {
        self.disks.len()
    }

    /// One more disk, empty. No object on it has the identity of one on another.
    pub fn add_disk(&mut self) -> &Arc<Disk> {
        let number = u8::try_from(self.disks.len()).unwrap_or(u8::MAX);
        let memory = MemoryStorage::with_identities_from(u64::from(number) * IDENTITIES + 1);
        let disk = Arc::new(Disk::new(number, memory, self.stale_ms));
        self.disks.push(disk);
        &self.disks[usize::from(number)]
    }

    /// One more disk with what is in `memory`, identities included: a volume that was cloned, or set back. Returns its
    /// number.
    pub fn mount(&mut self, memory: MemoryStorage) -> usize {
        let number = u8::try_from(self.disks.len()).unwrap_or(u8::MAX);
        self.disks
            .push(Arc::new(Disk::new(number, memory, self.stale_ms)));
        self.shared
            .log(None, format_args!("disk{number} is mounted"));
        usize::from(number)
    }

    /// Disk 0 as a process sees it.
    pub fn storage(&self, process: ProcessId) -> Arc<SimStorage> {
        self.storage_on(0, process)
    }

    /// A disk as a process sees it.
    pub fn storage_on(&self, disk: usize, process: ProcessId) -> Arc<SimStorage> {
        let disk = Arc::clone(&self.disks[disk]);
        Arc::new(SimStorage::new(Arc::clone(&self.shared), disk, process))
    }

    /// The bus as a process sees it.
    pub fn bus(&self, process: ProcessId) -> Arc<SimBus> {
        Arc::new(SimBus::new(Arc::clone(&self.bus), process))
    }

    /// The clock of a process.
    pub fn clock(&self, process: ProcessId) -> Arc<dyn Clock> {
        let skew_ms = self.skews_ms[process.index()];
        Arc::new(SimClock::new(Arc::clone(&self.shared.kernel), skew_ms))
    }

    /// Randomness for a process that begins: another one each time.
    pub fn entropy(&mut self) -> Arc<dyn Entropy> {
        Arc::new(SeededEntropy::new(self.entropies.next_u64()))
    }

    /// Background work of the process that has the seat now.
    pub fn spawner(&self, process: ProcessId) -> Arc<dyn Spawner> {
        Arc::new(SimSpawner::new(Arc::clone(&self.shared.kernel), process))
    }

    /// Adds a task to a process.
    pub fn spawn(&mut self, process: ProcessId, task: impl Future<Output = ()> + Send + 'static) {
        self.executor.spawn(process, task);
    }

    /// Whether a process has any task left.
    pub fn is_alive(&self, process: ProcessId) -> bool {
        self.executor.is_alive(process)
    }

    /// Ends a process where it is.
    pub fn kill(&mut self, process: ProcessId) {
        self.shared.log(Some(process), format_args!("is killed"));
        self.executor.kill(process);
    }

    /// Lets nothing of a process go on for a while.
    pub fn pause(&mut self, process: ProcessId, ms: u64) {
        self.executor.pause(process, ms);
    }

    /// A copy of a disk, on its way to a new one, whose number is returned. A task of `process` takes
    /// it.
    pub fn copy(&mut self, disk: usize, process: ProcessId) -> usize {
        let number = self.disks.len();
        let to = Arc::clone(self.add_disk());
        let from = Arc::clone(&self.disks[disk]);
        let seed = self.schedule.next_u64();
        let copier = Copier::new(Arc::clone(&self.shared), from, to, process, seed);
        self.spawn(process, copier.run());
        number
    }

    /// Restarts a disk without its unsynced part; processes stay as they are.
    pub fn lose_power(&mut self, disk: usize, seed: u64) {
        let entropy = SeededEntropy::new(seed);
        self.disks[disk].memory.lose_power(&entropy);
        self.shared.log(None, format_args!("disk{disk} lost power"));
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.executor.steps()
    }

    /// From here on nothing goes wrong any more; what was on its way takes place now.
    pub fn calm(&mut self) {
        self.shared
            .log(None, format_args!("all is calm from here on"));
        self.shared.plan().calm();
        self.shared.do_due(true);
        self.bus.heal();
        for disk in &self.disks {
            disk.end_outages();
        }
        for seat in self.seats() {
            self.executor.resume(seat);
        }
    }

    /// The first broken promise, if any.
    ///
    /// # Errors
    /// That violation.
    pub fn check(&self) -> Result<(), Violation> {
        if self.shared.is_violated() {
            self.shared.violation().map_or(Ok(()), Err)
        } else {
            Ok(())
        }
    }

    /// Steps until nothing of a process is left.
    ///
    /// # Errors
    /// A violation meanwhile; that it takes more than `steps_max` steps, or can never end.
    pub fn finish(&mut self, process: ProcessId, steps_max: u64) -> Result<(), Violation> {
        let end = self.steps() + steps_max;
        while self.is_alive(process) {
            let happened = self.step();
            self.check()?;
            if self.steps() >= end || happened == Happened::Idle {
                let detail = format!("{process} after {steps_max} steps: {happened:?}");
                self.shared.violate("a process hangs", detail);
                self.check()?;
            }
        }
        Ok(())
    }

    /// One step: a fault of the world, or a task that goes on.
    pub fn step(&mut self) -> Happened {
        self.shared.do_due(false);
        if self.steps().is_multiple_of(BUS_SNAPSHOT_STEPS) {
            self.bus.remember();
        }
        let drawn = self.shared.draw(&FaultKind::OF_WORLD);
        if let Some(happened) = drawn.and_then(|drawn| self.befall(drawn)) {
            return happened;
        }
        match self.executor.step(&mut self.schedule) {
            Step::Polled(process) => Happened::Polled(process),
            Step::Waited => Happened::Waited,
            Step::Idle => match self.shared.due_next() {
                Some(due) => {
                    self.shared.kernel.jump(due.max(self.executor.now_ms()));
                    Happened::Waited
                }
                None => Happened::Idle,
            },
        }
    }

    fn seats(&self) -> impl Iterator<Item = ProcessId> + use<> {
        let seats = u16::try_from(self.skews_ms.len()).unwrap_or(u16::MAX);
        (0..seats).map(ProcessId)
    }

    /// Injects a fault of the world, unless it makes no sense now or is to be left out.
    fn befall(&mut self, drawn: Drawn) -> Option<Happened> {
        let kind = drawn.kind;
        // Independent choices out of one draw.
        let mut random = Random::new(drawn.bits, 6);
        let process = ProcessId(u16::try_from(random.below(self.mortals.into())).unwrap_or(0));
        let one_or_all = (!random.percent(30)).then_some(process);
        let now = self.executor.now_ms();
        let inject = |process, object: String| self.shared.inject(process, kind, object);
        match kind {
            FaultKind::Kill => {
                let hits = self.executor.is_alive(process) && inject(Some(process), String::new());
                return hits.then(|| {
                    self.kill(process);
                    Happened::Killed(process)
                });
            }
            FaultKind::Pause => {
                let ms = random.pick(&PAUSE_MS);
                inject(Some(process), format!("for {ms} ms"))
                    .then(|| self.executor.pause(process, ms))?;
            }
            FaultKind::PowerLoss => {
                inject(None, String::new()).then(|| self.power_loss(&mut random))?;
                return Some(Happened::PowerLost);
            }
            FaultKind::Outage => {
                let outage = Outage {
                    process: one_or_all,
                    prefix: random.pick(&OUTAGE_PREFIXES),
                    errno: random.pick(&OUTAGE_ERRNOS),
                    until_ms: now + random.pick(&OUTAGE_MS),
                };
                let (disk, outage) = self.outage_of_path(outage, &mut random);
                inject(one_or_all, outage.to_string())
                    .then(|| self.disks[disk].begin_outage(outage))?;
            }
            FaultKind::BitFlip => self.flip_bit(&mut random)?,
            FaultKind::BusFlushed => inject(None, String::new()).then(|| self.bus.flush())?,
            FaultKind::BusRolledBack => {
                inject(None, String::new()).then(|| self.bus.roll_back())?;
            }
            FaultKind::BusUnreachable => {
                let until = now + random.pick(&BUS_CUT_MS);
                inject(one_or_all, format!("until {until}"))
                    .then(|| self.bus.cut(one_or_all, until))?;
            }
            other => unreachable!("{other:?} is no fault of the world"),
        }
        Some(Happened::Fault(kind))
    }

    /// All disks restart; with them, unless this seed's processes survive that, everybody goes down.
    fn power_loss(&mut self, random: &mut Random) {
        if !self.survive_power_loss {
            let mortals = (0..self.mortals).map(ProcessId);
            mortals.for_each(|process| self.kill(process));
        }
        // Of several paths most often one.
        let one = (self.paths > 1 && self.survive_power_loss && random.percent(70))
            .then(|| random.index(self.paths));
        for disk in 0..self.disks.len() {
            if one.is_none_or(|one| one == disk) {
                self.lose_power(disk, random.next_u64());
            }
        }
    }

    /// Which of several paths an outage hits: then most often all of the path, and for long.
    fn outage_of_path(&self, outage: Outage, random: &mut Random) -> (usize, Outage) {
        if self.paths < 2 {
            return (0, outage);
        }
        let (disk, now) = (random.index(self.paths), self.executor.now_ms());
        let outage = match random.percent(60) {
            true => Outage {
                prefix: "",
                until_ms: now + random.pick(&PATH_OUTAGE_MS),
                ..outage
            },
            false => outage,
        };
        (disk, outage)
    }

    fn flip_bit(&mut self, random: &mut Random) -> Option<()> {
        let memory = &self.disks[0].memory;
        let names = memory.list("").now_or_never()?.ok()?;
        let name = names.get(place(random.next_u64(), names.len().max(1)))?;
        let (at, bit) = (random.next_u64(), random.below(8));
        let flip = |bytes: &mut Vec<u8>| {
            let at = usize::try_from(scaled(at, bytes.len() as u64)).unwrap_or(0);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        };
        let takes_place = self.shared.inject(None, FaultKind::BitFlip, name);
        (takes_place && memory.tamper(name, flip)).then_some(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // What waits on the agenda holds the world's shared part, which holds the agenda.
        self.shared.clear_agenda();
    }
}
