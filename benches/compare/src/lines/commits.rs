//! Commits of one record each, which return when they are durable.
//!
//! They replace random records of the first half of the numbers: one thread those of the first quarter,
//! eight threads those of the second, each its own eighth. What was committed is read back from the database after closing and
//! opening it.

use std::collections::BTreeMap;

use crate::engine::{Engine, Reader, Result, Session};
use crate::random::Random;
use crate::records::{Found, Records};

use super::threads::together;
use super::{Place, Sample, close, part};

/// One thread.
pub(super) const ONE: &str = "commit_1_thread";
/// Eight threads.
pub(super) const EIGHT: &str = "commit_8_threads";

const THREADS: u64 = 8;
const SEED: u64 = 51;

/// The writes of one thread.
#[derive(Clone, Copy)]
struct Share {
    seed: u64,
    from: u64,
    len: u64,
    count: u64,
}

impl Share {
    /// Numbers of records, each with its new version.
    fn writes(self) -> impl Iterator<Item = (u64, u64)> {
        let mut random = Random(self.seed);
        (1..=self.count).map(move |version| (self.from + random.below(self.len), version))
    }

    /// The last version of each record.
    fn last(self) -> BTreeMap<u64, u64> {
        self.writes().collect()
    }

    fn commit(self, session: &mut impl Session, records: Records) -> Result<()> {
        let mut value = Vec::with_capacity(records.value_len);
        for (number, version) in self.writes() {
            records.fill(number, version, &mut value);
            session.commit(&records.key(number), &value)?;
        }
        Ok(())
    }
}

pub(super) fn run<E: Engine>(place: Place<'_>) -> Result<Vec<Sample>> {
    let records = place.records;
    let quarter = (records.count / 4).max(1);
    let one = vec![Share {
        seed: SEED,
        from: 0,
        len: quarter,
        count: part(records.count, 200, 100, 5000),
    }];
    let eighth = (quarter / THREADS).max(1);
    let eight = (0..THREADS).map(|thread| Share {
        seed: SEED + 1 + thread,
        from: quarter + thread * eighth,
        len: eighth,
        count: part(records.count, 50 * THREADS, 50, 20_000 / THREADS),
    });
    let mut samples = Vec::new();
    for (line, shares) in [(ONE, one), (EIGHT, eight.collect())] {
        samples.push(measure::<E>(place, line, shares)?);
    }
    Ok(samples)
}

fn measure<E: Engine>(place: Place<'_>, line: &'static str, shares: Vec<Share>) -> Result<Sample> {
    let records = place.records;
    let engine: E = place.open()?;
    let prepare = |_| engine.session();
    let work = |thread: u64, mut session: E::Session<'_>| {
        let share = usize::try_from(thread).ok().and_then(|at| shares.get(at));
        share.map_or(Ok(()), |share| share.commit(&mut session, records))
    };
    let (_, mut spent) = together(shares.len() as u64, prepare, work)?;
    close(engine, &mut spent)?;
    Ok(Sample {
        line,
        count: shares.iter().map(|share| share.count).sum(),
        spent,
        found: read_back::<E>(place, &shares)?,
        expected: Box::new(move || expected(&shares, records)),
    })
}

fn read_back<E: Engine>(place: Place<'_>, shares: &[Share]) -> Result<Found> {
    let engine: E = place.open()?;
    let mut found = Found::default();
    engine.session()?.read(|reader| {
        for share in shares {
            for number in share.last().keys() {
                reader.get(&place.records.key(*number), |value| found.add(value))?;
            }
        }
        Ok(())
    })?;
    engine.close()?;
    Ok(found)
}

fn expected(shares: &[Share], records: Records) -> Found {
    let mut found = Found::default();
    for share in shares {
        for (number, version) in share.last() {
            found.add(&records.value(number, version));
        }
    }
    found
}
