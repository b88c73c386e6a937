//! What mirroring costs: commits to each path alone and to both, in turn, in one process.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eciton_engine::storage::{Access, LocalStorage, Storage};
use eciton_engine::{Db, Encoding, Error, Store, StoreSchema};

use super::places::{Places, environment, options};
use super::worker::{STORE, key};

/// Commits before the measurement.
const WARM_UP: u64 = 20;

/// One of the databases that are compared.
struct Side {
    name: &'static str,
    db: Db,
    store: Store,
    times: Vec<Duration>,
}

/// Measures as the arguments say: two folders, and a number of commits.
///
/// # Errors
/// What the storage refuses.
pub async fn main(args: &[String]) -> Result<(), String> {
    let [first, second, commits] = args else {
        return Err(format!("expected two folders and a number, got {args:?}"));
    };
    let commits = commits
        .parse()
        .map_err(|_| format!("`{commits}` is no number"))?;
    measure(Path::new(first), Path::new(second), commits).await
}

/// Measures `commits` commits each in new databases below the folders `first` and `second`.
///
/// # Errors
/// What the storage refuses.
pub async fn measure(first: &Path, second: &Path, commits: u64) -> Result<(), String> {
    let mut sides = open(first, second)
        .await
        .map_err(|error| error.to_string())?;
    for count in 0..commits + WARM_UP {
        // In turn, so that the load of the machine is the same for all.
        for side in &mut sides {
            let begun = Instant::now();
            let done = commit(side, count).await;
            done.map_err(|error| error.to_string())?;
            if count >= WARM_UP {
                side.times.push(begun.elapsed());
            }
        }
    }
    let mut medians = Vec::new();
    for side in &mut sides {
        side.times.sort_unstable();
        let len = side.times.len();
        let at = |part: usize| side.times[(len * part / 100).min(len - 1)];
        let all: Duration = side.times.iter().sum();
        let rate = f64::from(u32::try_from(len).unwrap_or(u32::MAX)) / all.as_secs_f64();
        println!(
            "{}: p50 {} us p99 {} us, {rate:.0} commits/s",
            side.name,
            at(50).as_micros(),
            at(99).as_micros()
        );
        medians.push(at(50));
    }
    let slower = medians[0].max(medians[1]);
    let ratio = medians[2].as_secs_f64() / slower.as_secs_f64();
    println!("both paths: {ratio:.2} times the median of the slower path alone");
    Ok(())
}

async fn open(first: &Path, second: &Path) -> Result<Vec<Side>, Error> {
    let mut opened = Vec::new();
    for (name, path) in [("first path alone", first), ("second path alone", second)] {
        let folder = LocalStorage::open(&path.join("alone"), Access::ReadWrite)?;
        let storage: Arc<dyn Storage> = Arc::new(folder);
        opened.push((
            name,
            Db::open_storage(storage, options(), environment()).await?,
        ));
    }
    let places = Places {
        active: first.join("mirrored"),
        passive: second.join("mirrored"),
        limit: Duration::from_secs(2),
    };
    let places = places.open(Access::ReadWrite).await;
    opened.push((
        "both paths",
        Db::open_mirrored(&places, options(), environment()).await?,
    ));
    let mut sides = Vec::new();
    for (name, db) in opened {
        let schema = StoreSchema {
            encoding: Encoding::Raw,
            ..StoreSchema::default()
        };
        let store = db.create_store(STORE, schema).await?;
        sides.push(Side {
            name,
            db,
            store,
            times: Vec::new(),
        });
    }
    Ok(sides)
}

async fn commit(side: &Side, count: u64) -> Result<(), Error> {
    let mut transaction = side.db.begin();
    transaction.put(&side.store, &key(0, count)?, vec![b'1'; 200])?;
    transaction.commit().await?;
    Ok(())
}
