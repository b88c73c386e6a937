//! Queries over stores: what they answer, and what they read for it.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "small numbers"
)]

use self::seeded::Draw;
use eciton_engine::{Datum, Db, Key, Options, StoreSchema};

use super::{Format, QueryError, QueryOptions, Writer, query};

/// Numbers of a seed, for tests that try many cases.
mod seeded {
    /// A small generator: the same numbers for the same seed.
    pub(super) struct Draw(pub(super) u64);

    impl Draw {
        pub(super) fn below(&mut self, end: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % end
        }
    }
}

struct Stores {
    runtime: tokio::runtime::Runtime,
    db: Db,
    _dir: tempfile::TempDir,
}

impl Stores {
    fn new() -> Stores {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let db = runtime
            .block_on(Db::open(&path, Options::default()))
            .unwrap();
        Stores {
            runtime,
            db,
            _dir: dir,
        }
    }

    fn fill(&self, name: &str, key_fields: &[&str], records: &[(Key, String)]) {
        self.runtime.block_on(async {
            let schema = StoreSchema {
                key_fields: key_fields.iter().map(ToString::to_string).collect(),
                ..StoreSchema::default()
            };
            let store = self.db.create_store(name, schema).await.unwrap();
            for chunk in records.chunks(1000) {
                let mut transaction = self.db.begin();
                for (key, value) in chunk {
                    transaction.put(&store, key, value.clone()).unwrap();
                }
                transaction.commit().await.unwrap();
            }
        });
    }

    /// The answer as JSON lines, and the records read for it.
    fn ask_with(&self, sql: &str, options: QueryOptions) -> Result<(String, u64), QueryError> {
        self.runtime.block_on(async {
            let mut rows = query(&self.db, sql, options).await?;
            let mut text = Vec::new();
            let mut writer = Writer::new(Format::Jsonl, rows.schema(), &mut text)?;
            while let Some(batch) = rows.next().await? {
                writer.write(&batch)?;
            }
            writer.finish()?;
            let read = rows.read().iter().map(|read| read.records).sum();
            Ok((String::from_utf8(text).unwrap(), read))
        })
    }

