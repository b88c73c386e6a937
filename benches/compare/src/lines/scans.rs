//! Scans with values, in order: short ones from anywhere, and everything.

use crate::engine::{Reader, Result, Session};
use crate::random::Random;
use crate::records::{Found, Key, Records};
use crate::usage::Stopwatch;

use super::{Sample, part};

/// Scans of a hundred records, each from a random key.
pub(super) const HUNDRED: &str = "scan_100";
/// Scans of everything.
pub(super) const FULL: &str = "scan_full";

const SCAN_LEN: usize = 100;
const SEED: u64 = 31;
/// Records that full scans read in all, at least: one pass over a million takes a tenth of a second.
const FULL_RECORDS_MIN: u64 = 5_000_000;
const FULL_PASSES_MAX: u64 = 20;

/// Both lines, with everything in the cache of `session`, which is warm.
pub(super) fn warm(session: &mut impl Session, records: Records) -> Result<Vec<Sample>> {
    Ok(vec![hundred(session, records)?, full(session, records)?])
}

fn hundred(session: &mut impl Session, records: Records) -> Result<Sample> {
    let scans = part(records.count, 20, 100, 50_000);
    let mut found = Found::default();
    let watch = Stopwatch::start();
    session.read(|reader| {
        let mut random = Random(SEED);
        for _ in 0..scans {
            let from = records.key(random.below(records.count));
            reader.scan(&from, SCAN_LEN, |key, value| {
                found.add(key);
                found.add(value);
            })?;
        }
        Ok(())
    })?;
    let spent = watch.stop();
    let expected = move || {
        let sorted = records.sorted();
        let mut random = Random(SEED);
        let mut found = Found::default();
        for _ in 0..scans {
            let from = records.key(random.below(records.count));
            let at = sorted.partition_point(|(key, _)| *key < from);
            let to = sorted.len().min(at + SCAN_LEN);
            add(&mut found, &sorted[at..to], records);
        }
        found
    };
    Ok(Sample {
        line: HUNDRED,
        count: scans,
        spent,
        found,
        expected: Box::new(expected),
    })
}

fn full(session: &mut impl Session, records: Records) -> Result<Sample> {
    let passes = FULL_RECORDS_MIN
        .div_ceil(records.count)
        .min(FULL_PASSES_MAX);
    let mut found = Found::default();
    let watch = Stopwatch::start();
    for _ in 0..passes {
        session.read(|reader| {
            reader.scan(&[0; 16], usize::MAX, |key, value| {
                found.add(key);
                found.add(value);
            })
        })?;
    }
    let spent = watch.stop();
    let expected = move || {
        let sorted = records.sorted();
        let mut found = Found::default();
        for _ in 0..passes {
            add(&mut found, &sorted, records);
        }
        found
    };
    Ok(Sample {
        line: FULL,
        count: passes * records.count,
        spent,
        found,
        expected: Box::new(expected),
    })
}

/// What a scan over all of `sorted` must find.
pub(super) fn all(sorted: &[(Key, u64)], records: Records) -> Found {
    let mut found = Found::default();
    add(&mut found, sorted, records);
    found
}

fn add(found: &mut Found, part: &[(Key, u64)], records: Records) {
    let mut value = Vec::with_capacity(records.value_len);
    for (key, number) in part {
        records.fill(*number, 0, &mut value);
        found.add(key);
        found.add(&value);
    }
}
