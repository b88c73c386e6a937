//! Keys from Rust types: the order of the bytes is the order of the type, everything comes back, and JSON
//! gives the same bytes.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use eciton_engine::base::{Blob, Datum, Decimal, Desc, Direction, Error, Key, Timestamp, Uuid};
use eciton_engine::db::{Db, Options, StoreSchema};
use eciton_engine::storage::MemoryStorage;
use futures::executor::block_on;
use proptest::prelude::*;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Cabin {
    First,
    Business,
    Economy,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Leg(i16, char);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Inner {
    flag: bool,
    at: Desc<Timestamp>,
    unit: (),
}

/// Every type that a key holds, ascending and descending, in structs within structs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Row {
    carrier: Desc<Option<String>>,
    number: Option<i64>,
    inner: Inner,
    cabin: Cabin,
    legs: Desc<(Leg, Desc<u64>)>,
    id: Uuid,
    price: Desc<Decimal>,
    maybe: Option<Desc<u8>>,
    blob: Blob,
}

/// Few values of each, so that rows often differ in a late field alone.
fn few<T: Clone + std::fmt::Debug + 'static>(values: &[T]) -> BoxedStrategy<T> {
    prop::sample::select(values.to_vec()).boxed()
}

fn row() -> impl Strategy<Value = Row> {
    let text = few(&["", "A", "AA", "AAB", "\u{0}", "\u{1}", "ß", "\u{10ffff}"]);
    let decimal = few(&[
        (0, 0),
        (1230, 2),
        (123, 1),
        (-5, 0),
        (-51, 1),
        (i128::MAX, 5),
    ]);
    let first = (
        prop::option::of(text.clone()),
        prop::option::of(few(&[0, 1, -1, 255, 256, i64::MIN, i64::MAX])),
        any::<bool>(),
        few(&[0, 1, -1, i64::MAX, i64::MIN]),
        few(&[Cabin::First, Cabin::Business, Cabin::Economy]),
    );
    let second = (
        (few(&[0, -300, 300]), few(&['\0', 'x', '\u{10ffff}'])),
        few(&[0, 1, u64::MAX]),
        few(&[0, 1, u128::MAX]),
        decimal,
        prop::option::of(few(&[0, 1, 255])),
        prop::collection::vec(few(&[0u8, 1, 2, 255]), 0..3),
    );
    (first, second).prop_map(|((carrier, number, flag, at, cabin), second)| {
        let ((leg, letter), count, id, (unscaled, scale), maybe, blob) = second;
        Row {
            carrier: Desc(carrier.map(str::to_owned)),
            number,
            inner: Inner {
                flag,
                at: Desc(Timestamp(at)),
                unit: (),
            },
            cabin,
            legs: Desc((Leg(leg, letter), Desc(count))),
            id: Uuid(id),
            price: Desc(Decimal { unscaled, scale }),
            maybe: maybe.map(Desc),
            blob: Blob(blob),
        }
    })
}

type Plain = (Option<i32>, String, bool, u8);

fn plain() -> impl Strategy<Value = Plain> {
    let number = prop::option::of(few(&[0, 1, -1, i32::MAX]));
    let text = few(&["", "a", "ab", "\u{0}"]).prop_map(str::to_owned);
    (number, text, any::<bool>(), few(&[0, 1]))
}

fn order() -> impl Strategy<Value = Vec<Direction>> {
    prop::collection::vec(few(&[Direction::Ascending, Direction::Descending]), 0..6)
}

