//! S11 and S12: what collection has passed is never brought back.
//!
//! Processes create and read slots, fold, and collect. A process may pause before any step, so one that
//! is about to create a slot may do so long after that slot has been collected: create-if-absent
//! succeeds, and only the floor tells it that the slot does not count.
//!
//! Left out: segments and manifests are never deleted, a manifest's runs are not modelled, and there is
//! one path.

mod state;
mod steps;
mod words;

use stateright::{Model, Property};

use crate::explore::Told;
pub use state::{Broken, State};
use state::{Closed, Step};
pub use steps::Action;

/// The model: its bounds, and the rule that is broken, if any.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    /// What is broken on purpose.
    pub mutant: Option<Mutant>,
    /// How far it goes.
    pub bounds: Bounds,
}

/// How far the model goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Processes, three at most.
    pub processes: usize,
    /// How many of them fold and collect.
    pub collectors: usize,
    /// The last slot, four at most.
    pub slots: usize,
    /// Slots that are created altogether, those that do not count included.
    pub creates: usize,
    /// Manifests beside the first, empty one.
    pub manifests: usize,
    /// Floors.
    pub floors: usize,
    /// Power losses.
    pub power_losses: u8,
    /// Crashes of single processes.
    pub crashes: u8,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            processes: 2,
            collectors: 2,
            slots: 3,
            creates: 4,
            manifests: 2,
            floors: 2,
            power_losses: 1,
            crashes: 1,
        }
    }
}

impl Bounds {
    /// One of three processes collects, the others write and read.
    pub fn three_processes() -> Bounds {
        Bounds {
            processes: 3,
            collectors: 1,
            manifests: 1,
            floors: 1,
            crashes: 0,
            ..Bounds::default()
        }
    }

    /// Some minutes.
    pub fn wide() -> Bounds {
        Bounds {
            slots: 4,
            creates: 5,
            ..Bounds::default()
        }
    }
}

/// A rule broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Nobody probes for floors.
    NoProbe,
    /// A slot that is not found is taken for the end of the log without a probe.
    AbsentUnprobed,
    /// Slots are deleted before their floor exists.
    FloorLate,
    /// Slots are deleted before their floor is durable.
    FloorVolatile,
    /// The floor is made before its manifest is durable.
    ManifestVolatile,
    /// The manifest under a floor is looked at again after the sync, but not compared.
    ManifestUncompared,
    /// The floor passes the manifest: slots go that are folded nowhere.
    FloorAboveManifest,
    /// The floor may reach the manifest however near the tail that is. Harmless to what is in the log: a
    /// process that falls below it reloads as always. It costs knowledge, which
    /// this model does not have: whether a transaction committed can be told only while the
    /// `WMAX` slots after its read can still be read.
    FloorAboveWindow,
    /// A floor is believed before it is durable. Whoever is overtaken by a floor that is then lost has only
    /// reloaded for nothing; but a collector that puts the next floor on top of it leaves a gap, at
    /// which everybody else stops probing.
    FloorBelievedVolatile,
    /// A reader does not make durable what it exposes.
    ReadUnsynced,
    /// After a sync the name is not looked at again.
    SyncUnconfirmed,
}

