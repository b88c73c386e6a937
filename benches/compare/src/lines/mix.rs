//! Half reads, half writes, in turn by chance, a hundred of them a durable commit.
//!
//! They are of random records of the second half of the numbers. No read is of a record that the same
//! commit has written before, so that it does not matter whether an engine shows a transaction its own
//! writes. What the reads found counts, and afterwards what a reopened database has of what was written.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::{Engine, Op, Reader, Result, Session};
use crate::random::Random;
use crate::records::{Found, Records};
use crate::usage::Stopwatch;

use super::{Place, Sample, close, part};

/// The line.
pub(super) const NAME: &str = "mix_50_50";

const SEED: u64 = 71;
/// Operations of one commit.
const COMMIT_OPS: u64 = 100;

/// What a commit does: numbers of records, written ones with their new version.
type Round = Vec<(u64, Option<u64>)>;

fn rounds(records: Records) -> Vec<Round> {
    let mut random = Random(SEED);
    let from = records.count / 2;
    let len = records.count - from;
    let commits = part(records.count, 20 * COMMIT_OPS, 20, 500);
    (0..commits)
        .map(|commit| {
            let mut written = BTreeSet::new();
            let mut round = Round::new();
            for _ in 0..COMMIT_OPS {
                let number = from + random.below(len);
                let writes = random.below(2) == 0;
                if writes {
                    written.insert(number);
                }
                if writes || !written.contains(&number) {
                    round.push((number, writes.then_some(commit + 1)));
                }
            }
            round
        })
        .collect()
}

pub(super) fn run<E: Engine>(place: Place<'_>) -> Result<Vec<Sample>> {
    let records = place.records;
    let rounds = rounds(records);
    let op = |&(number, version): &(u64, Option<u64>)| match version {
        None => Op::Get(records.key(number)),
        Some(version) => Op::Put(records.key(number), records.value(number, version)),
    };
    let ops: Vec<Vec<Op>> = rounds
        .iter()
        .map(|round| round.iter().map(op).collect())
        .collect();
    let engine: E = place.open()?;
    let mut found = Found::default();
    let mut session = engine.session()?;
    let watch = Stopwatch::start();
    for ops in &ops {
        session.mix(ops, |value| found.add(value))?;
    }
    let mut spent = watch.stop();
    drop(session);
    close(engine, &mut spent)?;

    let engine: E = place.open()?;
    engine.session()?.read(|reader| {
        for number in last(&rounds).keys() {
            reader.get(&records.key(*number), |value| found.add(value))?;
        }
        Ok(())
    })?;
    engine.close()?;
    Ok(vec![Sample {
        line: NAME,
        count: rounds.iter().map(|round| round.len() as u64).sum(),
        spent,
        found,
        expected: Box::new(move || expected(&rounds, records)),
    }])
}

/// The last version of each record that was written.
fn last(rounds: &[Round]) -> BTreeMap<u64, u64> {
    let all = rounds.iter().flatten();
    all.filter_map(|(number, version)| Some((*number, (*version)?)))
        .collect()
}

fn expected(rounds: &[Round], records: Records) -> Found {
    let mut found = Found::default();
    let mut versions = BTreeMap::new();
    for (number, version) in rounds.iter().flatten() {
        match version {
            Some(version) => {
                versions.insert(*number, *version);
            }
            None => {
                let version = versions.get(number).copied().unwrap_or(0);
                found.add(&records.value(*number, version));
            }
        }
    }
    for (number, version) in versions {
        found.add(&records.value(number, version));
    }
    found
}
