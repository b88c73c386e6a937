//! Point reads of random records.
//!
//! Warm ones come after every record (the first million of them) was read once by the same session. The
//! cache that is small is the engine's own; the system's keeps the file, so that what is measured is
//! finding, checking and decompressing pages again, not the disc.

use crate::engine::{Engine, Reader, Result, Session};
use crate::random::Random;
use crate::records::{Found, Records};
use crate::usage::{Spent, Stopwatch};

use super::threads::together;
use super::{Place, Sample, part};

/// One thread, one snapshot for all.
pub(super) const ONE: &str = "get_1_thread";
/// One thread, a snapshot or read transaction for each.
pub(super) const ALONE: &str = "get_1_thread_new_snapshot";
/// Two threads, a snapshot each.
pub(super) const TWO: &str = "get_2_threads";
/// One thread, the cache a tenth of the data.
pub(super) const SMALL_CACHE: &str = "get_small_cache";

const SEED: u64 = 11;
const WARM_RECORDS_MAX: u64 = 1_000_000;

/// Reads each record once, or as many as say that everything is warm.
pub(super) fn warm_up(session: &mut impl Session, records: Records) -> Result<()> {
    let count = records.count.min(WARM_RECORDS_MAX);
    let mut found = Found::default();
    session.read(|reader| {
        for number in 0..count {
            reader.get(&records.key(number), |value| found.add(value))?;
        }
        Ok(())
    })?;
    let mut expected = Found::default();
    for number in 0..count {
        expected.add(&records.value(number, 0));
    }
    if found != expected {
        return Err("what was read to warm up is not what was loaded".to_owned());
    }
    Ok(())
}

/// The lines of one thread with everything in the cache of `session`, which is warm.
pub(super) fn warm(session: &mut impl Session, records: Records) -> Result<Vec<Sample>> {
    let count = count(records);
    let one = one(session, ONE, records, count)?;
    Ok(vec![one, alone(session, records, count / 2)?])
}

fn count(records: Records) -> u64 {
    part(records.count, 1, 1000, 1_000_000)
}

/// The line with a small cache.
pub(super) fn small_cache<E: Engine>(place: Place<'_>) -> Result<Vec<Sample>> {
    let engine: E = place.open()?;
    let count = part(place.records.count, 4, 1000, 250_000);
    let sample = {
        let mut session = engine.session()?;
        // Fills the cache with what will be thrown out again, and the system's with the file.
        warm_up(&mut session, place.records)?;
        one(&mut session, SMALL_CACHE, place.records, count)?
    };
    engine.close()?;
    Ok(vec![sample])
}

fn one(
    session: &mut impl Session,
    line: &'static str,
    records: Records,
    count: u64,
) -> Result<Sample> {
    let watch = Stopwatch::start();
    let found = session.read(|reader| get(reader, SEED, records, count))?;
    Ok(sample(line, watch.stop(), found, records, count, 1))
}

fn get(reader: &mut impl Reader, seed: u64, records: Records, count: u64) -> Result<Found> {
    let mut random = Random(seed);
    let mut found = Found::default();
    for _ in 0..count {
        let key = records.key(random.below(records.count));
        reader.get(&key, |value| found.add(value))?;
    }
    Ok(found)
}

fn alone(session: &mut impl Session, records: Records, count: u64) -> Result<Sample> {
    let mut random = Random(SEED);
    let mut found = Found::default();
    let watch = Stopwatch::start();
    for _ in 0..count {
        let key = records.key(random.below(records.count));
        session.get_alone(&key, |value| found.add(value))?;
    }
    Ok(sample(ALONE, watch.stop(), found, records, count, 1))
}

/// The line of two threads.
pub(super) fn two<E: Engine>(engine: &E, records: Records) -> Result<Sample> {
    let count = count(records);
    let prepare = |_| {
        let mut session = engine.session()?;
        warm_up(&mut session, records)?;
        Ok(session)
    };
    let work = |thread, mut session: E::Session<'_>| {
        session.read(|reader| get(reader, SEED + thread, records, count))
    };
    let (gave, spent) = together(2, prepare, work)?;
    Ok(sample(TWO, spent, Found::join(gave), records, count, 2))
}

fn sample(
    line: &'static str,
    spent: Spent,
    found: Found,
    records: Records,
    count: u64,
    threads: u64,
) -> Sample {
    let of = move |thread| {
        let mut random = Random(SEED + thread);
        let mut value = Vec::with_capacity(records.value_len);
        let mut found = Found::default();
        for _ in 0..count {
            records.fill(random.below(records.count), 0, &mut value);
            found.add(&value);
        }
        found
    };
    Sample {
        line,
        count: count * threads,
        spent,
        found,
        expected: Box::new(move || Found::join((0..threads).map(of))),
    }
}
