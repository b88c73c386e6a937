//! Opening a database of many records: how long until the first read, and how much memory.

use std::path::Path;

use eciton_compare::random::Random;
use eciton_compare::report::{Line, median};
use eciton_engine::{Datum, Db, Key, Options, StoreSchema};

use crate::child::{self, Answer};

const BATCH: u64 = 1000;

/// Opening plus one read, in processes of their own.
pub(crate) fn measure(rows: u64, runs: usize) -> Result<Vec<Line>, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let db = folder.path().join("db").display().to_string();
    let count = rows.to_string();
    let filled = child::measure(&["open-fill", &db, &count])?;
    let mut opened = Vec::new();
    for _ in 0..runs {
        let run = child::measure(&["open-ours", &db, &count])?;
        if !run.answer.agrees(filled.answer) {
            return Err(format!("read {:?}, wrote {:?}", run.answer, filled.answer));
        }
        opened.push(run);
    }
    let line = |workload: &str, unit, ours| Line {
        workload: format!("{workload}_{rows}_records"),
        unit,
        higher_is_better: false,
        ours: Some(ours),
        peers: Vec::new(),
        floor: None,
    };
    let ms = median(opened.iter().map(|run| run.seconds * 1000.0).collect());
    let mb = median(opened.iter().map(|run| run.peak_mb).collect());
    Ok(vec![
        line("open", "ms", ms),
        line("open_peak_memory", "MB", mb),
    ])
}

fn key(number: u64) -> Result<Key, String> {
    let mut random = Random(number);
    let id = [random.next().to_be_bytes(), random.next().to_be_bytes()].concat();
    Key::from_datums(&[Datum::Bytes(id)]).map_err(|error| error.to_string())
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

/// A record's value: its number, and 92 bytes more.
fn value(number: u64) -> Vec<u8> {
    let mut value = vec![7; 100];
    value[..8].copy_from_slice(&number.to_be_bytes());
    value
}

/// Fills a database in small commits and ends without closing it, as a crash would. The answer is what
/// [`ours`] must read.
pub(crate) async fn fill(db: &str, rows: &str) -> Result<Answer, String> {
    let text = |error: eciton_engine::Error| error.to_string();
    let rows = number(rows)?;
    let db = Db::open(Path::new(db), Options::default())
        .await
        .map_err(text)?;
    let store = db
        .create_store("s", StoreSchema::default())
        .await
        .map_err(text)?;
    let mut done = 0;
    while done < rows {
        let mut transaction = db.begin();
        for number in done..rows.min(done + BATCH) {
            transaction
                .blind_put(&store, &key(number)?, value(number))
                .map_err(text)?;
        }
        transaction.commit().await.map_err(text)?;
        done += BATCH;
    }
    Ok(Answer {
        exact: rows / 2,
        about: 0.0,
    })
}

/// Opens and reads one record, the middle one of `rows`.
pub(crate) async fn ours(db: &str, rows: &str) -> Result<Answer, String> {
    let text = |error: eciton_engine::Error| error.to_string();
    let rows = number(rows)?;
    let db = Db::open(Path::new(db), Options::default())
        .await
        .map_err(text)?;
    let store = db.store("s").await.map_err(text)?.ok_or("no store")?;
    let value = db
        .snapshot()
        .get(&store, &key(rows / 2)?)
        .await
        .map_err(text)?
        .ok_or("no record")?;
    let number = value.first_chunk().ok_or("a short record")?;
    Ok(Answer {
        exact: u64::from_be_bytes(*number),
        about: 0.0,
    })
}
