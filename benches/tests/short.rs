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
    lines_of(workloads, rows, "2")
}

fn lines_of(workloads: &str, rows: &str, runs: &str) -> Vec<Value> {
    let mut program = Command::new(env!("CARGO_BIN_EXE_eciton-benches"));
    let output = program
        .args([workloads, "--json", "--rows", rows, "--runs", runs])
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
    // CPU time is counted in ticks: a short run may take none, and then there is no ratio.
    let is_zero = |value: &Value| value.as_f64() == Some(0.0);
    let has_zero = is_zero(&line["ours"]) || peers.values().any(is_zero);
    let has_ratio = !line["ratio_to_best"].is_null();
    assert!(has_ratio != peers.is_empty() || has_zero, "{line}");
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
fn both_sides_answer_queries_of_tpch_alike() {
    let lines = lines_of("tpch", "4000", "1");
    let shapes: Vec<_> = lines.iter().map(shape).collect();
    let queries = [
        "q1_csv",
        "q1_parquet",
        "revenue_by_supplier_csv",
        "revenue_by_supplier_parquet",
    ];
    let mut expected = Vec::new();
    for query in queries.into_iter().chain(["upsert"]) {
        // What is built here reads no Parquet; our answers from both formats are compared with each other.
        let peers = match query.ends_with("csv") {
            true => vec!["datafusion"],
            false => vec![],
        };
        for suffix in ["", "_cpu", "_peak_memory"] {
            expected.push((format!("tpch_{query}_4000_rows{suffix}"), peers.clone()));
        }
    }
    let expected = expected
        .iter()
        .map(|(name, peers)| (name.as_str(), peers.clone()));
    assert_eq!(shapes, expected.collect::<Vec<_>>());
}

#[test]
fn what_is_opened_is_what_was_written() {
    let lines = lines("open", "3000");
    let shapes: Vec<_> = lines.iter().map(shape).collect();
    let expected = ["open_3000_records", "open_peak_memory_3000_records"];
    assert_eq!(shapes, expected.map(|name| (name, vec![])));
}

#[test]
fn two_workers_do_what_is_nothing() {
    let lines = lines("swarm", "50");
    let shapes: Vec<_> = lines.iter().map(|line| shape(line).0).collect();
    let expected = [
        "swarm_no_op",
        "swarm_no_op_cpu",
        "swarm_submit_to_first",
        "swarm_start_to_first",
        "swarm_peak_memory",
    ];
    let expected = expected.map(|name| format!("{name}_50_shards_2_workers"));
    assert_eq!(shapes, expected);
}

#[test]
fn metrics_are_compared_with_none() {
    let lines = lines_of("metrics", "50", "1");
    let shapes: Vec<_> = lines.iter().map(shape).collect();
    let expected = [
        "metrics_noise",
        "metrics_noise_cpu",
        "metrics_on",
        "metrics_on_cpu",
        "metrics_scraped",
        "metrics_scraped_cpu",
    ];
    let expected = expected.map(|name| format!("{name}_50_shards_2_workers"));
    let expected = expected.iter().map(|name| (name.as_str(), vec!["without"]));
    assert_eq!(shapes, expected.collect::<Vec<_>>());
}

#[test]
fn a_job_that_is_struck_gives_the_same_answer() {
    let lines = lines_of("kills", "160", "1");
    let shapes: Vec<_> = lines.iter().map(|line| shape(line).0).collect();
    let expected = ["undisturbed", "struck", "struck_lost_beyond_capacity"];
    let expected = expected.map(|name| format!("{name}_160_shards_of_50_ms_4_workers"));
    assert_eq!(shapes, expected);
}

#[test]
fn more_workers_share_a_job_of_waits() {
    let lines = lines_of("scale", "1", "1");
    let shapes: Vec<_> = lines.iter().map(|line| shape(line).0).collect();
    let speed = shapes
        .iter()
        .filter(|name| name.starts_with("swarm_scale_"));
    assert_eq!(speed.count(), shapes.len());
    assert_eq!(shapes.len(), 12);
}

#[test]
fn a_job_of_many_shards_is_done_and_shown() {
    let lines = lines_of("large", "500", "1");
    let shapes: Vec<_> = lines.iter().map(|line| shape(line).0).collect();
    let expected = [
        "large_submit",
        "large_show",
        "large",
        "large_kept",
        "large_kept_of_files",
        "large_peak_memory",
    ];
    let expected = expected.map(|name| {
        let shards = if name.ends_with("_of_files") {
            100
        } else {
            500
        };
        format!("{name}_{shards}_shards_2_workers")
    });
    assert_eq!(shapes, expected);
}
