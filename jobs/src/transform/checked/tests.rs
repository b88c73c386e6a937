//! Integers against a model of 128 bits.

use std::cell::Cell;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Decimal128Type, Field, Schema, SchemaRef};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::transform::{BatchIter, RunError, Transform, TransformError, never};

const TYPES: [(&str, DataType, i128, i128); 8] = [
    ("i8", DataType::Int8, i8::MIN as i128, i8::MAX as i128),
    ("i16", DataType::Int16, i16::MIN as i128, i16::MAX as i128),
    ("i32", DataType::Int32, i32::MIN as i128, i32::MAX as i128),
    ("i64", DataType::Int64, i64::MIN as i128, i64::MAX as i128),
    ("u8", DataType::UInt8, 0, u8::MAX as i128),
    ("u16", DataType::UInt16, 0, u16::MAX as i128),
    ("u32", DataType::UInt32, 0, u32::MAX as i128),
    ("u64", DataType::UInt64, 0, u64::MAX as i128),
];

fn schema() -> SchemaRef {
    let fields = TYPES.map(|(name, data_type, ..)| Field::new(name, data_type, true));
    Arc::new(Schema::new(fields.to_vec()))
}

/// Rows of values, one of each type; `None` is NULL.
type Row = [Option<i128>; 8];

fn batch(rows: &[Row]) -> RecordBatch {
    let columns = (0..8).map(|column| {
        let values: arrow::array::Decimal128Array = rows.iter().map(|row| row[column]).collect();
        let values = values.with_precision_and_scale(38, 0).unwrap();
        cast(&values, &TYPES[column].1).unwrap()
    });
    RecordBatch::try_new(schema(), columns.collect::<Vec<ArrayRef>>()).unwrap()
}

/// What a query gives for some rows: integers, or its error.
fn run(sql: &str, rows: &[Row]) -> Result<Vec<Option<i128>>, TransformError> {
    let transform = Transform::plan(Some(sql), schema())?;
    let input: BatchIter<std::io::Error> = Box::new(std::iter::once(Ok(batch(rows))));
    let output: Result<Vec<RecordBatch>, _> = transform.run(input, &never())?.collect();
    let output = output.map_err(|error| match error {
        RunError::Transform(error) => error,
        other => panic!("{sql}: {other}"),
    })?;
    let Some(first) = output.first() else {
        return Ok(Vec::new());
    };
    let all = concat_batches(&first.schema(), &output).unwrap();
    let values = cast(all.column(0), &DataType::Decimal128(38, 0)).unwrap();
    Ok(values.as_primitive::<Decimal128Type>().iter().collect())
}

/// An expression over the columns and constants.
#[derive(Clone, Debug)]
enum Term {
    Column(usize),
    Constant(i128),
    Negated(Box<Term>),
    Binary(char, Box<Term>, Box<Term>),
}

impl Term {
    fn sql(&self, out: &mut String) {
        match self {
            Term::Column(column) => out.push_str(TYPES[*column].0),
            Term::Constant(value) => write!(out, "({value})").unwrap(),
            Term::Negated(inner) => {
                out.push_str("(- ");
                inner.sql(out);
                out.push(')');
            }
            Term::Binary(op, left, right) => {
                out.push('(');
                left.sql(out);
                write!(out, " {op} ").unwrap();
                right.sql(out);
                out.push(')');
            }
        }
    }

    /// The exact value; an error where there is none, or none of 128 bits.
    fn exact(&self, row: &Row) -> Result<Option<i128>, ()> {
        Ok(match self {
            Term::Column(column) => row[*column],
            Term::Constant(value) => Some(*value),
            Term::Negated(inner) => match inner.exact(row)? {
                Some(value) => Some(value.checked_neg().ok_or(())?),
                None => None,
            },
            Term::Binary(op, left, right) => {
                let (Some(left), Some(right)) = (left.exact(row)?, right.exact(row)?) else {
                    return Ok(None);
                };
                let value = match op {
                    '+' => left.checked_add(right),
                    '-' => left.checked_sub(right),
                    '*' => left.checked_mul(right),
                    '/' => left.checked_div(right),
                    _ => left.checked_rem(right),
                };
                Some(value.ok_or(())?)
            }
        })
    }
}

fn edge(least: i128, most: i128) -> impl Strategy<Value = i128> + Clone {
    prop_oneof![
        Just(least),
        Just(most),
        (-3i128..=3).prop_map(move |value| value.clamp(least, most)),
        (least..=most),
        Just(most / 2),
        Just(most / 2 + 1),
        Just(least + 1),
    ]
}

