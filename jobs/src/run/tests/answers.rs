//! Jobs whose query gives the answer over the whole source: held against DataFusion over all rows at once.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use eciton_engine::{Datum, Db, ScanRange};
use serde_json::{Map, Value};

use super::queries::{Dice, query, table};
use super::support::*;
use crate::run::{End, JobError, run, submit};
use crate::source::{self, open_shard, shards};
use crate::spec::JobFile;
use crate::upsert::{JsonColumn, Members};

/// The seeds that the short form tries; `ECITON_QUERY_SEEDS=FROM..TO` tries others.
const SEEDS: std::ops::Range<u64> = 0..8;
/// Queries of a seed.
const QUERIES: usize = 6;

/// How a job is run: none of it may show in the answer.
#[derive(Clone, Copy, Debug)]
struct How {
    shard_size: &'static str,
    workers: usize,
    is_compressed: bool,
}

const ONE_SHARD: How = How {
    shard_size: "64MiB",
    workers: 1,
    is_compressed: false,
};

const SMALL: How = How {
    shard_size: "1KiB",
    workers: 2,
    is_compressed: false,
};

/// A folder with the same rows plain and compressed.
struct Table {
    place: JobFolder,
    schema: &'static str,
}

impl Table {
    /// Of files, each CSV with a header.
    fn new(files: &[String], schema: &'static str) -> Table {
        let place = JobFolder::new();
        for (number, text) in files.iter().enumerate() {
            place.write(&format!("{number}.csv"), text);
            let file =
                std::fs::File::create(place.0.path().join(format!("{number}.csv.gz"))).unwrap();
            let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            gzip.write_all(text.as_bytes()).unwrap();
            gzip.finish().unwrap();
        }
        Table { place, schema }
    }

    fn job(&self, name: &str, sql: &str, how: How) -> JobFile {
        let paths = if how.is_compressed {
            "*.csv.gz"
        } else {
            "*.csv"
        };
        let (schema, shard_size) = (self.schema, how.shard_size);
        let text = format!(
            "name = \"{name}\"\n[source]\nformat = \"csv\"\npaths = [\"{paths}\"]\nshard_size = \"{shard_size}\"\n\
             [source.schema]\n{schema}\n[transform]\nsql = '''{sql}'''\n"
        );
        self.place.job(&text)
    }

    /// All rows.
    fn batches(&self) -> Vec<RecordBatch> {
        let file = self.job("all", "SELECT 1 FROM source", ONE_SHARD);
        let planned = source::plan(&file).unwrap();
        let source = planned.source(file.spec().source.clone().unwrap()).unwrap();
        let columns: Vec<usize> = (0..source.schema().fields().len()).collect();
        let mut batches = vec![RecordBatch::new_empty(source.schema().clone())];
        for chunk in &planned.shards {
            for shard in shards(chunk).unwrap() {
                let reader = open_shard(&source, shard, &columns).unwrap();
                batches.extend(reader.map(|batch| batch.unwrap()));
            }
        }
        batches
    }

    /// What DataFusion says to a query over all rows at once, as JSON objects; `None` if it says nothing.
    async fn expected(&self, sql: &str) -> Option<Vec<Value>> {
        let mut config = SessionConfig::new().with_target_partitions(1);
        config.options_mut().sql_parser.enable_ident_normalization = false;
        let context = SessionContext::new_with_config(config);
        let batches = self.batches();
        let table = MemTable::try_new(batches[0].schema(), vec![batches]).unwrap();
        context.register_table("source", Arc::new(table)).unwrap();
        let frame = context.sql(sql).await.ok()?;
        let batches = frame.collect().await.ok()?;
        Some(batches.iter().flat_map(rows).collect())
    }
}

fn rows(batch: &RecordBatch) -> Vec<Value> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    let columns = columns.map(|(field, array)| {
        let column = JsonColumn::read(field.name(), array).unwrap();
        (field.name().clone(), column)
    });
    let members = Members::new(columns);
    let row = |row| {
        let mut text = Vec::new();
        members.write(row, &mut text);
        serde_json::from_slice(&text).unwrap()
    };
    (0..batch.num_rows()).map(row).collect()
}

