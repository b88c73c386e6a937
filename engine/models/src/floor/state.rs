//! What there is: names on the medium, processes, and what has been told to the world.

use super::Bounds;
use crate::disk::Dir;

/// Slots that there is room for.
pub(super) const SLOTS_MAX: usize = 5;
/// Slots that may be created, those that do not count included.
pub(super) const CREATES_MAX: usize = 7;
/// Processes that there is room for.
pub(super) const PROCESSES_MAX: usize = 3;
/// Manifests and floors that there is room for.
pub(super) const CHECKPOINTS_MAX: usize = 3;

/// The bytes of a slot, as a number: two creates never write the same.
pub(super) type Content = u8;
/// A position; slots begin at 1.
pub(super) type Position = u8;

/// What is known of a slot's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Made {
    /// Its position.
    pub n: Position,
    /// The slot before it, 0 for none.
    pub prev: Content,
    /// Another slot of this position had been collected when it was created.
    pub late: bool,
}

/// A checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Manifest {
    /// The last slot folded.
    pub folded: Position,
    /// That slot.
    pub tip: Content,
}

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) log: Dir<Content, SLOTS_MAX>,
    pub(super) manifests: Dir<Manifest, CHECKPOINTS_MAX>,
    pub(super) floors: Dir<Position, CHECKPOINTS_MAX>,
    made: [Made; CREATES_MAX],
    pub(super) made_count: u8,
    truth: [Content; SLOTS_MAX],
    exposed: u8,
    /// The newest slot that somebody has been told of.
    pub(super) told: Position,
    /// Positions whose slot has been collected, one bit each.
    pub(super) collected: u8,
    processes: [Process; PROCESSES_MAX],
    pub(super) process_count: u8,
    pub(super) power_losses: u8,
    pub(super) crashes: u8,
    /// What does not hold any more.
    pub broken: Option<Broken>,
}

/// A property that does not hold any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Broken {
    /// A slot was exposed that was created after its position had been collected.
    Resurrected,
    /// Two slots of one position were exposed.
    TwoTruths,
    /// A slot was exposed that does not follow the one before it.
    Chain,
    /// A slot was exposed that a power loss can take back.
    Volatile,
    /// A reader took for the end of the log what lies before a slot that had been told already.
    StaleEnd,
}

/// A process between two operations on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    /// The newest slot it has applied.
    pub applied: Position,
    /// That slot.
    pub tip: Content,
    /// Floors it knows of.
    pub floors: u8,
    /// The newest of them.
    pub floor: Position,
    /// What it is doing.
    pub step: Step,
}

/// Why a process has no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Closed {
    /// It has just begun.
    Fresh,
    /// It created a slot that does not count.
    Created,
    /// It read a slot that does not count.
    Read,
    /// It found no slot where one has been collected.
    Absent,
}

/// What a process does next, with what it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// Reads the newest manifest.
    Open(Closed),
    /// Whatever it likes.
    Idle,
    /// Syncs the log and looks whether the slot it created is there.
    Linked { slot: Content },
    /// Looks whether the slot it read has a successor.
    Found { slot: Content },
    /// Syncs the log and looks whether the slot it read is still there.
    Unproven { slot: Content },
    /// Looks for the next floor.
    Probe(After),
    /// Syncs the floors and looks whether the one it found is still there.
    FloorFound { floor: Position, after: After },
    /// Syncs the manifests and looks whether the newest is still that one.
    FoldOn { number: u8, newest: Manifest },
    /// Creates a manifest.
    FoldLink { number: u8 },
    /// Syncs the manifests.
    FoldSync,
    /// Reads the newest manifest, to choose a floor.
    Choose,
    /// Syncs the manifests and looks whether the one chosen is still that one.
    Chosen {
        number: u8,
        manifest: Manifest,
        floor: Position,
    },
    /// Creates the floor.
    FloorLink { floor: Position },
    /// Syncs the floors and looks whether its own is there.
    FloorSync { floor: Position },
    /// Deletes slots below the floor.
    Delete {
        floor: Position,
        then_link: bool,
        then_sync: bool,
    },
}

/// What a process does once it knows the newest floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum After {
    /// Applies a slot: its own, which it then acknowledges, or one that it read.
    Apply { slot: Content, own: bool },
    /// Takes the log to end here; when it looked, `told` was the newest slot told of.
    End { told: Position },
    /// Chooses a floor.
    Choose,
}

