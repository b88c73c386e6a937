//! Values of one type where an expression takes another one.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::SchemaRef;
use arrow::util::display::array_value_to_string;

use crate::transform::{BatchIter, Transform, TransformError, never};

/// The first integer that no float holds.
const BEYOND: i64 = 9_007_199_254_740_993;
/// 9999-12-31T10:00:00.
const FAR: i64 = 253_402_250_400_000_000;

fn batch() -> RecordBatch {
    let columns: [(&str, ArrayRef); 8] = [
        ("k", Arc::new(StringArray::from(vec!["a", "b"]))),
        ("v", Arc::new(Int64Array::from(vec![BEYOND, 1]))),
        ("u", Arc::new(UInt64Array::from(vec![u64::MAX, 2]))),
        (
            "f",
            Arc::new(Float64Array::from(vec![1.5, 9_007_199_254_740_992.0])),
        ),
        (
            "p",
            Arc::new(
                Decimal128Array::from(vec![1234, 10])
                    .with_precision_and_scale(12, 2)
                    .unwrap(),
            ),
        ),
        ("d", Arc::new(Date32Array::from(vec![2_932_896, 18_276]))),
        (
            "t",
            Arc::new(
                TimestampMicrosecondArray::from(vec![FAR, 1_579_091_400_500_000])
                    .with_timezone("UTC"),
            ),
        ),
        ("s", Arc::new(StringArray::from(vec!["007", "0.5"]))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn schema() -> SchemaRef {
    batch().schema()
}

fn run(expr: &str) -> Result<Vec<String>, TransformError> {
    let sql = match expr.starts_with("SELECT") {
        true => expr.to_owned(),
        false => format!("SELECT {expr} AS x FROM source"),
    };
    let transform = Transform::plan(Some(&sql), schema())?;
    let input: BatchIter<std::io::Error> = Box::new(std::iter::once(Ok(batch())));
    let mut found = Vec::new();
    for batch in transform.run(input, &never())? {
        let batch = batch.map_err(|error| TransformError::Execute {
            message: error.to_string(),
        })?;
        assert_eq!(
            batch.schema().field(0).data_type(),
            transform.output_schema().field(0).data_type()
        );
        for row in 0..batch.num_rows() {
            found.push(array_value_to_string(batch.column(0), row).unwrap());
        }
    }
    Ok(found)
}

#[test]
fn comparisons_of_integers_and_floats_are_exact() {
    for (expr, expected) in [
        ("v = 9007199254740992.0", ["false", "false"]),
        ("v > 9007199254740992.0", ["true", "false"]),
        ("v <= 0.5", ["false", "false"]),
        ("v = f", ["false", "false"]),
        ("v < f", ["false", "true"]),
        ("v <> f", ["true", "true"]),
        ("v IS DISTINCT FROM f", ["true", "true"]),
        ("v IN (9007199254740992.0, 1.0)", ["false", "true"]),
        ("v NOT IN (9007199254740992.0, 1.0)", ["true", "false"]),
        ("v BETWEEN 0.5 AND 9007199254740992.0", ["false", "true"]),
        (
            "v NOT BETWEEN 0.5 AND 9007199254740992.0",
            ["true", "false"],
        ),
        ("9007199254740992.0 = v", ["false", "false"]),
        ("u > 18446744073709549568.0", ["true", "false"]),
        ("u > v", ["true", "true"]),
        ("p = 12.34", ["true", "false"]),
        ("p = 0.1", ["false", "true"]),
        ("p < 1e-30", ["false", "false"]),
        ("p < 1e30", ["true", "true"]),
        ("CAST(v AS DOUBLE) = 9007199254740992.0", ["true", "false"]),
        ("v = CAST(NULL AS DOUBLE)", ["", ""]),
        (
            "v IS NOT DISTINCT FROM CAST(NULL AS DOUBLE)",
            ["false", "false"],
        ),
    ] {
        assert_eq!(
            run(expr).as_deref(),
            Ok(expected.map(str::to_owned).as_slice()),
            "{expr}"
        );
    }
}

#[test]
fn integers_that_floats_do_not_hold_fail_where_a_float_is_needed() {
    for expr in [
        "ceil(v)",
        "floor(v)",
        "trunc(v)",
        "ceil(u)",
        "v + 0.5",
        "v * f",
        "coalesce(v, f)",
        "greatest(v, f)",
        "CASE WHEN k = 'a' THEN v ELSE f END",
        "sqrt(v)",
        "SELECT v AS x FROM source s JOIN (VALUES (1.5)) AS t(v) USING (v)",
        "SELECT x FROM (SELECT v AS x FROM source UNION ALL SELECT 1.5 AS x)",
        "stddev(v)",
    ] {
        let message = run(expr).unwrap_err().to_string();
        assert!(
            message.contains("9007199254740993") || message.contains("18446744073709551615"),
            "{expr}: {message}"
        );
        assert!(
            message.contains("does not hold exactly"),
            "{expr}: {message}"
        );
        assert!(message.contains("write CAST("), "{expr}: {message}");
    }
    // A constant is refused before anything runs.
    let refused = run("f + 9007199254740993").unwrap_err();
    assert!(matches!(refused, TransformError::Plan { .. }), "{refused}");
    let refused = run("12345678901234567.89").unwrap_err().to_string();
    assert!(
        refused.contains("more digits than a float keeps"),
        "{refused}"
    );
    // What fits passes, and so does what the user says.
    for (expr, expected) in [
        ("round(v)", ["9007199254740993", "1"]),
        ("abs(v)", ["9007199254740993", "1"]),
        ("ceil(v - 9007199254740990)", ["3.0", "-9007199254740989.0"]),
        ("floor(p)", ["12.00", "0.00"]),
        ("ceil(CAST(v AS DOUBLE))", ["9007199254740992.0", "1.0"]),
        ("f * 2", ["3.0", "1.8014398509481984e16"]),
        (
            "SELECT avg(v) AS x FROM source GROUP BY k ORDER BY x",
            ["1.0", "9007199254740992.0"],
        ),
    ] {
        assert_eq!(
            run(expr).as_deref(),
            Ok(expected.map(str::to_owned).as_slice()),
            "{expr}"
        );
    }
    let sum = "SELECT avg(w) AS x FROM (SELECT CASE k WHEN 'a' THEN v ELSE -9007199254740992 END AS w FROM source)";
    assert_eq!(run(sum), Ok(vec!["0.5".to_owned()]));
}

#[test]
fn far_days_compare_and_are_cut() {
    for (expr, expected) in [
        ("d > TIMESTAMP '2024-01-01 00:00:00'", ["true", "false"]),
        ("d > t", ["false", "false"]),
        ("t >= d", ["true", "true"]),
        ("d > to_timestamp('2024-01-01')", ["true", "false"]),
        ("t > to_timestamp('2024-01-01')", ["true", "false"]),
        (
            "d BETWEEN TIMESTAMP '2020-01-01' AND to_timestamp('2024-01-01')",
            ["false", "true"],
        ),
        (
            "date_trunc('month', d)",
            ["9999-12-01T00:00:00", "2020-01-01T00:00:00"],
        ),
        (
            "date_trunc('week', t)",
            ["9999-12-27T00:00:00Z", "2020-01-13T00:00:00Z"],
        ),
        (
            "date_trunc('year', t)",
            ["9999-01-01T00:00:00Z", "2020-01-01T00:00:00Z"],
        ),
        (
            "date_trunc('hour', t)",
            ["9999-12-31T10:00:00Z", "2020-01-15T12:00:00Z"],
        ),
        (
            "to_char(t, '%Y-%m-%d %H:%M')",
            ["9999-12-31 10:00", "2020-01-15 12:30"],
        ),
        ("to_char(d, '%d.%m.%Y')", ["31.12.9999", "15.01.2020"]),
        ("extract(year FROM t)", ["9999", "2020"]),
        ("extract(year FROM d)", ["9999", "2020"]),
        (
            "CAST(d AS TIMESTAMP)",
            ["9999-12-31T00:00:00", "2020-01-15T00:00:00"],
        ),
        (
            "CAST('9999-12-31' AS TIMESTAMP)",
            ["9999-12-31T00:00:00", "9999-12-31T00:00:00"],
        ),
        (
            "CAST(1700000000 AS TIMESTAMP)",
            ["2023-11-14T22:13:20", "2023-11-14T22:13:20"],
        ),
    ] {
        assert_eq!(
            run(expr).as_deref(),
            Ok(expected.map(str::to_owned).as_slice()),
            "{expr}"
        );
    }
    for (expr, words) in [
        ("to_timestamp('9999-12-31')", "CAST(... AS TIMESTAMP)"),
        ("round(f, 400)", "too many places"),
        ("date_bin(INTERVAL '1 day', t)", "date_trunc"),
        ("date_bin(INTERVAL '1 day', d)", "date_trunc"),
        (
            "CAST(arrow_cast(1, 'Int32') AS TIMESTAMP)",
            "to_timestamp_seconds",
        ),
        (
            "CAST('2024-01-01 00:00:00.1234567' AS TIMESTAMP)",
            "more digits than microseconds",
        ),
        ("d > '2024-01-01 10:00:00'", "a time beside a date"),
        ("t + INTERVAL '1 nanosecond'", "no whole number of units"),
        ("d + INTERVAL '1 hour'", "no whole number of units"),
        ("to_timestamp_seconds(1.5)", "would lose the part"),
        ("to_timestamp_millis(f / 4)", "would lose the part"),
        ("s = 0.1234567890123456789", "more digits"),
        ("date_trunc('fortnight', d)", "expected one of microsecond"),
    ] {
        let message = run(expr).unwrap_err().to_string();
        assert!(message.contains(words), "{expr}: {message}");
    }
}
