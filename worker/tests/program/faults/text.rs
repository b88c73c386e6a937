//! Line ends, blank lines, malformed and sparse records.

use std::fmt::Write;

use serde_json::{Value, json};

use super::super::support::Place;
use super::{fault, records, run};

fn skipped(place: &Place) -> Value {
    place.job("j")["rows_skipped"].clone()
}

#[test]
fn lines_that_end_in_cr_are_lines() {
    let place = fault("cr-only-skip");
    run(&place).done();
    assert_eq!(
        records(&place),
        [(json!("a"), json!({"n": 200, "s": 9900}))]
    );
    assert_eq!(skipped(&place), 1);
}

#[test]
fn lines_may_end_in_several_ways() {
    let place = fault("mixed-cr-skip");
    run(&place).done();
    assert_eq!(records(&place), [(json!("a"), json!({"n": 4, "s": 12}))]);
    assert_eq!(skipped(&place), 1);
}

#[test]
fn a_long_file_with_cr_alone_is_cut_and_read() {
    let place = fault("cr-only-17mb");
    let mut text = "k,v\r".to_owned();
    for i in 0..1_000_000 {
        write!(text, "a,{i:016}\r").unwrap();
    }
    place.write("a.csv", &text);
    // Numbers with zeros before them are text, unless a job adds them up.
    let job = std::fs::read_to_string(place.path("job.toml")).unwrap();
    place.write(
        "job.toml",
        job.replace("[transform]", "shard_size = \"1MiB\"\n[transform]"),
    );
    run(&place).done();
    assert_eq!(
        records(&place),
        [(
            json!("a"),
            json!({"n": 1_000_000, "s": 499_999_500_000_i64})
        )]
    );
    assert!(place.job("j")["shards"]["total"].as_u64() > Some(10));
}

#[test]
fn bad_json_is_refused_wherever_it_stands() {
    let place = fault("bad-json-accepted");
    run(&place)
        .with_code(1)
        .told(&["`a.jsonl`: line 2", "expected one JSON object a line"]);
    let job = std::fs::read_to_string(place.path("job.toml")).unwrap();
    let job = job.replace("name = \"j\"", "name = \"k\"");
    place.write(
        "job.toml",
        job.replace("[transform]", "on_error = \"skip\"\n[transform]"),
    );
    std::fs::remove_dir_all(place.db()).unwrap();
    run(&place).done();
    assert_eq!(records(&place), [(json!("q"), json!({"n": 1, "s": 1}))]);
    assert_eq!(place.job("k")["rows_skipped"], 6);
}

/// What a job with `on_error = "skip"` reads and skips of `text`.
fn read_and_skipped(format: &str, text: &[u8]) -> (Value, Value) {
    let place = Place::new();
    place.write("x", text);
    place.write(
        "job.toml",
        format!(
            "name = \"j\"\n[source]\nformat = \"{format}\"\npaths = [\"x\"]\non_error = \"skip\"\n\
         [source.schema]\nk = \"string\"\nv = \"int64\"\n\
         [transform]\nsql = \"SELECT 1 AS one, k, v FROM source\"\n\
         [merge]\nstore = \"t\"\nkey = [\"one\"]\n[merge.values]\nn = \"count()\"\n"
        ),
    );
    run(&place).done();
    let job = place.job("j");
    (job["rows_read"].clone(), job["rows_skipped"].clone())
}

#[test]
fn only_one_object_a_line_is_json() {
    let good = "{\"k\":\"a\",\"v\":1}";
    for bad in [
        "{\"k\":\"a\",\"v\":1}{\"k\":\"a\",\"v\":1}",
        "{\"k\":\"a\",\"v\":1} x",
        "{\"k\":\"a\",\"v\":1},",
        "{\"k\":\"a\" \"v\":1}",
        "{\"k\":\"a\",\"v\":1,}",
        "{'k':'a','v':1}",
        "{\"k\":\"a\",\"v\":1} // one",
        "{\"k\":\"a\",\"v\":NaN}",
        "{\"k\":\"a\",\"v\":1,\"x\":[1 2]}",
        "{\"k\":\"a\",\"v\":1,\"x\":01}",
        "{\"k\":\"a\",\"v\":1,\"x\":+1}",
        "{\"k\":\"a\",\"v\":1,\"x\":\"\\q\"}",
        "{\"k\":\"a\u{1}\",\"v\":1}",
        "{\"k\":\"\\ud800\",\"v\":1}",
        "{\"k\":\"a\",\"v\":1,\"v\":2}",
        "\u{feff}{\"k\":\"a\",\"v\":1}",
        "[1]",
        "null",
        "{",
        "\u{c}",
    ] {
        let text = format!("{good}\n{bad}\n \t\n{good}\r{good}\r\n{good}");
        assert_eq!(
            read_and_skipped("jsonl", text.as_bytes()),
            (json!(4), json!(1)),
            "{bad}"
        );
    }
}

