//! Expressions over values of several types, and the words for what a query cannot say.

use serde_json::{Value, json};

use super::super::support::Place;
use super::{records, run};

const CSV: &str = "k,v,f,p,d\n\
    a,9223372036854775807,1.5,0.10,9999-12-31\n\
    b,9223372036854775807,2.5,0.20,2020-01-15\n\
    c,-9223372036854775807,3.5,0.35,2020-02-29\n\
    d,-9223372036854775806,4.5,0.35,2020-02-29\n";

/// A job whose query gives the answer, in shards of one or two rows.
fn place(sql: &str) -> Place {
    let place = Place::new();
    place.write("a.csv", CSV);
    place.write(
        "job.toml",
        format!(
            "name = \"j\"\n[source]\nformat = \"csv\"\npaths = [\"*.csv\"]\nshard_size = \"1KiB\"\n[source.schema]\n\
             v = \"int64\"\np = \"decimal(12,2)\"\nd = \"date\"\n[transform]\nsql = '''{sql}'''\n[result]\nstore = \"t\"\n"
        ),
    );
    place
}

fn answer(sql: &str) -> Vec<(Value, Value)> {
    let place = place(sql);
    run(&place).done();
    records(&place)
}

/// Only the whole sum counts, also where the sums of groups below it are beyond the type.
#[test]
fn a_sum_beside_distinct_values_is_wide_in_between() {
    assert_eq!(
        answer("SELECT sum(v) AS s, count(DISTINCT p) AS n, avg(p) AS m, avg(v) AS w FROM source"),
        [(
            json!([]),
            json!({"s": 1, "n": 3, "m": {"$dec": "0.250000"}, "w": 0.25})
        )]
    );
    let beyond =
        place("SELECT d, sum(v) AS s, count(DISTINCT p) AS n FROM source WHERE v > 0 GROUP BY d");
    run(&beyond).done();
    let beyond = place("SELECT sum(v) AS s, count(DISTINCT p) AS n FROM source WHERE v > 0");
    run(&beyond)
        .with_code(1)
        .told(&["overflow: `sum(v)` is 18446744073709551614", "beyond Int64"]);
}

#[test]
fn an_overflow_of_a_group_names_its_column_and_its_key() {
    let beyond = place("SELECT p > 0 AS g, sum(v) AS total FROM source WHERE v > 0 GROUP BY 1");
    run(&beyond).with_code(1).told(&[
        "overflow: `sum(v)` of the group [true] is 18446744073709551614, which is beyond Int64",
    ]);
}

#[test]
fn calls_that_differ_by_a_cast_are_two_columns() {
    assert_eq!(
        answer(
            "SELECT sum(f), sum(CAST(f AS BIGINT)), max(v) FROM source LIMIT 2 - 1 OFFSET 1 - 1"
        ),
        [(
            json!(1),
            json!({"sum(f)": 12.0, "sum(CAST(f AS BIGINT))": 10, "max(v)": i64::MAX})
        )]
    );
    assert_eq!(
        answer("SELECT k FROM source ORDER BY k LIMIT 2 + 1 OFFSET 1 + 1"),
        [(json!(1), json!({"k": "c"})), (json!(2), json!({"k": "d"}))]
    );
}

#[test]
fn far_days_are_computed_with() {
    assert_eq!(
        answer(
            "SELECT date_trunc('month', d) AS m, count(*) AS n FROM source \
             WHERE d > TIMESTAMP '2020-02-01 00:00:00' GROUP BY 1"
        ),
        [
            (json!({"$ts": "2020-02-01T00:00:00Z"}), json!({"n": 2})),
            (json!({"$ts": "9999-12-01T00:00:00Z"}), json!({"n": 1})),
        ]
    );
}

/// A key that is named twice is one, and dates that become timestamps are still those days when operands are read.
#[test]
fn keys_are_read_as_they_were_written() {
    assert_eq!(
        answer("SELECT k, count(*) AS n FROM source WHERE v > 0 GROUP BY k, k"),
        [(json!("a"), json!({"n": 1})), (json!("b"), json!({"n": 1}))]
    );
    assert_eq!(
        answer(
            "SELECT coalesce(d, to_timestamp(0)) AS x, count(*) AS n FROM source \
             WHERE d < DATE '2100-01-01' GROUP BY 1"
        ),
        [
            (json!({"$ts": "2020-01-15T00:00:00Z"}), json!({"n": 1})),
            (json!({"$ts": "2020-02-29T00:00:00Z"}), json!({"n": 2})),
        ]
    );
}

