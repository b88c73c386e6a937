//! The operators that keep an engine's state for each group, held against what they say of all rows at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use eciton_engine::merge;
use eciton_engine::{Datum, Key};
use eciton_proto::v1::{MergeSpec, MergeValue};
use proptest::prelude::*;

use super::*;

/// Group, integer, float, text.
type Row = (u8, Option<i64>, Option<f64>, Option<String>);

fn spec() -> MergeSpec {
    let values = [
        ("first", "first", "text", ""),
        ("last", "last", "int", ""),
        ("bits", "bit_or", "int", ""),
        ("set", "collect_set", "text", "3"),
        ("distinct", "approx_distinct", "text", ""),
        ("median", "approx_quantile", "float", "0.5"),
        ("top", "approx_quantile", "int", "1"),
        ("largest", "top_k", "int", "3"),
        ("between", "histogram", "float", "[-5, 0, 2.5]"),
        ("all", "bool_and", "flag", ""),
        ("any", "bool_or", "flag", ""),
        ("spread", "var_samp", "float", ""),
        ("deviation", "stddev_pop", "int", ""),
    ];
    let value = |(name, operator, column, arg): (&str, &str, &str, &str)| MergeValue {
        name: name.into(),
        operator: operator.into(),
        column: column.into(),
        args: (!arg.is_empty())
            .then(|| arg.to_owned())
            .into_iter()
            .collect(),
    };
    MergeSpec {
        store: "s".into(),
        into_existing: false,
        key: vec!["k".into()],
        values: values.map(value).to_vec(),
    }
}

fn to_batch(rows: &[Row]) -> RecordBatch {
    let keys: Int64Array = rows.iter().map(|row| Some(i64::from(row.0))).collect();
    let ints: Int64Array = rows.iter().map(|row| row.1).collect();
    let floats: Float64Array = rows.iter().map(|row| row.2).collect();
    let texts: StringArray = rows.iter().map(|row| row.3.clone()).collect();
    let flags: BooleanArray = rows.iter().map(|row| row.1.map(|int| int > 0)).collect();
    let columns: [(&str, ArrayRef); 5] = [
        ("k", Arc::new(keys)),
        ("int", Arc::new(ints)),
        ("float", Arc::new(floats)),
        ("text", Arc::new(texts)),
        ("flag", Arc::new(flags)),
    ];
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let int = prop::option::weighted(0.9, prop_oneof![any::<i64>(), -9i64..200]);
    let float = prop::option::weighted(0.9, prop_oneof![-1e6..1e6, -10.0..10.0f64]);
    let text = prop::option::weighted(0.9, "[a-f]{1,2}");
    prop::collection::vec((0u8..3, int, float, text), 1..120)
}

/// The exact value of rank ceil(q * n), at least 1, of a share of `of` parts.
fn at_rank<T: Copy>(sorted: &[T], parts: usize, of: usize) -> Option<T> {
    let rank = (sorted.len() * parts).div_ceil(of).max(1);
    sorted.get(rank - 1).copied()
}

#[allow(clippy::cast_precision_loss, reason = "the bound is of floats")]
fn is_near(shown: &Datum, exact: Option<f64>) -> bool {
    match (shown, exact) {
        (Datum::Null, None) => true,
        (Datum::Float(shown), Some(exact)) => (shown - exact).abs() <= exact.abs() / 128.0,
        _ => false,
    }
}