#[test]
fn quotes_stand_around_whole_fields() {
    for (line, good) in [
        ("\"a\",1", true),
        ("\"a \"\"b\"\" c\",1", true),
        ("a\"b,1", true),
        ("\"a\"b,1", false),
        ("\"a\" ,1", false),
        ("\"a,1", false),
        ("\"a\rb\",1", false),
        ("a,1,", false),
        ("a", false),
    ] {
        let text = format!("k,v\nx,1\n{line}\n\ny,2\n");
        // A line that ends in an open quote is bad, and what follows is a line of its own.
        let rest = u64::from(line.contains('\r'));
        let expected = (json!(2 + rest + u64::from(good)), json!(u64::from(!good)));
        assert_eq!(
            read_and_skipped("csv", text.as_bytes()),
            expected,
            "{line:?}"
        );
    }
}

#[test]
fn other_encodings_are_refused_by_name() {
    let text = "k,v\na,1\nb,2\n";
    let le: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let be: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let place = Place::new();
    place.write("job.toml", "name = \"j\"\n[source]\nformat = \"csv\"\npaths = [\"x.csv\"]\n[upsert]\nstore = \"t\"\nkey = [\"k\"]\n");
    for (mark, bytes, name) in [
        (&b"\xff\xfe"[..], &le, "UTF-16LE"),
        (b"\xfe\xff", &be, "UTF-16BE"),
        (b"", &le, "UTF-16LE"),
        (b"", &be, "UTF-16BE"),
    ] {
        place.write("x.csv", [mark, bytes].concat());
        run(&place)
            .with_code(2)
            .told(&["`x.csv`", name, "expected UTF-8"]);
    }
}

#[test]
fn a_blank_line_of_one_column_is_an_empty_field() {
    let place = fault("blank-lines-single-column");
    run(&place).done();
    assert_eq!(records(&place), [(json!("all"), json!({"n": 5, "s": 9}))]);
    // However lines end, and wherever the file is cut.
    for end in ["\n", "\r\n", "\r"] {
        let place = Place::new();
        let text: String = (0..2000)
            .map(|i| {
                if i % 2 == 0 {
                    end.to_owned()
                } else {
                    format!("{i}{end}")
                }
            })
            .collect();
        place.write("a.csv", format!("v{end}{text}"));
        place.write("job.toml", "name = \"j\"\n[source]\nformat = \"csv\"\npaths = [\"a.csv\"]\nshard_size = 1024\n\
             [transform]\nsql = \"SELECT 1 AS k, v FROM source\"\n\
             [merge]\nstore = \"t\"\nkey = [\"k\"]\n[merge.values]\nn = \"count()\"\ns = \"sum(v)\"\n");
        run(&place).done();
        assert_eq!(
            records(&place),
            [(json!(1), json!({"n": 2000, "s": 1_000_000}))],
            "{end:?}"
        );
        assert!(place.job("j")["shards"]["total"].as_u64() > Some(3));
    }
}

#[test]
fn undeclared_members_may_be_many() {
    let place = fault("sparse-json-columns");
    run(&place).done();
    assert_eq!(
        records(&place),
        [(json!("a"), json!({"n": 1000, "s": 1000}))]
    );
}

#[test]
fn a_plan_says_where_types_came_from_and_writes_nothing() {
    let place = Place::new();
    place.write(
        "x.csv",
        "zip,v,at,w\n01730,1,2024-01-01T10:00:00Z,x\n00501,2,2024-01-01T10:00:00Z,y\n",
    );
    place.write("job.toml", "name = \"j\"\n[source]\nformat = \"csv\"\npaths = [\"x.csv\"]\n\
         [source.schema]\nv = \"decimal(10,2,round)\"\n\
         [transform]\nsql = \"SELECT zip, v, at FROM source\"\n\
         [merge]\nstore = \"t\"\nkey = [\"zip\"]\n[merge.values]\ns = \"sum(v)\"\nm = \"max(at)\"\n");
    let mut call = super::super::support::program();
    let told = call
        .args(["plan", "job.toml", "--json"])
        .current_dir(place.path(""))
        .output()
        .unwrap();
    let outline: Value = serde_json::from_slice(&told.stdout).unwrap();
    let column = |at: usize| {
        let column = &outline["columns"][at];
        (
            column["name"].clone(),
            column["type"].clone(),
            column["origin"].clone(),
            column["read"].clone(),
        )
    };
    let expected =
        |name, r#type, origin, read: bool| (json!(name), json!(r#type), json!(origin), json!(read));
    assert_eq!(column(0), expected("zip", "string", "inferred", true));
    assert_eq!(
        column(1),
        expected("v", "decimal(10,2,round)", "declared", true)
    );
    assert_eq!(column(2), expected("at", "timestamp", "inferred", true));
    assert_eq!(column(3), expected("w", "string", "inferred", false));
    assert_eq!(outline["sampled_rows"], 2);
    assert_eq!(outline["shards"], 1);
    assert_eq!(outline["files"][0]["path"], "x.csv");
    assert_eq!(outline["store"], "t");
    assert!(
        outline["query"].as_str().unwrap().contains("source"),
        "{outline}"
    );
    let text = place.call(&["plan", "job.toml"]).done().stdout;
    for words in [
        "inferred from 2 rows",
        "declared",
        "store `t` by merge",
        "s = sum(v)",
        "not read",
    ] {
        assert!(text.contains(words), "{text}");
    }
    assert!(!place.db().exists());
    place.write("job.toml", "name = \"j\"\n");
    place
        .call(&["plan", "job.toml"])
        .with_code(2)
        .told(&["job.toml", "source"]);
}
