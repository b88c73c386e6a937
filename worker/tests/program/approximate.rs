//! Merge operators that keep small summaries, over the flights, against the exact answers of all rows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Place, examples};

#[derive(Default)]
struct Exact {
    flights: u64,
    planes: BTreeSet<String>,
    delays: Vec<i64>,
    origins: BTreeSet<String>,
    first_to: Option<String>,
    last_to: Option<String>,
}

fn text_of(path: &Path) -> String {
    let bytes = fs::read(path).unwrap();
    let mut text = String::new();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => drop(flate2::read::MultiGzDecoder::new(&*bytes).read_to_string(&mut text)),
        Some("zst") => text = String::from_utf8(zstd::decode_all(&*bytes).unwrap()).unwrap(),
        _ => text = String::from_utf8(bytes).unwrap(),
    }
    text
}

/// Every row of every file, in the order of the globs of the job and of their files.
fn exact() -> BTreeMap<String, Exact> {
    let mut by_carrier: BTreeMap<String, Exact> = BTreeMap::new();
    for ending in [".csv", ".csv.gz", ".csv.zst"] {
        let files = fs::read_dir(examples().join("flights")).unwrap();
        let files = files.map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = files
            .filter(|path| path.to_string_lossy().ends_with(ending))
            .collect();
        files.sort();
        for file in files {
            let text = text_of(&file);
            let mut rows = csv::Reader::from_reader(text.as_bytes());
            let names = rows.headers().unwrap().clone();
            let at = |name: &str| names.iter().position(|found| found == name).unwrap();
            let (carrier, plane, delay) = (at("carrier"), at("tailnum"), at("dep_delay"));
            let (origin, dest) = (at("origin"), at("dest"));
            for row in rows.records() {
                let row = row.unwrap();
                let value = |at: usize| Some(&row[at]).filter(|text| !["", "NA"].contains(text));
                let exact = by_carrier.entry(row[carrier].to_owned()).or_default();
                exact.flights += 1;
                exact.planes.extend(value(plane).map(str::to_owned));
                exact
                    .delays
                    .extend(value(delay).map(|text| text.parse::<i64>().unwrap()));
                exact.origins.extend(value(origin).map(str::to_owned));
                if exact.first_to.is_none() {
                    exact.first_to = value(dest).map(str::to_owned);
                }
                exact.last_to = value(dest).map(str::to_owned).or(exact.last_to.take());
            }
        }
    }
    by_carrier
}

fn records(shard_size: &str, workers: &str) -> String {
    let place = Place::new();
    let job = fs::read_to_string(examples().join("planes.toml")).unwrap();
    let flights = examples().join("flights");
    let job = job.replace("flights/", &format!("{}/", flights.display()));
    place.write("planes.toml", job.replace("256KiB", shard_size));
    place
        .call(&["run", "planes.toml", "--workers", workers])
        .done();
    place.records("planes")
}

#[test]
#[allow(clippy::cast_precision_loss, reason = "small numbers")]
fn summaries_are_near_the_exact_answers_and_the_same_for_every_cut() {
    let exact = exact();
    let shown = records("256KiB", "2");
    assert_eq!(records("1GiB", "1"), shown);
    assert_eq!(records("40KiB", "5"), shown);
    let lines: Vec<Value> = shown
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), exact.len());
    for (line, (carrier, exact)) in lines.iter().zip(exact) {
        let value = &line["value"];
        assert_eq!(line["key"], json!(carrier));
        assert_eq!(value["flights"], exact.flights, "{line}");
        let (planes, count) = (value["planes"].as_f64().unwrap(), exact.planes.len() as f64);
        // Four standard errors; one of a small count, in which two values may share a register.
        assert!(
            (planes - count).abs() <= 1.0 + 4.0 * 0.0081 * count,
            "{line}: {count} planes"
        );
        let mut delays = exact.delays;
        delays.sort_unstable();
        for (name, share) in [("delay_median", 50), ("delay_p95", 95)] {
            let rank = (delays.len() * share).div_ceil(100).max(1);
            let expected = delays[rank - 1] as f64;
            let found = value[name].as_f64().unwrap();
            assert!(
                (found - expected).abs() <= expected.abs() / 128.0,
                "{line}: {expected}"
            );
        }
        let origins: Vec<&String> = exact.origins.iter().take(3).collect();
        assert_eq!(value["origins"], json!(origins), "{line}");
        assert_eq!(value["first_to"], json!(exact.first_to), "{line}");
        assert_eq!(value["last_to"], json!(exact.last_to), "{line}");
    }
}
