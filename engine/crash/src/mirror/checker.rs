//! The process that reads what is there after a run.

use eciton_engine::storage::Access;
use eciton_engine::{Db, Error, ScanRange, mirrored, verify};

use super::places::{Places, environment, options};
use super::worker::{STORE, say};
use crate::stores::numbers;

/// Looks at the places of the arguments, and says what is there.
///
/// # Errors
/// It does not open, or cannot be read.
pub async fn main(args: &[String]) -> Result<(), String> {
    let told = |error: Error| error.to_string();
    let Some((places, [])) = Places::parse(args) else {
        return Err(format!("these are no places: {args:?}"));
    };
    let places = places.open(Access::ReadOnly).await;
    let whole = mirrored(&places, Access::ReadOnly, &environment()).await;
    let report = verify(whole.map_err(told)?, &|_| {}).await.map_err(told)?;
    for broken in report.broken {
        say(format_args!("broken {broken:?}"))?;
    }
    let opened = Db::open_mirrored_read_only(&places, options(), environment()).await;
    let db = opened.map_err(told)?;
    say(format_args!("generation {}", db.info().generation.0))?;
    let store = db.store(STORE).await.map_err(told)?;
    let store = store.ok_or("there is no store of numbers")?;
    let snapshot = db.snapshot();
    let mut scan = snapshot.scan(&store, &ScanRange::default());
    while let Some(record) = scan.next().await.map_err(told)? {
        let times = record.value.len();
        let numbers = numbers(&record.key).map_err(told)?;
        let [worker, count] = numbers[..] else {
            return Err(format!("a key has the numbers {numbers:?}"));
        };
        say(format_args!("value {worker} {count} {times}"))?;
    }
    Ok(())
}
