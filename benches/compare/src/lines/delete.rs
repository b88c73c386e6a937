//! Deleting a tenth of the records, all as one, until that is durable.

use crate::engine::{Engine, Reader, Result, Session};
use crate::records::{Found, Key, Records};
use crate::usage::Stopwatch;

use super::{Place, Sample, close};

/// The line.
pub(super) const NAME: &str = "delete_tenth";

const PART: u64 = 10;

pub(super) fn run<E: Engine>(place: Place<'_>) -> Result<Vec<Sample>> {
    let records = place.records;
    let count = records.count / PART;
    let keys: Vec<Key> = (0..count).map(|number| records.key(number)).collect();
    let engine: E = place.open()?;
    let mut session = engine.session()?;
    let watch = Stopwatch::start();
    session.delete(&keys)?;
    let mut spent = watch.stop();
    drop(session);
    close(engine, &mut spent)?;

    let engine: E = place.open()?;
    let mut found = Found::default();
    engine
        .session()?
        .read(|reader| reader.keys(|key| found.add(key)))?;
    engine.close()?;
    Ok(vec![Sample {
        line: NAME,
        count,
        spent,
        found,
        expected: Box::new(move || left(records, count)),
    }])
}

fn left(records: Records, deleted: u64) -> Found {
    let mut found = Found::default();
    for (key, number) in records.sorted() {
        if number >= deleted {
            found.add(&key);
        }
    }
    found
}
