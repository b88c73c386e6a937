use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::*;

mod hostile;

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("row {0} is malformed")]
struct Malformed(usize);

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("carrier", DataType::Utf8, true),
        Field::new("VendorID", DataType::Int64, true),
        Field::new("dep_delay", DataType::Int64, true),
        Field::new("distance", DataType::Float64, true),
    ]))
}

fn batch(rows: &[(&str, i64, Option<i64>, f64)]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| Some(row.0)).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| Some(row.1)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| Some(row.3)).collect::<Float64Array>()),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn two_batches() -> Vec<RecordBatch> {
    vec![
        batch(&[
            ("AA", 1, Some(5), 1.0),
            ("UA", 2, None, 2.0),
            ("AA", 3, Some(-1), 3.0),
        ]),
        batch(&[("DL", 4, Some(9), 4.0), ("UA", 5, Some(2), 5.0)]),
    ]
}

fn plan(sql: &str) -> Result<Transform, TransformError> {
    Transform::plan(Some(sql), schema())
}

fn refused(sql: &str) -> TransformError {
    plan(sql).err().unwrap_or_else(|| panic!("planned: {sql}"))
}

/// Runs a query over batches and gives all its rows as one batch.
fn run(transform: &Transform, batches: Vec<RecordBatch>) -> RecordBatch {
    let input: BatchIter<Malformed> = Box::new(batches.into_iter().map(Ok));
    let output: Vec<RecordBatch> = transform
        .run(input, &never())
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    for batch in &output {
        let names = |schema: &Schema| -> Vec<(String, DataType)> {
            schema
                .fields()
                .iter()
                .map(|f| (f.name().clone(), f.data_type().clone()))
                .collect()
        };
        assert_eq!(names(&batch.schema()), names(transform.output_schema()));
    }
    let schema = output
        .first()
        .map_or(Arc::clone(transform.output_schema()), RecordBatch::schema);
    concat_batches(&schema, &output).unwrap()
}

fn ints(batch: &RecordBatch, column: &str) -> Vec<Option<i64>> {
    let array = cast(batch.column_by_name(column).unwrap(), &DataType::Int64).unwrap();
    let array = array.as_any().downcast_ref::<Int64Array>().unwrap();
    array.iter().collect()
}

fn strings(batch: &RecordBatch, column: &str) -> Vec<String> {
    let array = cast(batch.column_by_name(column).unwrap(), &DataType::Utf8).unwrap();
    let array = array.as_any().downcast_ref::<StringArray>().unwrap();
    array
        .iter()
        .map(|value| value.unwrap_or("NULL").to_owned())
        .collect()
}

#[test]
fn without_a_query_rows_pass_untouched() {
    let transform = Transform::plan(None, schema()).unwrap();
    assert_eq!(transform.source_columns(), [0, 1, 2, 3]);
    let all = concat_batches(&schema(), &two_batches()).unwrap();
    assert_eq!(run(&transform, two_batches()), all);
}

#[test]
fn a_filter_keeps_order_and_reads_only_what_it_needs() {
    let transform =
        plan("SELECT carrier, dep_delay * 2 AS twice FROM source WHERE dep_delay IS NOT NULL;")
            .unwrap();
    assert_eq!(transform.source_columns(), [0, 2]);
    // The source may give just the needed columns, or more than those.
    let narrow = two_batches()
        .iter()
        .map(|batch| batch.project(&[0, 2]).unwrap())
        .collect();
    for batches in [narrow, two_batches()] {
        let rows = run(&transform, batches);
        assert_eq!(strings(&rows, "carrier"), ["AA", "AA", "DL", "UA"]);
        assert_eq!(
            ints(&rows, "twice"),
            [Some(10), Some(-2), Some(18), Some(4)]
        );
    }
}

#[test]
fn one_plan_runs_over_many_shards() {
    let transform =
        plan("SELECT carrier, sum(dep_delay) AS s FROM source GROUP BY carrier").unwrap();
    for _ in 0..3 {
        let rows = run(&transform, two_batches());
        let mut pairs: Vec<_> = strings(&rows, "carrier")
            .into_iter()
            .zip(ints(&rows, "s"))
            .collect();
        pairs.sort();
        let expected = [("AA", Some(4)), ("DL", Some(9)), ("UA", Some(2))];
        assert_eq!(
            pairs,
            expected.map(|(carrier, sum)| (carrier.to_owned(), sum))
        );
    }
    assert_eq!(run(&transform, Vec::new()).num_rows(), 0);
}

