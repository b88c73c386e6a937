//! The sample jobs give the answers that an independent tool gave, whatever the number of workers.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::support::{Place, examples};

/// Allowed difference of floats, of the sum of the absolute values that went into them.
const FLOAT_SHARE_MAX: f64 = 1e-12;

/// An answer: column names, and rows of text.
struct Answer {
    names: Vec<String>,
    rows: Vec<Vec<String>>,
}

fn answer(file: &str) -> Answer {
    let path = examples().join("answers").join(file);
    let mut reader = csv::Reader::from_path(path).unwrap();
    let text = |record: &csv::StringRecord| record.iter().map(str::to_owned).collect();
    let names = text(reader.headers().unwrap());
    let rows: Vec<Vec<String>> = reader.records().map(|r| text(&r.unwrap())).collect();
    assert!(rows.len() > 40, "{file} has {} rows only", rows.len());
    Answer { names, rows }
}

fn run(job: &str, workers: &str) -> Place {
    let place = Place::new();
    let file = examples().join(job);
    let ended = place
        .call(&[
            "run",
            file.to_str().unwrap(),
            "--workers",
            workers,
            "--json",
        ])
        .done();
    assert_eq!(ended.json()["state"], "done");
    place
}

/// Whether `found` is what the text `expected` says: integers to the last digit.
fn check(found: &Value, expected: &str, place: &str) {
    let same = match found {
        Value::Null => expected.is_empty(),
        Value::String(text) => text == expected,
        Value::Number(number) if number.is_f64() => {
            let (found, expected) = (number.as_f64().unwrap(), expected.parse::<f64>().unwrap());
            (found - expected).abs() <= FLOAT_SHARE_MAX * expected.abs()
        }
        other => *other == serde_json::from_str::<Value>(expected).unwrap(),
    };
    assert!(same, "{place}: found {found}, expected {expected}");
}

/// Every record of the store is a row of the answer, in the same order: first the key's fields, then
/// the value's members.
fn compare(place: &Place, store: &str, answer: &Answer) {
    let records = place.call(&["scan", store, "--json"]).done().json_lines();
    assert_eq!(records.len(), answer.rows.len(), "records of {store}");
    for (record, row) in records.iter().zip(&answer.rows) {
        compare_record(record, row, &answer.names);
    }
}

fn compare_record(record: &Value, row: &[String], names: &[String]) {
    let key = record["key"].as_array().unwrap();
    for (index, (expected, name)) in row.iter().zip(names).enumerate() {
        let found = key.get(index).unwrap_or_else(|| &record["value"][name]);
        check(found, expected, &format!("{name} of {row:?}"));
    }
    let members = record["value"].as_object().map_or(0, Map::len);
    assert_eq!(key.len() + members, names.len(), "members of {record}");
}

#[test]
fn delay_by_carrier() {
    let answer = answer("delay_by_carrier.csv");
    for workers in ["1", "2", "8"] {
        compare(
            &run("delay-by-carrier.toml", workers),
            "delay_by_carrier",
            &answer,
        );
    }
}

/// The same answer in SQL alone.
#[test]
fn delay_by_carrier_in_sql() {
    let answer = answer("delay_by_carrier.csv");
    for workers in ["1", "2", "8"] {
        compare(
            &run("delay-by-carrier-sql.toml", workers),
            "delay_by_carrier_sql",
            &answer,
        );
    }
}

#[test]
fn routes_from_parquet() {
    let answer = answer("routes.csv");
    for workers in ["1", "2", "8"] {
        compare(&run("routes.toml", workers), "routes", &answer);
    }
}

#[test]
fn flights_one_by_one() {
    let (sample, by_day) = (answer("flights_sample.csv"), answer("flights_by_day.csv"));
    for workers in ["1", "2", "8"] {
        let place = run("flights.toml", workers);
        let records = place
            .call(&["scan", "flights", "--json"])
            .done()
            .json_lines();
        let by_key: BTreeMap<String, &Value> = records
            .iter()
            .map(|record| (record["key"].to_string(), record))
            .collect();
        assert_eq!(by_key.len(), records.len(), "a key stands twice");
        for row in &sample.rows {
            let [year, month, day, carrier, flight] = &row[..5] else {
                panic!("short row")
            };
            let key = format!("[{year},{month},{day},\"{carrier}\",{flight}]");
            let record = by_key
                .get(&key)
                .unwrap_or_else(|| panic!("no record {key}"));
            compare_record(record, row, &sample.names);
        }
        let sums = sums_by_day(&records);
        assert_eq!(sums.len(), by_day.rows.len());
        for (sums, row) in sums.iter().zip(&by_day.rows) {
            assert_eq!(sums, row);
        }
    }
}

/// What `flights_by_day.csv` has, from our records.
fn sums_by_day(records: &[Value]) -> Vec<Vec<String>> {
    let mut days: BTreeMap<[i64; 3], Day> = BTreeMap::new();
    for record in records {
        let date = [0, 1, 2].map(|field| record["key"][field].as_i64().unwrap());
        days.entry(date).or_default().add(&record["value"]);
    }
    days.into_iter().map(|(date, day)| day.row(date)).collect()
}

#[derive(Default)]
struct Day {
    flights: u64,
    departed: u64,
    delay: i64,
    air_time: i64,
    distance: i64,
    tails: Vec<String>,
}

impl Day {
    fn add(&mut self, flight: &Value) {
        self.flights += 1;
        self.departed += u64::from(flight["dep_delay"].is_i64());
        self.delay += flight["dep_delay"].as_i64().unwrap_or(0);
        self.air_time += flight["air_time"].as_i64().unwrap_or(0);
        self.distance += flight["distance"].as_i64().unwrap_or(0);
        self.tails
            .extend(flight["tailnum"].as_str().map(str::to_owned));
    }

    fn row(self, [year, month, day]: [i64; 3]) -> Vec<String> {
        let mut row: Vec<String> = [year, month, day].iter().map(ToString::to_string).collect();
        row.extend(
            [self.flights, self.departed]
                .iter()
                .map(ToString::to_string),
        );
        row.extend(
            [self.delay, self.air_time, self.distance]
                .iter()
                .map(ToString::to_string),
        );
        row.push(self.tails.len().to_string());
        row.push(self.tails.iter().min().cloned().unwrap_or_default());
        row.push(self.tails.iter().max().cloned().unwrap_or_default());
        row
    }
}
