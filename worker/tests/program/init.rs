//! `init`: job files from data, and what is told of data that is none.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::{Ended, Place, measurements, program};

/// Calls the program in the place's folder, without a database.
fn call(place: &Place, args: &[&str]) -> Ended {
    program()
        .args(args)
        .current_dir(place.path(""))
        .output()
        .unwrap()
        .into()
}

#[test]
fn a_file_becomes_a_job_that_runs() {
    let place = Place::new();
    place.write("levels.csv", measurements(2000));
    let ended = call(&place, &["init", "levels.csv"]).done();
    assert!(
        ended
            .stdout
            .contains("wrote levels.toml: csv, 1 file, 5 columns, 2,000 rows"),
        "{ended:#?}"
    );
    assert!(
        ended.stdout.contains("eciton run levels.toml"),
        "{ended:#?}"
    );
    let text = fs::read_to_string(place.path("levels.toml")).unwrap();
    for words in [
        "# 5 columns",
        "#   station",
        "GROUP BY",
        "eciton run levels.toml",
        "# [merge]",
        "# [upsert]",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    place.call(&["run", "levels.toml"]).done();
    assert!(place.records("levels").lines().count() >= 2);
    assert_eq!(place.job("levels")["state"], "done");
}

#[test]
fn compressed_files_and_other_places_work() {
    let place = Place::new();
    fs::create_dir_all(place.path("in/logs")).unwrap();
    fs::create_dir_all(place.path("jobs")).unwrap();
    for part in 0..3 {
        let file = fs::File::create(place.path(&format!("in/logs/part-{part}.jsonl.gz"))).unwrap();
        let mut gz = GzEncoder::new(file, Compression::fast());
        for row in 0..100 {
            writeln!(
                gz,
                "{{\"level\":\"{}\",\"ms\":{}.5}}",
                ["info", "warn"][row % 2],
                row
            )
            .unwrap();
        }
        gz.finish().unwrap();
    }
    call(
        &place,
        &[
            "init",
            "in/logs/*.jsonl.gz",
            "--out",
            "jobs/log.toml",
            "--quiet",
        ],
    )
    .done();
    place.call(&["run", "jobs/log.toml"]).done();
    let records = place.records("logs");
    assert_eq!(records.lines().count(), 2, "{records}");
    assert!(records.contains("\"row_count\":150"), "{records}");
}

#[test]
fn nothing_is_overwritten_without_being_asked() {
    let place = Place::new();
    place.write("a.csv", "k,v\nx,1\n");
    place.write("a.toml", "mine");
    call(&place, &["init", "a.csv"])
        .with_code(2)
        .told(&["a.toml exists", "--force", "--out"]);
    assert_eq!(fs::read_to_string(place.path("a.toml")).unwrap(), "mine");
    let printed = call(&place, &["init", "a.csv", "--stdout"]).done().stdout;
    assert!(printed.contains("name = \"a\""), "{printed}");
    assert_eq!(
        call(&place, &["init", "a.csv", "--out", "-"])
            .done()
            .stdout
            .lines()
            .count(),
        printed.lines().count()
    );
    assert_eq!(fs::read_to_string(place.path("a.toml")).unwrap(), "mine");
    let told = call(&place, &["init", "a.csv", "--force", "--json"])
        .done()
        .json();
    assert_eq!(
        (told["file"].as_str(), told["rows"].as_u64()),
        (Some("a.toml"), Some(1))
    );
    assert!(
        fs::read_to_string(place.path("a.toml"))
            .unwrap()
            .contains("[source]")
    );
}

#[test]
fn data_in_the_place_of_a_job_file_is_told() {
    let place = Place::new();
    place.write("a.csv", "k,v\nx,1\n");
    for command in [
        &["run", "a.csv"][..],
        &["submit", "a.csv"],
        &["plan", "a.csv"],
    ] {
        let told = place.call(command).with_code(2);
        told.told(&["a.csv is data, not a job file", "eciton init a.csv"]);
    }
    assert!(!place.db().exists());
}

#[test]
fn nonsense_is_told_in_a_sentence() {
    let place = Place::new();
    place.write("a.csv", "k,v\nx,1\n");
    place.write("array.json", "[{\"a\":1}]");
    place.write("empty.csv", "");
    for (args, words) in [
        (&["init", "b.csv"][..], "there is no file `b.csv`"),
        (&["init", "empty.csv"], "is empty"),
        (&["init", "array.json"], "jq -c '.[]'"),
        (&["init", "-"], "standard input"),
        (&["init", "a.csv", "--name", "no name"], "expected a name"),
        (&["init", "a.csv", "--out", "none/a.toml"], "no such folder"),
        (&["init", "a.csv", "array.json"], "different formats"),
        (&["init"], "<DATA>"),
    ] {
        call(&place, args).with_code(2).told(&[words]);
    }
    assert!(!place.path("a.toml").exists());
}

/// What a query writes is what a job reads: an Arrow file, and a stream.
#[test]
fn arrow_files_and_streams_become_jobs_that_run() {
    let place = Place::new();
    place.write("levels.csv", measurements(500));
    call(&place, &["init", "levels.csv", "--quiet"]).done();
    place.call(&["run", "levels.toml"]).done();
    let groups = place.records("levels").lines().count();
    assert!(groups >= 2, "{groups} groups");
    for name in ["copy.arrow", "again.arrows"] {
        let out = place.path(name);
        let query = [
            "query",
            "SELECT * FROM levels",
            "--out",
            out.to_str().unwrap(),
        ];
        place.call(&query).done();
        let ended = call(&place, &["init", name]).done();
        assert!(ended.stdout.contains(": arrow, 1 file, "), "{ended:#?}");
        let (stem, _) = name.split_once('.').unwrap();
        let text = fs::read_to_string(place.path(&format!("{stem}.toml"))).unwrap();
        assert!(text.contains("with types of the file"), "{text}");
        place.call(&["run", &format!("{stem}.toml")]).done();
        assert_eq!(place.job(stem)["rows_read"], groups, "{name}");
    }
    let both = ["init", "copy.arrow", "again.arrows", "--stdout"];
    let told = call(&place, &both).done();
    assert!(told.stdout.contains("(arrow, 2 files, "), "{told:#?}");
}
