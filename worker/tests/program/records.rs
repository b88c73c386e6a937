//! Records and stores by hand: `get`, `put`, `del`, `scan`, `store`, `db`.

use std::io::{Read, Write};
use std::process::Stdio;

use serde_json::json;

use crate::support::{Ended, Place, aggregation, measurements, upsert};

#[test]
fn a_record_can_be_put_read_replaced_and_deleted() {
    let place = Place::new();
    place
        .call(&["store", "create", "airlines", "--key", "carrier"])
        .done();
    place
        .call(&[
            "put",
            "airlines",
            "AA",
            r#"{ "name": "American", "n": 1.50 }"#,
        ])
        .done();
    let ended = place.call(&["get", "airlines", "AA"]).done();
    assert_eq!(ended.stdout, "{\"name\":\"American\",\"n\":1.50}\n");
    let ended = place.call(&["get", "airlines", "\"AA\"", "--json"]).done();
    assert_eq!(
        ended.stdout,
        "{\"key\":\"AA\",\"value\":{\"name\":\"American\",\"n\":1.50}}\n"
    );

    place
        .call(&["put", "airlines", "AA", "18446744073709551615"])
        .done();
    assert_eq!(
        place.call(&["get", "airlines", "AA"]).done().stdout,
        "18446744073709551615\n"
    );

    assert_eq!(
        place
            .call(&["del", "airlines", "AA", "--json"])
            .done()
            .json()["deleted"],
        true
    );
    assert_eq!(
        place
            .call(&["del", "airlines", "AA", "--json"])
            .done()
            .json()["deleted"],
        false
    );
    place
        .call(&["get", "airlines", "AA"])
        .with_code(1)
        .told(&["\"AA\"", "airlines"]);
}

#[test]
fn a_value_can_come_from_standard_input() {
    let place = Place::new();
    let mut call = place.command(&["put", "s", "[1,\"x\"]", "--create"]);
    let mut child = call.stdin(Stdio::piped()).spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"[ 1,\n 2 ]\n")
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(place.records("s"), "{\"key\":[1,\"x\"],\"value\":[1,2]}\n");
}

#[test]
fn keys_and_values_that_cannot_be_are_refused() {
    let place = Place::new();
    place.call(&["store", "create", "s"]).done();
    place
        .call(&["put", "s", "k", "hello"])
        .with_code(2)
        .told(&["expected JSON", "`s`"]);
    place
        .call(&["put", "s", "[1,", "1"])
        .with_code(2)
        .told(&["key"]);
    place
        .call(&["put", "s", "[[1]]", "1"])
        .with_code(2)
        .told(&["scalar"]);
    place
        .call(&["put", "s", "{\"$ts\":\"yesterday\"}", "1"])
        .with_code(2)
        .told(&["$ts"]);
    place
        .call(&["put", "s", &"k".repeat(5000), "1"])
        .with_code(2)
        .told(&["4096"]);
    place
        .call(&["put", "t", "k", "1"])
        .with_code(2)
        .told(&["no store `t`", "`s`", "store create"]);
    place
        .call(&["get", "t", "k"])
        .with_code(2)
        .told(&["no store `t`", "`s`"]);
    place
        .call(&["put", "_jobs", "k", "1"])
        .with_code(2)
        .told(&["_jobs", "system"]);
    place
        .call(&["store", "drop", "_jobs"])
        .with_code(2)
        .told(&["_jobs", "system"]);
    place
        .call(&["store", "create", "_mine"])
        .with_code(2)
        .told(&["_mine", "system"]);
    assert_eq!(place.records("s"), "");
}

