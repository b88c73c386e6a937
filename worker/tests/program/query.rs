//! `query` and `scan --format`: SQL over stores, and records as columns.

use std::fs;

use serde_json::json;

use crate::support::{Place, aggregation, measurements, upsert};

/// A place with a merged store, one of whole records, and one that was filled by hand.
fn filled() -> Place {
    let place = Place::new();
    place.write("m.csv", measurements(1000));
    place.write("aggregation.toml", aggregation("4KiB"));
    place.write("upsert.toml", upsert("4KiB"));
    place.call(&["run", "aggregation.toml"]).done();
    place.call(&["run", "upsert.toml"]).done();
    place
        .call(&["store", "create", "names", "--key", "station"])
        .done();
    place
        .call(&["put", "names", "s3", "{\"name\":\"Three, \\\"3\\\"\"}"])
        .done();
    place
}

#[test]
fn stores_are_asked_and_joined() {
    let place = filled();
    let sql = "SELECT count(*) AS stations, sum(rows) AS rows FROM stations";
    let told = place.call(&["query", sql, "--json"]).done().json();
    assert_eq!(told, json!({"stations": 17, "rows": 1000}));
    let sql = "SELECT n.name, s.rows, count(l.id) AS levels FROM names n JOIN stations s ON s.station = n.station \
               JOIN levels l ON l.station = n.station GROUP BY n.name, s.rows";
    let told = place.call(&["query", sql, "--json"]).done().json();
    assert_eq!(told["name"], "Three, \"3\"");
    assert_eq!(told["rows"], told["levels"]);
    let csv = place.call(&["query", "SELECT * FROM names"]).done().stdout;
    assert_eq!(csv, "station,name\ns3,\"Three, \"\"3\"\"\"\n");
    let table = place
        .call(&[
            "query",
            "SELECT station, rows FROM stations LIMIT 1",
            "--format",
            "table",
        ])
        .done();
    assert_eq!(table.stdout.lines().count(), 2, "{table:#?}");
    assert!(table.stdout.starts_with("station  rows\ns0"), "{table:#?}");
}

#[test]
fn only_the_range_of_a_condition_is_read() {
    let place = filled();
    let sql = "SELECT count(*) AS n FROM levels WHERE station = 's3' AND id < 500";
    let counted = place.call(&["query", sql, "--json", "--stats"]).done();
    let count = counted.json()["n"].as_u64().unwrap();
    assert!(count > 0 && count < 100, "{counted:#?}");
    assert!(
        counted.stderr.contains(&format!("read {count} record")),
        "{counted:#?}"
    );
    let plan = place.call(&["query", sql, "--explain"]).done().stdout;
    assert!(
        plan.contains("StoreScan: store=levels, keys=before [\"s3\",500]"),
        "{plan}"
    );
}

#[test]
fn a_query_only_reads() {
    let place = filled();
    for (sql, words) in [
        ("DROP TABLE names", "a query only reads"),
        ("COPY names TO 'x.csv'", "a query only reads"),
        ("SELECT * FROM 'm.csv'", "reads stores and no files"),
        ("SELECT * FROM namess", "did you mean `names`?"),
        ("SELECT namee FROM names", "did you mean `name`?"),
        ("SELECT 1 +", "expected: an expression"),
        ("", "found nothing"),
    ] {
        place.call(&["query", sql]).with_code(2).told(&[words]);
        let told = place.call(&["query", sql, "--json"]).with_code(2).json();
        assert_eq!(told["error"]["code"], 2, "{told}");
    }
    assert!(!place.path("x.csv").exists());
    place.call(&["query"]).with_code(2).told(&["SQL"]);
    place
        .call(&["query", "SELECT 1", "--json", "--format", "csv"])
        .with_code(2)
        .told(&["--format"]);
    place
        .call(&["query", "SELECT 1", "--memory", "0"])
        .with_code(2)
        .told(&["512MiB"]);
    place
        .call(&["query", "SELECT 1", "--infer", "none"])
        .with_code(2)
        .told(&["all"]);
}

#[test]
fn answers_go_to_files_of_every_format() {
    let place = filled();
    let sql = "SELECT station, rows FROM stations ORDER BY station";
    for (name, begin) in [
        ("x.csv", &b"station,rows\ns0,"[..]),
        ("x.jsonl", b"{\"station\":\"s0\""),
        ("x.json", b"[{\"station\":\"s0\""),
        ("x.parquet", b"PAR1"),
        ("x.arrow", b"ARROW1"),
        ("x.arrows", b"\xff\xff\xff\xff"),
    ] {
        place.call(&["query", sql, "--out", name]).done();
        let bytes = fs::read(place.path(name)).unwrap();
        assert!(bytes.starts_with(begin), "{name}");
    }
    place.write("q.sql", sql);
    assert_eq!(
        place
            .call(&["query", "--file", "q.sql"])
            .done()
            .stdout
            .lines()
            .count(),
        18
    );
    place
        .call(&["query", sql, "--out", "x.what"])
        .with_code(2)
        .told(&["--format"]);
    // What was written is data again.
    place.call(&["init", "x.parquet", "--name", "again"]).done();
    place.call(&["run", "again.toml"]).done();
}

