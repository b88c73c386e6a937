//! Everything that can go wrong in the world, and how often it does in a run.

use crate::random::Random;

/// A kind of fault. Each has a rate of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// A process ends at whatever it awaits.
    Kill,
    /// A process does nothing for a while, at times a long one.
    Pause,
    /// The storage restarts and loses what was not synced.
    PowerLoss,
    /// Operations below some directory fail for a while.
    Outage,
    /// A bit of an object is another one from now on.
    BitFlip,
    /// The bus forgets everything.
    BusFlushed,
    /// The bus is what it was a while ago.
    BusRolledBack,
    /// The bus cannot be reached for a while.
    BusUnreachable,
    /// An operation fails as a disk's.
    IoError,
    /// An operation finds no room.
    NoSpace,
    /// The operation takes place, its reply is lost.
    LostReply,
    /// A create takes place and is told that the name exists, as when NFS sends it twice.
    FalseExists,
    /// A create fails, and takes place later.
    HungCreate,
    /// An object store answers 500: the operation took place or not.
    ServerError,
    /// Syncing a directory fails; what was not synced is still not.
    SyncFails,
    /// Syncing a directory fails, and what was not synced is lost.
    SyncLoses,
    /// A listing lacks new names, or still has removed ones.
    StaleList,
    /// A name that another process has just created is not found.
    StaleLookup,
    /// An operation takes long.
    Slow,
    /// A message gets lost.
    BusLost,
    /// A message comes again later.
    BusDuplicated,
    /// A message comes late.
    BusDelayed,
    /// A message overtakes others.
    BusReordered,
    /// A byte of a message is another one.
    BusCorrupted,
    /// A claim is forgotten.
    ClaimForgotten,
    /// A claim is granted although another has it.
    ClaimTwice,
}

/// How many kinds there are.
pub const FAULT_KINDS: usize = 26;

impl FaultKind {
    /// All of them.
    pub const ALL: [FaultKind; FAULT_KINDS] = [
        FaultKind::Kill,
        FaultKind::Pause,
        FaultKind::PowerLoss,
        FaultKind::Outage,
        FaultKind::BitFlip,
        FaultKind::BusFlushed,
        FaultKind::BusRolledBack,
        FaultKind::BusUnreachable,
        FaultKind::IoError,
        FaultKind::NoSpace,
        FaultKind::LostReply,
        FaultKind::FalseExists,
        FaultKind::HungCreate,
        FaultKind::ServerError,
        FaultKind::SyncFails,
        FaultKind::SyncLoses,
        FaultKind::StaleList,
        FaultKind::StaleLookup,
        FaultKind::Slow,
        FaultKind::BusLost,
        FaultKind::BusDuplicated,
        FaultKind::BusDelayed,
        FaultKind::BusReordered,
        FaultKind::BusCorrupted,
        FaultKind::ClaimForgotten,
        FaultKind::ClaimTwice,
    ];

    /// Those that the world decides between steps.
    pub(crate) const OF_WORLD: [FaultKind; 8] = [
        FaultKind::Kill,
        FaultKind::Pause,
        FaultKind::PowerLoss,
        FaultKind::Outage,
        FaultKind::BitFlip,
        FaultKind::BusFlushed,
        FaultKind::BusRolledBack,
        FaultKind::BusUnreachable,
    ];

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// How many of a hundred seeds have it, and the rates that those choose from: times in a million
    /// steps, operations or messages.
    fn odds(self) -> (u64, [u32; 3]) {
        match self {
            FaultKind::Kill => (75, [300, 1_000, 3_000]),
            FaultKind::Pause => (70, [1_000, 5_000, 20_000]),
            FaultKind::PowerLoss => (50, [200, 800, 4_000]),
            FaultKind::Outage => (25, [200, 500, 1_500]),
            FaultKind::BitFlip => (0, [0; 3]),
            FaultKind::BusFlushed | FaultKind::BusRolledBack => (35, [200, 1_000, 3_000]),
            FaultKind::BusUnreachable => (25, [200, 500, 2_000]),
            FaultKind::IoError => (30, [200, 1_000, 5_000]),
            FaultKind::NoSpace => (20, [500, 2_000, 10_000]),
            FaultKind::LostReply | FaultKind::FalseExists => (45, [3_000, 20_000, 100_000]),
            FaultKind::HungCreate => (40, [3_000, 15_000, 60_000]),
            FaultKind::ServerError => (25, [2_000, 10_000, 50_000]),
            FaultKind::SyncFails | FaultKind::SyncLoses => (25, [1_000, 5_000, 20_000]),
            FaultKind::StaleLookup => (25, [10_000, 50_000, 300_000]),
            FaultKind::Slow => (50, [3_000, 10_000, 50_000]),
            FaultKind::BusLost
            | FaultKind::BusDuplicated
            | FaultKind::BusDelayed
            | FaultKind::BusReordered => (45, [10_000, 60_000, 300_000]),
            FaultKind::BusCorrupted => (30, [5_000, 20_000, 100_000]),
            FaultKind::StaleList | FaultKind::ClaimForgotten | FaultKind::ClaimTwice => {
                (35, [20_000, 100_000, 400_000])
            }
        }
    }
}

/// How often each kind occurs in one run, and the other properties of its world.
#[derive(Clone, Debug)]
pub struct Rates {
    /// Times in a million opportunities.
    per_million: [u32; FAULT_KINDS],
    /// Whether processes survive when the storage loses power.
    pub survive_power_loss: bool,
    /// How many of a hundred operations let others go first once more, between effect and reply.
    pub gap_percent: u64,
    /// How long listings and look-ups may be stale, in virtual milliseconds.
    pub stale_ms: u64,
    /// How far wall clocks differ at the most, in milliseconds.
    pub skew_ms_max: u64,
}

impl Rates {
    /// A world in which nothing goes wrong.
    pub fn none() -> Rates {
        Rates {
            per_million: [0; FAULT_KINDS],
            survive_power_loss: false,
            gap_percent: 0,
            stale_ms: 0,
            skew_ms_max: 0,
        }
    }

    /// A world of its own. Every draw decides by itself, so all combinations occur.
    pub fn draw(random: &mut Random) -> Rates {
        let mut rates = Rates::none();
        // A few seeds show whether anything works at all.
        let calm = random.percent(4);
        for kind in FaultKind::ALL {
            let (chance, choices) = kind.odds();
            let (on, rate) = (random.percent(chance), random.pick(&choices));
            rates.set(kind, if on && !calm { rate } else { 0 });
        }
        rates.survive_power_loss = random.percent(50);
        rates.gap_percent = random.pick(&[0, 20, 60]);
        rates.stale_ms = random.pick(&[30, 150, 600]);
        rates.skew_ms_max = random.pick(&[0, 1_000, 3_600_000]);
        rates
    }

    /// How often a kind occurs in a million opportunities.
    pub fn get(&self, kind: FaultKind) -> u32 {
        self.per_million[kind.index()]
    }

    /// Sets how often a kind occurs in a million opportunities.
    pub fn set(&mut self, kind: FaultKind, per_million: u32) {
        self.per_million[kind.index()] = per_million;
    }

    /// Switches kinds off that make no sense in a world.
    pub fn without(&mut self, kinds: &[FaultKind]) {
        for kind in kinds {
            self.set(*kind, 0);
        }
    }
}