    fn ask(&self, sql: &str) -> (String, u64) {
        let asked = self.ask_with(sql, QueryOptions::default());
        asked.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    fn refused(&self, sql: &str) -> String {
        match self.ask_with(sql, QueryOptions::default()) {
            Ok((answer, _)) => panic!("{sql}: {answer}"),
            Err(error) => error.to_string(),
        }
    }
}

fn key(fields: &[Datum]) -> Key {
    Key::from_datums(fields).unwrap()
}

/// 26 letters by 100 numbers.
fn grid() -> Vec<(Key, String)> {
    let mut records = Vec::new();
    for letter in b'a'..=b'z' {
        for number in 0..100_i64 {
            let letter = char::from(letter).to_string();
            let value = format!("{{\"n\":{number},\"half\":{}}}", number as f64 / 2.0);
            records.push((key(&[letter.as_str().into(), number.into()]), value));
        }
    }
    records
}

#[test]
fn conditions_on_leading_fields_read_only_their_range() {
    let stores = Stores::new();
    stores.fill("grid", &["letter", "number"], &grid());
    for (condition, rows, read) in [
        ("letter = 'c'", 100, 100),
        ("letter = 'c' AND number = 7", 1, 1),
        ("number = 7 AND 'c' = letter", 1, 1),
        ("letter = 'c' AND number >= 90", 10, 10),
        ("letter = 'c' AND number > 90 AND number < 93", 2, 2),
        ("letter = 'c' AND number BETWEEN 5 AND 9", 5, 5),
        ("letter IN ('c', 'x')", 200, 200),
        ("letter = 'c' OR letter = 'x' OR letter = 'c'", 200, 200),
        ("letter >= 'y'", 200, 200),
        ("letter < 'b'", 100, 100),
        ("letter LIKE 'z%'", 100, 100),
        ("letter = 'c' AND letter = 'd'", 0, 0),
        ("letter = 'c' AND n = 7", 1, 100),
        ("letter = 'none'", 0, 0),
        ("number = 7", 26, 2600),
        ("letter <> 'c'", 2500, 2600),
    ] {
        let (answer, found) = stores.ask(&format!("SELECT * FROM grid WHERE {condition}"));
        assert_eq!((answer.lines().count(), found), (rows, read), "{condition}");
        let sql = format!("SELECT count(*) AS n FROM grid WHERE {condition}");
        assert_eq!(
            stores.ask(&sql),
            (format!("{{\"n\":{rows}}}\n"), read),
            "{condition}"
        );
    }
}

#[test]
fn limits_are_pushed_down_where_conditions_are_met_by_ranges() {
    let stores = Stores::new();
    stores.fill("grid", &["letter", "number"], &grid());
    assert_eq!(stores.ask("SELECT n FROM grid LIMIT 5").1, 5);
    assert_eq!(
        stores
            .ask("SELECT n FROM grid WHERE letter = 'c' LIMIT 5")
            .1,
        5
    );
    assert_eq!(
        stores
            .ask("SELECT n FROM grid WHERE letter IN ('c', 'x') LIMIT 105")
            .1,
        105
    );
    let (answer, _) = stores.ask("SELECT n FROM grid WHERE half = 1.5 LIMIT 5");
    assert_eq!(answer.lines().count(), 5);
}

/// Conditions that become ranges give what the same conditions give that cannot.
#[test]
fn ranges_give_what_filters_give() {
    let stores = Stores::new();
    let mut draw = Draw(0x5eed_1234);
    let mut records = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..600 {
        let word: String = (0..draw.below(4))
            .map(|_| ['a', 'b', '\u{0}', 'é', '\u{10ffff}'][draw.below(5) as usize])
            .collect();
        let first = match draw.below(8) {
            0 => Datum::Null,
            _ => Datum::Str(word),
        };
        let second = match draw.below(8) {
            0 => Datum::Null,
            _ => Datum::Int(i128::from(draw.below(20)) - 10),
        };
        let third = Datum::Float((draw.below(9) as f64 - 4.0) / 2.0);
        let key = key(&[first, second, third]);
        if seen.insert(key.clone()) {
            records.push((key, "{\"v\":1}".to_owned()));
        }
    }
    stores.fill("t", &["a", "b", "c"], &records);
    let text = |draw: &mut Draw| {
        ["''", "'a'", "'ab'", "'b'", "'é'", "'ba'"][draw.below(6) as usize].to_owned()
    };
    let int = |draw: &mut Draw| (draw.below(22) as i64 - 11).to_string();
    let float =
        |draw: &mut Draw| ["-1.5", "0.0", "-0.0", "0.5", "2.0"][draw.below(5) as usize].to_owned();
    let mut narrowed = 0;
    for case in 0..300 {
        let mut conditions = Vec::new();
        for _ in 0..=draw.below(4) {
            let (column, value): (&str, &dyn Fn(&mut Draw) -> String) = match draw.below(3) {
                0 => ("a", &text),
                1 => ("b", &int),
                _ => ("c", &float),
            };
            let (one, other) = (value(&mut draw), value(&mut draw));
            conditions.push(match draw.below(9) {
                0 | 1 => format!("{column} = {one}"),
                2 => format!("{column} < {one}"),
                3 => format!("{column} >= {one}"),
                4 => format!("{one} < {column}"),
                5 => format!("{column} BETWEEN {one} AND {other}"),
                6 => format!("{column} IN ({one}, {other})"),
                7 => format!("({column} = {one} OR {column} = {other})"),
                _ => format!("{column} NOT IN ({one}, {other})"),
            });
        }
        let condition = conditions.join(" AND ");
        let ranged = format!("SELECT a, b, c FROM t WHERE {condition}");
        // Conditions are not pushed below a LIMIT.
        let filtered = format!(
            "SELECT a, b, c FROM (SELECT a, b, c FROM t ORDER BY v LIMIT 100000) AS s WHERE {condition}"
        );
        let sorted = |sql: &str| {
            let (answer, read) = stores.ask(sql);
            let mut lines: Vec<String> = answer.lines().map(str::to_owned).collect();
            lines.sort();
            (lines, read)
        };
        let ((expected, all), (found, read)) = (sorted(&filtered), sorted(&ranged));
        assert_eq!(found, expected, "case {case}: {condition}");
        // Where the conditions contradict each other nothing is read at all.
        assert!(read <= all, "case {case}: {condition}: {read} of {all}");
        narrowed += u64::from(read < all);
    }
    assert!(narrowed > 100, "only {narrowed} conditions became ranges");
}

#[test]
fn types_are_those_of_the_values() {
    let stores = Stores::new();
    let records = vec![
        (key(&[1.into()]), r#"{"i":1,"f":1.5,"s":"x","t":{"$ts":"2013-01-01T10:00:00Z"},"d":{"$dec":"12.30"},"m":1,"l":[1,2]}"#.to_owned()),
        (key(&[2.into()]), r#"{"i":9007199254740993,"f":2,"s":null,"m":"1","u":18446744073709551615,"b":true}"#.to_owned()),
        (key(&[3.into()]), r#"{"d":{"$dec":"0.005"},"p":3.14159265358979323846}"#.to_owned()),
    ];
    stores.fill("t", &[], &records);
    let (answer, _) = stores.ask("SELECT * FROM t ORDER BY key");
    let expected = "\
{\"key\":1,\"i\":1,\"f\":1.5,\"s\":\"x\",\"t\":\"2013-01-01T10:00:00Z\",\"d\":12.300,\"m\":\"1\",\"l\":\"[1,2]\",\"u\":null,\"b\":null,\"p\":null}
{\"key\":2,\"i\":9007199254740993,\"f\":2.0,\"s\":null,\"t\":null,\"d\":null,\"m\":\"\\\"1\\\"\",\"l\":null,\"u\":18446744073709551615,\"b\":true,\"p\":null}
{\"key\":3,\"i\":null,\"f\":null,\"s\":null,\"t\":null,\"d\":0.005,\"m\":null,\"l\":null,\"u\":null,\"b\":null,\"p\":\"3.14159265358979323846\"}
";
    assert_eq!(answer, expected);
    let (answer, _) = stores.ask("SELECT sum(i) AS i, sum(d) AS d, max(t) AS t FROM t");
    assert_eq!(
        answer,
        "{\"i\":9007199254740994,\"d\":12.305,\"t\":\"2013-01-01T10:00:00Z\"}\n"
    );
}

#[test]
fn sums_beyond_their_type_fail() {
    let stores = Stores::new();
    let records = (0..3).map(|n| (key(&[n.into()]), i64::MAX.to_string()));
    stores.fill("t", &[], &records.collect::<Vec<_>>());
    let told = stores.refused("SELECT sum(value) FROM t");
    assert!(
        told.contains("overflow") || told.contains("beyond"),
        "{told}"
    );
    let told = stores.refused("SELECT value + 1 FROM t");
    assert!(
        told.contains("overflow") || told.contains("beyond"),
        "{told}"
    );
}

#[test]
fn a_record_that_does_not_fit_is_named() {
    let stores = Stores::new();
    let mut records: Vec<(Key, String)> = (0..300)
        .map(|n| (key(&[n.into()]), format!("{{\"v\":{n}}}")))
        .collect();
    records[150].1 = "{\"v\":\"x\"}".to_owned();
    records[160].1 = "{\"v\":1,\"w\":2}".to_owned();
    stores.fill("t", &["id"], &records);
    let few = QueryOptions {
        inferred: Some(10),
        ..QueryOptions::default()
    };
    let told = |sql: &str| stores.ask_with(sql, few).unwrap_err().to_string();
    let misfit = told("SELECT sum(v) FROM t");
    assert!(
        misfit.contains("record 150 of store `t`: `v` is \"x\", no int64"),
        "{misfit}"
    );
    assert!(misfit.contains("--infer all"), "{misfit}");
    let lost = told("SELECT * FROM t WHERE id > 155");
    assert!(
        lost.contains("record 160 of store `t`: it has a member `w`"),
        "{lost}"
    );
    // Who names the columns loses nothing.
    assert!(stores.ask_with("SELECT count(id) FROM t", few).is_ok());
    let all = QueryOptions {
        inferred: None,
        ..few
    };
    assert!(stores.ask_with("SELECT * FROM t", all).is_ok());
}

#[test]
fn whatever_is_no_query_over_stores_is_refused() {
    let stores = Stores::new();
    stores.fill(
        "delays",
        &["carrier"],
        &[(key(&["AA".into()]), "{\"n\":1}".to_owned())],
    );
    stores.fill("by-month", &["month"], &[]);
    for (sql, words) in [
        (
            "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
            "a query only reads",
        ),
        ("CREATE TABLE x AS SELECT 1", "a query only reads"),
        ("CREATE VIEW x AS SELECT 1", "a query only reads"),
        ("COPY delays TO '/tmp/x.csv'", "a query only reads"),
        ("COPY (SELECT 1) TO '/tmp/x.csv'", "a query only reads"),
        ("INSERT INTO delays VALUES ('x', 1)", "a query only reads"),
        ("DELETE FROM delays", "a query only reads"),
        ("UPDATE delays SET n = 1", "a query only reads"),
        ("DROP TABLE delays", "a query only reads"),
        (
            "SET datafusion.execution.batch_size = 1",
            "a query only reads",
        ),
        ("SHOW TABLES", "a query only reads"),
        ("EXPLAIN SELECT 1", "a query only reads"),
        ("", "found nothing"),
        ("SELECT 1; DROP TABLE delays", "several statements"),
        ("SELECT * FROM '/etc/passwd'", "no store `/etc/passwd`"),
        ("SELECT * FROM 'x.parquet'", "no store `x.parquet`"),
        ("SELECT * FROM delas", "did you mean `delays`?"),
        ("SELECT * FROM by-month", "double quotes, as \"by-month\""),
        (
            "SELECT * FROM information_schema.tables",
            "no store `information_schema.tables`",
        ),
        ("SELECT * FROM _jobs", "no store `_jobs`"),
        ("SELECT carier FROM delays", "did you mean `carrier`?"),
        (
            "SELECT * FROM read_csv('/etc/passwd')",
            "no store `read_csv`",
        ),
        ("SELECT FROM delays", "selects no columns"),
        ("FROM delays", "selects no columns"),
        ("SELECT 1 +", "expected: an expression"),
        ("SELECT $1", "parameter"),
        ("SELECT * FROM delays FOR UPDATE", "FOR UPDATE"),
        (
            "WITH x AS (DELETE FROM delays RETURNING *) SELECT * FROM x",
            "",
        ),
        ("SELECT n INTO t FROM delays", ""),
    ] {
        let told = stores.refused(sql);
        assert!(told.contains(words), "{sql}: {told}");
        assert!(
            !told.contains('\n') && !told.contains("DataFusion"),
            "{sql}: {told}"
        );
    }
}

#[test]
fn the_clock_may_be_asked() {
    let stores = Stores::new();
    let (answer, _) =
        stores.ask("SELECT now() = now() AS same, current_date > DATE '2024-01-01' AS late");
    assert_eq!(answer, "{\"same\":true,\"late\":true}\n");
}

#[test]
fn stores_are_joined() {
    let stores = Stores::new();
    let delays = [("AA", 5), ("B6", 7), ("ZZ", 1)];
    let delays = delays.map(|(carrier, n)| (key(&[carrier.into()]), format!("{{\"n\":{n}}}")));
    let names = [("AA", "American"), ("B6", "JetBlue")];
    let names = names.map(|(carrier, name)| (key(&[carrier.into()]), format!("\"{name}\"")));
    stores.fill("delays", &["carrier"], &delays);
    stores.fill("names", &[], &names);
    let sql =
        "SELECT a.value AS name, d.n FROM delays d JOIN names a ON a.key = d.carrier WHERE d.n > 5";
    assert_eq!(stores.ask(sql).0, "{\"name\":\"JetBlue\",\"n\":7}\n");
    let sql = "SELECT count(*) AS n FROM delays WHERE carrier NOT IN (SELECT key FROM names)";
    assert_eq!(stores.ask(sql).0, "{\"n\":1}\n");
    let sql = "WITH d AS (SELECT * FROM delays) SELECT a.carrier FROM d a, d b WHERE a.n < b.n ORDER BY 1 LIMIT 1";
    assert_eq!(stores.ask(sql).0, "{\"carrier\":\"AA\"}\n");
}

#[test]
fn memory_is_bounded() {
    let stores = Stores::new();
    let text = "x".repeat(1000);
    let records: Vec<(Key, String)> = (0..20_000)
        .map(|n| (key(&[n.into()]), format!("{{\"k\":\"{n}{text}\"}}")))
        .collect();
    stores.fill("t", &["id"], &records);
    let little = QueryOptions {
        memory_len_max: 4 << 20,
        ..QueryOptions::default()
    };
    let grouped = stores.ask_with(
        "SELECT count(*) AS n FROM (SELECT DISTINCT k FROM t)",
        little,
    );
    let told = match grouped {
        Err(error) => error.to_string(),
        Ok((answer, _)) => panic!("{answer}"),
    };
    assert!(
        told.contains("more than 4 MiB") && told.contains("--memory"),
        "{told}"
    );
    assert!(
        stores
            .ask_with("SELECT count(k) AS n FROM t", little)
            .is_ok()
    );
}

#[test]
fn deep_queries_do_not_overflow_the_stack() {
    let stores = Stores::new();
    stores.fill("t", &["id"], &[(key(&[1.into()]), "{}".to_owned())]);
    let deep = vec!["id"; 400].join(" + ");
    assert_eq!(
        stores.ask(&format!("SELECT {deep} AS n FROM t")).0,
        "{\"n\":400}\n"
    );
    let told = stores.refused(&format!(
        "SELECT {} AS n FROM t",
        vec!["id"; 5000].join(" + ")
    ));
    assert!(told.contains("expected a query of at most"), "{told}");
}

#[test]
fn formats_quote_what_has_to_be() {
    let stores = Stores::new();
    let records = [
        (
            key(&["a,b".into()]),
            r#"{"s":"say \"hi\"\n","e":""}"#.to_owned(),
        ),
        (key(&["c".into()]), r#"{"s":null,"e":" x"}"#.to_owned()),
    ];
    stores.fill("t", &["k"], &records);
    let written = |format: Format| {
        stores.runtime.block_on(async {
            let mut rows = query(&stores.db, "SELECT * FROM t", QueryOptions::default())
                .await
                .unwrap();
            let mut bytes = Vec::new();
            let mut writer = Writer::new(format, rows.schema(), &mut bytes).unwrap();
            while let Some(batch) = rows.next().await.unwrap() {
                writer.write(&batch).unwrap();
            }
            writer.finish().unwrap();
            bytes
        })
    };
    let text = |format| String::from_utf8(written(format)).unwrap();
    assert_eq!(
        text(Format::Csv),
        "k,s,e\n\"a,b\",\"say \"\"hi\"\"\n\",\"\"\nc,,\" x\"\n"
    );
    let jsonl = "{\"k\":\"a,b\",\"s\":\"say \\\"hi\\\"\\n\",\"e\":\"\"}\n{\"k\":\"c\",\"s\":null,\"e\":\" x\"}\n";
    assert_eq!(text(Format::Jsonl), jsonl);
    let parsed: serde_json::Value = serde_json::from_str(&text(Format::Json)).unwrap();
    assert_eq!(parsed.as_array().unwrap().len(), 2);
    let parquet = bytes::Bytes::from(written(Format::Parquet));
    let reader =
        parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(parquet).unwrap();
    assert_eq!(reader.schema().fields().len(), 3);
    let arrow = written(Format::Arrow);
    let mut reader = arrow::ipc::reader::StreamReader::try_new(&arrow[..], None).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().num_rows(), 2);
}
