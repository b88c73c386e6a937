//! A job's life: recorded, run, failed, retried, cancelled, done.

use std::fs;

use serde_json::json;

use crate::support::{Place, aggregation, examples, measurements, upsert};

#[test]
fn a_finished_job_says_so_and_changes_nothing() {
    let place = Place::new();
    place.write("m.csv", measurements(500));
    place.write("job.toml", aggregation("1KiB"));
    let first = place.call(&["run", "job.toml", "--json"]).done().json();
    assert_eq!(first, place.job("stations"));
    let before = place.call(&["db", "info", "--json"]).done().json();
    let again = place.call(&["run", "job.toml"]).done();
    assert!(
        again.stdout.contains("has ended before: nothing changed"),
        "{again:#?}"
    );
    let after = place.call(&["db", "info", "--json"]).done().json();
    assert_eq!(before["position"], after["position"]);
    assert_eq!(first, place.job("stations"));
}

#[test]
fn the_report_counts_what_was_done() {
    let place = Place::new();
    place.write("m.csv", measurements(500));
    place.write("job.toml", upsert("1KiB"));
    let report = place
        .call(&["run", "job.toml", "--workers", "2", "--json"])
        .done()
        .json();
    assert_eq!(
        (&report["id"], &report["name"]),
        (&json!("levels"), &json!("levels"))
    );
    assert_eq!(report["state"], "done");
    assert_eq!(report["rows_read"], 500);
    assert_eq!(report["records_merged"], 500);
    assert_eq!(report["conflicts"], 0, "merges never conflict");
    let shards = &report["shards"];
    assert!(shards["total"].as_u64().unwrap() > 5, "{report}");
    assert_eq!(shards["done"], shards["total"]);
    assert_eq!(report["attempts"], shards["total"]);
    for empty in ["failed", "running", "pending"] {
        assert_eq!(shards[empty], 0, "{empty}: {report}");
    }
    let (start, end) = (
        report["started_at"].as_str(),
        report["finished_at"].as_str(),
    );
    assert!(start.unwrap() <= end.unwrap(), "{report}");
    assert!(report["wall_seconds"].as_f64().unwrap() > 0.0, "{report}");
}

#[test]
fn show_prints_the_result_and_nothing_else() {
    let place = Place::new();
    place.write("m.csv", measurements(500));
    place.write("job.toml", aggregation("1KiB"));
    let shown = place.call(&["run", "job.toml", "--show"]).done();
    assert_eq!(
        shown.stdout,
        place.call(&["scan", "stations"]).done().stdout
    );
    assert!(shown.stderr.contains("stations: done"), "{shown:#?}");
    let lines = place
        .call(&["run", "job.toml", "--show", "--json"])
        .done()
        .json_lines();
    assert_eq!(lines[0]["state"], "done");
    assert_eq!(lines.len(), 1 + 17);
}

#[test]
fn a_submitted_job_is_pending_until_it_is_run() {
    let place = Place::new();
    place.write("m.csv", measurements(500));
    place.write("job.toml", aggregation("1KiB"));
    assert_eq!(
        place.call(&["submit", "job.toml"]).done().stdout,
        "stations\n"
    );
    assert_eq!(place.job("stations")["state"], "pending");
    assert_eq!(
        place.call(&["job", "show", "--json"]).done().json()["name"],
        "stations"
    );
    place
        .call(&["job", "show", "other"])
        .with_code(2)
        .told(&["no job named `other`", "`stations`"]);
    place.call(&["run", "job.toml"]).done();
    let jobs = place.call(&["job", "ls", "--json"]).done().json_lines();
    assert_eq!((jobs.len(), &jobs[0]["state"]), (1, &json!("done")));
}

