use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
    TimestampSecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use eciton_engine::Key;
use eciton_engine::merge::{self, Operand};
use eciton_proto::v1::UpsertSpec;
use proptest::prelude::*;

use super::*;

fn spec(key: &[&str]) -> UpsertSpec {
    UpsertSpec {
        store: "s".into(),
        key: key.iter().map(ToString::to_string).collect(),
        into_existing: false,
        version: String::new(),
    }
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)))
        .unwrap()
}

/// Merges operands as a store does, and reads every record as JSON.
fn read(
    upsert: &Upsert,
    operands: impl IntoIterator<Item = (Key, Operand)>,
) -> BTreeMap<String, String> {
    let columns = upsert.store_schema().columns;
    let mut records: BTreeMap<Key, Vec<u8>> = BTreeMap::new();
    for (key, operand) in operands {
        merge::check(&columns, &operand).unwrap();
        let bytes = operand.as_bytes().to_vec();
        records
            .entry(key)
            .and_modify(|old| *old = merge::merge(old, &bytes))
            .or_insert(bytes);
    }
    let json =
        |key: &Key, record: &Vec<u8>| merge::read_json(&columns, key, record).unwrap().to_string();
    records
        .iter()
        .map(|(key, record)| (key.to_string(), json(key, record)))
        .collect()
}

#[test]
fn a_row_becomes_a_record_of_the_other_columns() {
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None]);
    let inner = StructArray::from(vec![(
        Arc::new(Field::new("x y", DataType::Int64, true)),
        Arc::new(Int64Array::from(vec![7, 8])) as ArrayRef,
    )]);
    let rows = batch(vec![
        (
            "name",
            Arc::new(StringArray::from(vec![Some("a\"b\u{1}"), None])),
        ),
        ("id", Arc::new(Int64Array::from(vec![1, 2]))),
        ("share", Arc::new(Float64Array::from(vec![0.1, f64::NAN]))),
        (
            "at",
            Arc::new(TimestampSecondArray::from(vec![Some(1_357_034_400), None])),
        ),
        ("list", Arc::new(list)),
        ("inner", Arc::new(inner)),
    ]);
    let upsert = Upsert::plan(&spec(&["id"]), &rows.schema()).unwrap();
    let mut upserter = upsert.start(1, 0);
    upserter.push(&rows).unwrap();
    let records = read(&upsert, upserter.take().unwrap());
    assert_eq!(
        records["1"],
        r#"{"name":"a\"b\u0001","share":0.1,"at":{"$ts":"2013-01-01T10:00:00Z"},"list":[1,null],"inner":{"x y":7}}"#
    );
    assert_eq!(
        records["2"],
        r#"{"name":null,"share":{"$f64":"NaN"},"at":null,"list":null,"inner":{"x y":8}}"#
    );
}

#[test]
fn only_key_columns_leave_an_empty_object() {
    let rows = batch(vec![("id", Arc::new(Int64Array::from(vec![3])))]);
    let upsert = Upsert::plan(&spec(&["id"]), &rows.schema()).unwrap();
    let mut upserter = upsert.start(1, 0);
    upserter.push(&rows).unwrap();
    assert_eq!(read(&upsert, upserter.take().unwrap())["3"], "{}");
}

#[test]
fn bad_plans_name_the_column() {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("gap", DataType::Duration(TimeUnit::Second), true),
    ]);
    let message = |key: &[&str]| Upsert::plan(&spec(key), &schema).err().unwrap().to_string();
    assert!(
        message(&["id"]).starts_with("column `gap` of type Duration(s) has no form as a value")
    );
    assert_eq!(
        message(&["ids"]),
        "no column `ids`: did you mean `id`? expected one of `id`, `gap`"
    );
}

#[test]
fn a_value_beyond_the_limit_fails_with_its_row() {
    let long: ArrayRef = Arc::new(StringArray::from(vec!["a".to_owned(), "b".repeat(8 << 20)]));
    let rows = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2]))),
        ("long", long),
    ]);
    let upsert = Upsert::plan(&spec(&["id"]), &rows.schema()).unwrap();
    let message = upsert.start(1, 0).push(&rows).unwrap_err().to_string();
    assert!(
        message.starts_with("the value of output row 1 is 83886"),
        "{message}"
    );
}

proptest! {
    /// Jobs, shards and batches are merged in any order: what stays is the last row in the order of
    /// jobs, shards and rows.
    #[test]
    fn the_last_row_stays_in_any_order(
        shards in prop::collection::vec((1u64..3, prop::collection::vec(0i64..4, 0..12)), 1..6),
        cut in any::<prop::sample::Index>(),
        order in any::<prop::sample::Index>(),
    ) {
        let schema = Schema::new(vec![Field::new("id", DataType::Int64, true), Field::new("n", DataType::Int64, true)]);
        let upsert = Upsert::plan(&spec(&["id"]), &schema).unwrap();
        let mut operands = Vec::new();
        let mut expected: BTreeMap<i64, ((u64, u64), i64)> = BTreeMap::new();
        let mut n = 0;
        for (shard, (job, ids)) in shards.iter().enumerate() {
            let place = (*job, shard as u64);
            let mut upserter = upsert.start(place.0, place.1);
            let (first, rest) = ids.split_at(cut.index(ids.len() + 1));
            for (part, take) in [(first, true), (rest, false)] {
                let numbers: Vec<i64> = part.iter().map(|_| { n += 1; n }).collect();
                for (id, number) in part.iter().zip(&numbers) {
                    let old = expected.get(id).map(|(place, _)| *place);
                    if old.is_none_or(|old| old <= place) {
                        expected.insert(*id, (place, *number));
                    }
                }
                let rows = batch(vec![("id", Arc::new(Int64Array::from(part.to_vec()))), ("n", Arc::new(Int64Array::from(numbers)))]);
                upserter.push(&rows).unwrap();
                if take {
                    operands.extend(upserter.take().unwrap());
                }
            }
            operands.extend(upserter.take().unwrap());
        }
        if !operands.is_empty() {
            let middle = order.index(operands.len());
            operands.rotate_left(middle);
        }
        let expected: BTreeMap<String, String> =
            expected.iter().map(|(id, (_, n))| (id.to_string(), format!(r#"{{"n":{n}}}"#))).collect();
        prop_assert_eq!(read(&upsert, operands), expected);
    }
}

#[test]
fn a_nested_value_that_does_not_fit_is_named_with_its_place() {
    use arrow::array::TimestampNanosecondArray;
    let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_000, 1_001]));
    let field = |name: &str, array: &ArrayRef| {
        let field = Field::new(name, array.data_type().clone(), true);
        (Arc::new(field), Arc::clone(array))
    };
    let inner: ArrayRef = Arc::new(StructArray::from(vec![field("t", &nanos)]));
    let outer: ArrayRef = Arc::new(StructArray::from(vec![field("w", &inner)]));
    for (value, place) in [(&nanos, "v"), (&inner, "v.t"), (&outer, "v.w.t")] {
        let rows = batch(vec![
            ("k", Arc::new(Int64Array::from(vec![1, 2]))),
            ("v", Arc::clone(value)),
        ]);
        let error = JsonColumn::read("v", rows.column(1)).err().unwrap();
        assert_eq!((error.column.as_str(), error.row), (place, Some(1)));
    }
}
