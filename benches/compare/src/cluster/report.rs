//! What was measured, as lines.

use std::collections::BTreeMap;

use super::swarm::Outcome;
use super::{SIDES, Work};
use crate::report::{Line, median};

/// What is told of one workload with so many processes.
const FIGURES: [(&str, &str, bool); 7] = [
    ("commits", "commits/s", true),
    ("latency_p50", "us", false),
    ("latency_p99", "us", false),
    ("conflicts", "per 1,000 commits", false),
    ("written", "bytes a commit", false),
    ("cpu", "us a commit", false),
    ("slowest_process", "of the average", true),
];

/// Outcomes of several runs by side.
pub(super) type Outcomes = BTreeMap<&'static str, Vec<Outcome>>;

/// The lines of one workload.
pub(super) fn lines(work: Work, processes: u64, clients: u64, outcomes: &Outcomes) -> Vec<Line> {
    FIGURES
        .iter()
        .map(|&(figure, unit, higher_is_better)| {
            let of = |side: &str| {
                let values = outcomes
                    .get(side)?
                    .iter()
                    .map(|outcome| value(figure, outcome));
                let values: Vec<f64> = values.collect();
                // What a server has written in another process is not known.
                let is_known = !values.is_empty() && (figure != "written" || values[0] > 0.0);
                is_known.then(|| median(values))
            };
            let peers = SIDES[1..].iter();
            Line {
                workload: format!("{}_{processes}x{clients}_{figure}", work.name()),
                unit,
                higher_is_better,
                ours: of(SIDES[0].name),
                peers: peers
                    .filter_map(|side| Some((side.name, of(side.name)?)))
                    .collect(),
                floor: None,
            }
        })
        .collect()
}

#[allow(clippy::cast_precision_loss, reason = "counts of one measurement")]
fn value(figure: &str, outcome: &Outcome) -> f64 {
    let commits = outcome.done.commits.max(1) as f64;
    match figure {
        "commits" => outcome.rate(),
        "latency_p50" => outcome.done.latency.below_us(0.5).unwrap_or(0.0),
        "latency_p99" => outcome.done.latency.below_us(0.99).unwrap_or(0.0),
        "conflicts" => outcome.done.conflicts as f64 * 1000.0 / commits,
        "written" => outcome.written as f64 / commits,
        "cpu" => outcome.cpu_seconds * 1e6 / commits,
        _ => outcome.fairness(),
    }
}