fn term() -> impl Strategy<Value = Term> {
    let leaf = prop_oneof![
        4 => (0usize..8).prop_map(Term::Column),
        1 => edge(i64::MIN.into(), i64::MAX.into()).prop_map(Term::Constant),
        1 => (-5i128..=5).prop_map(Term::Constant),
    ];
    leaf.prop_recursive(3, 10, 2, |inner| {
        let ops = prop::sample::select(vec!['+', '-', '*', '+', '-', '*', '/', '%']);
        prop_oneof![
            5 => (ops, inner.clone(), inner.clone())
                .prop_map(|(op, left, right)| Term::Binary(op, left.into(), right.into())),
            1 => inner.prop_map(|inner| Term::Negated(inner.into())),
        ]
    })
}

fn row() -> impl Strategy<Value = Row> {
    TYPES.map(|(_, _, least, most)| prop::option::weighted(0.9, edge(least, most)))
}

fn runner(cases: u32) -> TestRunner {
    let seed = [42; 32];
    println!("seed {seed:?}");
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    TestRunner::new_with_rng(Config::with_cases(cases), rng)
}

/// Where an expression stands in a query. What comes out is the expression's value in each.
const PLACES: [&str; 6] = [
    "SELECT {} AS x FROM source",
    "SELECT x FROM (SELECT {} AS x FROM source) WHERE x IS NULL OR x = x",
    "SELECT CASE WHEN i8 IS NULL THEN {} ELSE {} END AS x FROM source",
    "SELECT max({}) AS x FROM source",
    "SELECT {} AS x FROM source GROUP BY {}",
    "SELECT [{}][1] AS x FROM source",
];

#[test]
fn an_expression_gives_its_exact_value_or_an_error() {
    let place = prop::sample::select(PLACES.to_vec());
    let (exact, failed) = (Cell::new(0), Cell::new(0));
    let tried = runner(400).run(&(term(), row(), place), |(term, row, place)| {
        let mut sql = String::new();
        term.sql(&mut sql);
        let sql = place.replace("{}", &sql);
        match run(&sql, &[row]) {
            Ok(values) => {
                // Operators work on decimals where integers are not enough: the value may have a fraction, not be wrong.
                let has_division = sql.contains('/') || sql.contains('%');
                let expected = term.exact(&row);
                if !has_division || expected.is_ok() {
                    prop_assert_eq!(Ok(values), expected.map(|value| vec![value]), "{}", sql);
                }
                exact.set(exact.get() + 1);
            }
            Err(TransformError::Execute { .. } | TransformError::Plan { .. }) => {
                failed.set(failed.get() + 1);
            }
            Err(other) => return Err(TestCaseError::fail(format!("{sql}: {other}"))),
        }
        Ok(())
    });
    tried.unwrap();
    let (exact, failed) = (exact.get(), failed.get());
    println!("{exact} exact, {failed} failed");
    assert!(exact > 50 && failed > 50, "{exact} exact, {failed} failed");
}

#[test]
fn a_sum_is_exact_or_an_error_in_any_order() {
    let column = 0usize..8;
    let rows = prop::collection::vec(row(), 1..12);
    let kinds = prop::sample::select(vec![
        "SELECT sum({}) AS x FROM source",
        "SELECT sum(DISTINCT {}) AS x FROM source",
        "SELECT sum({}) AS x FROM source GROUP BY 1 + 1",
        "SELECT sum({}) OVER () AS x FROM source LIMIT 1",
        "SELECT sum({}) FILTER (WHERE i8 IS NULL OR i8 IS NOT NULL) AS x FROM source",
    ]);
    let tried = runner(200).run(&(column, rows, kinds), |(column, rows, kind)| {
        let (name, _, least, _) = &TYPES[column];
        let sql = kind.replace("{}", name);
        let mut values: Vec<i128> = rows.iter().filter_map(|row| row[column]).collect();
        if kind.contains("DISTINCT") {
            values.sort_unstable();
            values.dedup();
        }
        let exact = (!values.is_empty()).then(|| values.iter().sum::<i128>());
        let fits = match (exact, *least < 0) {
            (None, _) => true,
            (Some(sum), true) => i64::try_from(sum).is_ok(),
            (Some(sum), false) => u64::try_from(sum).is_ok(),
        };
        match run(&sql, &rows) {
            Ok(found) => {
                prop_assert!(fits, "{} of {:?} gave {:?}", sql, values, found);
                prop_assert_eq!(found, vec![exact], "{}", sql);
            }
            Err(TransformError::Execute { message }) => {
                prop_assert!(!fits, "{} of {:?}: {}", sql, values, message);
                prop_assert!(message.starts_with("overflow: the sum "), "{}", message);
            }
            Err(other) => return Err(TestCaseError::fail(format!("{sql}: {other}"))),
        }
        Ok(())
    });
    tried.unwrap();
}

