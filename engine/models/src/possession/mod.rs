//! S14: what comes over the bus counts from those alone who have the same storage.
//!
//! A volume is cloned below its database, or set back to an earlier state, at any moment. Processes on either
//! side have one name on one bus, which remembers everything that was ever said and tells it to anybody at any
//! time. Each slot has a nonce, so whoever knows its hash has read it, or has heard it from one who did.
//!
//! Left out: processes that end, which are those that do nothing any more; floors, manifests, power losses, and reads that conflict. A slot holds the transaction of who writes
//! it, and at most one that another process has offered. What is lost, delayed or corrupted on the bus is covered
//! by what nobody takes from it.

mod state;
mod words;

use stateright::{Model, Property};

use crate::explore::Told;
pub use state::State;

/// The model: its bounds, and the rule that is broken, if any.
#[derive(Clone, Copy, Debug)]
pub struct Possession {
    /// What is broken on purpose.
    pub mutant: Option<Mutant>,
    /// How far it goes.
    pub bounds: Bounds,
}

/// How far the model goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Processes, each of which opens a database once.
    pub processes: usize,
    /// Slots that are written altogether.
    pub slots: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            processes: 3,
            slots: 3,
        }
    }
}

impl Bounds {
    /// Some minutes.
    pub fn wide() -> Bounds {
        Bounds {
            processes: 2,
            slots: 5,
        }
    }
}

/// A rule broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Slots from the bus are taken, and other processes' transactions written, although they hang on nothing that was
    /// written since the database was opened.
    TakeUnproved,
    /// Slots and transactions are offered although they hang on nothing that was written since.
    OfferUnproved,
    /// A transaction of another history is written.
    HistoryUnchecked,
    /// A slot from the bus is taken although it follows another slot.
    SlotUnchained,
}

impl Mutant {
    /// All of them, with their names on the command line.
    pub const ALL: [(&'static str, Mutant); 4] = [
        ("take-unproved", Mutant::TakeUnproved),
        ("offer-unproved", Mutant::OfferUnproved),
        ("history-unchecked", Mutant::HistoryUnchecked),
        ("slot-unchained", Mutant::SlotUnchained),
    ];

    /// The property that it breaks.
    pub fn breaks(self) -> &'static str {
        match self {
            Mutant::TakeUnproved | Mutant::OfferUnproved | Mutant::SlotUnchained => SHOWN,
            Mutant::HistoryUnchecked => APART,
        }
    }
}

/// A property.
pub const KEPT: &str = "what was acknowledged stands in its volume";
/// A property.
pub const APART: &str = "no volume holds what was submitted on another one";
/// A property.
pub const SHOWN: &str = "what is shown is on storage";

/// A step, mostly of the process of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It opens the database of the volume of the second number, by what storage says.
    Open(usize, usize),
    /// It reads the next slot from storage.
    Read(usize),
    /// It takes this slot from the bus as the next one.
    Take(usize, u8),
    /// It begins to commit its transaction.
    Submit(usize),
    /// It offers it to others.
    Offer(usize),
    /// It writes the next slot, with its own transaction and one that another process has offered.
    Write(usize, Option<usize>),
    /// It hears from another process that its transaction stands in a slot.
    Hear(usize),
    /// The volume is copied.
    Copy,
    /// The copy becomes a volume beside the original.
    Clone,
    /// The volume becomes what the copy is; processes there end.
    SetBack,
}

impl Model for Possession {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(&self.bounds)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let processes = 0..self.bounds.processes;
        for process in processes.clone() {
            actions.extend((0..2).map(|volume| Action::Open(process, volume)));
            actions.push(Action::Read(process));
            actions.push(Action::Submit(process));
            actions.push(Action::Offer(process));
            actions.push(Action::Hear(process));
            actions.extend(state.slots().map(|slot| Action::Take(process, slot)));
            let others = processes
                .clone()
                .filter(|other| *other != process)
                .map(Some);
            actions.extend(
                std::iter::once(None)
                    .chain(others)
                    .map(|other| Action::Write(process, other)),
            );
        }
        actions.extend([Action::Copy, Action::Clone, Action::SetBack]);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        last.after(self, action)
    }

    fn properties(&self) -> Vec<Property<Possession>> {
        vec![
            Property::always(KEPT, |_, state: &State| state.keeps_what_it_acknowledged()),
            Property::always(APART, |_, state: &State| state.is_apart()),
            Property::always(SHOWN, |_, state: &State| state.shows_what_is_stored()),
            Property::sometimes("a slot comes over the bus", |_, state: &State| {
                state.has_taken()
            }),
            Property::sometimes(
                "another process commits one's transaction",
                |_, state: &State| state.has_heard(),
            ),
            Property::sometimes("both volumes go on", |_, state: &State| state.both_go_on()),
            Property::sometimes("a volume that was set back goes on", |_, state: &State| {
                state.goes_on_set_back()
            }),
        ]
    }
}

impl Told for Possession {
    fn tell(&self, _: &State, action: &Action) -> String {
        words::tell(*action)
    }

    fn show(&self, state: &State) -> String {
        words::show(state)
    }
}