#[test]
fn a_repeated_shard_gives_the_same_rows_in_the_same_order() {
    let sql = "SELECT carrier, count(*) AS n, avg(distance) AS d FROM source GROUP BY carrier";
    let first = run(&plan(sql).unwrap(), two_batches());
    assert_eq!(run(&plan(sql).unwrap(), two_batches()), first);
}

#[test]
fn counting_rows_needs_no_column() {
    let transform = plan("SELECT count(*) AS n FROM source").unwrap();
    assert_eq!(transform.source_columns(), [0usize; 0]);
    assert_eq!(ints(&run(&transform, two_batches()), "n"), [Some(5)]);
}

#[test]
fn sorts_windows_unions_of_literals_and_subqueries_work() {
    let rows = run(
        &plan("SELECT VendorID AS v FROM source ORDER BY distance DESC").unwrap(),
        two_batches(),
    );
    assert_eq!(ints(&rows, "v"), [5, 4, 3, 2, 1].map(Some));
    let sql = "WITH t AS (SELECT carrier, row_number() OVER (PARTITION BY carrier ORDER BY VendorID) AS n FROM source) \
               SELECT carrier FROM t WHERE n = 2 ORDER BY carrier";
    assert_eq!(
        strings(&run(&plan(sql).unwrap(), two_batches()), "carrier"),
        ["AA", "UA"]
    );
    let sql = "SELECT s.VendorID AS v FROM source s JOIN (VALUES ('AA')) AS w(code) ON s.carrier = w.code ORDER BY v";
    assert_eq!(
        ints(&run(&plan(sql).unwrap(), two_batches()), "v"),
        [Some(1), Some(3)]
    );
}

#[test]
fn identifiers_are_taken_as_written() {
    assert_eq!(
        plan("SELECT VendorID FROM source")
            .unwrap()
            .output_schema()
            .field(0)
            .name(),
        "VendorID"
    );
    let TransformError::UnknownColumn { name, .. } = refused("SELECT vendorid FROM source") else {
        panic!("expected an unknown column");
    };
    assert_eq!(name, "vendorid");
}

#[test]
fn an_unknown_column_is_named_with_its_likely_meaning() {
    let message = refused("SELECT dep_dely FROM source WHERE distance > 1").to_string();
    assert_eq!(
        message,
        "no column `dep_dely`: did you mean `dep_delay`? expected one of `carrier`, `VendorID`, `dep_delay`, `distance`"
    );
}

