//! Whatever is wrong with a call is told in one line, with the right exit code, and nothing is written.

use crate::support::{Ended, Place, aggregation, measurements, program};

/// A job file that is wrong in one place: replaces `from` by `to` in a good one and expects the message
/// to hold `words`, the database not to exist, and exit code 2.
fn refused(from: &str, to: &str, words: &[&str]) {
    let place = Place::new();
    place.write("m.csv", measurements(50));
    let good = aggregation("1KiB");
    let bad = good.replacen(from, to, 1);
    assert_ne!(good, bad, "`{from}` is not in the job file");
    place.write("job.toml", bad);
    for command in ["run", "submit"] {
        place.call(&[command, "job.toml"]).with_code(2).told(words);
        assert!(!place.db().exists(), "a refused job left a database");
    }
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    refused(
        "shard_size",
        "shard_sise",
        &["job.toml:5", "shard_sise", "did you mean `shard_size`"],
    );
}

#[test]
fn a_wrong_type_is_refused_with_its_line() {
    refused("\"csv\"", "7", &["job.toml:3", "format", "expected"]);
    refused(
        "\"1KiB\"",
        "true",
        &["job.toml:5", "shard_size", "expected"],
    );
    refused(
        "key = [\"station\"]",
        "key = 5",
        &["job.toml:10", "key", "expected"],
    );
}

#[test]
fn broken_toml_is_refused_with_its_line() {
    refused("key = [\"station\"]", "key = [", &["job.toml:1"]);
}

#[test]
fn sql_that_does_not_parse_is_refused_with_its_line() {
    refused("SELECT", "SELEKT", &["job.toml:7", "transform.sql"]);
}

#[test]
fn a_source_that_cannot_be_read_is_refused_with_its_line() {
    let place = Place::new();
    place.write("m.csv", measurements(50));
    place.write("job.toml", aggregation("1KiB"));
    std::os::unix::fs::symlink("/nowhere/m.csv", place.path("n.csv")).unwrap();
    for command in ["run", "submit"] {
        let words = ["job.toml:4", "source.paths", "n.csv", "cannot be read"];
        place.call(&[command, "job.toml"]).with_code(2).told(&words);
        assert!(!place.db().exists(), "a refused job left a database");
    }
}

#[test]
fn a_missing_column_is_refused_with_its_line() {
    refused(
        "station, level, flow",
        "station, height, flow",
        &["job.toml:7", "height"],
    );
    refused(
        "key = [\"station\"]",
        "key = [\"site\"]",
        &["job.toml:10", "site"],
    );
    refused("sum(flow)", "sum(floe)", &["job.toml:17", "floe"]);
}

#[test]
fn an_operator_that_does_not_fit_is_refused_with_its_line() {
    refused("sum(flow)", "sum(station)", &["job.toml:17", "sum"]);
    refused(
        "sum(flow)",
        "approx_quantile(flow, 95)",
        &["job.toml:17", "from 0 to 1", "95"],
    );
    refused(
        "sum(flow)",
        "median(flow)",
        &["job.toml:17", "median", "expected one of"],
    );
}

#[test]
fn a_glob_that_matches_nothing_is_refused_with_its_line() {
    refused("*.csv", "*.tsv", &["job.toml:4", "source.paths", "*.tsv"]);
}

#[test]
fn an_absent_job_file_is_refused() {
    let place = Place::new();
    place
        .call(&["run", "absent.toml"])
        .with_code(2)
        .told(&["absent.toml"]);
    assert!(!place.db().exists());
}

#[test]
fn another_specification_under_the_same_name_is_refused() {
    let place = Place::new();
    place.write("m.csv", measurements(50));
    place.write("job.toml", aggregation("1KiB"));
    place.call(&["run", "job.toml"]).done();
    let before = place.records("stations");
    place.write(
        "job.toml",
        aggregation("1KiB").replace("sum(flow)", "max(flow)"),
    );
    place
        .call(&["run", "job.toml"])
        .with_code(2)
        .told(&["stations"]);
    assert_eq!(place.records("stations"), before);
}

#[test]
fn wrong_flags_are_told_in_one_line() {
    let place = Place::new();
    place
        .call(&["run", "job.toml", "--wrokers", "2"])
        .with_code(2)
        .told(&["--wrokers", "--workers"]);
    place
        .call(&["run", "job.toml", "--workers", "0"])
        .with_code(2)
        .told(&["--workers", "1..=1024"]);
    place.call(&["run"]).with_code(2).told(&["JOB.toml"]);
    place.call(&["fly"]).with_code(2).told(&["fly"]);
    place
        .call(&["top", "--interval", "1ms"])
        .with_code(2)
        .told(&["--interval", "100ms or more"]);
    place
        .call(&["top", "--peer", "127.0.0.1:1"])
        .with_code(2)
        .told(&["--peer", "--db"]);
    place
        .call(&["up", "--workers", "0"])
        .with_code(2)
        .told(&["--workers", "1..=256"]);
    assert!(!place.db().exists());
    place
        .call(&["scan", "s", "--limit", "-1"])
        .with_code(2)
        .told(&["--limit"]);
}

