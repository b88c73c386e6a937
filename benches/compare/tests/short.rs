//! A short form of the comparison, with whatever engines were compiled in, so that it cannot rot: every
//! line is measured and what was found is right. Nothing is said about times.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::process::{Command, Output};

use serde_json::Value;

/// What every report must have, in this order.
const LINES: [&str; 17] = [
    "load_random",
    "load_sorted",
    "commit_1_thread",
    "commit_8_threads",
    "get_1_thread",
    "get_1_thread_new_snapshot",
    "get_2_threads",
    "get_small_cache",
    "scan_100",
    "scan_full",
    "scan_keys_of_10kb_values",
    "delete_tenth",
    "mix_50_50",
    "size_loaded",
    "size_end",
    "peak_memory_load",
    "peak_memory",
];

/// Lines that sum up what they found: all that are not about sizes.
const CHECKED: usize = 13;

fn run(args: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_eciton-compare"));
    program.args(args).output().unwrap()
}

fn report(args: &[&str]) -> Value {
    let output = run(args);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(stdout.lines().last().unwrap()).unwrap()
}

#[test]
fn every_line_is_measured_with_every_engine_and_right() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let out = folder.path().join("out.json");
    let report = report(&[
        "--items",
        "2000",
        "--runs",
        "1",
        "--json",
        "--dir",
        dir,
        "--out",
        out.to_str().unwrap(),
    ]);
    let written: Value = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!(written, report);

    assert!(report["machine"].is_string() && report["commit"].is_string());
    assert_eq!(report["items"], 2000);
    assert_eq!(report["failures"], Value::Array(Vec::new()));
    assert_eq!(report["floor"].as_object().unwrap().len(), 4);
    let engines: Vec<&String> = report["versions"].as_object().unwrap().keys().collect();
    assert_eq!(engines[0], "ours");

    let lines = report["lines"].as_array().unwrap();
    let names: Vec<&str> = lines
        .iter()
        .map(|line| line["workload"].as_str().unwrap())
        .collect();
    assert_eq!(names, LINES);
    for (at, line) in lines.iter().enumerate() {
        assert!(line["ours"].as_f64().unwrap() >= 0.0, "{line}");
        let peers: Vec<&String> = line["peers"].as_object().unwrap().keys().collect();
        assert_eq!(peers, engines[1..], "{line}");
        assert_eq!(line["ratio_to_best"].is_null(), peers.is_empty(), "{line}");
        // A process whose sum is not the one that must come out ends with an error instead.
        assert_eq!(line["checksum"].is_string(), at < CHECKED, "{line}");
        assert_eq!(line["cpu_us"].is_object(), at < CHECKED, "{line}");
        assert_eq!(line["runs"]["ours"].as_array().unwrap().len(), 1, "{line}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "only the report stays: {left:?}");
}

#[test]
fn lines_that_were_not_asked_for_are_not_measured() {
    let report = report(&[
        "--items",
        "1000",
        "--runs",
        "1",
        "--json",
        "--only",
        "ours",
        "--lines",
        "scan_100,size_loaded",
    ]);
    let lines = report["lines"].as_array().unwrap();
    let names: Vec<&str> = lines
        .iter()
        .map(|line| line["workload"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["scan_100", "size_loaded"]);
}

#[test]
fn what_cannot_be_done_is_an_error() {
    let nowhere = ["--items", "1000", "--dir", "no/such/folder"];
    assert_eq!(run(&nowhere).status.code(), Some(1));
    assert_eq!(run(&["--only", "nobody"]).status.code(), Some(2));
    assert_eq!(
        run(&["engines-child", "ours", "load", "many", "x"])
            .status
            .code(),
        Some(1)
    );
    assert!(run(&["--help"]).status.success());
}

#[test]
fn processes_that_share_a_database_leave_in_it_what_they_were_told() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let sizes = [
        "--processes",
        "1,2",
        "--clients",
        "4",
        "--seconds",
        "1",
        "--runs",
        "1",
    ];
    let report = report(&[&["cluster", "--json", "--dir", dir], &sizes[..]].concat());
    let lines = report["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 4 * 2 * 7, "{report}");
    for line in lines {
        let (name, ours) = (
            line["workload"].as_str().unwrap(),
            line["ours"].as_f64().unwrap(),
        );
        if name.ends_with("_commits") {
            assert!(ours > 0.0, "{line}");
        }
        // Keys of one's own and operands never conflict.
        if name.ends_with("_conflicts") && !name.starts_with("replace") {
            assert!(ours.abs() < f64::EPSILON, "{line}");
        }
    }
    for args in [&["cluster", "--fast"][..], &["cluster", "--processes", "0"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}
