//! S13: two mirrored paths, of which either may be lost at any time, tell one history.
//!
//! A slot is created on A, then on P, and acknowledged after both. Who cannot reach a path ends the
//! generation with a seal, the next slot on the path that is left; whoever still writes the old generation
//! needs that path for its acknowledgement and finds the seal there.
//!
//! Left out: floors and manifests, reinstating a path, and more than one failover.

mod process;
mod read;
mod state;
mod steps;
mod words;

use stateright::{Model, Property};

use crate::explore::Told;
use process::{Step, Then};
use state::Paths;
pub use state::{Broken, Path, State};
pub use steps::Action;

/// The model: its bounds, and the rule that is broken, if any.
#[derive(Clone, Copy, Debug)]
pub struct Failover {
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
    /// The last position, three at most.
    pub slots: u8,
    /// Slots that are created altogether, seals not counted.
    pub creates: u8,
    /// Seals that are created altogether.
    pub seals: u8,
    /// There is a third place that grants a generation once.
    pub arbiter: bool,
    /// How often a process, or all of them, lose a path.
    pub cuts: u8,
    /// Creates that hang and are carried out at any later time.
    pub hangs: u8,
    /// Power losses of a path.
    pub power_losses: u8,
    /// Crashes of single processes.
    pub crashes: u8,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            processes: 2,
            slots: 3,
            creates: 2,
            seals: 2,
            arbiter: true,
            cuts: 1,
            hangs: 0,
            power_losses: 0,
            crashes: 0,
        }
    }
}

impl Bounds {
    /// Nobody grants A a generation of its own; paths come and go.
    pub fn without_arbiter() -> Bounds {
        Bounds {
            arbiter: false,
            cuts: 2,
            ..Bounds::default()
        }
    }

    /// A create hangs, and is carried out late.
    pub fn with_late_creates() -> Bounds {
        Bounds {
            hangs: 1,
            ..Bounds::default()
        }
    }

    /// A path loses power, and a process crashes.
    pub fn with_power_losses() -> Bounds {
        Bounds {
            seals: 1,
            arbiter: false,
            power_losses: 1,
            crashes: 1,
            ..Bounds::default()
        }
    }

    /// One more process, one position less.
    pub fn three_processes() -> Bounds {
        Bounds {
            processes: 3,
            slots: 2,
            seals: 1,
            arbiter: false,
            ..Bounds::default()
        }
    }

    /// Some minutes.
    pub fn wide() -> Bounds {
        Bounds {
            arbiter: true,
            ..Bounds::three_processes()
        }
    }
}

/// A rule broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A slot is acknowledged once it is on A.
    AckOnePath,
    /// The seal is named under the generation that it begins.
    SealNewName,
    /// Losing P lets A go on alone although no arbiter granted it.
    SealAUngranted,
    /// The arbiter is asked for A only.
    ArbiterOneWay,
    /// The last slot of A is exposed without being completed on P.
    NoComplete,
    /// The last slot of A is completed on P before it is durable on A.
    CompleteVolatile,
    /// Any successor proves a slot, also one on top of other bytes.
    SuccessorUncompared,
    /// After a sync the name's bytes are compared, not which creation of it that is.
    InodeUncompared,
    /// After a sync the name is not looked at again.
    SyncUnconfirmed,
    /// A reader does not make durable what it exposes.
    ReadUnsynced,
}

impl Mutant {
    /// All of them, with their names on the command line.
    pub const ALL: [(&'static str, Mutant); 10] = [
        ("ack-one-path", Mutant::AckOnePath),
        ("seal-new-name", Mutant::SealNewName),
        ("seal-a-ungranted", Mutant::SealAUngranted),
        ("arbiter-one-way", Mutant::ArbiterOneWay),
        ("no-complete", Mutant::NoComplete),
        ("complete-volatile", Mutant::CompleteVolatile),
        ("successor-uncompared", Mutant::SuccessorUncompared),
        ("inode-uncompared", Mutant::InodeUncompared),
        ("sync-unconfirmed", Mutant::SyncUnconfirmed),
        ("read-unsynced", Mutant::ReadUnsynced),
    ];
}

impl Mutant {
    /// The property that it breaks.
    pub fn breaks(self) -> Option<&'static str> {
        Some(match self {
            Mutant::SealNewName => FENCED,
            Mutant::SealAUngranted
            | Mutant::ArbiterOneWay
            | Mutant::CompleteVolatile
            | Mutant::SuccessorUncompared => ONE_HISTORY,
            Mutant::NoComplete | Mutant::ReadUnsynced => DURABLE,
            Mutant::AckOnePath | Mutant::InodeUncompared | Mutant::SyncUnconfirmed => ACKNOWLEDGED,
        })
    }