impl State {
    pub(super) fn first(bounds: &Bounds) -> State {
        assert!(bounds.processes <= PROCESSES_MAX, "{bounds:?}");
        assert!(bounds.slots < SLOTS_MAX, "{bounds:?}");
        assert!(bounds.creates <= CREATES_MAX, "{bounds:?}");
        assert!(
            bounds.manifests.max(bounds.floors) <= CHECKPOINTS_MAX,
            "{bounds:?}"
        );
        let process = Process {
            applied: 0,
            tip: 0,
            floors: 0,
            floor: 0,
            step: Step::Idle,
        };
        State {
            log: Dir::new(),
            manifests: Dir::new(),
            floors: Dir::new(),
            made: [Made::default(); CREATES_MAX],
            made_count: 0,
            truth: [0; SLOTS_MAX],
            exposed: 0,
            told: 0,
            collected: 0,
            processes: [process; PROCESSES_MAX],
            process_count: u8::try_from(bounds.processes).unwrap_or(0),
            power_losses: bounds.power_losses,
            crashes: bounds.crashes,
            broken: None,
        }
    }

    /// How many slots have been exposed.
    pub fn exposed(&self) -> usize {
        self.exposed.into()
    }

    pub(super) fn process(&self, index: u8) -> &Process {
        &self.processes[usize::from(index)]
    }

    pub(super) fn process_mut(&mut self, index: u8) -> &mut Process {
        &mut self.processes[usize::from(index)]
    }

    pub(super) fn steps(&self) -> impl Iterator<Item = Step> {
        let used = self.processes.iter().take(self.process_count.into());
        used.map(|process| process.step)
    }

    pub(super) fn is_closed(&self, why: Closed) -> bool {
        self.steps().any(|step| step == Step::Open(why))
    }

    /// What is known of the bytes `slot`.
    pub(super) fn made(&self, slot: Content) -> Made {
        match usize::from(slot).checked_sub(1) {
            Some(index) => self.made[index],
            None => Made::default(),
        }
    }

    /// New bytes for position `n`, on top of `prev`.
    pub(super) fn make(&mut self, n: Position, prev: Content) -> Content {
        let late = self.collected >> n & 1 == 1;
        self.made[usize::from(self.made_count)] = Made { n, prev, late };
        self.made_count += 1;
        self.made_count
    }

    pub(super) fn slot(&self, n: Position) -> Option<Content> {
        self.log.get(usize::from(n).checked_sub(1)?)
    }

    /// Somebody shows slot `n` to the world: the first to do so decides what is true.
    pub(super) fn expose(&mut self, n: Position, slot: Content) {
        let made = self.made(slot);
        let index = usize::from(n) - 1;
        let before = index.checked_sub(1).map_or(0, |before| self.truth[before]);
        let known = index < self.exposed();
        let broken = if made.late {
            Some(Broken::Resurrected)
        } else if known && self.truth[index] != slot || !known && made.prev != before {
            Some(Broken::TwoTruths)
        } else if !known && (index > self.exposed() || self.log.durable(index) != Some(slot)) {
            Some(Broken::Volatile)
        } else {
            None
        };
        self.broken = self.broken.or(broken);
        if !known {
            self.truth[index] = slot;
            self.exposed = n;
        }
    }

    pub(super) fn truth(&self, n: Position) -> Content {
        usize::from(n)
            .checked_sub(1)
            .map_or(0, |index| self.truth[index])
    }

    pub(super) fn floors_ascend(&self) -> bool {
        let floors: Vec<_> = (0..CHECKPOINTS_MAX)
            .map_while(|j| self.floors.get(j))
            .collect();
        floors.is_sorted()
    }

    /// Whether somebody who opens now, with nothing going wrong, reads all that was exposed.
    pub(super) fn is_readable(&self) -> bool {
        let folded = self
            .manifests
            .newest()
            .map_or(0, |(_, manifest)| manifest.folded);
        (folded + 1..=self.exposed).all(|n| self.slot(n) == Some(self.truth(n)))
    }

    pub(super) fn unsynced(&self) -> usize {
        self.log.unsynced() + self.manifests.unsynced() + self.floors.unsynced()
    }

    pub(super) fn lose_power(&mut self, keep: u32) {
        let keep = self.log.lose_power(keep);
        let keep = self.manifests.lose_power(keep);
        self.floors.lose_power(keep);
    }
}