#[test]
fn a_failed_answer_leaves_no_file() {
    let place = Place::new();
    for (key, value) in [("1", "1"), ("2", "0")] {
        place.call(&["put", "t", key, value, "--create"]).done();
    }
    let failed = place.call(&["query", "SELECT 1 / value AS x FROM t", "--out", "x.csv"]);
    failed.with_code(1).told(&["the query failed", "zero"]);
    assert!(!place.path("x.csv").exists());
}

#[test]
fn scans_have_columns_of_their_own_types() {
    let place = filled();
    let csv = place
        .call(&["scan", "stations", "--format", "csv", "--limit", "1"])
        .done()
        .stdout;
    assert!(
        csv.starts_with("station,rows,level_sum,level_min,level_max,level_avg,flow_sum\ns0,"),
        "{csv}"
    );
    let line = place
        .call(&[
            "scan", "levels", "--format", "jsonl", "--prefix", "[\"s3\"]", "--limit", "1",
        ])
        .done()
        .json();
    assert_eq!(line["station"], "s3");
    assert!(line["flow"].is_f64() && line["id"].is_u64(), "{line}");
    let keys = place
        .call(&[
            "scan",
            "levels",
            "--format",
            "csv",
            "--keys-only",
            "--limit",
            "1",
        ])
        .done()
        .stdout;
    assert!(keys.starts_with("station,id\n"), "{keys}");
    let table = place
        .call(&["scan", "names", "--format", "table"])
        .done()
        .stdout;
    assert!(table.starts_with("station  name\n"), "{table}");
    // As before where no format is asked for.
    assert_eq!(
        place.call(&["scan", "names"]).done().stdout,
        "s3\t{\"name\":\"Three, \\\"3\\\"\"}\n"
    );
}

#[test]
fn a_query_reads_beside_a_writer_that_is_read_only_itself() {
    let place = filled();
    let before = place.call(&["db", "info", "--json"]).done().json();
    place
        .call(&["query", "SELECT * FROM levels ORDER BY flow"])
        .done();
    assert_eq!(place.call(&["db", "info", "--json"]).done().json(), before);
    place
        .call(&["query", "SELECT 1", "--db", "absent"])
        .with_code(2);
}

#[test]
fn columns_that_later_records_change_are_found_again() {
    let place = Place::new();
    for (key, value) in [
        ("1", "{\"v\":1}"),
        ("2", "{\"v\":\"x\",\"w\":1}"),
        ("3", "{\"v\":3}"),
    ] {
        place.call(&["put", "t", key, value, "--create"]).done();
    }
    let told = place
        .call(&["query", "SELECT * FROM t", "--infer", "1", "--json"])
        .done()
        .json_lines();
    assert_eq!(told[1], json!({"key": 2, "v": "\"x\"", "w": 1}));
}

#[test]
fn shells_and_man_know_every_command() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.call(&["completions", shell]).done().stdout;
        assert!(
            script.contains("init") && script.contains("force"),
            "{shell}"
        );
    }
    place
        .call(&["completions", "basic"])
        .with_code(2)
        .told(&["bash"]);
    let page = place.call(&["man"]).done().stdout;
    assert!(page.contains(".TH eciton 1"), "{page}");
    place.call(&["man", "--out", "pages"]).done();
    for name in ["eciton.1", "eciton-query.1", "eciton-db-verify.1"] {
        let page = fs::read_to_string(place.path("pages").join(name)).unwrap();
        assert!(page.contains("Examples:"), "{name}");
    }
    assert!(!place.path("pages/eciton-tied.1").exists());
}

#[test]
fn dates_of_csv_and_of_parquet_are_one_kind() {
    let place = Place::new();
    place.write(
        "d.csv",
        "day,at,v\n2024-02-29,2024-02-29T10:00:00Z,1\n1969-12-31,1969-12-31T23:59:59.5Z,2\n",
    );
    let job = |name: &str, format: &str, file: &str| {
        format!(
            "name = \"{name}\"\n[source]\nformat = \"{format}\"\npaths = [\"{file}\"]\n[upsert]\nstore = \"{name}\"\nkey = [\"day\"]\n"
        )
    };
    place.write("csv.toml", job("of_csv", "csv", "d.csv"));
    place.call(&["run", "csv.toml"]).done();
    place
        .call(&["query", "SELECT * FROM of_csv", "--out", "d.parquet"])
        .done();
    place.write("parquet.toml", job("of_parquet", "parquet", "d.parquet"));
    place.call(&["run", "parquet.toml"]).done();
    let records = place.records("of_csv");
    let first = "{\"key\":{\"$date\":\"1969-12-31\"},\"value\":{\"at\":{\"$ts\":\"1969-12-31T23:59:59.5Z\"},\"v\":2}}\n";
    assert!(records.starts_with(first), "{records}");
    assert_eq!(place.records("of_parquet"), records);
    let sql = "SELECT p.day, p.at FROM of_parquet p JOIN of_csv c ON p.day = c.day WHERE p.day > DATE '2000-01-01'";
    let told = place.call(&["query", sql, "--json", "--stats"]).done();
    assert_eq!(
        told.json(),
        json!({"day": "2024-02-29", "at": "2024-02-29T10:00:00Z"})
    );
    assert!(
        told.stderr.contains("read 1 record of store `of_parquet`"),
        "{told:#?}"
    );
    assert_eq!(
        place
            .call(&[
                "scan",
                "of_csv",
                "--prefix",
                "{\"$date\":\"2024-02-29\"}",
                "--json"
            ])
            .done()
            .json_lines()
            .len(),
        1
    );
}
