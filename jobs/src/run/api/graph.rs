//! Which jobs come after which.

use std::collections::{BTreeMap, HashMap, HashSet};

use eciton_engine::Db;
use serde::Serialize;

use crate::run::records::error::JobError;
use crate::run::records::inputs;
use crate::run::records::ledger::Ledger;
use crate::run::records::status::phase_name;

/// The state of a job that others come after, and that was not submitted or was removed.
const ABSENT: &str = "absent";

/// A job among those that come before and after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GraphJob {
    /// Its name.
    pub name: String,
    /// Its state, as in [`JobStatus`](crate::run::JobStatus); `absent` if there is no such job; `damaged` if its record
    /// cannot be read.
    pub state: &'static str,
    /// The jobs that have to be done before it starts, by name.
    pub after: Vec<String>,
    /// The number of jobs on the longest way to it.
    pub depth: usize,
}

/// State and inputs of jobs, by name.
type JobsByName = BTreeMap<String, (&'static str, Vec<String>)>;

/// The jobs of a database, each behind those that it comes after; of one job only those that it depends on, and those
/// that depend on it.
///
/// # Errors
/// [`JobError::NotFound`], [`JobError::Damaged`] and [`JobError::Engine`].
pub async fn graph(db: &Db, of: Option<&str>) -> Result<Vec<GraphJob>, JobError> {
    let ledger = match (of, Ledger::find(db).await?) {
        (Some(name), _) => Ledger::with_job(db, name).await?.0,
        (None, Some(ledger)) => ledger,
        (None, None) => return Ok(Vec::new()),
    };
    let mut states = Vec::new();
    ledger
        .each_job(|name, state| {
            let state = state.map_or("damaged", |state| phase_name(state.phase()));
            states.push((name, state));
        })
        .await?;
    let mut all = JobsByName::new();
    for (name, state) in states {
        let spec = ledger.spec(&name).await?;
        let after = spec.as_ref().map_or(&[][..], inputs::names).to_vec();
        for input in &after {
            all.entry(input.clone()).or_insert((ABSENT, Vec::new()));
        }
        all.insert(name, (state, after));
    }
    Ok(arranged(&all, of))
}

/// The jobs that a job comes after, directly or through others, and that have not ended: those first that come first.
///
/// # Errors
/// As [`graph`].
pub async fn open_inputs(db: &Db, name: &str) -> Result<Vec<String>, JobError> {
    let jobs = graph(db, Some(name)).await?;
    let own = jobs
        .iter()
        .find(|job| job.name == name)
        .map_or(0, |job| job.depth);
    let before = jobs.into_iter().filter(|job| job.depth < own);
    let open = before.filter(|job| matches!(job.state, "pending" | "running"));
    Ok(open.map(|job| job.name).collect())
}

fn arranged(all: &JobsByName, of: Option<&str>) -> Vec<GraphJob> {
    let wanted = of.map(|of| related(all, of));
    let mut depths = HashMap::new();
    let mut jobs: Vec<GraphJob> = all
        .iter()
        .filter(|(name, _)| {
            wanted
                .as_ref()
                .is_none_or(|wanted| wanted.contains(name.as_str()))
        })
        .map(|(name, (state, after))| GraphJob {
            name: name.clone(),
            state,
            after: after.clone(),
            depth: depth(all, name, &mut depths),
        })
        .collect();
    jobs.sort_by(|a, b| (a.depth, &a.name).cmp(&(b.depth, &b.name)));
    jobs
}

/// A job, those that it depends on, and those that depend on it.
fn related<'a>(all: &'a JobsByName, of: &'a str) -> HashSet<&'a str> {
    let mut later: HashMap<&str, Vec<&str>> = HashMap::new();
    for (name, (_, after)) in all {
        for input in after {
            later.entry(input).or_default().push(name);
        }
    }
    let before = |name: &str| -> Vec<&'a str> {
        let found = all.get(name);
        found.map_or(Vec::new(), |(_, after)| {
            after.iter().map(String::as_str).collect()
        })
    };
    let behind = |name: &str| later.get(name).cloned().unwrap_or_default();
    let mut found = reached(of, before);
    found.extend(reached(of, behind));
    found
}

/// What is reached from a job in some direction, itself included.
fn reached<'a>(of: &'a str, next: impl Fn(&str) -> Vec<&'a str>) -> HashSet<&'a str> {
    let mut found = HashSet::from([of]);
    let mut left = vec![of];
    while let Some(name) = left.pop() {
        for name in next(name) {
            if found.insert(name) {
                left.push(name);
            }
        }
    }
    found
}

/// The length of the longest way to a job. No job is recorded that closes a circle; in one, a job counts once.
fn depth(all: &JobsByName, name: &str, known: &mut HashMap<String, usize>) -> usize {
    if let Some(depth) = known.get(name) {
        return *depth;
    }
    known.insert(name.to_owned(), 0);
    let inputs = all.get(name).map_or(&[][..], |(_, after)| after);
    let depths: Vec<usize> = inputs
        .iter()
        .map(|input| 1 + depth(all, input, known))
        .collect();
    let deepest = depths.into_iter().max().unwrap_or(0);
    known.insert(name.to_owned(), deepest);
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(of: &[(&str, &[&str])]) -> JobsByName {
        let job = |(name, after): &(&str, &[&str])| {
            let after = after.iter().map(ToString::to_string).collect();
            ((*name).to_owned(), ("pending", after))
        };
        of.iter().map(job).collect()
    }

    #[test]
    fn jobs_stand_behind_all_that_they_come_after() {
        let all = jobs(&[
            ("report", &["clean", "rates"]),
            ("clean", &["raw"]),
            ("raw", &[]),
            ("rates", &[]),
            ("other", &[]),
        ]);
        let shown = |of| -> Vec<(String, usize)> {
            let found = arranged(&all, of).into_iter();
            found.map(|job| (job.name, job.depth)).collect()
        };
        let named = |names: &[(&str, usize)]| -> Vec<(String, usize)> {
            names
                .iter()
                .map(|(name, depth)| ((*name).to_owned(), *depth))
                .collect()
        };
        let whole = [
            ("other", 0),
            ("rates", 0),
            ("raw", 0),
            ("clean", 1),
            ("report", 2),
        ];
        assert_eq!(shown(None), named(&whole));
        // The other input of what comes later is none of its business.
        assert_eq!(
            shown(Some("clean")),
            named(&[("raw", 0), ("clean", 1), ("report", 2)])
        );
        assert_eq!(shown(Some("other")), named(&[("other", 0)]));
    }

    #[test]
    fn a_ladder_of_jobs_is_measured_once_each() {
        let mut all = JobsByName::new();
        for n in 0..60 {
            for side in ["a", "b"] {
                let after = match n {
                    0 => Vec::new(),
                    n => ["a", "b"].map(|side| format!("{side}{}", n - 1)).to_vec(),
                };
                all.insert(format!("{side}{n}"), ("pending", after));
            }
        }
        assert_eq!(arranged(&all, None).last().map(|job| job.depth), Some(59));
    }
}