/// Whether it is the variance of the values, in two passes over them.
#[allow(clippy::cast_precision_loss, reason = "the bound is of floats")]
fn is_spread(shown: &Datum, values: &[f64], least: usize) -> bool {
    if values.len() <= least {
        return *shown == Datum::Null;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares = values.iter().map(|value| (value - mean).powi(2));
    let exact = squares.sum::<f64>() / (values.len() - least) as f64;
    let largest = values
        .iter()
        .fold(0.0, |most: f64, value| most.max(value.abs()));
    match shown {
        Datum::Float(shown) => (shown - exact).abs() <= 1e-12 * (exact + largest * largest * 1e-3),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Rows are cut into shards and batches at random, some shards are joined before they are committed, and operands
    /// are merged from the last to the first.
    #[test]
    fn any_cut_shows_what_one_pass_shows(
        rows in rows(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        joins in any::<u8>(),
    ) {
        let plan = Aggregation::plan(&spec(), &to_batch(&rows).schema()).unwrap();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(rows.len() + 1)).collect();
        ends.extend([0, rows.len()]);
        ends.sort_unstable();
        let mut gathered = plan.start();
        let mut operands = Vec::new();
        for (shard, span) in ends.windows(2).enumerate() {
            let mut aggregator = plan.start();
            aggregator.begin(1, shard as u64);
            let middle = span[0].midpoint(span[1]);
            for part in [span[0]..middle, middle..span[1]] {
                aggregator.push(&to_batch(&rows[part])).unwrap();
            }
            if joins >> shard & 1 == 1 {
                gathered.absorb(&aggregator);
            } else {
                operands.extend(aggregator.take().unwrap());
            }
        }
        operands.extend(gathered.take().unwrap());
        operands.reverse();
        let columns = plan.store_schema().columns;
        let mut records: BTreeMap<Key, Vec<u8>> = BTreeMap::new();
        for (key, operand) in operands {
            merge::check(&columns, &operand).unwrap();
            let bytes = operand.as_bytes().to_vec();
            records.entry(key).and_modify(|old| *old = merge::merge(old, &bytes)).or_insert(bytes);
        }
        let mut groups: BTreeMap<u8, Vec<&Row>> = BTreeMap::new();
        for row in &rows {
            groups.entry(row.0).or_default().push(row);
        }
        prop_assert_eq!(records.len(), groups.len());
        for ((key, record), rows) in records.iter().zip(groups.values()) {
            let shown: Vec<Datum> =
                merge::read(&columns, key, record).unwrap().into_iter().map(|(_, datum)| datum).collect();
            let mut ints: Vec<i64> = rows.iter().filter_map(|row| row.1).collect();
            let mut floats: Vec<f64> = rows.iter().filter_map(|row| row.2).collect();
            let texts: Vec<&str> = rows.iter().filter_map(|row| row.3.as_deref()).collect();
            let set: BTreeSet<&str> = texts.iter().copied().collect();
            let null_or = |datum: Option<Datum>| datum.unwrap_or(Datum::Null);
            prop_assert_eq!(&shown[0], &null_or(texts.first().map(|text| (*text).into())));
            prop_assert_eq!(&shown[1], &null_or(ints.last().map(|int| (*int).into())));
            let bits = ints.iter().copied().reduce(|a, b| a | b);
            prop_assert_eq!(&shown[2], &null_or(bits.map(Datum::from)));
            let smallest: Vec<&str> = set.iter().copied().take(3).collect();
            let list = (!smallest.is_empty()).then(|| serde_json::json!(smallest).to_string());
            prop_assert_eq!(&shown[3], &null_or(list.map(|list| list.as_str().into())));
            let Datum::Int(estimate) = shown[4] else {
                panic!("an estimate is {:?}", shown[4])
            };
            prop_assert!(estimate.abs_diff(set.len() as i128) <= 1, "{estimate} of {}", set.len());
            ints.sort_unstable();
            floats.sort_by(f64::total_cmp);
            prop_assert!(is_near(&shown[5], at_rank(&floats, 1, 2)), "{:?} of {floats:?}", shown[5]);
            #[allow(clippy::cast_precision_loss, reason = "as the operator counts them")]
            let top = at_rank(&ints, 1, 1).map(|int| int as f64);
            prop_assert!(is_near(&shown[6], top), "{:?} of {ints:?}", shown[6]);
            let largest: Vec<i64> = ints.iter().rev().take(3).copied().collect();
            let list = (!largest.is_empty()).then(|| serde_json::json!(largest).to_string());
            prop_assert_eq!(&shown[7], &null_or(list.map(|list| list.as_str().into())));
            let between = |low: f64, high: f64| {
                floats.iter().filter(|float| **float >= low && **float < high).count()
            };
            let bins = serde_json::json!([
                {"from": null, "to": -5.0, "count": between(f64::NEG_INFINITY, -5.0)},
                {"from": -5.0, "to": 0.0, "count": between(-5.0, 0.0)},
                {"from": 0.0, "to": 2.5, "count": between(0.0, 2.5)},
                {"from": 2.5, "to": null, "count": between(2.5, f64::INFINITY)},
            ]);
            let list = (!floats.is_empty()).then(|| bins.to_string());
            prop_assert_eq!(&shown[8], &null_or(list.map(|list| list.as_str().into())));
            let flags = || ints.iter().map(|int| *int > 0);
            let truth = |truth: bool| null_or((!ints.is_empty()).then_some(Datum::Bool(truth)));
            prop_assert_eq!(&shown[9], &truth(flags().all(|flag| flag)));
            prop_assert_eq!(&shown[10], &truth(flags().any(|flag| flag)));
            prop_assert!(is_spread(&shown[11], &floats, 1), "{:?} of {floats:?}", shown[11]);
            #[allow(clippy::cast_precision_loss, reason = "the bound is of floats")]
            let ints: Vec<f64> = ints.iter().map(|int| *int as f64).collect();
            let squared = match shown[12] {
                Datum::Float(deviation) => Datum::Float(deviation * deviation),
                ref other => other.clone(),
            };
            prop_assert!(is_spread(&squared, &ints, 0), "{:?} of {ints:?}", shown[12]);
        }
    }
}

#[test]
fn a_set_reads_as_a_list_and_its_limit_is_held() {
    let rows: Vec<Row> = ["b", "c", "a", "d", "b"]
        .map(|text| (1, Some(1), None, Some(text.to_owned())))
        .to_vec();
    let schema = to_batch(&rows).schema();
    let plan = Aggregation::plan(&spec(), &schema).unwrap();
    let mut aggregator = plan.start();
    aggregator.push(&to_batch(&rows)).unwrap();
    let (key, operand) = aggregator.take().unwrap().pop().unwrap();
    let columns = plan.store_schema().columns;
    let json = merge::read_json(&columns, &key, operand.as_bytes()).unwrap();
    assert_eq!(json["set"], serde_json::json!(["a", "b", "c"]));
    assert_eq!(json["median"], serde_json::Value::Null);
    assert_eq!(columns[3].to_string(), "set = collect_set(string, 3)");
    assert_eq!(
        columns[5].to_string(),
        "median = approx_quantile(float, 0.5)"
    );
    // Sets of another limit are no part of this store.
    let mut other = spec();
    other.values[3].args = vec!["4".into()];
    let other = Aggregation::plan(&other, &schema).unwrap();
    let mut aggregator = other.start();
    aggregator.push(&to_batch(&rows)).unwrap();
    let (_, operand) = aggregator.take().unwrap().pop().unwrap();
    assert!(merge::check(&columns, &operand).is_err());
}

#[test]
fn what_an_operator_does_not_take_is_told() {
    let schema = to_batch(&[(1, None, None, None)]).schema();
    for (operator, column, args, told) in [
        ("bit_or", "float", vec![], "an integer"),
        (
            "approx_quantile",
            "text",
            vec!["0.5"],
            "an integer, a float or a decimal",
        ),
        ("approx_quantile", "int", vec!["2"], "from 0 to 1"),
        ("approx_quantile", "int", vec![], "further argument"),
        ("collect_set", "int", vec!["0"], "from 1 to"),
        ("first", "int", vec!["1"], "one column"),
        ("top_k", "int", vec!["10001"], "from 1 to"),
        ("histogram", "int", vec!["[2, 1]"], "do not ascend"),
        ("histogram", "text", vec!["[1]"], "an integer, a float"),
        ("bool_and", "int", vec![], "bool (give"),
        ("var_pop", "text", vec![], "an integer, a float"),
    ] {
        let mut merge = spec();
        merge.values = vec![MergeValue {
            name: "x".into(),
            operator: operator.into(),
            column: column.into(),
            args: args.iter().map(ToString::to_string).collect(),
        }];
        let error = Aggregation::plan(&merge, &schema)
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains(told),
            "{operator}({column}, {args:?}): {error}"
        );
    }
}

/// A record that could grow beyond what a store keeps is refused when the job is planned, with the number.
#[test]
fn too_many_sketches_for_one_record_are_refused() {
    let schema = to_batch(&[(1, None, None, None)]).schema();
    let plan = |values: usize| {
        let mut merge = spec();
        merge.values = (0..values)
            .map(|index| MergeValue {
                name: format!("q{index}"),
                operator: "approx_quantile".into(),
                column: "float".into(),
                args: vec!["0.5".into()],
            })
            .collect();
        Aggregation::plan(&merge, &schema).map(|plan| plan.store_schema().columns.len())
    };
    assert_eq!(plan(314).ok(), Some(314));
    let error = plan(315).unwrap_err();
    assert_eq!(error.key(), "merge.values");
    let told = error.to_string();
    assert!(
        told.contains("can grow to 8400422 bytes, the limit is 8388608"),
        "{told}"
    );
}