impl Mutant {
    /// All of them, with their names on the command line.
    pub const ALL: [(&'static str, Mutant); 11] = [
        ("no-probe", Mutant::NoProbe),
        ("absent-unprobed", Mutant::AbsentUnprobed),
        ("floor-late", Mutant::FloorLate),
        ("floor-volatile", Mutant::FloorVolatile),
        ("manifest-volatile", Mutant::ManifestVolatile),
        ("manifest-uncompared", Mutant::ManifestUncompared),
        ("floor-above-manifest", Mutant::FloorAboveManifest),
        ("floor-above-window", Mutant::FloorAboveWindow),
        ("floor-believed-volatile", Mutant::FloorBelievedVolatile),
        ("read-unsynced", Mutant::ReadUnsynced),
        ("sync-unconfirmed", Mutant::SyncUnconfirmed),
    ];
}

impl Mutant {
    /// The property that it breaks; `None` if it is harmless.
    pub fn breaks(self) -> Option<&'static str> {
        match self {
            Mutant::FloorAboveWindow => None,
            Mutant::NoProbe
            | Mutant::FloorLate
            | Mutant::FloorVolatile
            | Mutant::FloorBelievedVolatile => Some(NEVER_BACK),
            Mutant::AbsentUnprobed => Some(REAL_END),
            Mutant::ManifestVolatile | Mutant::ManifestUncompared | Mutant::FloorAboveManifest => {
                Some(READABLE)
            }
            Mutant::ReadUnsynced | Mutant::SyncUnconfirmed => Some(DURABLE),
        }
    }

    /// Bounds within which it shows.
    pub fn bounds(self) -> Bounds {
        let bounds = Bounds::default();
        match self {
            Mutant::FloorAboveManifest | Mutant::ManifestUncompared => Bounds {
                slots: 4,
                manifests: 1,
                floors: 1,
                ..bounds
            },
            // Harmless: all of it is visited.
            Mutant::FloorAboveWindow => Bounds {
                floors: 1,
                crashes: 0,
                ..bounds
            },
            _ => bounds,
        }
    }
}

/// A property.
pub const NEVER_BACK: &str = "a collected slot never comes back";
/// A property.
pub const ONE_CHAIN: &str = "what is exposed is one chain";
/// A property.
pub const DURABLE: &str = "what is exposed is durable";
/// A property.
pub const REAL_END: &str = "the end of the log is not behind what was told";
/// A property.
pub const ASCENDING: &str = "floors never decrease";
/// A property.
pub const READABLE: &str = "a new reader reaches all that was exposed";

impl Model for Floor {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(&self.bounds)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.is_none() {
            steps::possible(self, state, actions);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = *last;
        steps::take(self, &mut next, action);
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Floor>> {
        let mut all = safety();
        all.extend(possible());
        all
    }
}

fn safety() -> Vec<Property<Floor>> {
    vec![
        Property::always(NEVER_BACK, |_, state: &State| {
            state.broken != Some(Broken::Resurrected)
        }),
        Property::always(ONE_CHAIN, |_, state: &State| {
            !matches!(state.broken, Some(Broken::TwoTruths | Broken::Chain))
        }),
        Property::always(DURABLE, |_, state: &State| {
            state.broken != Some(Broken::Volatile)
        }),
        Property::always(REAL_END, |_, state: &State| {
            state.broken != Some(Broken::StaleEnd)
        }),
        Property::always(ASCENDING, |_, state: &State| state.floors_ascend()),
        Property::always(READABLE, |_, state: &State| state.is_readable()),
    ]
}

fn possible() -> Vec<Property<Floor>> {
    vec![
        Property::sometimes("every slot is exposed", |model: &Floor, state: &State| {
            state.exposed() == model.bounds.slots
        }),
        Property::sometimes("every floor is durable", |model: &Floor, state: &State| {
            state.floors.durable(model.bounds.floors - 1).is_some()
        }),
        Property::sometimes("a collected slot is created anew", |_, state: &State| {
            state.steps().any(|step| match step {
                Step::Linked { slot } => state.made(slot).late,
                _ => false,
            })
        }),
        Property::sometimes("a creator is overtaken by a floor", |_, state: &State| {
            state.is_closed(Closed::Created)
        }),
        Property::sometimes("a reader is overtaken by a floor", |_, state: &State| {
            state.is_closed(Closed::Read)
        }),
        Property::sometimes("what is absent has been collected", |_, state: &State| {
            state.is_closed(Closed::Absent)
        }),
    ]
}

impl Told for Floor {
    fn tell(&self, state: &State, action: &Action) -> String {
        words::tell(self, state, *action)
    }

    fn show(&self, state: &State) -> String {
        words::show(state)
    }
}