#[test]
fn a_parse_error_has_its_place() {
    let error = refused("SELECT carrier\nFROM source WHERE = 1");
    let TransformError::Parse { line, column, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((*line, *column), (Some(2), Some(19)), "{error}");
    assert!(
        error
            .to_string()
            .starts_with("line 2, column 19 of the query: expected"),
        "{error}"
    );
}

#[test]
fn only_one_select_over_source_is_taken() {
    for (sql, expected) in [
        ("", "nothing"),
        (
            "SELECT 1 FROM source; SELECT 2 FROM source",
            "several statements",
        ),
        (
            "CREATE TABLE t AS SELECT * FROM source",
            "`CREATE TABLE ...`",
        ),
        ("INSERT INTO source VALUES (1)", "`INSERT INTO ...`"),
        ("DELETE FROM source", "`DELETE FROM ...`"),
        ("COPY source TO 'x.csv'", "`COPY source ...`"),
        ("EXPLAIN SELECT * FROM source", "`EXPLAIN SELECT ...`"),
        ("SET x = 1", "`SET x ...`"),
    ] {
        let expected = TransformError::NotOneSelect {
            found: expected.to_owned(),
        };
        assert_eq!(refused(sql), expected, "{sql}");
    }
}

#[test]
fn other_tables_and_second_reads_are_refused() {
    let unknown = |name: &str| TransformError::UnknownTable {
        name: name.to_owned(),
    };
    assert_eq!(refused("SELECT * FROM flights"), unknown("flights"));
    assert_eq!(
        refused("SELECT * FROM '/etc/passwd'"),
        unknown("/etc/passwd")
    );
    for (sql, times) in [
        ("SELECT 1 AS one", 0),
        (
            "SELECT a.carrier FROM source a JOIN source b ON a.carrier = b.carrier",
            2,
        ),
        (
            "SELECT carrier FROM source WHERE distance > (SELECT avg(distance) FROM source)",
            2,
        ),
        (
            "SELECT carrier FROM source UNION ALL SELECT carrier FROM source",
            2,
        ),
    ] {
        assert_eq!(refused(sql), TransformError::SourceReads { times }, "{sql}");
    }
    assert!(plan("SELECT * FROM generate_series(1, 3), source").is_err());
    assert!(plan("SELECT * FROM information_schema.tables, source").is_err());
    assert!(plan("SELECT carrier FROM source WHERE VendorID = $1").is_err());
}

#[test]
fn functions_that_do_not_repeat_are_refused() {
    for (sql, name) in [
        ("SELECT uuid() AS u FROM source", "uuid"),
        ("SELECT now() AS t FROM source", "now"),
        ("SELECT carrier FROM source ORDER BY uuid()", "uuid"),
        (
            "SELECT carrier FROM (SELECT carrier, current_date AS d FROM source) WHERE carrier = 'AA'",
            "current_date",
        ),
        (
            "SELECT sum(CASE WHEN current_time IS NULL THEN 1 ELSE 2 END) AS s FROM source",
            "current_time",
        ),
    ] {
        let TransformError::NotRepeatable { function, .. } = refused(sql) else {
            panic!("{sql}: {}", refused(sql));
        };
        assert_eq!(function, name, "{sql}");
    }
}

#[test]
fn types_are_checked_when_planning() {
    let error = refused("SELECT carrier + 1.5 AS x, nonsense(carrier) AS y FROM source");
    assert!(matches!(error, TransformError::Plan { .. }), "{error}");
    assert!(matches!(
        refused("SELECT sum(carrier) AS s FROM source"),
        TransformError::Plan { .. }
    ));
}

#[test]
fn the_sources_own_error_comes_out() {
    let transform =
        plan("SELECT carrier, sum(VendorID) AS s FROM source GROUP BY carrier").unwrap();
    let input: BatchIter<Malformed> =
        Box::new([Ok(two_batches().remove(0)), Err(Malformed(7))].into_iter());
    let mut output = transform.run(input, &never()).unwrap();
    let error = output.next().unwrap().unwrap_err();
    assert!(matches!(error, RunError::Source(Malformed(7))), "{error}");
    assert!(output.next().is_none(), "an output ends after its error");
}

#[test]
fn rows_that_cannot_be_computed_fail_the_run() {
    let transform = plan("SELECT CAST(carrier AS BIGINT) AS n FROM source").unwrap();
    let input: BatchIter<Malformed> = Box::new(two_batches().into_iter().map(Ok));
    let error = transform
        .run(input, &never())
        .unwrap()
        .next()
        .unwrap()
        .unwrap_err();
    let RunError::Transform(TransformError::Execute { message }) = error else {
        panic!("{error}")
    };
    assert!(message.contains("AA"), "{message}");
}

#[test]
fn a_limit_still_reads_the_whole_shard() {
    let transform = plan("SELECT carrier FROM source LIMIT 1").unwrap();
    let read = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&read);
    let batches = std::iter::repeat_with(|| two_batches().remove(1)).take(50);
    let input: BatchIter<Malformed> = Box::new(
        batches
            .inspect(move |_| _ = counter.fetch_add(1, Ordering::Relaxed))
            .map(Ok),
    );
    let rows: usize = transform
        .run(input, &never())
        .unwrap()
        .map(|batch| batch.unwrap().num_rows())
        .sum();
    assert_eq!((rows, read.load(Ordering::Relaxed)), (1, 50));
}

#[test]
fn a_filter_streams() {
    // The first output must come before the input has ended.
    let transform = plan("SELECT VendorID FROM source WHERE VendorID > 0").unwrap();
    let read = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&read);
    let many: Vec<_> = (1..=8192).map(|i| ("AA", i, None, 0.0)).collect();
    let many = batch(&many);
    let batches = std::iter::repeat_with(move || many.clone()).take(100);
    let input: BatchIter<Malformed> = Box::new(
        batches
            .inspect(move |_| _ = counter.fetch_add(1, Ordering::Relaxed))
            .map(Ok),
    );
    let mut output = transform.run(input, &never()).unwrap();
    assert!(output.next().unwrap().is_ok());
    let seen = read.load(Ordering::Relaxed);
    assert!(seen < 10, "{seen} batches were read for the first output");
}