#[test]
fn scans_follow_their_bounds() {
    let place = Place::new();
    place.call(&["store", "create", "s"]).done();
    for key in ["[1,1]", "[1,2]", "[2,1]", "[10,1]", "-5", "AA", "null"] {
        place.call(&["put", "s", key, "0"]).done();
    }
    let keys = |args: &[&str]| {
        let mut call = vec!["scan", "s", "--keys-only", "--json"];
        call.extend(args);
        let lines = place.call(&call).done().json_lines();
        lines
            .iter()
            .map(|line| line["key"].to_string())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(keys(&[]), "null -5 [1,1] [1,2] [2,1] [10,1] \"AA\"");
    assert_eq!(keys(&["--prefix", "[1]"]), "[1,1] [1,2]");
    assert_eq!(keys(&["--from", "[1,2]", "--to", "[10,1]"]), "[1,2] [2,1]");
    assert_eq!(keys(&["--reverse", "--limit", "2"]), "\"AA\" [10,1]");
    assert_eq!(keys(&["--from", "-5", "--to", "[1,2]"]), "-5 [1,1]");
    assert_eq!(keys(&["--from", "AA"]), "\"AA\"");
    assert_eq!(keys(&["--limit", "0"]), "");
    assert_eq!(keys(&["--from", "9", "--to", "1"]), "");
    let ended = place
        .call(&["scan", "s", "--prefix", "[1]", "--json"])
        .done();
    assert_eq!(ended.json_lines()[0], json!({"key": [1, 1], "value": 0}));
}

#[test]
fn lines_without_a_terminal_have_tabs_and_no_colours() {
    let place = Place::new();
    place
        .call(&["store", "create", "s", "--key", "year,name"])
        .done();
    place
        .call(&["put", "s", "[2013,\"a\\tb\"]", "{\"n\":1}"])
        .done();
    place.call(&["put", "s", "[2014,null]", "\"x\""]).done();
    let ended = place.call(&["scan", "s"]).done();
    assert_eq!(
        ended.stdout,
        "2013\t\"a\\tb\"\t{\"n\":1}\n2014\tnull\t\"x\"\n"
    );
}

#[test]
fn a_store_of_bytes_keeps_bytes() {
    let place = Place::new();
    place
        .call(&["store", "create", "raw", "--encoding", "raw"])
        .done();
    place.call(&["put", "raw", "k", "not json"]).done();
    assert_eq!(place.call(&["get", "raw", "k"]).done().stdout, "not json");
    let line = place.call(&["get", "raw", "k", "--json"]).done().stdout;
    assert_eq!(
        line,
        "{\"key\":\"k\",\"value\":{\"$bytes\":\"bm90IGpzb24=\"}}\n"
    );
}

#[test]
fn stores_are_listed_measured_and_dropped() {
    let place = Place::new();
    place.write("m.csv", measurements(100));
    place.write("job.toml", aggregation("1KiB"));
    place.call(&["run", "job.toml"]).done();
    place
        .call(&["store", "create", "by_hand", "--key", "a,b"])
        .done();
    place.call(&["put", "by_hand", "[1,2]", "3"]).done();
    let stores = place.call(&["store", "ls", "--json"]).done().json_lines();
    let by_hand = json!({"name": "by_hand", "kind": "json", "key": ["a", "b"], "columns": []});
    assert_eq!(stores[0], by_hand);
    assert_eq!(stores[1]["name"], "stations");
    assert_eq!(stores[1]["kind"], "merged");
    assert_eq!(stores[1]["key"], json!(["station"]));
    assert_eq!(
        stores[1]["columns"][1],
        json!({"name": "level_sum", "operator": "sum"})
    );
    assert_eq!(stores.len(), 2, "system stores are not listed: {stores:?}");
    let stats = place
        .call(&["store", "stats", "--json"])
        .done()
        .json_lines();
    assert_eq!(
        (&stats[0]["records"], &stats[1]["records"]),
        (&json!(1), &json!(17))
    );

    let refused = place.call(&["put", "stations", "s1", "{}"]).with_code(2);
    refused.told(&["stations", "merged"]);
    place
        .call(&["store", "create", "stations"])
        .with_code(2)
        .told(&["stations", "different"]);
    place.call(&["store", "drop", "by_hand"]).done();
    place
        .call(&["store", "drop", "by_hand"])
        .with_code(2)
        .told(&["no store `by_hand`"]);
    assert_eq!(
        place
            .call(&["store", "ls", "--json"])
            .done()
            .json_lines()
            .len(),
        1
    );
}

#[test]
fn a_database_is_created_once_described_and_verified() {
    let place = Place::new();
    let created = place.call(&["db", "init", "--json"]).done().json();
    assert_eq!(created["created"], true);
    let again = place.call(&["db", "init", "--json"]).done().json();
    assert_eq!(again["created"], false);
    assert_eq!(again["instance"], created["instance"]);
    let info = place.call(&["db", "info", "--json"]).done().json();
    assert_eq!(info["instance"], created["instance"]);
    let report = place.call(&["db", "verify", "--json"]).done().json();
    assert_eq!(
        (&report["ok"], &report["broken"]),
        (&json!(true), &json!([]))
    );
}

#[test]
fn verify_names_each_broken_object() {
    let place = Place::new();
    place.call(&["store", "create", "s"]).done();
    for key in 0..20 {
        place
            .call(&["put", "s", &key.to_string(), "\"some value\""])
            .done();
    }
    let log = largest_file(&place.db().join("log"));
    let mut bytes = std::fs::read(&log).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[used / 2] ^= 0x10;
    std::fs::write(&log, bytes).unwrap();
    let ended = place
        .call(&["db", "verify", "--json"])
        .with_code(1)
        .told(&["broken"]);
    let report = &ended.json_lines()[0];
    assert_eq!(report["ok"], false);
    let object = report["broken"][0]["object"].as_str().unwrap();
    assert!(object.starts_with("log/"), "{report}");
}

fn largest_file(dir: &std::path::Path) -> std::path::PathBuf {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.push((std::fs::metadata(&path).unwrap().len(), path));
            }
        }
    }
    found.into_iter().max().unwrap().1
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let place = Place::new();
    place.write("m.csv", measurements(3000));
    place.write("job.toml", upsert("64KiB"));
    place.call(&["run", "job.toml"]).done();
    for args in [&["scan", "levels", "--json"][..], &["scan", "levels"]] {
        let mut child = place.start(args);
        let mut first = [0; 16];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let ended = Ended::from(child.wait_with_output().unwrap()).done();
        assert_eq!(ended.stderr, "");
    }
}

#[test]
fn the_version_says_what_it_knows() {
    let place = Place::new();
    let version = place.call(&["version", "--json"]).done().json();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert!(version["format"].as_u64().unwrap() >= 1);
    assert!(
        version["features"]
            .as_array()
            .unwrap()
            .contains(&json!("standalone"))
    );
}
