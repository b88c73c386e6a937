use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
    Float32Array, Float64Array, Int8Array, Int64Array, LargeStringArray, RecordBatch, StringArray,
    StringViewArray, TimestampMillisecondArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int32Type, Schema, TimeUnit};
use eciton_engine::limits::KEY_LEN_MAX;
use eciton_engine::merge::{self, Operand};
use eciton_engine::{Datum, Key};
use eciton_proto::v1::{MergeSpec, MergeValue};
use proptest::prelude::*;

use super::*;

fn spec(key: &[&str], values: &[(&str, &str, &str)]) -> MergeSpec {
    MergeSpec {
        store: "s".into(),
        into_existing: false,
        key: key.iter().map(ToString::to_string).collect(),
        values: values
            .iter()
            .map(|(name, operator, column)| MergeValue {
                name: (*name).into(),
                operator: (*operator).into(),
                column: (*column).into(),
                args: vec![],
            })
            .collect(),
    }
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)))
        .unwrap()
}

fn json_key(key: &Key) -> String {
    key.to_string()
}

/// Merges operands as a store does, and reads every record as JSON.
fn read(plan: &Aggregation, operands: Vec<(Key, Operand)>) -> BTreeMap<String, String> {
    let mut records: BTreeMap<Key, Vec<u8>> = BTreeMap::new();
    let columns = plan.store_schema().columns;
    for (key, operand) in operands {
        merge::check(&columns, &operand).unwrap();
        let bytes = operand.as_bytes().to_vec();
        records
            .entry(key)
            .and_modify(|old| *old = merge::merge(old, &bytes))
            .or_insert(bytes);
    }
    records
        .iter()
        .map(|(key, record)| {
            let json = merge::read_json(&columns, key, record).unwrap();
            (json_key(key), json.to_string())
        })
        .collect()
}

fn aggregate(plan: &Aggregation, batches: &[RecordBatch]) -> Vec<(Key, Operand)> {
    let mut aggregator = plan.start();
    for batch in batches {
        aggregator.push(batch).unwrap();
    }
    aggregator.take().unwrap()
}

fn one_group(values: &[(&str, &str, &str)], batch: &RecordBatch) -> String {
    let plan = Aggregation::plan(&spec(&["k"], values), &batch.schema()).unwrap();
    let mut records = read(&plan, aggregate(&plan, std::slice::from_ref(batch)));
    assert_eq!(records.len(), 1, "{records:?}");
    records.pop_first().unwrap().1
}

fn same_key(rows: usize) -> ArrayRef {
    Arc::new(Int64Array::from(vec![1; rows]))
}

#[test]
fn nulls_follow_sql() {
    let x: ArrayRef = Arc::new(Int64Array::from(vec![Some(4), None, Some(-6)]));
    let none: ArrayRef = Arc::new(Int64Array::from(vec![None::<i64>; 3]));
    let batch = batch(vec![("k", same_key(3)), ("x", x), ("none", none)]);
    let values = [
        ("rows", "count", ""),
        ("n", "count", "x"),
        ("s", "sum", "x"),
        ("a", "avg", "x"),
        ("lo", "min", "x"),
        ("hi", "max", "x"),
        ("n0", "count", "none"),
        ("s0", "sum", "none"),
        ("a0", "avg", "none"),
        ("lo0", "min", "none"),
    ];
    assert_eq!(
        one_group(&values, &batch),
        r#"{"rows":3,"n":2,"s":-2,"a":-1.0,"lo":-6,"hi":4,"n0":0,"s0":null,"a0":null,"lo0":null}"#
    );
}

#[test]
fn null_is_a_key_of_its_own_and_sorts_first() {
    let k: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), None, Some(""), None]));
    let batch = batch(vec![("k", k)]);
    let plan = Aggregation::plan(&spec(&["k"], &[("n", "count", "")]), &batch.schema()).unwrap();
    let keys: Vec<_> = aggregate(&plan, &[batch])
        .iter()
        .map(|(key, _)| json_key(key))
        .collect();
    assert_eq!(keys, ["null", "\"\"", "\"b\""]);
}