#[test]
fn an_integer_beyond_floats_compares_exactly_or_fails_its_shard() {
    assert_eq!(
        answer(
            "SELECT count(*) AS n FROM source WHERE v = 9223372036854775808.0 OR v < -1e300 OR v > 0.5"
        ),
        [(json!([]), json!({"n": 2}))]
    );
    for expr in ["ceil(v)", "v * 1.5", "coalesce(v, f)"] {
        let lossy = place(&format!("SELECT max({expr}) AS m FROM source"));
        run(&lossy).with_code(1).told(&[
            "`a.csv`: line 2 (shard 0): ",
            "`v` is 9223372036854775807, which DOUBLE does not hold exactly",
            "write CAST(v AS DOUBLE)",
        ]);
    }
    let finer =
        place("SELECT max(CAST(d AS TIMESTAMP) + INTERVAL '1 nanosecond') AS m FROM source");
    run(&finer)
        .with_code(1)
        .told(&["`a.csv`: line 2", "no whole number of units"]);
}

/// The rows that a query gives to [merge] have the types that they are computed in.
#[test]
fn rows_of_two_types_merge_as_one() {
    let place = place("SELECT k, CASE WHEN f > 2 THEN 1 ELSE 1.5 END AS x FROM source");
    let text = std::fs::read_to_string(place.path("job.toml")).unwrap();
    let text = text.replace(
        "[result]\nstore = \"t\"\n",
        "[merge]\nstore = \"t\"\nkey = [\"k\"]\n[merge.values]\ns = \"sum(x)\"\nm = \"max(x)\"\n",
    );
    place.write("job.toml", text);
    run(&place).done();
    let row = |key: &str, value: f64| (json!(key), json!({"s": value, "m": value}));
    let expected = [row("a", 1.5), row("b", 1.0), row("c", 1.0), row("d", 1.0)];
    assert_eq!(records(&place), expected);
}

/// Exit code 2, the line of the job file, and what to write instead.
#[test]
fn a_query_that_cannot_be_is_refused_in_plain_words() {
    for (sql, words) in [
        (
            "SELECT TOP 3 k FROM source",
            "TOP is not supported: expected LIMIT",
        ),
        (
            "SELECT k FROM source FETCH FIRST 3 ROWS ONLY",
            "FETCH is not supported: expected LIMIT",
        ),
        (
            "SELECT x, count(*) FROM source, unnest([v]) AS u(x) GROUP BY x",
            "expected `unnest(...)` in the SELECT list",
        ),
        (
            "SELECT count(*) AS n FROM source, LATERAL (SELECT source.v) AS l",
            "a subquery that refers to columns of the query around it",
        ),
        (
            "SELECT count(*) AS n, sum(v) AS n FROM source",
            "two columns of a SELECT have one name",
        ),
        (
            "SELECT k, k FROM source LIMIT 1",
            "two columns of a SELECT have one name, `k` and `k`",
        ),
        (
            "SELECT frobnicate(v) FROM source",
            "no function `frobnicate`",
        ),
        (
            "SELECT if(v > 1, 1, 0) AS x FROM source LIMIT 1",
            "write CASE WHEN",
        ),
        (
            "SELECT sum(v, v) FROM source",
            "`sum` takes 1 argument, found 2",
        ),
        (
            "SELECT max(date_trunc('month')) AS m FROM source",
            "`date_trunc` takes 2 arguments, found 1",
        ),
        (
            "SELECT sum(k) FROM source",
            "`sum` takes no argument of type",
        ),
        (
            "SELECT k, count(*) FROM source",
            "column `k` is in SELECT, but neither in GROUP BY",
        ),
        (
            "SELECT count(DISTINCT *) AS n FROM source",
            "SELECT count(*) FROM (SELECT DISTINCT * FROM source)",
        ),
        ("SELECT other.k FROM source LIMIT 1", "no column `other.k`"),
        (
            "SELECT max(12345678901234567.89) AS m FROM source",
            "more digits than a float keeps",
        ),
        (
            "SELECT k FROM source LIMIT 1 - 2",
            "expected a number of rows for LIMIT, found -1",
        ),
        (
            "SELECT max(date_trunc('fortnight', d)) AS m FROM source",
            "expected one of microsecond",
        ),
    ] {
        let place = place(sql);
        for command in ["run", "submit"] {
            let ended = place.call(&[command, "job.toml"]).with_code(2);
            ended.told(&["job.toml:11: key `transform.sql`: ", words]);
        }
        assert!(!place.db().exists(), "a refused job left a database: {sql}");
    }
}
