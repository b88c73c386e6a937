//! A short form of every comparison, so that they cannot rot: all sides give the same answer, and the
//! report has its shape. Nothing is said about times.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::process::Command;

use serde_json::Value;

/// Runs workloads over `rows` rows; the program fails if the answers of two sides differ.
fn lines(workloads: &str, rows: &str) -> Vec<Value> {
    let mut program = Command::new(env!("CARGO_BIN_EXE_eciton-benches"));
    let output = program
        .args([workloads, "--json", "--rows", rows, "--runs", "2"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let report: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert!(
        report["machine"].is_string() && report["commit"].is_string(),
        "{report}"
    );
    report["lines"].as_array().unwrap().clone()
}

/// The workload, and the peers it was compared with.
fn shape(line: &Value) -> (&str, Vec<&str>) {
    let peers = line["peers"].as_object().unwrap();
    for value in peers.values().chain([&line["ours"]]) {
        assert!(value.as_f64().unwrap() >= 0.0, "{line}");
    }
    assert_eq!(line["ratio_to_best"].is_null(), peers.is_empty(), "{line}");
    let names = peers.keys().map(String::as_str).collect();
    (line["workload"].as_str().unwrap(), names)
}

#[test]
fn both_sides_aggregate_alike() {
    let lines = lines("etl", "5000");
    let shapes: Vec<_> = lines.iter().map(shape).collect();
    let expected = [
        "etl_csv_5000_rows_10000_groups",
        "etl_csv_5000_rows_10000_groups_peak_memory",
    ];
    assert_eq!(shapes, expected.map(|name| (name, vec!["datafusion"])));
}

#[test]
fn what_is_opened_is_what_was_written() {
    let lines = lines("open", "3000");
    let shapes: Vec<_> = lines.iter().map(shape).collect();
    let expected = ["open_3000_records", "open_peak_memory_3000_records"];
    assert_eq!(shapes, expected.map(|name| (name, vec![])));
}