/// The records of an answer in the order of their keys: of numbered rows the values, else with the members of the key.
async fn answer(db: &Db, store: &str) -> (bool, Vec<Value>) {
    let store = db.store(store).await.unwrap().unwrap();
    let names = store.schema().key_fields.clone();
    let is_numbered = names == ["row"];
    let mut scan = db.snapshot().scan(&store, &ScanRange::all());
    let mut found = Vec::new();
    while let Some(record) = scan.next().await.unwrap() {
        let value: Map<String, Value> = serde_json::from_slice(&record.value).unwrap();
        let key = record.key.datums().unwrap();
        let mut row = Map::new();
        if is_numbered {
            assert_eq!(key, [Datum::from(found.len() as u64 + 1)]);
        } else {
            let members = names.iter().cloned().zip(key.iter().map(Datum::to_json));
            row.extend(members);
        }
        row.extend(value);
        found.push(Value::Object(row));
    }
    (is_numbered, found)
}

/// Rows in an order of their own, their members too.
fn sorted(rows: Vec<Value>) -> Vec<String> {
    let text = |row: Value| {
        let Value::Object(members) = row else {
            panic!("{row} is no row")
        };
        let mut members: Vec<String> = members
            .iter()
            .map(|(name, value)| format!("{name}: {}", shown(value)))
            .collect();
        members.sort();
        members.join(", ")
    };
    let mut rows: Vec<String> = rows.into_iter().map(text).collect();
    rows.sort();
    rows
}

/// A value. A decimal of a key has no zeros at its end, and nought has no sign.
fn shown(value: &Value) -> String {
    if value.is_f64() && value.as_f64() == Some(0.0) {
        return "0.0".to_owned();
    }
    match value["$dec"].as_str().filter(|digits| digits.contains('.')) {
        Some(digits) => format!(
            "decimal {}",
            digits.trim_end_matches('0').trim_end_matches('.')
        ),
        None => value
            .to_string()
            .replace("{\"$dec\":\"", "decimal ")
            .replace("\"}", ""),
    }
}

fn texts(rows: Vec<Value>) -> Vec<String> {
    rows.into_iter().flat_map(|row| sorted(vec![row])).collect()
}

/// Runs a query as a job in a database of its own; the refusal if it is refused.
async fn run_job(table: &Table, sql: &str, how: How) -> Result<(bool, Vec<Value>), String> {
    let db = memory_db().await;
    let job = table.job("j", sql, how);
    let submitted = match submit(&db, &job).await {
        Ok(submitted) => submitted,
        Err(error @ JobError::JobFile(_)) => return Err(error.to_string()),
        Err(error) => panic!("{sql}: {error}"),
    };
    let report = run(&db, &submitted.name, options(how.workers))
        .await
        .unwrap();
    assert_eq!(report.end, End::Done, "{sql}: {:?}", report.status);
    let stores = db.stores().await.unwrap();
    let left: Vec<&str> = stores
        .iter()
        .map(eciton_engine::Store::name)
        .filter(|name| name.starts_with("_answer"))
        .collect();
    assert!(left.is_empty(), "{left:?} are left");
    Ok(answer(&db, "j").await)
}

/// A row whose names are without the table's, as an answer has them.
fn without_table(row: Value) -> Value {
    let Value::Object(members) = row else {
        return row;
    };
    let members = members.into_iter();
    Value::Object(
        members
            .map(|(name, value)| (name.replace("source.", ""), value))
            .collect(),
    )
}