#[test]
fn types_become_the_engines() {
    let micros = 1_357_034_400_000_000_i64;
    let nanos = TimestampNanosecondArray::from(vec![micros * 1_000, -1_000]);
    let columns: Vec<(&str, ArrayRef, &str)> = vec![
        (
            "bool",
            Arc::new(BooleanArray::from(vec![true, false])),
            "false",
        ),
        ("i8", Arc::new(Int8Array::from(vec![5, -7])), "-7"),
        (
            "u64",
            Arc::new(UInt64Array::from(vec![u64::MAX, u64::MAX - 1])),
            "18446744073709551614",
        ),
        ("f32", Arc::new(Float32Array::from(vec![0.5, 0.25])), "0.25"),
        ("zero", Arc::new(Float64Array::from(vec![0.0, -0.0])), "0.0"),
        (
            "nan",
            Arc::new(Float64Array::from(vec![f64::NAN, f64::INFINITY])),
            r#"{"$f64":"Inf"}"#,
        ),
        (
            "large",
            Arc::new(LargeStringArray::from(vec!["b", "a"])),
            "\"a\"",
        ),
        (
            "view",
            Arc::new(StringViewArray::from(vec![
                "b",
                "a long string out of line",
            ])),
            "\"a long string out of line\"",
        ),
        (
            "dict",
            Arc::new(DictionaryArray::<Int32Type>::from_iter(["z", "y"])),
            "\"y\"",
        ),
        (
            "bytes",
            Arc::new(BinaryArray::from_vec(vec![b"\xff", b"\x00\xff"])),
            r#"{"$bytes":"AP8="}"#,
        ),
        (
            "date",
            Arc::new(Date32Array::from(vec![15_706, -1])),
            r#"{"$date":"1969-12-31"}"#,
        ),
        (
            "ns",
            Arc::new(nanos),
            r#"{"$ts":"1969-12-31T23:59:59.999999Z"}"#,
        ),
        (
            "dec",
            Arc::new(
                Decimal128Array::from(vec![1230, -5])
                    .with_precision_and_scale(9, 2)
                    .unwrap(),
            ),
            r#"{"$dec":"-0.05"}"#,
        ),
    ];
    for (name, array, expected) in columns {
        let batch = batch(vec![("k", same_key(2)), (name, array)]);
        let json = one_group(&[("lo", "min", name)], &batch);
        assert_eq!(json, format!(r#"{{"lo":{expected}}}"#), "{name}");
        // The same column as a key gives the same values, in the same order.
        let plan =
            Aggregation::plan(&spec(&[name], &[("n", "count", "")]), &batch.schema()).unwrap();
        let first = aggregate(&plan, &[batch]).remove(0).0;
        if name != "dec" {
            assert_eq!(json_key(&first), expected, "{name}");
        }
    }
}

#[test]
fn moments_that_microseconds_do_not_hold_are_errors_with_their_rows() {
    let late: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![0, i64::MAX]));
    let fine: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_000, -1]));
    for (array, message) in [
        (
            late,
            "9223372036854775807 (Timestamp(ms)) is beyond the range of timestamps",
        ),
        (
            fine,
            "-1 (Timestamp(ns)) has nanoseconds that microseconds do not hold",
        ),
    ] {
        let batch = batch(vec![("k", same_key(2)), ("t", array)]);
        for (key, values) in [("k", [("lo", "min", "t")]), ("t", [("n", "count", "k")])] {
            let plan = Aggregation::plan(&spec(&[key], &values), &batch.schema()).unwrap();
            let mut shard = plan.start();
            shard.push(&batch.slice(0, 1)).unwrap();
            let error = shard.push(&batch.slice(1, 1)).unwrap_err().to_string();
            let expected = format!("column `t`, output row 2: {message}");
            assert!(error.starts_with(&expected), "{error}");
        }
    }
}

#[test]
fn sums_are_exact() {
    let big: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX, i64::MAX, -1]));
    let small: ArrayRef = Arc::new(Float64Array::from(vec![1e16, 1.0, -1e16]));
    let dec = Decimal128Array::from(vec![10, 20, 5])
        .with_precision_and_scale(9, 2)
        .unwrap();
    let batch = batch(vec![
        ("k", same_key(3)),
        ("big", big),
        ("small", small),
        ("dec", Arc::new(dec)),
    ]);
    let values = [
        ("b", "sum", "big"),
        ("f", "sum", "small"),
        ("d", "sum", "dec"),
        ("m", "avg", "dec"),
    ];
    let expected =
        r#"{"b":18446744073709551613,"f":1.0,"d":{"$dec":"0.35"},"m":0.11666666666666665}"#;
    let json = one_group(&values, &batch);
    assert!(json.starts_with(&expected[..60]), "{json}");
}

