//! How the next slot is read: P first, since what is on P was on A before.

use super::process::{Seen, Step, Then};
use super::state::{Content, Path, Paths, State};
use super::steps::{apply, confirmed, fail_over, settle};
use super::{Broken, Failover, Mutant};

/// Reads the next slot on the passive path, or on the only one.
pub(super) fn begin(state: &mut State, p: u8) {
    let (_, paths) = state.after(state.process(p).tip);
    let next = match paths {
        Paths::Both => Step::ReadActive {
            passive: seen(state, p, Path::P),
        },
        Paths::Only(path) => match seen(state, p, path) {
            Seen::There(slot) => Step::Prove {
                path,
                slot,
                then: Then::Expose,
            },
            Seen::Absent | Seen::Failed => Step::Idle,
        },
    };
    state.process_mut(p).step = next;
}

fn seen(state: &State, p: u8, path: Path) -> Seen {
    let process = state.process(p);
    if process.cut[path as usize] {
        return Seen::Failed;
    }
    let (generation, _) = state.after(process.tip);
    match state.look(path, generation, process.applied + 1) {
        None => Seen::Absent,
        Some(entry) => Seen::There(entry.content),
    }
}

/// Reads the next slot on the active path and weighs both.
pub(super) fn active(model: &Failover, state: &mut State, p: u8, passive: Seen) -> Step {
    let active = seen(state, p, Path::A);
    let prove = |path, slot, then| Step::Prove { path, slot, then };
    match (active, passive) {
        // Sealed: whatever A holds here was never confirmed.
        (_, Seen::There(slot)) if state.is_seal(slot) => prove(Path::P, slot, Then::Expose),
        (Seen::Failed, Seen::There(slot)) => prove(Path::P, slot, Then::Expose),
        (Seen::Failed, Seen::Absent) => fail_over(model, state, p, Path::P),
        (Seen::Failed, Seen::Failed) | (Seen::Absent, Seen::Absent) => Step::Idle,
        (Seen::There(slot), _) if state.is_seal(slot) => prove(Path::A, slot, Then::Expose),
        (Seen::There(slot), Seen::Failed) => prove(Path::A, slot, Then::OrFailOver),
        (Seen::Absent, Seen::Failed) => fail_over(model, state, p, Path::A),
        (Seen::Absent, Seen::There(_)) => {
            state.broken = Some(Broken::PassiveAhead);
            Step::Idle
        }
        (Seen::There(slot), Seen::Absent) => match model.mutant {
            Some(Mutant::NoComplete) => apply(state, p, slot, false),
            Some(Mutant::CompleteVolatile) => Step::Create {
                path: Path::P,
                slot,
                then: Then::Late,
            },
            _ => prove(Path::A, slot, Then::Complete),
        },
        (Seen::There(on_a), Seen::There(on_p)) if on_a != on_p => {
            state.broken = Some(Broken::PathsDiffer);
            Step::Idle
        }
        (Seen::There(slot), Seen::There(_)) => prove(Path::A, slot, Then::Passive),
    }
}

/// A successor on top of exactly this slot shows that somebody confirmed it on every path; a seal must be
/// durable itself before it shows anything.
pub(super) fn prove(
    model: &Failover,
    state: &mut State,
    p: u8,
    path: Path,
    slot: Content,
    then: Then,
) -> Step {
    if model.mutant == Some(Mutant::ReadUnsynced) && then != Then::Complete {
        return confirmed(model, state, p, path, slot, then);
    }
    let (generation, _) = state.after(slot);
    let n = state.made(slot).map_or(1, |made| made.n);
    let next = state
        .look(path, generation, n + 1)
        .map(|entry| entry.content)
        .filter(|next| {
            let prev = state.made(*next).map(|made| made.prev);
            prev == Some(slot) || model.mutant == Some(Mutant::SuccessorUncompared)
        });
    match next {
        Some(next) if state.is_seal(next) && then != Then::Passive => {
            settle(state, path, next, Then::Proves { slot })
        }
        Some(next) if !state.is_seal(next) => match then {
            Then::Passive => confirmed(model, state, p, path, slot, then),
            _ => apply(state, p, slot, false),
        },
        _ if then == Then::OrFailOver => fail_over(model, state, p, Path::A),
        _ => settle(state, path, slot, then),
    }
}