#[test]
fn a_wrong_call_is_a_json_line_with_json() {
    let place = Place::new();
    let ended = place
        .call(&["scan", "--json", "--up"])
        .with_code(2)
        .told(&["--up"]);
    assert_eq!(ended.json()["error"]["code"], 2);
    assert_eq!(ended.json()["error"]["kind"], "usage");
    let ended = place
        .call(&["get", "s", "k", "--json"])
        .with_code(2)
        .told(&["not a database"]);
    assert_eq!(ended.json()["error"]["kind"], "not_a_database");
}

#[test]
fn a_call_without_a_database_says_how_to_name_one() {
    let place = Place::new();
    let mut command = program();
    command.args(["store", "ls"]).current_dir(place.path(""));
    Ended::from(command.output().unwrap())
        .with_code(2)
        .told(&["--db", "ECITON_DB", "eciton.toml"]);
    command.env("ECITON_DB", "ftp://bucket/prefix");
    Ended::from(command.output().unwrap())
        .with_code(2)
        .told(&["ftp://bucket/prefix", "no address of a bucket"]);
}

#[test]
fn the_database_comes_from_flag_then_environment_then_file() {
    let place = Place::new();
    let init = |db: &str, configure: &dyn Fn(&mut std::process::Command)| {
        let mut command = program();
        command.args(["db", "init"]).current_dir(place.path(""));
        configure(&mut command);
        Ended::from(command.output().unwrap()).done();
        assert!(place.path(db).is_dir(), "no database in {db}");
    };
    place.write("eciton.toml", "db = \"from-file\"\n");
    init("from-file", &|_| {});
    init("from-env", &|command| {
        command.env("ECITON_DB", "from-env");
    });
    init("from-flag", &|command| {
        command
            .env("ECITON_DB", "from-nowhere")
            .args(["--db", "from-flag"]);
    });
    assert!(!place.path("from-nowhere").exists());

    place.write("eciton.toml", "db = \"x\"\nworkrs = 2\n");
    let mut command = program();
    command.args(["store", "ls"]).current_dir(place.path(""));
    let ended = Ended::from(command.output().unwrap());
    ended.with_code(2).told(&["eciton.toml:2", "workrs"]);
}

#[test]
fn reading_what_is_not_there_is_a_wrong_call_and_creates_nothing() {
    let place = Place::new();
    for call in [
        &["get", "s", "k"][..],
        &["scan", "s"],
        &["store", "ls"],
        &["store", "stats"],
        &["store", "drop", "s"],
        &["job", "ls"],
        &["job", "show", "j"],
        &["job", "watch", "j"],
        &["top"],
        &["top", "--once"],
        &["job", "cancel", "j"],
        &["job", "retry", "j"],
        &["db", "info"],
        &["db", "verify"],
        &["db", "compact"],
        &["db", "backup", "backups"],
        &["db", "publish", "published"],
        &["del", "s", "k"],
        &["put", "s", "k", "1"],
    ] {
        place.call(call).with_code(2).told(&["not a database"]);
        assert!(!place.db().exists(), "{call:?} created a database");
    }
}

#[test]
fn a_compression_that_is_none_is_a_wrong_call() {
    let place = Place::new();
    let told = "expected none, lz4 or zstd";
    place
        .call(&["db", "compact", "--compression", "gzip"])
        .with_code(2)
        .told(&["gzip", told]);
    std::fs::write(place.path("eciton.toml"), "compression = \"best\"\n").unwrap();
    place
        .call(&["db", "init"])
        .with_code(2)
        .told(&["eciton.toml", "best", told]);
    assert!(!place.db().exists());
}

#[test]
fn help_is_no_error_and_shows_examples() {
    for command in [
        &["--help"][..],
        &["run", "--help"],
        &["store", "create", "--help"],
        &["db", "compact", "--help"],
        &["db", "backup", "--help"],
        &["db", "restore", "--help"],
        &["db", "publish", "--help"],
        &["stream", "--help"],
        &["stream", "write", "--help"],
        &["top", "--help"],
        &["up", "--help"],
    ] {
        let ended = Ended::from(program().args(command).output().unwrap()).done();
        assert!(ended.stdout.contains("Examples:"), "{ended:#?}");
    }
}

#[test]
fn what_this_version_has_not_is_not_there() {
    let place = Place::new();
    for call in [&["serve"][..], &["down"], &["console"]] {
        place.call(call).with_code(2).told(&["unrecognized"]);
    }
}
