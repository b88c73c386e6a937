//! Bulk loads, until everything is durable.
//!
//! All engines get the records in transactions of at most [`TRANSACTION_RECORDS`]. What was loaded is read
//! back from the database after closing and opening it, every record.

use crate::engine::{Engine, Order, Reader, Result, Session};
use crate::records::Found;
use crate::usage::{Spent, Stopwatch};

use super::{Place, Sample, close, scans};

/// Records in no order.
pub(super) const RANDOM: &str = "load_random";
/// Records in the order of their keys.
pub(super) const SORTED: &str = "load_sorted";

/// Records of one transaction, where an engine loads in transactions.
const TRANSACTION_RECORDS: usize = 1_000_000;

pub(super) fn random<E: Engine>(place: Place<'_>) -> Result<Vec<Sample>> {
    let engine: E = place.open()?;
    let watch = Stopwatch::start();
    let mut from = 0;
    while from < place.records.count {
        let to = place.records.count.min(from + TRANSACTION_RECORDS as u64);
        engine.load(&mut place.records.stream(from..to), Order::Random)?;
        from = to;
    }
    let mut spent = watch.stop();
    close(engine, &mut spent)?;
    let found = read_back::<E>(place)?;
    Ok(vec![sample(RANDOM, place, spent, found)])
}

pub(super) fn sorted<E: Engine>(place: Place<'_>) -> Result<Vec<Sample>> {
    let numbers: Vec<u64> = place
        .records
        .sorted()
        .iter()
        .map(|(_, number)| *number)
        .collect();
    let engine: E = place.open()?;
    let watch = Stopwatch::start();
    for part in numbers.chunks(TRANSACTION_RECORDS) {
        engine.load(
            &mut place.records.stream(part.iter().copied()),
            Order::Sorted,
        )?;
    }
    let mut spent = watch.stop();
    close(engine, &mut spent)?;
    let found = read_back::<E>(place)?;
    Ok(vec![sample(SORTED, place, spent, found)])
}

fn read_back<E: Engine>(place: Place<'_>) -> Result<Found> {
    let engine: E = place.open()?;
    let mut found = Found::default();
    engine.session()?.read(|reader| {
        reader.scan(&[0; 16], usize::MAX, |key, value| {
            found.add(key);
            found.add(value);
        })
    })?;
    engine.close()?;
    Ok(found)
}

fn sample(line: &'static str, place: Place<'_>, spent: Spent, found: Found) -> Sample {
    let records = place.records;
    Sample {
        line,
        count: records.count,
        spent,
        found,
        expected: Box::new(move || scans::all(&records.sorted(), records)),
    }
}
