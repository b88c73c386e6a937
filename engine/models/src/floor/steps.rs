//! What processes do, one operation on the medium a step, and what goes wrong.

use super::state::{After, Broken, Closed, Content, Manifest, Position, State, Step};
use super::{Floor, Mutant};

/// One thing that happens. Processes are numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// An idle process creates the next slot.
    Link(u8),
    /// An idle process reads the next slot.
    Read(u8),
    /// An idle process begins to fold what it has applied.
    Fold(u8),
    /// An idle process begins to collect.
    Collect(u8),
    /// A process does what comes next.
    Step(u8),
    /// A process that collects deletes a slot.
    Delete(u8, Position),
    /// A process dies and begins anew.
    Crash(u8),
    /// The medium loses power.
    PowerLoss {
        /// Which of the unsynced changes stay, one bit each.
        keep: u32,
        /// The processes live on: another machine holds the medium.
        survived: bool,
    },
}

/// How many slots stay between a floor and the tail: `WMAX`, very small.
const WINDOW: Position = 1;

pub(super) fn possible(model: &Floor, state: &State, actions: &mut Vec<Action>) {
    for p in 0..state.process_count {
        match state.process(p).step {
            Step::Idle => idle(model, state, p, actions),
            Step::Delete { floor, .. } => {
                let below = (1..floor).filter(|n| state.slot(*n).is_some());
                let before = actions.len();
                actions.extend(below.map(|n| Action::Delete(p, n)));
                if actions.len() == before {
                    actions.push(Action::Step(p));
                }
            }
            _ => actions.push(Action::Step(p)),
        }
        if state.crashes > 0 {
            actions.push(Action::Crash(p));
        }
    }
    if state.power_losses > 0 {
        for keep in 0..1 << state.unsynced() {
            for survived in [true, false] {
                actions.push(Action::PowerLoss { keep, survived });
            }
        }
    }
}

fn idle(model: &Floor, state: &State, p: u8, actions: &mut Vec<Action>) {
    let bounds = &model.bounds;
    let process = state.process(p);
    let next = process.applied + 1;
    if usize::from(next) <= bounds.slots {
        actions.push(Action::Read(p));
        if state.slot(next).is_none() && usize::from(state.made_count) < bounds.creates {
            actions.push(Action::Link(p));
        }
    }
    if usize::from(p) >= bounds.collectors {
        return;
    }
    let folded = state
        .manifests
        .newest()
        .map_or(0, |(_, manifest)| manifest.folded);
    if folded < process.applied && state.manifests.first_free() < bounds.manifests {
        actions.push(Action::Fold(p));
    }
    let reach = floor_of(model, folded, process.applied);
    if process.floor < reach && usize::from(process.floors) < bounds.floors {
        actions.push(Action::Collect(p));
    }
}

fn floor_of(model: &Floor, folded: Position, applied: Position) -> Position {
    let window = applied.saturating_sub(WINDOW);
    match model.mutant {
        Some(Mutant::FloorAboveWindow) => folded,
        Some(Mutant::FloorAboveManifest) if folded > 0 => window,
        _ => folded.min(window),
    }
}

pub(super) fn take(model: &Floor, state: &mut State, action: Action) {
    match action {
        Action::Link(p) => link(state, p),
        Action::Read(p) => read(model, state, p),
        Action::Fold(p) => {
            state.process_mut(p).step = match state.manifests.newest() {
                None => Step::FoldLink { number: 0 },
                Some((number, newest)) => Step::FoldOn {
                    number: small(number),
                    newest,
                },
            }
        }
        Action::Collect(p) => probe(model, state, p, After::Choose),
        Action::Step(p) => step(model, state, p),
        Action::Delete(p, n) => {
            state.log.unlink(usize::from(n) - 1);
            state.collected |= 1 << n;
            state.process_mut(p).step = state.process(p).step;
        }
        Action::Crash(p) => {
            state.crashes -= 1;
            begin_anew(state, p);
        }
        Action::PowerLoss { keep, survived } => {
            state.power_losses -= 1;
            state.lose_power(keep);
            for p in (0..state.process_count).filter(|_| !survived) {
                begin_anew(state, p);
            }
        }
    }
}