/// Holds a job against DataFusion; whether it was run.
async fn check(table: &Table, sql: &str, how: How) -> Result<(), String> {
    let (is_numbered, found) = run_job(table, sql, how).await?;
    let expected = table.expected(sql).await;
    let expected =
        expected.unwrap_or_else(|| panic!("{sql}: DataFusion refuses it, a job gave {found:?}"));
    // Of a window over groups the rows come in any order.
    let is_ordered = is_numbered && sql.contains("ORDER BY") && !sql.contains("OVER");
    let expected: Vec<Value> = expected.into_iter().map(without_table).collect();
    let (found, expected) = match is_ordered {
        true => (texts(found), texts(expected)),
        false => (sorted(found), sorted(expected)),
    };
    assert_eq!(found, expected, "{sql} {how:?}");
    Ok(())
}

const SCHEMA: &str = "k = \"string\"\ni = \"int64\"\nj = \"int64\"\nf = \"float64\"\nb = \"bool\"\nd = \"decimal(10,2)\"\nt = \"date\"\nz = \"timestamp\"";

/// A few rows with everything that is special.
fn few() -> Table {
    let mut first = "k,i,j,f,b,d,t,z\n".to_owned();
    for n in 0..200_u32 {
        let of = |choices: &[&'static str], index: u32| choices[index as usize % choices.len()];
        let k = of(&["a", "b", "c", ""], n * 7);
        let i = if n % 9 == 0 {
            String::new()
        } else {
            (n * 31 % 17).to_string()
        };
        let (f, b) = (f64::from(n) / 8.0, of(&["true", "false", ""], n));
        writeln!(
            first,
            "{k},{i},{n},{f},{b},{}.{:02},2013-01-{:02},2013-02-01T00:00:{:02}Z",
            n % 13,
            n % 100,
            n % 28 + 1,
            n % 60
        )
        .unwrap();
    }
    let empty = "k,i,j,f,b,d,t,z\n".to_owned();
    let last = "k,i,j,f,b,d,t,z\nz,,1000,,,,,\nz,,1001,,,,,\n".to_owned();
    Table::new(&[first, empty, last], SCHEMA)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_give_the_answer_over_all_rows() {
    let table = few();
    for sql in [
        "SELECT k, count(*) AS n, count(i) AS c, sum(i) AS s, min(i) AS lo, max(i) AS hi, avg(i) AS a FROM source GROUP BY k",
        "SELECT k, b, sum(f) AS s, avg(f) AS a, min(f) AS lo, max(t) AS t, min(z) AS z FROM source GROUP BY k, b",
        "SELECT k, sum(d) AS s, avg(d) AS a, min(d) AS lo, max(d) AS hi FROM source GROUP BY k",
        "SELECT k, bool_and(b) AS every, bool_or(b) AS some FROM source GROUP BY k",
        "SELECT count(*) AS n, sum(i) AS s, avg(f) AS a, min(k) AS k FROM source",
        "SELECT count(*) AS n, count(i) AS c, sum(i) AS s, avg(d) AS a, max(k) AS k FROM source WHERE i > 1000",
        "SELECT k, count(*) FILTER (WHERE b) AS n, sum(i) FILTER (WHERE i > 5) AS s FROM source GROUP BY k",
        "SELECT k, sum(i) / count(*) AS r, round(avg(f), 2) * 2 AS x FROM source GROUP BY k",
        "SELECT k, count(*) AS n FROM source GROUP BY k HAVING count(*) > 20 AND sum(i) > 0",
        "SELECT k, count(*) AS n FROM source GROUP BY k ORDER BY n DESC, k LIMIT 2",
        "SELECT k, count(*) AS n FROM source GROUP BY k ORDER BY k NULLS FIRST LIMIT 2 OFFSET 1",
        "SELECT count(*) AS n FROM source GROUP BY k",
        "SELECT upper(k) AS u, i % 3 AS m, count(*) AS n FROM source WHERE f > 1 GROUP BY upper(k), i % 3",
        "SELECT DISTINCT k, b FROM source",
        "SELECT DISTINCT t FROM source WHERE b",
        "SELECT DISTINCT k, i % 2 AS odd FROM source ORDER BY k, odd LIMIT 3",
        "SELECT k, count(DISTINCT i) AS n FROM source GROUP BY k",
        "SELECT count(DISTINCT k) AS n, count(*) AS rows, sum(i) AS s, avg(f) AS a FROM source",
        "SELECT k, count(DISTINCT i) AS n, count(DISTINCT b) AS m, sum(DISTINCT i) AS s, max(j) AS hi FROM source GROUP BY k",
        "SELECT count(DISTINCT k) FILTER (WHERE b) AS n FROM source WHERE i > 1000",
        "SELECT count(*) AS n, count(DISTINCT k) AS d FROM source WHERE i > 1000",
        "SELECT j, k FROM source ORDER BY f DESC NULLS LAST, j LIMIT 7",
        "SELECT j FROM source ORDER BY i, j LIMIT 5 OFFSET 3",
        "SELECT * FROM source WHERE b ORDER BY k DESC, j LIMIT 4",
        "SELECT j FROM source LIMIT 9",
        "SELECT j FROM source WHERE j > 20 LIMIT 9 OFFSET 2",
        "SELECT sum(j) AS s FROM (SELECT j FROM source ORDER BY j DESC LIMIT 10)",
        "SELECT max(n) AS hi, count(*) AS groups FROM (SELECT k, count(*) AS n FROM source GROUP BY k)",
        "SELECT k, n, rank() OVER (ORDER BY n) AS r FROM (SELECT k, count(*) AS n FROM source GROUP BY k)",
        "SELECT k, w, count(*) AS n FROM source JOIN (VALUES ('a', 1), ('b', 2)) AS v(code, w) ON k = code GROUP BY k, w",
        "SELECT k, x, count(*) AS n FROM (SELECT k, unnest(make_array(i, j)) AS x FROM source) GROUP BY k, x",
        "SELECT k, (SELECT max(column1) FROM (VALUES (1), (2))) AS m, count(*) AS n FROM source GROUP BY k",
        "SELECT k FROM source WHERE j IN (SELECT column1 FROM (VALUES (3), (4)) LIMIT 1) GROUP BY k",
        "WITH t AS (SELECT k, i FROM source WHERE i IS NOT NULL) SELECT k, sum(i) AS s FROM t GROUP BY k",
        "SELECT 1 AS one, count(*) AS n FROM source GROUP BY 1",
        "SELECT k, median(DISTINCT i) AS m FROM source GROUP BY k",
        "SELECT median(n) AS m FROM (SELECT k, count(*) AS n FROM source GROUP BY k)",
        "SELECT k, round(stddev(f), 9) AS s, round(stddev_samp(i), 9) AS t, round(stddev_pop(d), 9) AS p FROM source GROUP BY k",
        "SELECT round(var(i), 6) AS v, round(var_samp(f), 6) AS w, round(var_pop(j) FILTER (WHERE b), 6) AS p FROM source",
        "SELECT var_pop(i) AS v, var_samp(i) AS w, stddev(i) AS s, approx_distinct(i) AS n FROM source WHERE i > 1000000",
        "SELECT k, approx_distinct(i) AS n, approx_distinct(b) AS m FROM source GROUP BY k HAVING approx_distinct(i) > 1",
        "SELECT j FROM source ORDER BY j LIMIT 0",
        "SELECT CAST(z AS TIMESTAMP) AS ns, count(*) AS n FROM source GROUP BY CAST(z AS TIMESTAMP)",
        "SELECT max(CAST(z AS TIMESTAMP)) AS ns, min(arrow_cast(i, 'Int8')) AS small FROM source",
        "SELECT arrow_cast(f, 'Float32') AS f, arrow_cast(d, 'Decimal128(20, 4)') AS d, count(*) AS n FROM source GROUP BY 1, 2",
        "SELECT k, n FROM (SELECT k, count(*) AS n FROM source GROUP BY k) WHERE n > 1",
        "SELECT k FROM source INTERSECT SELECT 'a'",
        "SELECT k FROM source EXCEPT SELECT 'a'",
        "SELECT k, count(*) FROM source GROUP BY k",
        "SELECT k, sum(i), avg(source.f) FROM source GROUP BY k",
    ] {
        let other = match sql.len() % 2 {
            0 => ONE_SHARD,
            _ => How {
                is_compressed: true,
                ..SMALL
            },
        };
        for how in [SMALL, other] {
            if let Err(refused) = check(&table, sql, how).await {
                panic!("{sql}: {refused}");
            }
        }
    }
}

/// Quantiles are those of the sketch, however they are called: of small whole numbers they are exact.
#[tokio::test]
async fn quantiles_of_small_numbers_are_exact() {
    let table = few();
    let all = table
        .expected("SELECT i FROM source WHERE i IS NOT NULL ORDER BY i")
        .await
        .unwrap();
    let at = |share: usize| {
        let rank = (all.len() * share).div_ceil(100).max(1);
        all[rank - 1]["i"].as_f64().unwrap()
    };
    assert!(
        all.iter()
            .all(|row| row["i"].as_f64().unwrap().abs() <= 256.0)
    );
    let sql = "SELECT approx_percentile_cont(i, 0.95) AS a, approx_quantile(i, 0.25) AS b, approx_median(i) AS c, \
               approx_percentile_cont(0.9) WITHIN GROUP (ORDER BY i DESC) AS d, approx_quantile(i, 1) AS e, \
               approx_percentile_cont(f, 0.5) FILTER (WHERE i IS NULL AND i IS NOT NULL) AS f FROM source";
    for how in [SMALL, ONE_SHARD] {
        let (_, found) = run_job(&table, sql, how).await.unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        for (name, share) in [("a", 95), ("b", 25), ("c", 50), ("d", 10), ("e", 100)] {
            assert_eq!(
                found[0][name].as_f64(),
                Some(at(share)),
                "{name}: {found:?}"
            );
        }
        assert_eq!(found[0]["f"], Value::Null);
    }
}

/// What cannot be put together from shards is refused, and so is what would depend on them.
#[tokio::test]
async fn queries_that_do_not_merge_are_refused() {
    let table = few();
    for (sql, words) in [
        ("SELECT k, i FROM source", "expected [merge] or [upsert]"),
        (
            "SELECT k, median(i) AS m FROM source GROUP BY k",
            "`median(i)`",
        ),
        ("SELECT corr(f, i) AS s FROM source", "`corr(f,i)`"),
        ("SELECT approx_quantile(f, 2) FROM source", "`approx"),
        ("SELECT array_agg(i) AS s FROM source", "`array_agg(i)`"),
        (
            "SELECT first_value(i ORDER BY j) AS s FROM source",
            "first_value",
        ),
        (
            "SELECT k, row_number() OVER (ORDER BY j) AS n FROM source",
            "`row_number()",
        ),
        (
            "SELECT k, i FROM source ORDER BY k",
            "ORDER BY without a LIMIT",
        ),
        ("SELECT k FROM source OFFSET 3", "OFFSET without a LIMIT"),
        (
            "SELECT j FROM source ORDER BY j LIMIT 100001",
            "at most 100000",
        ),
        ("SELECT k FROM source UNION ALL SELECT 'x'", "`UNION`"),
        ("SELECT k FROM source UNION SELECT 'x'", "`UNION`"),
        ("SELECT k FROM source EXCEPT ALL SELECT 'a'", "`EXCEPT ALL`"),
        (
            "SELECT DISTINCT ON (k) k, i FROM source ORDER BY k, i",
            "`DISTINCT ON`",
        ),
        (
            "SELECT k, count(*) AS n FROM source GROUP BY ROLLUP (k, b)",
            "ROLLUP",
        ),
        (
            "SELECT k, count(*) AS n FROM source GROUP BY GROUPING SETS ((k), ())",
            "GROUPING SETS",
        ),
        (
            "SELECT w, count(k) AS n FROM source RIGHT JOIN (VALUES (1)) AS v(w) ON i = w GROUP BY w",
            "`RIGHT JOIN`",
        ),
        (
            "SELECT x FROM (VALUES (1)) AS v(x) WHERE x IN (SELECT i FROM source)",
            "`IN (SELECT ...)`",
        ),
        (
            "SELECT x FROM (VALUES (1)) AS v(x) WHERE EXISTS (SELECT 1 FROM source WHERE i = x)",
            "`EXISTS (SELECT ...)`",
        ),
        ("SELECT (SELECT max(i) FROM source) AS m", "`(SELECT ...)`"),
        (
            "SELECT j FROM source JOIN (VALUES ('a')) AS v(c) ON k = c LIMIT 3",
            "LIMIT over a join or a subquery",
        ),
        (
            "SELECT j FROM source WHERE j IN (SELECT column1 FROM (VALUES (1))) ORDER BY k LIMIT 3",
            "LIMIT over a join or a subquery",
        ),
        (
            "SELECT x, y FROM (VALUES (1)) AS v(x), LATERAL (SELECT j AS y FROM source WHERE i = x LIMIT 1) AS w",
            "LATERAL",
        ),
        (
            "SELECT make_array(k) AS a, count(*) AS n FROM source GROUP BY 1",
            "of type List",
        ),
        (
            "SELECT k, count(*) AS k FROM source GROUP BY k",
            "ambiguous",
        ),
        (
            "SELECT v.k, s.k, count(*) AS n FROM source s JOIN (VALUES ('a')) AS v(k) ON v.k = s.k GROUP BY v.k, s.k",
            "named `k`",
        ),
        (
            "SELECT count(*) AS n FROM source TABLESAMPLE (10)",
            "TABLESAMPLE",
        ),
        (
            "SELECT a.k FROM source a JOIN source b ON a.k = b.k",
            "2 times",
        ),
        (
            "SELECT k, j FROM source QUALIFY row_number() OVER (PARTITION BY k ORDER BY j) = 1",
            "row_number()",
        ),
        ("SELECT k, now() AS t FROM source GROUP BY k", "now"),
    ] {
        let refused = run_job(&table, sql, ONE_SHARD).await.err();
        let refused = refused.unwrap_or_else(|| panic!("{sql} was run"));
        assert!(refused.contains(words), "{sql}: {refused}");
        assert!(refused.contains("job.toml:"), "{sql}: {refused}");
    }
}

/// The same queries feed [merge] and [upsert] with `scope = "shard"` only.
#[tokio::test]
async fn rows_per_shard_have_to_be_meant() {
    let table = few();
    let sink = "[upsert]\nstore = 'u'\nkey = ['k']\n";
    for (sql, operator) in [
        ("SELECT k, sum(i) AS i FROM source GROUP BY k", "`sum(i)`"),
        ("SELECT k FROM source GROUP BY k", "`GROUP BY`"),
        (
            "SELECT k, n FROM (SELECT k, count(*) AS n FROM source GROUP BY k HAVING count(*) > 1)",
            "`count(*)`",
        ),
        ("SELECT DISTINCT k FROM source", "`DISTINCT`"),
        ("SELECT k FROM source ORDER BY k", "`ORDER BY`"),
        ("SELECT k FROM source LIMIT 3", "`LIMIT`"),
        ("SELECT k FROM source OFFSET 3", "`OFFSET`"),
        (
            "SELECT k FROM (SELECT k FROM source LIMIT 3) WHERE k > 'a'",
            "`LIMIT`",
        ),
        (
            "WITH t AS (SELECT k, rank() OVER (ORDER BY k) AS r FROM source) SELECT k FROM t WHERE r = 1",
            "`rank()",
        ),
        ("SELECT k FROM source UNION ALL SELECT 'x'", "`UNION`"),
        ("SELECT k FROM source INTERSECT SELECT 'x'", "`DISTINCT`"),
        (
            "SELECT k FROM source INTERSECT ALL SELECT 'x'",
            "`INTERSECT ALL`",
        ),
        (
            "SELECT x AS k FROM (VALUES ('a')) AS v(x) WHERE EXISTS (SELECT 1 FROM source WHERE k = x)",
            "`EXISTS",
        ),
        (
            "SELECT x AS k FROM (VALUES ('a')) AS v(x) LEFT JOIN source ON k = x",
            "`LEFT JOIN`",
        ),
        (
            "SELECT x AS k FROM (VALUES ('a')) AS v(x) FULL JOIN source ON k = x",
            "`FULL JOIN`",
        ),
    ] {
        let job = |scope: &str, name: &str| {
            table.place.job(&format!(
                "name = \"{name}\"\n[source]\nformat = \"csv\"\npaths = [\"*.csv\"]\nshard_size = \"1KiB\"\n\
                 [source.schema]\n{SCHEMA}\n[transform]\n{scope}\nsql = \"\"\"{sql}\"\"\"\n{sink}"
            ))
        };
        let db = memory_db().await;
        for scope in ["", "scope = 'source'"] {
            let refused = submit(&db, &job(scope, "j")).await.unwrap_err().to_string();
            for words in [
                operator,
                "transform.sql",
                "one shard at a time",
                "scope = \"shard\"",
            ] {
                assert!(refused.contains(words), "{sql}: {refused}");
            }
        }
        submit(&db, &job("scope = 'shard'", "meant")).await.unwrap();
    }
    for sql in [
        "SELECT k, i FROM source WHERE i IN (SELECT max(column1) FROM (VALUES (1), (2)))",
        "SELECT k, unnest(make_array(i, j)) AS x FROM source",
        "SELECT k, w FROM source LEFT JOIN (SELECT DISTINCT column1 AS w FROM (VALUES (1), (1))) AS v ON i = w",
        "SELECT k, x FROM source CROSS JOIN (SELECT column1 AS x FROM (VALUES (2), (1)) ORDER BY x LIMIT 1)",
        "SELECT k FROM source WHERE EXISTS (SELECT 1 FROM (VALUES (1)) AS v(x) WHERE x = i)",
        "SELECT k FROM source WHERE k NOT IN (SELECT 'a' UNION SELECT 'b')",
    ] {
        let text = format!(
            "name = \"rows\"\n[source]\nformat = \"csv\"\npaths = [\"*.csv\"]\n[source.schema]\n{SCHEMA}\n\
             [transform]\nsql = \"\"\"{sql}\"\"\"\n{sink}"
        );
        let submitted = submit(&memory_db().await, &table.place.job(&text)).await;
        assert!(submitted.is_ok(), "{sql}: {:?}", submitted.err());
    }
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("ECITON_QUERY_SEEDS") else {
        return SEEDS;
    };
    let (from, to) = text
        .split_once("..")
        .expect("ECITON_QUERY_SEEDS is FROM..TO");
    from.parse().unwrap()..to.parse().unwrap()
}

/// Any query over any rows is refused, or gives what DataFusion gives over all rows at once, however the job is run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_query_is_refused_or_right() {
    let (mut run, mut refused) = (0, 0);
    for seed in seeds() {
        let dice = &mut Dice::new(seed);
        let table = Table::new(&table(dice), SCHEMA);
        for _ in 0..QUERIES {
            let sql = query(dice);
            let how = How {
                shard_size: dice.of(&["1KiB", "2KiB", "5KiB", "64MiB"]),
                workers: dice.of(&[1, 2, 4]),
                is_compressed: dice.below(4) == 0,
            };
            println!("seed {seed}: {sql} {how:?}");
            if table.expected(&sql).await.is_none() {
                // Not SQL, or nothing that DataFusion computes.
                continue;
            }
            match check(&table, &sql, how).await {
                Ok(()) => run += 1,
                Err(why) => {
                    println!("  {why}");
                    refused += 1;
                }
            }
        }
    }
    println!("{run} queries were run, {refused} refused");
    assert!(
        run > 2 * refused && refused > 0,
        "{run} run, {refused} refused"
    );
}
