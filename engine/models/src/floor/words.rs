//! Steps and states in words.

use std::fmt::Write;

use super::Floor;
use super::state::{After, CHECKPOINTS_MAX, SLOTS_MAX, State, Step};
use super::steps::{self, Action};

pub(super) fn tell(model: &Floor, state: &State, action: Action) -> String {
    let mut next = *state;
    steps::take(model, &mut next, action);
    let line = match action {
        Action::Link(p) => {
            let n = state.process(p).applied + 1;
            let late = if state.collected >> n & 1 == 1 {
                ", which has been collected"
            } else {
                ""
            };
            format!(
                "process {p} creates slot {n} as content {}{late}",
                next.made_count
            )
        }
        Action::Read(p) => {
            let n = state.process(p).applied + 1;
            match state.slot(n) {
                Some(slot) => format!("process {p} reads slot {n}: content {slot}"),
                None => format!("process {p} finds no slot {n}"),
            }
        }
        Action::Fold(p) => {
            format!(
                "process {p} will fold up to slot {}",
                state.process(p).applied
            )
        }
        Action::Collect(p) => format!("process {p} will collect"),
        Action::Step(p) => format!("process {p} {}", of_step(state, &next, p)),
        Action::Delete(p, n) => format!("process {p} deletes slot {n}"),
        Action::Crash(p) => format!("process {p} dies and begins anew"),
        Action::PowerLoss { keep, survived } => {
            let processes = if survived { "live on" } else { "die" };
            let of = state.unsynced();
            format!(
                "power is lost: {} of {of} unsynced names stay, processes {processes}",
                keep.count_ones()
            )
        }
    };
    match next.broken {
        Some(broken) => format!("{line}  <- {broken:?}"),
        None => line,
    }
}

fn of_step(state: &State, next: &State, p: u8) -> String {
    let (process, after) = (state.process(p), next.process(p));
    let outcome = outcome(state, next, p);
    match process.step {
        Step::Open(_) => format!("loads the newest manifest: slot {}", after.applied),
        Step::Idle => "waits".to_owned(),
        Step::Linked { slot } | Step::Unproven { slot } => {
            format!("syncs the log and looks for content {slot} again{outcome}")
        }
        Step::Found { slot } => format!("looks for a successor of content {slot}{outcome}"),
        Step::Probe(_) => match state.floors.get(process.floors.into()) {
            Some(floor) => format!("finds floor/{} at slot {floor}", process.floors + 1),
            None => format!("finds no floor/{}{outcome}", process.floors + 1),
        },
        Step::FloorFound { .. } => format!("syncs the floors and looks again{outcome}"),
        Step::FoldOn { number, .. } => {
            format!(
                "syncs the manifests and looks for manifest/{} again",
                number + 1
            )
        }
        Step::FoldLink { number } => {
            format!(
                "creates manifest/{} up to slot {}",
                number + 1,
                process.applied
            )
        }
        Step::FoldSync => "syncs the manifests".to_owned(),
        Step::Choose => "reads the newest manifest, to choose a floor".to_owned(),
        Step::Chosen { number, .. } => {
            format!(
                "syncs the manifests and looks for manifest/{} again{outcome}",
                number + 1
            )
        }
        Step::FloorLink { floor } => {
            format!("creates floor/{} at slot {floor}", process.floors + 1)
        }
        Step::FloorSync { .. } => format!("makes floor/{} durable", process.floors + 1),
        Step::Delete { .. } => "has deleted all below the floor".to_owned(),
    }
}

/// Whether the slot in question is one that the process created itself.
fn is_own(step: Step) -> bool {
    let probes = matches!(step, Step::Probe(After::Apply { own: true, .. }));
    probes || matches!(step, Step::Linked { .. })
}

/// What follows from a step that settles whether a slot counts.
fn outcome(state: &State, next: &State, p: u8) -> String {
    let (process, after) = (state.process(p), next.process(p));
    let waits = matches!(process.step, Step::Probe(After::End { .. }));
    match after.step {
        Step::Open(_) => ": it has been overtaken".to_owned(),
        Step::Idle if after.applied != process.applied => {
            let verb = if is_own(process.step) {
                "acknowledges"
            } else {
                "exposes"
            };
            format!(
                ": it {verb} slot {} as content {}",
                after.applied, after.tip
            )
        }
        Step::Idle if waits => format!(": the log ends at slot {}", process.applied),
        Step::Idle => ": it is gone".to_owned(),
        _ => String::new(),
    }
}

pub(super) fn show(state: &State) -> String {
    let mut out = String::from("in the end:");
    for n in (1..).take(SLOTS_MAX) {
        if let Some(slot) = state.slot(n) {
            let _infallible = write!(out, " slot {n} = content {slot};");
        }
    }
    for number in 0..CHECKPOINTS_MAX {
        if let Some(manifest) = state.manifests.get(number) {
            let _infallible = write!(out, " manifest/{} up to {};", number + 1, manifest.folded);
        }
        if let Some(floor) = state.floors.get(number) {
            let _infallible = write!(out, " floor/{} at {floor};", number + 1);
        }
    }
    let exposed = u8::try_from(state.exposed()).unwrap_or(u8::MAX);
    let truth: Vec<String> = (1..=exposed).map(|n| state.truth(n).to_string()).collect();
    out + " exposed: contents " + &truth.join(", ")
}