/// How tuples compare in these directions.
fn compare(a: &Plain, b: &Plain, order: &[Direction]) -> std::cmp::Ordering {
    let fields = [a.0.cmp(&b.0), a.1.cmp(&b.1), a.2.cmp(&b.2), a.3.cmp(&b.3)];
    let turned = fields.into_iter().enumerate().map(|(index, ordering)| {
        if order.get(index) == Some(&Direction::Descending) {
            ordering.reverse()
        } else {
            ordering
        }
    });
    turned.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn bytes_are_ordered_as_the_type_and_come_back((a, b) in (row(), row())) {
        let (left, right) = (Key::from_struct(&a).unwrap(), Key::from_struct(&b).unwrap());
        prop_assert_eq!(left.cmp(&right), a.cmp(&b), "{} {}", left, right);
        prop_assert_eq!(left.to_struct::<Row>().unwrap(), a);
        prop_assert_eq!(Key::from_json(&left.to_json().unwrap()).unwrap(), left);
    }

    #[test]
    fn a_late_difference_counts_too(a in row(), b in row()) {
        let b = Row { price: b.price, maybe: b.maybe, blob: b.blob, ..a.clone() };
        let (left, right) = (Key::from_struct(&a).unwrap(), Key::from_struct(&b).unwrap());
        prop_assert_eq!(left.cmp(&right), a.cmp(&b), "{} {}", left, right);
    }

    #[test]
    fn a_row_is_the_same_as_json_value(row in row()) {
        let json = serde_json::to_string(&row).unwrap();
        prop_assert_eq!(serde_json::from_str::<Row>(&json).unwrap(), row);
    }

    #[test]
    fn declared_directions_order_keys_of_every_origin(a in plain(), b in plain(), order in order()) {
        let key = |row: &Plain| Key::from_struct_ordered(row, &order).unwrap();
        prop_assert_eq!(key(&a).cmp(&key(&b)), compare(&a, &b, &order));
        prop_assert_eq!(key(&a).to_struct_ordered::<Plain>(&order).unwrap(), a.clone());
        // The array that a person types, without a word of directions.
        let json = serde_json::to_value(&a).unwrap();
        prop_assert_eq!(Key::from_json_ordered(&json, &order).unwrap(), key(&a));
        prop_assert_eq!(key(&a).to_json_ordered(&order).unwrap(), json);
        prop_assert_eq!(Key::from_json(&key(&a).to_json().unwrap()).unwrap(), key(&a));
    }

    #[test]
    fn any_key_read_as_any_type_is_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..40), a in row()) {
        if let Ok(row) = Key::from_encoded(bytes.clone()).to_struct::<Row>() {
            let key = Key::from_struct(&row).unwrap();
            prop_assert_eq!(key.as_bytes(), &bytes[..]);
        }
        let key = Key::from_struct(&a).unwrap();
        prop_assert!(key.to_struct::<Plain>().is_err());
        prop_assert!(key.to_struct::<Inner>().is_err());
    }
}

fn refused<T: Serialize>(value: &T) -> (&'static str, String) {
    match Key::from_struct(value).unwrap_err() {
        Error::KeyType { type_name, why } => (type_name, why),
        other => panic!("{other}"),
    }
}

#[derive(Serialize)]
struct Bad<T> {
    number: u8,
    inner: Wrapped<T>,
}

#[derive(Serialize)]
struct Wrapped<T> {
    field: T,
}

fn bad<T>(field: T) -> Bad<T> {
    let inner = Wrapped { field };
    Bad { number: 1, inner }
}

#[derive(Serialize)]
enum Loaded {
    One(u8),
    Two(u8, u8),
    Named { x: u8 },
}

#[test]
fn what_no_key_holds_is_refused_with_the_type_and_the_field() {
    let map: BTreeMap<u8, u8> = BTreeMap::new();
    let (name, why) = refused(&bad(map));
    assert!(
        name.contains("keys::Bad<") && name.contains("BTreeMap"),
        "{name}"
    );
    assert_eq!(why, "field inner.field: a map cannot be part of a key");
    assert!(
        refused(&bad(vec![1]))
            .1
            .contains("field inner.field: a list of any length")
    );
    for (value, variant) in [
        (Loaded::One(1), "One"),
        (Loaded::Two(1, 2), "Two"),
        (Loaded::Named { x: 1 }, "Named"),
    ] {
        let why = refused(&bad(value)).1;
        assert!(
            why.contains(&format!("the variant Loaded::{variant}")),
            "{why}"
        );
    }
    assert!(
        refused(&Some((1, 2)))
            .1
            .contains("an Option of anything but a single field")
    );
    assert!(refused(&Some(None::<u8>)).1.contains("an Option"));
    assert!(refused(&Some(())).1.contains("an Option"));
    assert!(refused(&u128::MAX).1.contains("beyond 64 bits"));
    assert!(refused(&i128::MIN).1.contains("beyond 64 bits"));
    let error = Key::from_struct(&"x".repeat(5000)).unwrap_err();
    assert!(matches!(error, Error::Limit { .. }), "{error}");
}

fn misread<T: DeserializeOwned + std::fmt::Debug>(json: &str) -> String {
    let error = Key::parse_json(json).unwrap().to_struct::<T>().unwrap_err();
    assert!(matches!(error, Error::KeyType { .. }), "{error:?}");
    error.to_string()
}