#[test]
fn a_malformed_record_fails_its_shard_and_a_retry_after_mending_completes() {
    let mended = Place::new();
    mended.write("m.csv", measurements(500));
    mended.write("job.toml", declared());
    mended.call(&["run", "job.toml"]).done();

    let place = Place::new();
    place.write("m.csv", broken());
    place.write("job.toml", declared());
    let ended = place.call(&["run", "job.toml"]).with_code(1);
    let line = 2 + 300;
    ended.told(&[
        "1 of ",
        "m.csv",
        "byte",
        &line.to_string(),
        "level",
        "job retry stations",
    ]);
    let job = place.job("stations");
    assert_eq!(job["state"], "failed");
    assert_eq!(job["shards"]["failed"], 1);
    let done = job["shards"]["done"].as_u64().unwrap();
    assert_eq!(
        done + 1,
        job["shards"]["total"].as_u64().unwrap(),
        "the others finish: {job}"
    );
    let error = job["failures"][0]["error"].as_str().unwrap();
    assert!(
        error.contains("m.csv") && error.contains("level"),
        "{error}"
    );

    // Nothing was mended: it fails again, and nothing is lost.
    place
        .call(&["job", "retry", "stations"])
        .with_code(1)
        .told(&["m.csv"]);
    place.write("m.csv", measurements(500));
    place.call(&["job", "retry", "stations"]).done();
    assert_eq!(place.job("stations")["state"], "done");
    assert_eq!(place.records("stations"), mended.records("stations"));
    place.call(&["run", "job.toml"]).done();
    assert_eq!(place.records("stations"), mended.records("stations"));
}

#[test]
fn a_change_outside_the_failed_shard_is_refused() {
    let place = Place::new();
    place.write("m.csv", broken());
    place.write("job.toml", declared());
    place.call(&["run", "job.toml"]).with_code(1);
    let elsewhere = measurements(500).replacen("\n2,", "\n7777,", 1);
    place.write("m.csv", elsewhere);
    place
        .call(&["job", "retry", "stations"])
        .with_code(2)
        .told(&["m.csv"]);
}

#[test]
fn malformed_records_can_be_skipped_and_are_counted() {
    let place = Place::new();
    place.write("m.csv", broken());
    let job = declared().replace("[transform]", "on_error = \"skip\"\n[transform]");
    // The schema's table follows the source's keys.
    let (schema, rest) = job
        .split_once("[source.schema]\nlevel = \"int64\"\n")
        .unwrap();
    let job = format!("{schema}{rest}").replace(
        "[transform]",
        "[source.schema]\nlevel = \"int64\"\n[transform]",
    );
    place.write("job.toml", job);
    let report = place.call(&["run", "job.toml", "--json"]).done().json();
    assert_eq!(report["rows_skipped"], 1);
    assert_eq!(report["rows_read"], 499);
}

/// The aggregation with the type of `level` declared, so that a word in it is malformed.
fn declared() -> String {
    aggregation("1KiB").replace(
        "[transform]",
        "[source.schema]\nlevel = \"int64\"\n[transform]",
    )
}

/// The measurements with a word for a number in one record.
fn broken() -> String {
    let good = measurements(500);
    let bad: Vec<String> = good
        .lines()
        .map(|line| match line.strip_prefix("300,") {
            Some(rest) => {
                let mut fields: Vec<&str> = rest.split(',').collect();
                fields[1] = "high";
                format!("300,{}", fields.join(","))
            }
            None => line.to_owned(),
        })
        .collect();
    bad.join("\n") + "\n"
}

#[test]
fn a_cancelled_job_begins_nothing_more() {
    let place = Place::new();
    place.write("m.csv", measurements(500));
    place.write("job.toml", aggregation("1KiB"));
    place.call(&["submit", "job.toml"]).done();
    let report = place
        .call(&["job", "cancel", "stations", "--json"])
        .done()
        .json();
    assert_eq!(report["state"], "cancelled");
    place
        .call(&["run", "job.toml"])
        .with_code(1)
        .told(&["cancelled"]);
    assert_eq!(place.job("stations")["shards"]["done"], 0);
}

#[test]
fn two_jobs_share_a_database() {
    let place = Place::new();
    place.write("m.csv", measurements(500));
    place.write("a.toml", aggregation("1KiB"));
    place.write("b.toml", upsert("2KiB"));
    place.call(&["run", "a.toml"]).done();
    place.call(&["run", "b.toml"]).done();
    let jobs = place.call(&["job", "ls", "--json"]).done().json_lines();
    assert_eq!(jobs.len(), 2);
    assert_eq!(place.records("stations").lines().count(), 17);
    assert_eq!(place.records("levels").lines().count(), 500);
}

#[test]
fn the_sample_has_its_licence() {
    let note = fs::read_to_string(examples().join("DATA.md")).unwrap();
    assert!(note.contains("CC0"));
    let files = fs::read_dir(examples().join("flights")).unwrap();
    let bytes: u64 = files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes < 4_000_000, "the sample has {bytes} bytes");
}
