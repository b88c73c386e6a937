//! Inputs that once gave a wrong answer, each held to its right one. The inputs are in `worker/tests/faults`.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::support::{Ended, Place};

mod arithmetic;
mod coercion;
mod containers;
mod exact;
mod floats;
mod identity;
mod sql;
mod text;
mod values;

/// A place with a copy of the input `name`.
fn fault(name: &str) -> Place {
    let place = Place::new();
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/faults")
        .join(name);
    copy(&from, &place.path(""));
    place
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Runs the job of the input.
fn run(place: &Place) -> Ended {
    place.call(&["run", "job.toml", "--workers", "1"])
}

/// The records of the store `t`, as pairs of key and value.
fn records(place: &Place) -> Vec<(Value, Value)> {
    let records = place.call(&["scan", "t", "--json"]).done().json_lines();
    let pair = |record: Value| (record["key"].clone(), record["value"].clone());
    records.into_iter().map(pair).collect()
}
