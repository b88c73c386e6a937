//! Parquet, gzip, zstd, and records that cannot be read.

use serde_json::{Value, json};

use super::{fault, records, run};

fn record(key: &str, n: u64, s: u64) -> (Value, Value) {
    (json!([key]), json!({"n": n, "s": s}))
}

/// The records of `t` with keys in arrays, whether the scan shows one field so or not.
fn keyed(place: &super::Place) -> Vec<(Value, Value)> {
    let wrapped = |(key, value): (Value, Value)| match key {
        Value::Array(_) => (key, value),
        key => (json!([key]), value),
    };
    records(place).into_iter().map(wrapped).collect()
}

#[test]
fn a_page_whose_checksum_does_not_match_is_damaged() {
    let place = fault("page-checksum-ignored");
    let words = ["`a.parquet`", "row group 0", "column `v`", "checksum"];
    run(&place).with_code(1).told(&words);
    assert_eq!(keyed(&place), []);
}

#[test]
fn zeros_behind_a_gzip_member_are_padding() {
    let place = fault("gzip-zero-padding");
    run(&place).done();
    assert_eq!(keyed(&place), [record("a", 1, 1)]);
}

#[test]
fn a_zstd_window_of_512_mib_is_read() {
    let place = fault("zstd-window-called-damaged");
    run(&place).done();
    let sums = [
        249_975_000,
        249_985_000,
        249_995_000,
        250_005_000,
        250_015_000,
    ];
    let expected: Vec<_> = (0..5)
        .map(|k| record(&format!("k{k}"), 10_000, sums[k]))
        .collect();
    assert_eq!(keyed(&place), expected);
}

#[test]
fn brotli_is_read() {
    let place = fault("brotli-called-damaged");
    run(&place).done();
    assert_eq!(keyed(&place), [record("a", 10, 45)]);
}

#[test]
fn text_of_two_layouts_is_one_type() {
    let place = fault("parquet-string-and-large-string");
    run(&place).done();
    assert_eq!(keyed(&place), [record("a", 2, 3)]);
}

#[test]
fn a_timestamp_beyond_the_range_is_named_with_its_file() {
    let place = fault("timestamp-beyond-range-no-file");
    let words = ["`a.parquet`", "row 4", "column `k`", "9223372036854775807"];
    run(&place).with_code(1).told(&words);
}

#[test]
fn one_overflowed_record_does_not_hide_the_others() {
    let place = fault("scan-stops-at-overflow");
    run(&place).done();
    for order in [&[][..], &["--reverse"], &["--limit", "9"]] {
        let scan = place.call(&[&["scan", "t", "--json"], order].concat());
        let scan = scan.with_code(1).told(&["overflow", "\"a\""]);
        let mut lines = scan.json_lines();
        // The failure of the command, as every command with --json tells it.
        let failure = lines.pop().unwrap();
        assert_eq!(failure["error"]["code"], 1, "{failure}");
        if order == ["--reverse"] {
            lines.reverse();
        }
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[0]["error"]["kind"], failure["error"]["kind"]);
        assert!(lines[0]["key"].to_string().contains("\"a\""), "{lines:?}");
        assert_eq!(lines[1]["value"], json!({"n": 1, "s": 1}));
    }
    let text = place.call(&["scan", "t"]).with_code(1).told(&["overflow"]);
    assert_eq!(text.stdout, "b\t1\t1\n");
    let first = place.call(&["scan", "t", "--limit", "1"]).with_code(1);
    assert_eq!(first.stdout, "");
    let keys = place.call(&["scan", "t", "--json", "--keys-only"]).done();
    assert_eq!(keys.json_lines().len(), 2);
    let rest = place
        .call(&["scan", "t", "--json", "--from", "\"b\""])
        .done();
    assert_eq!(rest.json()["value"], json!({"n": 1, "s": 1}));
}

#[test]
fn run_shows_the_records_that_can_be_read() {
    let place = fault("scan-stops-at-overflow");
    let shown = place.call(&["run", "job.toml", "--show"]).with_code(1);
    assert_eq!(shown.stdout, "b\t1\t1\n");
    assert!(shown.stderr.contains("error: overflow"), "{shown:?}");
    assert_eq!(place.job("j")["state"], "done");
}

#[test]
fn what_is_not_read_is_refused_before_anything_is_recorded() {
    let place = fault("brotli-called-damaged");
    let good = std::fs::read(place.path("a.parquet")).unwrap();
    // The codec of both columns becomes LZO; nothing else of the footer changes.
    let mut lzo = good.clone();
    let path = |column: u8| [0x19, 0x18, 0x01, column, 0x15, 0x08];
    for column in [b'k', b'v'] {
        let at = lzo
            .windows(6)
            .position(|bytes| bytes == path(column))
            .unwrap();
        lzo[at + 5] = 0x06;
    }
    let mut encrypted = good.clone();
    let magic = encrypted.len() - 1;
    encrypted[magic] = b'E';
    let cut = &good[..good.len() - 9];
    for (bytes, words) in [
        (&lzo[..], ["not supported", "compression lzo"]),
        (&encrypted, ["not supported", "encrypted footer"]),
        (cut, ["damaged", "no footer"]),
        (b"", ["expected a Parquet file", "an empty file"]),
        (
            b"k,v\na,1\n",
            ["expected a Parquet file", "found something else"],
        ),
        (
            &[0x1f, 0x8b, 8, 0, 0, 0],
            ["expected a Parquet file", "gzip data"],
        ),
    ] {
        place.write("a.parquet", bytes);
        let refused = run(&place).with_code(2).told(&words);
        assert!(refused.stderr.contains("`a.parquet`"), "{refused:?}");
        assert!(!place.db().exists(), "{words:?}");
    }
}

#[test]
fn a_file_that_is_not_what_its_name_says_is_told_as_that() {
    let place = fault("gzip-zero-padding");
    let packed = std::fs::read(place.path("in/a.csv.gz")).unwrap();
    std::fs::remove_file(place.path("in/a.csv.gz")).unwrap();
    for (name, bytes, words) in [
        (
            "a.csv",
            &packed[..],
            ["`in/a.csv`", "gzip data", "name the file `.gz`"],
        ),
        (
            "a.csv.gz",
            b"k,v\na,1\n",
            ["`in/a.csv.gz`", "expected gzip data", "plain text"],
        ),
        (
            "a.csv.zst",
            &packed,
            ["`in/a.csv.zst`", "expected zstd data", "gzip data"],
        ),
    ] {
        let path = place.write(&format!("in/{name}"), bytes);
        run(&place).with_code(2).told(&words);
        std::fs::remove_file(path).unwrap();
    }
}
