//! What processes do to write, one operation on a medium a step, and what goes wrong.

use super::process::{Step, Then};
use super::read;
use super::state::{Content, Hung, Made, Path, Paths, Position, State};
use super::{Failover, Mutant};

/// One thing that happens. Processes are numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// An idle process makes the next slot, to be created on its first path.
    Write(u8),
    /// An idle process reads the next slot.
    Read(u8),
    /// A process does what comes next.
    Step(u8),
    /// The create that a process is about to do hangs, and it gives up waiting.
    Hang(u8),
    /// The create that hung is carried out.
    Land,
    /// A process loses a path.
    Cut(u8, Path),
    /// All processes lose a path.
    Lose(Path),
    /// All paths are reachable again.
    Heal,
    /// A process dies and begins anew.
    Crash(u8),
    /// A path loses power.
    PowerLoss {
        /// Which one.
        path: Path,
        /// Which of the unsynced names stay, one bit each.
        keep: u32,
        /// The processes live on.
        survived: bool,
    },
}

pub(super) fn possible(model: &Failover, state: &State, actions: &mut Vec<Action>) {
    for p in 0..state.process_count {
        let process = state.process(p);
        if process.step == Step::Idle {
            if process.applied < model.bounds.slots {
                actions.push(Action::Read(p));
                if state.slots_made < model.bounds.creates {
                    actions.push(Action::Write(p));
                }
            }
        } else {
            actions.push(Action::Step(p));
        }
        if matches!(process.step, Step::Create { .. }) && state.left.hangs > 0 {
            actions.push(Action::Hang(p));
        }
        if state.left.crashes > 0 {
            actions.push(Action::Crash(p));
        }
        for path in Path::BOTH {
            if state.left.cuts > 0 && !process.cut[path as usize] {
                actions.push(Action::Cut(p, path));
            }
        }
    }
    if state.hung.is_some() {
        actions.push(Action::Land);
    }
    if state.left.cuts > 0 {
        actions.extend(Path::BOTH.map(Action::Lose));
    }
    actions.push(Action::Heal);
    if state.left.power_losses > 0 {
        for path in Path::BOTH {
            for keep in 0..1 << state.unsynced(path) {
                for survived in [true, false] {
                    let loss = Action::PowerLoss {
                        path,
                        keep,
                        survived,
                    };
                    actions.push(loss);
                }
            }
        }
    }
}

pub(super) fn take(model: &Failover, state: &mut State, action: Action) {
    match action {
        Action::Write(p) => write(state, p),
        Action::Read(p) => read::begin(state, p),
        Action::Step(p) => step(model, state, p),
        Action::Hang(p) => {
            if let Step::Create { path, slot, .. } = state.process(p).step {
                state.left.hangs -= 1;
                state.hung = Some(Hung {
                    path,
                    content: slot,
                });
                state.process_mut(p).step = Step::Idle;
            }
        }
        Action::Land => {
            if let Some(hung) = state.hung.take() {
                state.link(hung.path, hung.content);
            }
        }
        Action::Cut(p, path) => {
            state.left.cuts -= 1;
            state.process_mut(p).cut[path as usize] = true;
        }
        Action::Lose(path) => {
            state.left.cuts -= 1;
            for p in 0..state.process_count {
                state.process_mut(p).cut[path as usize] = true;
            }
        }
        Action::Heal => {
            for p in 0..state.process_count {
                state.process_mut(p).cut = [false; 2];
            }
        }
        Action::Crash(p) => {
            state.left.crashes -= 1;
            begin_anew(state, p);
        }
        Action::PowerLoss {
            path,
            keep,
            survived,
        } => {
            state.left.power_losses -= 1;
            state.lose_power(path, keep);
            for p in (0..state.process_count).filter(|_| !survived) {
                begin_anew(state, p);
            }
        }
    }
}

fn begin_anew(state: &mut State, p: u8) {
    let process = state.process_mut(p);
    (process.applied, process.tip, process.step) = (0, 0, Step::Idle);
}

fn write(state: &mut State, p: u8) {
    let (applied, tip) = (state.process(p).applied, state.process(p).tip);
    let (generation, paths) = state.after(tip);
    let slot = state.make(Made {
        n: applied + 1,
        prev: tip,
        generation,
        paths,
        seal: false,
    });
    let (path, then) = (paths.first(), Then::Own);
    state.process_mut(p).step = Step::Create { path, slot, then };
}