#[test]
fn bad_plans_name_value_operator_column_and_type() {
    let schema = Schema::new(vec![
        Field::new("carrier", DataType::Utf8, true),
        Field::new("dep_delay", DataType::Int64, true),
        Field::new("t", DataType::Time32(TimeUnit::Second), true),
    ]);
    let message = |key: &[&str], values: &[(&str, &str, &str)]| {
        Aggregation::plan(&spec(key, values), &schema)
            .err()
            .unwrap()
            .to_string()
    };
    assert_eq!(
        message(&["carrier"], &[("total", "sum", "carrier")]),
        "sum(carrier) of a column of type Utf8: expected an integer, a float or a decimal (give the column a type in [source.schema], or cast it in [transform] sql)"
    );
    assert_eq!(
        message(&["carrier"], &[("total", "sum", "dep_dely")]),
        "no column `dep_dely`: did you mean `dep_delay`? expected one of `carrier`, `dep_delay`, `t`"
    );
    assert_eq!(
        message(&["carier"], &[]),
        "no column `carier`: did you mean `carrier`? expected one of `carrier`, `dep_delay`, `t`"
    );
    assert!(
        message(&["t"], &[]).starts_with("column `t` of type Time32(s) cannot be part of a key")
    );
    assert!(message(&["carrier"], &[("x", "max", "t")]).contains("expected bool, integer"));
    assert!(
        message(&["carrier"], &[("x", "median", "t")]).contains("not supported by this version")
    );
    assert!(
        message(&["carrier"], &[("x", "latest", "t")]).contains("not supported by this version")
    );
}

#[test]
fn a_long_key_fails_with_its_row() {
    let key_len = KEY_LEN_MAX - 2;
    let long: ArrayRef = Arc::new(StringArray::from(vec![
        "a".repeat(key_len),
        "a".repeat(key_len + 1),
    ]));
    let batch = batch(vec![("k", long)]);
    let plan = Aggregation::plan(&spec(&["k"], &[("n", "count", "")]), &batch.schema()).unwrap();
    let mut aggregator = plan.start();
    aggregator.push(&batch.slice(0, 1)).unwrap();
    let error = aggregator.push(&batch).unwrap_err().to_string();
    assert_eq!(
        error,
        "the key of output row 2 is 4097 bytes long, the limit is 4096"
    );
}

