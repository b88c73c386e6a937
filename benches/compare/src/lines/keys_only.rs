//! A scan over the keys of large values, which it need not read.

use crate::engine::{Engine, Order, Reader, Result, Session};
use crate::records::Found;
use crate::usage::Stopwatch;

use super::{Place, Sample};

/// All keys, in order.
pub(super) const NAME: &str = "scan_keys_of_10kb_values";

/// The first pass warms up and does not count.
const PASSES: u64 = 200;

pub(super) fn run<E: Engine>(place: Place<'_>) -> Result<Vec<Sample>> {
    let records = place.records;
    let engine: E = place.open()?;
    engine.load(&mut records.stream(0..records.count), Order::Random)?;
    engine.close()?;
    let engine: E = place.open()?;
    let mut found = Found::default();
    let mut session = engine.session()?;
    session.read(|reader| reader.keys(|key| found.add(key)))?;
    let watch = Stopwatch::start();
    for _ in 0..PASSES {
        session.read(|reader| reader.keys(|key| found.add(key)))?;
    }
    let spent = watch.stop();
    drop(session);
    engine.close()?;
    let expected = move || {
        let sorted = records.sorted();
        let mut found = Found::default();
        for _ in 0..=PASSES {
            for (key, _) in &sorted {
                found.add(key);
            }
        }
        found
    };
    Ok(vec![Sample {
        line: NAME,
        count: PASSES * records.count,
        spent,
        found,
        expected: Box::new(expected),
    }])
}