    /// Bounds within which it shows.
    pub fn bounds(self) -> Bounds {
        let power_losses = Bounds {
            creates: 3,
            ..Bounds::with_power_losses()
        };
        match self {
            Mutant::AckOnePath | Mutant::SealNewName | Mutant::SealAUngranted => {
                Bounds::without_arbiter()
            }
            Mutant::ArbiterOneWay => Bounds {
                cuts: 2,
                ..Bounds::default()
            },
            _ => power_losses,
        }
    }
}

/// A property.
pub const FENCED: &str = "a fenced writer never acknowledges";
/// A property.
pub const ONE_HISTORY: &str = "both paths tell one history";
/// A property.
pub const DURABLE: &str = "what is exposed is durable";
/// A property.
pub const ACKNOWLEDGED: &str = "what is acknowledged is durable on every path";
/// A property.
pub const EVERYWHERE: &str = "every path that goes on has all of it";

impl Model for Failover {
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

    fn properties(&self) -> Vec<Property<Failover>> {
        let mut all = safety();
        all.extend(possible(self.bounds.arbiter));
        all
    }
}

fn safety() -> Vec<Property<Failover>> {
    vec![
        Property::always(FENCED, |_, state: &State| {
            state.broken != Some(Broken::FencedAck)
        }),
        Property::always(ONE_HISTORY, |_, state: &State| {
            use Broken::{Chain, PassiveAhead, PathsDiffer, TwoTruths};
            !matches!(
                state.broken,
                Some(TwoTruths | Chain | PathsDiffer | PassiveAhead)
            )
        }),
        Property::always(DURABLE, |_, state: &State| {
            state.broken != Some(Broken::Volatile)
        }),
        Property::always(ACKNOWLEDGED, |_, state: &State| {
            state.acknowledged_is_durable()
        }),
        Property::always(EVERYWHERE, |_, state: &State| {
            state.survives_the_loss_of_a_path()
        }),
    ]
}

fn possible(arbiter: bool) -> Vec<Property<Failover>> {
    let mut all = vec![
        Property::sometimes(
            "every position is exposed",
            |model: &Failover, state: &State| state.exposed == model.bounds.slots,
        ),
        Property::sometimes("P goes on alone", |_, state: &State| {
            goes_on(state, Path::P)
        }),
        Property::sometimes("a writer finds the seal on P", |_, state: &State| {
            state.steps().any(|step| match step {
                Step::Create {
                    path: Path::P,
                    slot,
                    then: Then::Own,
                } => {
                    let there = state.entry(Path::P, slot);
                    there.is_some_and(|entry| state.is_seal(entry.content))
                }
                _ => false,
            })
        }),
        Property::sometimes("a slot is completed for another", |_, state: &State| {
            state.steps().any(|step| {
                matches!(
                    step,
                    Step::Create {
                        path: Path::P,
                        then: Then::Expose,
                        ..
                    }
                )
            })
        }),
    ];
    if arbiter {
        all.push(Property::sometimes(
            "A goes on alone",
            |_, state: &State| goes_on(state, Path::A),
        ));
        all.push(Property::sometimes(
            "A's last slot is adopted",
            |_, state: &State| {
                state.steps().any(|step| {
                    matches!(
                        step,
                        Step::Confirm {
                            then: Then::Adopt,
                            ..
                        }
                    )
                })
            },
        ));
    }
    all
}

/// A slot has been acknowledged by the path that was left.
fn goes_on(state: &State, path: Path) -> bool {
    state.history().zip(1..).any(|(slot, n)| {
        let made = state.made(slot);
        let alone = made.is_some_and(|made| !made.seal && made.paths == Paths::Only(path));
        alone && state.acknowledged >> n & 1 == 1
    })
}

impl Told for Failover {
    fn tell(&self, state: &State, action: &Action) -> String {
        words::tell(self, state, *action)
    }

    fn show(&self, state: &State) -> String {
        words::show(state)
    }
}