fn begin_anew(state: &mut State, p: u8) {
    let process = state.process_mut(p);
    (process.applied, process.tip) = (0, 0);
    (process.floors, process.floor) = (0, 0);
    process.step = Step::Open(Closed::Fresh);
}

fn link(state: &mut State, p: u8) {
    let (next, tip) = (state.process(p).applied + 1, state.process(p).tip);
    let slot = state.make(next, tip);
    state.log.link(usize::from(next) - 1, slot);
    state.process_mut(p).step = Step::Linked { slot };
}

fn read(model: &Floor, state: &mut State, p: u8) {
    let told = state.told;
    match state.slot(state.process(p).applied + 1) {
        Some(slot) => state.process_mut(p).step = Step::Found { slot },
        None if model.mutant == Some(Mutant::AbsentUnprobed) => {
            go_on(state, p, After::End { told });
        }
        None => probe(model, state, p, After::End { told }),
    }
}

fn probe(model: &Floor, state: &mut State, p: u8, after: After) {
    if model.mutant == Some(Mutant::NoProbe) {
        go_on(state, p, after);
    } else {
        state.process_mut(p).step = Step::Probe(after);
    }
}

/// The newest floor is known: does the slot in question count?
fn go_on(state: &mut State, p: u8, after: After) {
    let process = *state.process(p);
    let overtaken = process.applied + 1 < process.floor;
    state.process_mut(p).step = match after {
        After::Choose => Step::Choose,
        After::Apply { own, .. } if overtaken => {
            Step::Open(if own { Closed::Created } else { Closed::Read })
        }
        After::End { .. } if overtaken => Step::Open(Closed::Absent),
        After::Apply { slot, own } => {
            apply(state, p, slot, own);
            Step::Idle
        }
        After::End { told } => {
            if process.applied < told {
                state.broken = Some(Broken::StaleEnd);
            }
            Step::Idle
        }
    };
}

fn apply(state: &mut State, p: u8, slot: Content, own: bool) {
    let made = state.made(slot);
    if made.prev != state.process(p).tip {
        state.broken = Some(Broken::Chain);
    }
    state.expose(made.n, slot);
    if own {
        state.told = state.told.max(made.n);
    }
    let process = state.process_mut(p);
    (process.applied, process.tip) = (made.n, slot);
}

fn step(model: &Floor, state: &mut State, p: u8) {
    match state.process(p).step {
        Step::Open(_) => open(state, p),
        Step::Idle => {}
        Step::Linked { slot } => settle(model, state, p, slot, true),
        Step::Found { slot } => found(model, state, p, slot),
        Step::Unproven { slot } => settle(model, state, p, slot, false),
        Step::Probe(after) => match state.floors.get(state.process(p).floors.into()) {
            None => go_on(state, p, after),
            Some(floor) if model.mutant == Some(Mutant::FloorBelievedVolatile) => {
                believe(state, p, floor, after);
            }
            Some(floor) => state.process_mut(p).step = Step::FloorFound { floor, after },
        },
        Step::FloorFound { floor, after } => {
            state.floors.sync();
            if state.floors.get(state.process(p).floors.into()) == Some(floor) {
                believe(state, p, floor, after);
            } else {
                state.process_mut(p).step = Step::Probe(after);
            }
        }
        Step::FoldOn { number, newest } => {
            state.manifests.sync();
            state.process_mut(p).step = if state.manifests.get(number.into()) == Some(newest) {
                Step::FoldLink { number: number + 1 }
            } else {
                Step::Idle
            };
        }
        Step::FoldLink { number } => {
            let (folded, tip) = (state.process(p).applied, state.process(p).tip);
            let manifest = Manifest { folded, tip };
            let new = state.manifests.link(number.into(), manifest);
            state.process_mut(p).step = if new { Step::FoldSync } else { Step::Idle };
        }
        Step::FoldSync => {
            state.manifests.sync();
            state.process_mut(p).step = Step::Idle;
        }
        _ => collect(model, state, p),
    }
}