fn step(model: &Failover, state: &mut State, p: u8) {
    let process = *state.process(p);
    let next = match process.step {
        Step::Idle => Step::Idle,
        Step::ReadActive { passive } => read::active(model, state, p, passive),
        Step::Ask { path } => ask(model, state, p, path),
        Step::Create { path, .. }
        | Step::Sync { path, .. }
        | Step::Confirm { path, .. }
        | Step::Prove { path, .. }
        | Step::Look { path }
            if process.cut[path as usize] =>
        {
            Step::Idle
        }
        Step::Create { path, slot, then } => create(state, path, slot, then),
        Step::Sync {
            path,
            slot,
            inode,
            then,
        } => {
            state.sync(path);
            match model.mutant {
                Some(Mutant::SyncUnconfirmed) => confirmed(model, state, p, path, slot, then),
                _ => Step::Confirm {
                    path,
                    slot,
                    inode,
                    then,
                },
            }
        }
        Step::Confirm {
            path,
            slot,
            inode,
            then,
        } => {
            let entry = state.entry(path, slot);
            let same = entry.is_some_and(|entry| {
                let inode_counts = model.mutant != Some(Mutant::InodeUncompared);
                entry.content == slot && (entry.inode == inode || !inode_counts)
            });
            if same {
                confirmed(model, state, p, path, slot, then)
            } else {
                Step::Idle
            }
        }
        Step::Prove { path, slot, then } => read::prove(model, state, p, path, slot, then),
        Step::Look { path } => look(model, state, p, path),
    };
    state.process_mut(p).step = next;
}

/// Create-if-absent; a name that is taken by the same bytes is taken by this create's own earlier try, or
/// by another who completed the slot.
fn create(state: &mut State, path: Path, slot: Content, then: Then) -> Step {
    state.link(path, slot);
    settle(state, path, slot, then)
}

/// Makes a slot durable on a path, if that is what stands there.
pub(super) fn settle(state: &State, path: Path, slot: Content, then: Then) -> Step {
    match state.entry(path, slot) {
        Some(entry) if entry.content == slot => Step::Sync {
            path,
            slot,
            inode: entry.inode,
            then,
        },
        _ => Step::Idle,
    }
}

/// The slot is durable on this path: what now?
pub(super) fn confirmed(
    model: &Failover,
    state: &mut State,
    p: u8,
    path: Path,
    slot: Content,
    then: Then,
) -> Step {
    match then {
        Then::Own => {
            let both = state
                .made(slot)
                .is_some_and(|made| made.paths == Paths::Both);
            if both && path == Path::A && model.mutant != Some(Mutant::AckOnePath) {
                let path = Path::P;
                return Step::Create { path, slot, then };
            }
            apply(state, p, slot, true)
        }
        Then::Expose | Then::OrFailOver => apply(state, p, slot, false),
        Then::Passive => Step::Prove {
            path: Path::P,
            slot,
            then: Then::Expose,
        },
        Then::Complete => Step::Create {
            path: Path::P,
            slot,
            then: Then::Expose,
        },
        Then::Late => settle(state, Path::A, slot, Then::Expose),
        Then::Proves { slot } => apply(state, p, slot, false),
        Then::Adopt => seal(model, state, path, slot),
        Then::Sealed
            if state
                .made(slot)
                .is_some_and(|made| made.prev == state.process(p).tip) =>
        {
            apply(state, p, slot, false)
        }
        // On top of a slot that was adopted: that one is read and exposed first.
        Then::Sealed => Step::Idle,
    }
}

pub(super) fn apply(state: &mut State, p: u8, slot: Content, own: bool) -> Step {
    let Some(made) = state.made(slot) else {
        return Step::Idle;
    };
    if made.prev != state.process(p).tip {
        state.broken = Some(super::Broken::Chain);
    }
    state.expose(slot, own);
    let process = state.process_mut(p);
    (process.applied, process.tip) = (made.n, slot);
    Step::Idle
}

/// Goes on alone on `path`, if the other path is really away.
pub(super) fn fail_over(model: &Failover, state: &State, p: u8, path: Path) -> Step {
    let away = state.process(p).cut[path.other() as usize];
    let granted = path == Path::P || model.bounds.arbiter;
    if away && (granted || model.mutant == Some(Mutant::SealAUngranted)) {
        Step::Ask { path }
    } else {
        Step::Idle
    }
}

fn ask(model: &Failover, state: &mut State, p: u8, path: Path) -> Step {
    if !state.process(p).cut[path.other() as usize] {
        return Step::Idle;
    }
    let one_way = model.mutant == Some(Mutant::ArbiterOneWay) && path == Path::P;
    if !model.bounds.arbiter || one_way || *state.granted.get_or_insert(path) == path {
        Step::Look { path }
    } else {
        Step::Idle
    }
}

/// The seal goes where the next slot would.
fn look(model: &Failover, state: &mut State, p: u8, path: Path) -> Step {
    let (n, tip): (Position, Content) = (state.process(p).applied + 1, state.process(p).tip);
    let (generation, _) = state.after(tip);
    match state.look(path, generation, n) {
        None => seal(model, state, path, tip),
        Some(entry) if state.is_seal(entry.content) || path == Path::P => Step::Idle,
        Some(entry) => settle(state, path, entry.content, Then::Adopt),
    }
}

fn seal(model: &Failover, state: &mut State, path: Path, prev: Content) -> Step {
    let n = state.made(prev).map_or(1, |made| made.n + 1);
    if state.seals_made == model.bounds.seals || n > model.bounds.slots {
        return Step::Idle;
    }
    let slot = state.make(Made {
        n,
        prev,
        generation: u8::from(model.mutant == Some(Mutant::SealNewName)),
        paths: Paths::Only(path),
        seal: true,
    });
    let then = Then::Sealed;
    Step::Create { path, slot, then }
}
