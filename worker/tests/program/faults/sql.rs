//! Queries whose result would depend on where shards are cut.

use serde_json::{Value, json};

use super::super::support::Place;
use super::{fault, records, run};

/// The job of an input with another text in place of what stands between two marks.
fn rewrite(place: &Place, from: &str, to: &str) {
    let path = place.path("job.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "`{from}` is not in {text}");
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// The job of an input without its [merge]: its query says the answer.
fn answer_instead(place: &Place) {
    let path = place.path("job.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = &text[..text.find("[merge]").unwrap()];
    std::fs::write(path, format!("{text}[result]\nstore = \"t\"\n")).unwrap();
}

/// The input is refused by every command that would begin it, with its file, line, key, operator and ways out; with
/// `scope = "shard"` it runs as it did.
fn is_refused(name: &str, operator: &str) {
    let place = fault(name);
    let text = std::fs::read_to_string(place.path("job.toml")).unwrap();
    let line = text
        .lines()
        .position(|line| line.starts_with("sql"))
        .unwrap()
        + 1;
    let at = format!("job.toml:{line}");
    for command in ["run", "submit"] {
        place.call(&[command, "job.toml"]).with_code(2).told(&[
            &at,
            "transform.sql",
            operator,
            "one shard at a time",
            "source.shard_size",
            "scope = \"shard\"",
        ]);
        assert!(!place.db().exists(), "a refused job left a database");
    }
    rewrite(&place, "[transform]", "[transform]\nscope = \"shard\"");
    run(&place).done();
}

#[test]
fn a_limit_is_not_one_of_each_shard() {
    is_refused("sql-limit-per-shard", "`LIMIT`");
    let place = fault("sql-limit-per-shard");
    answer_instead(&place);
    rewrite(
        &place,
        "SELECT 'all' AS k, v FROM source LIMIT 10",
        "SELECT 'all' AS k, count(*) AS n, sum(v) AS s FROM (SELECT v FROM source LIMIT 10)",
    );
    run(&place).done();
    let found = records(&place);
    assert_eq!(found, [(json!([]), json!({"k": "all", "n": 10, "s": 45}))]);
}

#[test]
fn distinct_values_are_counted_once() {
    is_refused("sql-count-distinct-per-shard", "`count(DISTINCT k)`");
    let place = fault("sql-count-distinct-per-shard");
    answer_instead(&place);
    run(&place).done();
    assert_eq!(records(&place), [(json!([]), json!({"k": "all", "v": 7}))]);
}

#[test]
fn rows_are_not_numbered_in_each_shard() {
    is_refused("sql-row-number-per-shard", "`row_number()");
    let place = fault("sql-row-number-per-shard");
    answer_instead(&place);
    run(&place)
        .with_code(2)
        .told(&["transform.sql", "row_number()", "cannot be put together"]);
}

#[test]
fn having_sees_whole_groups() {
    is_refused("sql-having-per-shard", "`count(*)`");
    let place = fault("sql-having-per-shard");
    answer_instead(&place);
    run(&place).done();
    let expected: Vec<(Value, Value)> = (0..7)
        .map(|k| {
            let count = if k < 4 { 429 } else { 428 };
            (json!(format!("k{k}")), json!({"v": count}))
        })
        .collect();
    assert_eq!(records(&place), expected);
}

#[test]
fn a_median_is_no_median_of_shards() {
    is_refused("sql-median-per-shard", "`median(v)`");
    let place = fault("sql-median-per-shard");
    answer_instead(&place);
    run(&place)
        .with_code(2)
        .told(&["transform.sql", "median(v)", "cannot be put together"]);
    rewrite(&place, "median(v)", "median(DISTINCT v)");
    run(&place).done();
    assert_eq!(
        records(&place),
        [(json!([]), json!({"k": "all", "v": 1499.5}))]
    );
}

#[test]
fn an_average_is_no_average_of_averages() {
    is_refused("sql-avg-per-shard", "`avg(v)`");
    let place = fault("sql-avg-per-shard");
    answer_instead(&place);
    run(&place).done();
    assert_eq!(
        records(&place),
        [(json!([]), json!({"k": "all", "v": 1499.5}))]
    );
}

/// The first rows of all rows, whatever the shards and however many workers, and on top of each other where they tie.
#[test]
fn the_first_rows_are_those_of_all_shards() {
    for (shard_size, workers) in [("1KiB", "1"), ("1KiB", "4"), ("3KiB", "2"), ("1MiB", "1")] {
        let place = fault("sql-limit-per-shard");
        answer_instead(&place);
        rewrite(&place, "\"1KiB\"", &format!("\"{shard_size}\""));
        rewrite(
            &place,
            "SELECT 'all' AS k, v FROM source LIMIT 10",
            "SELECT k, v FROM source ORDER BY k DESC LIMIT 3 OFFSET 1",
        );
        place
            .call(&["run", "job.toml", "--workers", workers])
            .done();
        let row = |v: u64| json!({"k": "k6", "v": v});
        let expected = [
            (json!(1), row(13)),
            (json!(2), row(20)),
            (json!(3), row(27)),
        ];
        assert_eq!(records(&place), expected, "{shard_size}, {workers} workers");
    }
}

/// An answer is whole, or it is not there.
#[test]
fn an_answer_takes_an_empty_store() {
    let place = fault("sql-avg-per-shard");
    answer_instead(&place);
    run(&place).done();
    let again = run(&place).done();
    assert_eq!(again.code, Some(0), "a finished job is left as it is");
    rewrite(&place, "name = \"j\"", "name = \"other\"");
    run(&place).with_code(2).told(&[
        "job.toml:",
        "result.store",
        "`t`",
        "job rm j --with-results",
    ]);
}

#[test]
fn a_sum_beyond_its_type_fails_the_job() {
    let place = fault("sql-avg-per-shard");
    answer_instead(&place);
    rewrite(&place, "avg(v)", "sum(9000000000000000000 + v)");
    let ended = run(&place).with_code(1);
    assert!(ended.stderr.contains("overflow"), "{ended:#?}");
    let shown = place.call(&["job", "show", "j", "--json"]).done().json();
    assert_eq!(shown["state"], "failed");
    assert!(
        shown["reason"].as_str().unwrap().contains("overflow"),
        "{shown}"
    );
    assert_eq!(records(&place), []);
}
