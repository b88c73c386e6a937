//! What thousands of stores cost: creating them one by one, by many at once and in one transaction, and
//! opening the database afterwards.
//!
//! `cargo run --release -p eciton-engine --example many_stores -- [COUNT] [FOLDER]`

use std::path::{Path, PathBuf};
use std::time::Instant;

use eciton_engine::{Db, Error, Options, Result, StoreSchema};

/// Tasks that create stores at the same time.
const TASKS: usize = 16;

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let count = args
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(10_000);
    let folder = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = folder.join(format!("eciton-many-stores-{}", std::process::id()));
    let measured = measure(&folder, count).await;
    if let Err(error) = std::fs::remove_dir_all(&folder) {
        eprintln!("{}: {error}", folder.display());
    }
    measured
}

#[allow(clippy::disallowed_methods, reason = "it measures")]
async fn measure(folder: &Path, count: usize) -> Result<()> {
    for way in ["one by one", "16 at a time", "at once"] {
        let path = folder.join(way.replace(' ', "-"));
        let db = Db::open(&path, Options::default()).await?;
        let start = Instant::now();
        create(&db, way, count).await?;
        let created = start.elapsed();
        let slots = db.info().position.0;
        db.close().await?;
        let start = Instant::now();
        let db = Db::open(&path, Options::default()).await?;
        let opened = start.elapsed();
        let start = Instant::now();
        let listed = db.stores().await?.len();
        let listing = start.elapsed();
        let files = files_in(&path);
        println!(
            "{count} stores {way}: {created:?} in {slots} slots; open {opened:?}; \
             list {listed} in {listing:?}; {files} files"
        );
    }
    Ok(())
}

async fn create(db: &Db, way: &str, count: usize) -> Result<()> {
    let name = |number: usize| format!("store-{number:06}");
    match way {
        "one by one" => {
            for number in 0..count {
                db.create_store(&name(number), StoreSchema::default())
                    .await?;
            }
        }
        "at once" => {
            let names: Vec<String> = (0..count).map(name).collect();
            let stores = names.iter().map(|name| (&name[..], StoreSchema::default()));
            db.create_stores(&stores.collect::<Vec<_>>()).await?;
        }
        _ => {
            let tasks = (0..TASKS).map(|task| {
                let db = db.clone();
                tokio::spawn(async move {
                    for number in (task..count).step_by(TASKS) {
                        let name = format!("store-{number:06}");
                        db.create_store(&name, StoreSchema::default()).await?;
                    }
                    Ok(())
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                let failed = |error| Error::Invalid(format!("a task failed: {error}"));
                task.await.map_err(failed)??;
            }
        }
    }
    Ok(())
}

fn files_in(path: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(path) else {
        return 0;
    };
    let count = |path: PathBuf| if path.is_dir() { files_in(&path) } else { 1 };
    entries.flatten().map(|entry| count(entry.path())).sum()
}
