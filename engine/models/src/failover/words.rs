//! Steps and states in words.

use std::fmt::Write;

use super::Failover;
use super::process::{Step, Then};
use super::state::{Content, Path, Paths, SLOTS_MAX, State};
use super::steps::{self, Action};

pub(super) fn tell(model: &Failover, state: &State, action: Action) -> String {
    let mut next = *state;
    steps::take(model, &mut next, action);
    let line = match action {
        Action::Write(p) => {
            let slot = match next.process(p).step {
                Step::Create { slot, .. } => slot,
                _ => 0,
            };
            format!("process {p} makes {}", name(&next, slot))
        }
        Action::Read(p) => format!("process {p} reads the next slot: {}", found(&next, p)),
        Action::Step(p) => format!("process {p} {}", of_step(state, &next, p)),
        Action::Hang(p) => format!("process {p}'s create hangs, it gives up waiting"),
        Action::Land => {
            let hung = state
                .hung
                .map(|hung| (name(state, hung.content), hung.path));
            let (what, path) = hung.unwrap_or((String::new(), Path::A));
            format!("the create that hung is carried out: {what} on {path:?}")
        }
        Action::Cut(p, path) => format!("process {p} can no longer reach {path:?}"),
        Action::Lose(path) => format!("nobody can reach {path:?} any more"),
        Action::Heal => "every path can be reached again".to_owned(),
        Action::Crash(p) => format!("process {p} dies and begins anew"),
        Action::PowerLoss {
            path,
            keep,
            survived,
        } => {
            let processes = if survived { "live on" } else { "die" };
            let (kept, of) = (keep.count_ones(), state.unsynced(path));
            format!(
                "{path:?} loses power: {kept} of {of} unsynced names stay, processes {processes}"
            )
        }
    };
    match next.broken {
        Some(broken) => format!("{line}  <- {broken:?}"),
        None => line,
    }
}

fn name(state: &State, content: Content) -> String {
    match state.made(content) {
        None => "nothing".to_owned(),
        Some(made) if made.seal => {
            let target = match made.paths {
                Paths::Both => "both",
                Paths::Only(Path::A) => "A",
                Paths::Only(Path::P) => "P",
            };
            format!(
                "seal {content} (log/g{}/{}, goes on with {target})",
                made.generation, made.n
            )
        }
        Some(made) => format!("slot {content} (log/g{}/{})", made.generation, made.n),
    }
}

/// What a process that read knows afterwards.
fn found(next: &State, p: u8) -> String {
    match next.process(p).step {
        Step::ReadActive { passive } => format!("P says {passive:?}"),
        Step::Prove { slot, .. } => name(next, slot),
        _ => "nothing there, or no answer".to_owned(),
    }
}

fn of_step(state: &State, next: &State, p: u8) -> String {
    let end = outcome(state, next, p);
    match state.process(p).step {
        Step::Idle => "waits".to_owned(),
        Step::Create { path, slot, .. } => {
            let what = name(state, slot);
            match state.entry(path, slot) {
                None => format!("creates {what} on {path:?}{end}"),
                Some(entry) => {
                    let taken = name(state, entry.content);
                    format!("would create {what} on {path:?} and finds {taken}{end}")
                }
            }
        }
        Step::Sync { path, .. } => format!("syncs {path:?}{end}"),
        Step::Confirm { path, slot, .. } => {
            format!("looks for {} on {path:?} again{end}", name(state, slot))
        }
        Step::ReadActive { .. } => {
            let (generation, _) = state.after(state.process(p).tip);
            let entry = state.look(Path::A, generation, state.process(p).applied + 1);
            let reachable = !state.process(p).cut[Path::A as usize];
            let there = entry.filter(|_| reachable).map_or(0, |entry| entry.content);
            let answer = if reachable {
                name(state, there)
            } else {
                "no answer".to_owned()
            };
            format!("reads the same on A: {answer}{end}")
        }
        Step::Prove { path, slot, .. } => {
            format!(
                "looks for a successor of {} on {path:?}{end}",
                name(state, slot)
            )
        }
        Step::Ask { path } => format!(
            "finds {:?} away and would go on with {path:?}{end}",
            path.other()
        ),
        Step::Look { path } => format!("looks on {path:?} where the seal would go{end}"),
    }
}

fn outcome(state: &State, next: &State, p: u8) -> String {
    let (before, after) = (state.process(p), next.process(p));
    if after.applied != before.applied {
        let own = matches!(
            before.step,
            Step::Confirm {
                then: Then::Own,
                ..
            } | Step::Sync {
                then: Then::Own,
                ..
            }
        );
        let verb = if own { "acknowledges" } else { "exposes" };
        return format!(": it {verb} {}", name(next, after.tip));
    }
    match after.step {
        Step::Idle => ": it gives up".to_owned(),
        _ => String::new(),
    }
}

pub(super) fn show(state: &State) -> String {
    let mut out = String::from("in the end:");
    for path in Path::BOTH {
        for generation in 0..2 {
            for n in (1..).take(SLOTS_MAX) {
                if let Some(entry) = state.look(path, generation, n) {
                    let _infallible = write!(out, " {path:?}: {};", name(state, entry.content));
                }
            }
        }
    }
    let history: Vec<String> = state.history().map(|slot| slot.to_string()).collect();
    out + " exposed: " + &history.join(", ")
}