fn collect(model: &Floor, state: &mut State, p: u8) {
    let delete = |floor, then_link, then_sync| Step::Delete {
        floor,
        then_link,
        then_sync,
    };
    let late = model.mutant == Some(Mutant::FloorLate);
    let process = *state.process(p);
    state.process_mut(p).step = match process.step {
        Step::Choose => match state.manifests.newest() {
            Some((number, manifest)) => {
                let floor = floor_of(model, manifest.folded, process.applied).max(process.floor);
                if floor == process.floor {
                    Step::Idle
                } else if model.mutant == Some(Mutant::ManifestVolatile) {
                    Step::FloorLink { floor }
                } else {
                    Step::Chosen {
                        number: small(number),
                        manifest,
                        floor,
                    }
                }
            }
            None => Step::Idle,
        },
        Step::Chosen {
            number,
            manifest,
            floor,
        } => {
            state.manifests.sync();
            let found = state.manifests.get(number.into());
            // To see any manifest under its name is not enough: another folder may have created an
            // older state under it after this one was lost.
            let is_that = found == Some(manifest);
            if found.is_none() || !is_that && model.mutant != Some(Mutant::ManifestUncompared) {
                Step::Idle
            } else if late {
                delete(floor, true, true)
            } else {
                Step::FloorLink { floor }
            }
        }
        Step::FloorLink { floor } => {
            let new = state.floors.link(process.floors.into(), floor);
            if !new {
                Step::Idle
            } else if model.mutant == Some(Mutant::FloorVolatile) {
                delete(floor, false, true)
            } else {
                Step::FloorSync { floor }
            }
        }
        Step::FloorSync { floor } => {
            state.floors.sync();
            if state.floors.get(process.floors.into()) == Some(floor) {
                let process = state.process_mut(p);
                (process.floors, process.floor) = (process.floors + 1, floor);
                delete(floor, false, false)
            } else {
                Step::Idle
            }
        }
        Step::Delete {
            floor,
            then_link: true,
            ..
        } => Step::FloorLink { floor },
        Step::Delete {
            floor,
            then_sync: true,
            ..
        } => Step::FloorSync { floor },
        Step::Delete { .. } => Step::Idle,
        other => other,
    };
}

/// The newest manifest is the state to begin with.
fn open(state: &mut State, p: u8) {
    let newest = state.manifests.newest();
    let (applied, tip) = newest.map_or((0, 0), |(_, manifest)| (manifest.folded, manifest.tip));
    if state.truth(applied) != tip {
        state.broken = Some(Broken::TwoTruths);
    }
    let process = state.process_mut(p);
    (process.applied, process.tip) = (applied, tip);
    process.step = Step::Idle;
}

/// Syncs the log's directory, and looks whether the slot is still the one.
fn settle(model: &Floor, state: &mut State, p: u8, slot: Content, own: bool) {
    state.log.sync();
    let confirmed = state.slot(state.made(slot).n) == Some(slot);
    if confirmed || model.mutant == Some(Mutant::SyncUnconfirmed) {
        probe(model, state, p, After::Apply { slot, own });
    } else {
        state.process_mut(p).step = Step::Idle;
    }
}

/// A successor on top of exactly this slot proves that somebody has confirmed it.
fn found(model: &Floor, state: &mut State, p: u8, slot: Content) {
    let next = state.slot(state.made(slot).n + 1);
    let proven = next.is_some_and(|next| state.made(next).prev == slot);
    if proven || model.mutant == Some(Mutant::ReadUnsynced) {
        probe(model, state, p, After::Apply { slot, own: false });
    } else {
        state.process_mut(p).step = Step::Unproven { slot };
    }
}

fn believe(state: &mut State, p: u8, floor: Position, after: After) {
    let process = state.process_mut(p);
    process.floors += 1;
    process.floor = process.floor.max(floor);
    process.step = Step::Probe(after);
}

fn small(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}