const ONE: Row = [Some(1); 8];

fn refused(sql: &str, rows: &[Row]) -> String {
    match run(sql, rows) {
        Ok(values) => panic!("{sql} gave {values:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn constants_do_not_wrap_wherever_they_stand() {
    for sql in [
        "SELECT 9223372036854775807 + 1 AS x FROM source",
        "SELECT -9223372036854775808 - 1 AS x FROM source",
        "SELECT -(-9223372036854775808) AS x FROM source",
        "SELECT 4611686018427387904 * 4 AS x FROM source",
        "SELECT abs(-9223372036854775808) AS x FROM source",
        "SELECT 1 AS x FROM source WHERE i64 + 9223372036854775807 < 0",
        "SELECT 1 AS x FROM source WHERE 9223372036854775807 + i64 < 0 OR i64 > 5",
        "SELECT count(*) AS x FROM source GROUP BY i64 + 9223372036854775807",
        "SELECT i64 AS x FROM source ORDER BY i64 * 9223372036854775807 * 2",
        "SELECT sum(i64 + 9223372036854775807) AS x FROM source",
        "SELECT s.i64 AS x FROM source s JOIN (VALUES (1)) AS t(v) ON s.i64 + 9223372036854775807 < t.v",
        "SELECT 1 << 64 AS x FROM source",
        "SELECT i64 << -1 AS x FROM source",
        "SELECT CAST(9223372036854775807 AS INT) AS x FROM source",
        "SELECT CASE WHEN i64 = 1 THEN i64 + 9223372036854775807 ELSE 0 END AS x FROM source",
        "SELECT x FROM (VALUES (9223372036854775807 + 1)) AS t(x), source",
        "SELECT named_struct('a', i64 + 9223372036854775807)['a'] AS x FROM source",
        "SELECT sum(i64) OVER (ORDER BY i64 + 9223372036854775807) AS x FROM source",
        "SELECT i64 AS x FROM source WHERE i64 IN (9223372036854775807 + i64, 3)",
        "SELECT i64 AS x FROM source WHERE i64 BETWEEN 0 AND 9223372036854775807 + i64",
        "SELECT x FROM (SELECT unnest([i64 + 9223372036854775807]) AS x FROM source)",
        "SELECT date_part('year', to_timestamp(i64) + INTERVAL '1 month' * 9223372036854775807) AS x FROM source",
        "SELECT date_part('year', DATE '2020-01-01' + INTERVAL '2000000000 months') AS x FROM source",
        "SELECT CAST('99999999999999999999999999999999999999' AS DECIMAL(38,0)) * 9 AS x FROM source",
        "SELECT CAST('99999999999999999999999999999999999999' AS DECIMAL(38,0)) + 1 AS x FROM source",
        "SELECT sum(v) AS x FROM (SELECT CAST('99999999999999999999999999999999999999' AS DECIMAL(38,0)) AS v FROM source)",
        "SELECT factorial(21) AS x FROM source",
        "SELECT lcm(9223372036854775807, 9223372036854775806) AS x FROM source",
        "SELECT gcd(-9223372036854775808, 0) AS x FROM source",
        "SELECT gcd(i64 - 9223372036854775807 - 2, 0) AS x FROM source",
        "SELECT date_part('year', to_timestamp(1e300)) AS x FROM source",
    ] {
        let message = refused(sql, &[ONE, ONE]);
        assert!(!message.contains("no column"), "{sql}: {message}");
        println!("{sql}: {message}");
    }
}

#[test]
fn what_is_exact_in_the_end_is_right_though_it_is_not_in_between() {
    let row = |value: i64| {
        let mut row = ONE;
        row[3] = Some(value.into());
        row
    };
    let rows = [
        row(i64::MAX),
        row(i64::MAX),
        row(-i64::MAX),
        row(-i64::MAX),
        row(7),
    ];
    for sql in [
        "SELECT sum(i64) AS x FROM source",
        "SELECT sum(i64) AS x FROM source GROUP BY i8",
        "SELECT sum(i64) OVER () AS x FROM source LIMIT 1",
    ] {
        assert_eq!(run(sql, &rows), Ok(vec![Some(7)]), "{sql}");
    }
    let moving = "SELECT sum(i64) OVER (ORDER BY i64 ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS x FROM source ORDER BY x";
    assert!(run(moving, &rows).is_err());
    let moving = moving.replace("sum(i64)", "sum(i64 / 2)");
    assert_eq!(run(&moving, &rows).map(|found| found.len()), Ok(5));
}

#[test]
fn a_mean_of_durations_is_exact_though_their_sum_is_not() {
    let mut row = ONE;
    row[3] = Some(i128::from(i64::MAX) - 1);
    for rest in ["", " GROUP BY i8"] {
        let sql = format!(
            "SELECT CAST(avg(arrow_cast(i64, 'Duration(Nanosecond)')) AS BIGINT) AS x FROM source{rest}"
        );
        assert_eq!(
            run(&sql, &[row; 5]),
            Ok(vec![Some(i128::from(i64::MAX) - 1)]),
            "{sql}"
        );
        let sum = sql.replace("avg", "sum");
        assert!(run(&sum, &[row; 5]).is_err(), "{sum}");
    }
}

#[test]
fn names_and_types_are_those_of_the_operators() {
    let sql = "SELECT i64 + 1, -i64, i64 * u8, i8 - i16, i32 << 1 FROM source";
    let schema = Transform::plan(Some(sql), schema()).unwrap();
    let fields = schema.output_schema().fields().iter();
    let found: Vec<String> = fields
        .map(|f| format!("{}: {}", f.name(), f.data_type()))
        .collect();
    assert_eq!(
        found,
        [
            "source.i64 + Int64(1): Int64",
            "(- source.i64): Int64",
            "source.i64 * source.u8: Int64",
            "source.i8 - source.i16: Int16",
            "source.i32 << Int64(1): Int64",
        ]
    );
    // By that name a query above finds it.
    let sql = "SELECT \"source.i64 + Int64(1)\" AS x FROM (SELECT i64 + 1 FROM source)";
    assert_eq!(run(sql, &[ONE]), Ok(vec![Some(2)]));
    let sql =
        "SELECT i64 + 1 AS x FROM source GROUP BY i64 + 1 HAVING i64 + 1 > 0 ORDER BY i64 + 1";
    assert_eq!(run(sql, &[ONE, ONE]), Ok(vec![Some(2)]));
}

#[test]
fn what_stands_under_a_null_does_not_count() {
    let mut row = ONE;
    row[3] = None;
    assert_eq!(
        run(
            "SELECT i64 * 9223372036854775807 + 1 AS x FROM source",
            &[row]
        ),
        Ok(vec![None])
    );
    assert_eq!(
        run("SELECT sum(i64) AS x FROM source", &[row]),
        Ok(vec![None])
    );
    assert_eq!(run("SELECT -i64 AS x FROM source", &[row]), Ok(vec![None]));
    assert_eq!(
        run("SELECT i64 + NULL AS x FROM source", &[ONE]),
        Ok(vec![None])
    );
}

#[test]
fn windows_and_groups_by_expressions_keep_their_names() {
    for sql in [
        "SELECT sum(i64) OVER (PARTITION BY i8 + 1 ORDER BY i64 + 1) AS x FROM source",
        "SELECT sum(i64 + 1) OVER (ORDER BY -i64) - 1 AS x FROM source",
        "SELECT sum(i64 * 1) FILTER (WHERE i8 + 1 > 0) AS x FROM source GROUP BY GROUPING SETS ((i8 + 1), (i16 + 1)) LIMIT 1",
        "SELECT first_value(i64 + 0 ORDER BY i8 + 1) AS x FROM source",
        "SELECT x FROM (SELECT DISTINCT ON (i8 + 1) i64 AS x FROM source ORDER BY i8 + 1, i64 + 1)",
        "SELECT i64 AS x FROM source WHERE EXISTS (SELECT 1 FROM (VALUES (1)) AS t(v) WHERE t.v + source.i64 = 2)",
        "SELECT i64 AS x FROM source WHERE i64 + 1 IN (SELECT t.v + 1 FROM (VALUES (1)) AS t(v))",
        "SELECT (SELECT max(t.v * 1) FROM (SELECT 1 AS v) AS t WHERE t.v = source.i64) AS x FROM source",
        "SELECT i64 AS x FROM source s JOIN (VALUES (1)) AS t(v) ON s.i64 + 1 = t.v + 1",
        "SELECT array_length(array_concat([i64 + 0], [])) AS x FROM source",
    ] {
        assert_eq!(run(sql, &[ONE]), Ok(vec![Some(1)]), "{sql}");
    }
}