#[test]
fn a_full_aggregator_goes_on_empty() {
    let plan_batch = |start: i64, rows: i64| {
        let k: ArrayRef = Arc::new((start..start + rows).collect::<Int64Array>());
        let s: ArrayRef = Arc::new(
            (0..rows)
                .map(|_| Some("x".repeat(1000)))
                .collect::<StringArray>(),
        );
        batch(vec![("k", k), ("s", s)])
    };
    let plan = Aggregation::plan(
        &spec(&["k"], &[("n", "count", ""), ("s", "max", "s")]),
        &plan_batch(0, 1).schema(),
    )
    .unwrap();
    let mut aggregator = plan.start();
    let mut start = 0;
    while !aggregator.is_full() {
        aggregator.push(&plan_batch(start, 8192)).unwrap();
        start += 8192;
    }
    let kept = usize::try_from(start).unwrap() * 1000;
    assert!(
        (AGGREGATE_LEN_MAX..AGGREGATE_LEN_MAX + (16 << 20)).contains(&(kept + kept / 16)),
        "{kept}"
    );
    let early = aggregator.take().unwrap();
    assert_eq!(
        (early.len(), aggregator.groups()),
        (usize::try_from(start).unwrap(), 0)
    );
    assert!(!aggregator.is_full());
    aggregator.push(&plan_batch(0, 10)).unwrap();
    let late = aggregator.take().unwrap();
    assert_eq!(late.len(), 10);
    let records = read(&plan, early.into_iter().chain(late).collect());
    assert!(records["5"].starts_with(r#"{"n":2,"#), "{}", records["5"]);
    assert!(records["10"].starts_with(r#"{"n":1,"#), "{}", records["10"]);
}

/// A row of the property test.
type Row = (Option<String>, Option<i64>, Option<f64>);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let key = prop::option::weighted(0.9, "[ab]{0,2}");
    let int = prop::option::weighted(0.8, prop_oneof![any::<i64>(), -3i64..3]);
    let float = prop::option::weighted(0.8, prop_oneof![-1e9..1e9, Just(0.0), Just(-0.0)]);
    prop::collection::vec((key, int, float), 0..60)
}

fn to_batch(rows: &[Row], layout: u8) -> RecordBatch {
    let key: ArrayRef = Arc::new(
        rows.iter()
            .map(|row| row.0.clone())
            .collect::<StringArray>(),
    );
    let key = match layout % 4 {
        0 => key,
        1 => cast(&key, &DataType::Utf8View).unwrap(),
        2 => cast(&key, &DataType::LargeUtf8).unwrap(),
        _ => cast(
            &key,
            &DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        )
        .unwrap(),
    };
    batch(vec![
        ("k", key),
        (
            "i",
            Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
        ),
        (
            "f",
            Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>()),
        ),
    ])
}

/// What a store must show, folded row by row over ordered maps.
#[derive(Default)]
struct Naive {
    rows: u64,
    ints: Vec<i64>,
    floats: Vec<f64>,
}

fn datum_or_null<T: Into<Datum>>(value: Option<T>) -> Datum {
    value.map_or(Datum::Null, Into::into)
}

proptest! {
    #[test]
    fn any_cut_equals_a_naive_fold(
        rows in rows(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        takes in any::<u8>(),
        joins in any::<u8>(),
        layout in any::<u8>(),
    ) {
        let values = [
            ("rows", "count", ""), ("n", "count", "i"), ("s", "sum", "i"), ("a", "avg", "i"),
            ("lo", "min", "i"), ("hi", "max", "f"), ("fs", "sum", "f"), ("last", "max", "k"),
        ];
        let plan = Aggregation::plan(&spec(&["k"], &values), &to_batch(&rows, layout).schema()).unwrap();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(rows.len() + 1)).collect();
        ends.extend([0, rows.len()]);
        ends.sort_unstable();
        let mut aggregator = plan.start();
        let mut operands = Vec::new();
        for (index, span) in ends.windows(2).enumerate() {
            let rows = to_batch(&rows[span[0]..span[1]], layout);
            // Some shards are aggregated by themselves before they join others.
            if joins >> index & 1 == 1 {
                let mut shard = plan.start();
                shard.push(&rows).unwrap();
                let before = aggregator.groups();
                prop_assert_eq!(aggregator.absorb(&shard), aggregator.groups() - before);
            } else {
                aggregator.push(&rows).unwrap();
            }
            // Some cuts are of batches only, some of operands too, as shards make them.
            if takes >> index & 1 == 1 {
                let taken = aggregator.take().unwrap();
                prop_assert!(taken.is_sorted_by(|a, b| a.0 < b.0));
                operands.extend(taken);
            }
        }
        operands.extend(aggregator.take().unwrap());
        // Shards commit in any order.
        operands.reverse();

        let mut expected: BTreeMap<Option<String>, Naive> = BTreeMap::new();
        for (key, int, float) in &rows {
            let group = expected.entry(key.clone()).or_default();
            group.rows += 1;
            group.ints.extend(int);
            group.floats.extend(float);
        }
        let mut records: BTreeMap<Key, Vec<u8>> = BTreeMap::new();
        for (key, operand) in operands {
            let bytes = operand.as_bytes().to_vec();
            records.entry(key).and_modify(|old| *old = merge::merge(old, &bytes)).or_insert(bytes);
        }
        prop_assert_eq!(records.len(), expected.len());
        let columns = plan.store_schema().columns;
        for ((key, record), (group, naive)) in records.iter().zip(&expected) {
            prop_assert_eq!(key.datums().unwrap(), [datum_or_null(group.clone())]);
            let sum: i128 = naive.ints.iter().map(|int| i128::from(*int)).sum();
            let shown = merge::read(&columns, key, record);
            if !(i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&sum) {
                prop_assert!(shown.is_err(), "{sum} is beyond what can be read");
                continue;
            }
            let shown: Vec<Datum> = shown.unwrap().into_iter().map(|(_, datum)| datum).collect();
            let some = !naive.ints.is_empty();
            #[allow(clippy::cast_precision_loss)]
            let average = sum as f64 / naive.ints.len() as f64;
            let top = naive.floats.iter().copied().fold(None, |top: Option<f64>, float| {
                Some(top.map_or(float, |top| if float > top { float } else { top }))
            });
            prop_assert_eq!(&shown[0], &Datum::from(naive.rows));
            prop_assert_eq!(&shown[1], &Datum::from(naive.ints.len() as u64));
            prop_assert_eq!(&shown[2], &if some { Datum::Int(sum) } else { Datum::Null });
            prop_assert_eq!(&shown[3], &if some { Datum::Float(average) } else { Datum::Null });
            prop_assert_eq!(&shown[4], &datum_or_null(naive.ints.iter().min().copied()));
            prop_assert_eq!(&shown[5], &datum_or_null(top));
            let magnitude: f64 = naive.floats.iter().map(|float| float.abs()).sum();
            match &shown[6] {
                Datum::Float(float) => {
                    let naive: f64 = naive.floats.iter().sum();
                    prop_assert!((float - naive).abs() <= 1e-12 * magnitude, "{float} {naive}");
                }
                other => prop_assert!(naive.floats.is_empty() && *other == Datum::Null),
            }
            prop_assert_eq!(&shown[7], &datum_or_null(group.clone()));
        }
    }
}

/// Of every operator and type, an aggregation of two shards joined equals one of both shards' rows.
#[test]
fn joined_shards_equal_one_shard_for_every_type() {
    let of = |rows: std::ops::Range<i64>| {
        let ints: Int64Array = rows.clone().map(|i| (i % 3 > 0).then_some(i)).collect();
        let ints = Arc::new(ints) as ArrayRef;
        let texts: StringArray = rows
            .clone()
            .map(|i| (i % 4 > 0).then(|| format!("t{i}")))
            .collect();
        let of_type = |data_type: &DataType| cast(&ints, data_type).unwrap();
        // Whole microseconds, which is what the engine keeps.
        let micros = of_type(&DataType::Timestamp(TimeUnit::Microsecond, None));
        let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
        let nanos = cast(&micros, &nanos).unwrap();
        let flags: BooleanArray = rows
            .clone()
            .map(|i| (i % 3 > 0).then_some(i % 2 == 0))
            .collect();
        let bytes: BinaryArray = rows
            .clone()
            .map(|i| (i % 5 > 0).then(|| vec![0xff, u8::try_from(i).unwrap()]))
            .collect();
        batch(vec![
            ("k", Arc::new(rows.map(|i| i % 7).collect::<Int64Array>())),
            ("i", Arc::clone(&ints)),
            ("u", of_type(&DataType::UInt64)),
            ("f", of_type(&DataType::Float64)),
            ("d", of_type(&DataType::Decimal128(20, 2))),
            ("t", nanos),
            ("s", Arc::new(texts)),
            ("b", Arc::new(flags)),
            ("x", Arc::new(bytes)),
            (
                "z",
                cast(&ints, &DataType::Null)
                    .unwrap_or_else(|_| Arc::new(arrow::array::NullArray::new(ints.len()))),
            ),
        ])
    };
    let mut values = vec![("rows".to_owned(), "count", String::new())];
    for column in ["i", "u", "f", "d", "t", "s", "b", "x", "z"] {
        for operator in ["count", "min", "max", "sum", "avg"] {
            let is_number = ["i", "u", "f", "d"].contains(&column);
            if is_number || !["sum", "avg"].contains(&operator) {
                values.push((format!("{operator}_{column}"), operator, column.to_owned()));
            }
        }
    }
    let values: Vec<_> = values
        .iter()
        .map(|(n, o, c)| (n.as_str(), *o, c.as_str()))
        .collect();
    let (first, second) = (of(0..40), of(40..90));
    let plan = Aggregation::plan(&spec(&["k"], &values), &first.schema()).unwrap();
    let mut whole = plan.start();
    let (mut left, mut right) = (plan.start(), plan.start());
    for rows in [&first, &second] {
        whole.push(rows).unwrap();
    }
    left.push(&first).unwrap();
    right.push(&second).unwrap();
    assert_eq!(left.absorb(&right), 0, "the same seven keys");
    assert_eq!(left.take().unwrap(), whole.take().unwrap());
}