#[test]
fn a_key_of_another_type_is_refused_with_what_differs() {
    assert!(misread::<(u8, u8)>("[1]").contains("no more fields"));
    assert!(misread::<(u8, u8)>("[1,2,3]").contains("1 more fields"));
    assert!(misread::<u8>("300").contains("300"));
    assert!(misread::<u8>("\"a\"").contains("string"));
    assert!(misread::<Timestamp>("1").contains("expected a Timestamp, found int"));
    assert!(misread::<u64>(r#"{"$ts":"2013-01-01T10:00:00Z"}"#).contains("timestamp"));
    assert!(misread::<Desc<u8>>("1").contains("Ascending"));
    assert!(misread::<u8>(r#"{"$desc":1}"#).contains("Descending"));
    assert!(misread::<Cabin>("3").contains("Cabin") || misread::<Cabin>("3").contains("variant"));
    assert!(misread::<Inner>("[true,1]").contains("field at:"));
    assert!(misread::<BTreeMap<u8, u8>>("1").contains("a map"));
    assert!(misread::<Vec<u8>>("1").contains("a list"));
}

#[test]
fn scalars_are_the_fields_that_they_look_like() {
    let as_json = |key: Key| key.to_string();
    assert_eq!(as_json(Key::from_struct(&1.5f32).unwrap()), "1.5");
    assert_eq!(as_json(Key::from_struct(&"a").unwrap()), "\"a\"");
    assert_eq!(as_json(Key::from_struct(&Cabin::Economy).unwrap()), "2");
    assert_eq!(as_json(Key::from_struct(&()).unwrap()), "[]");
    let uuid = Key::from_struct(&Uuid(7)).unwrap();
    assert_eq!(uuid, Key::from_datums(&[Datum::Uuid(7)]).unwrap());
    let decimal = Decimal {
        unscaled: 1230,
        scale: 2,
    };
    assert_eq!(
        as_json(Key::from_struct(&decimal).unwrap()),
        r#"{"$dec":"12.3"}"#
    );
    assert_eq!(
        serde_json::to_string(&decimal).unwrap(),
        r#"{"$dec":"12.30"}"#
    );
    let nan: f64 = Key::from_struct(&f64::NAN).unwrap().to_struct().unwrap();
    assert!(nan.is_nan());
}

#[test]
fn a_store_keeps_its_directions_for_every_reader() {
    block_on(async {
        let storage = MemoryStorage::new();
        let open = || {
            let (environment, _) = crate::support::environment(1);
            Db::open_storage(Arc::new(storage.clone()), Options::default(), environment)
        };
        let schema = StoreSchema {
            key_order: vec![Direction::Ascending, Direction::Descending],
            ..StoreSchema::default()
        };
        let db = open().await.unwrap();
        let created = db.create_store("flights", schema.clone()).await.unwrap();
        let typed = created.key(&("AA", 7, 1)).unwrap();
        db.close().await.unwrap();
        let db = open().await.unwrap();
        let store = db.store("flights").await.unwrap().unwrap();
        assert_eq!(store.schema(), &schema);
        assert_eq!(store.parse_key("[\"AA\",7,1]").unwrap(), typed);
        assert_eq!(store.parse_key("[\"AA\",{\"$desc\":7},1]").unwrap(), typed);
        assert_eq!(store.key(&("AA", Desc(7), 1)).unwrap(), typed);
        assert_eq!(
            store.key_to_json(&typed).unwrap().to_string(),
            "[\"AA\",7,1]"
        );
        assert_eq!(typed.to_string(), "[\"AA\",{\"$desc\":7},1]");
        let back: (String, u8, u8) = store.read_key(&typed).unwrap();
        assert_eq!(back, ("AA".to_owned(), 7, 1));
        assert!(store.key(&("AA", 8, 1)).unwrap() < typed);
        // What is ascending there cannot be turned round by one writer.
        assert!(matches!(
            store.key(&(Desc("AA"), 7)),
            Err(Error::KeyType { .. })
        ));
        assert!(matches!(
            store.parse_key("[{\"$desc\":1}]"),
            Err(Error::Invalid(_))
        ));
        // The same directions spelled out are the same store, others are not.
        let spelled = |last| StoreSchema {
            key_order: vec![Direction::Ascending, Direction::Descending, last],
            ..StoreSchema::default()
        };
        db.create_store("flights", spelled(Direction::Ascending))
            .await
            .unwrap();
        let error = db
            .create_store("flights", spelled(Direction::Descending))
            .await;
        assert!(matches!(error, Err(Error::StoreDiffers { .. })));
    });
}
