use std::cmp::Ordering;

use proptest::prelude::*;

use super::testing::{bytes, datum, decimal, direction, fields, float, int, text};
use super::{Datum, Direction, Key, KeyBuilder};
use crate::base::error::Error;
use crate::base::limits::KEY_LEN_MAX;

type Fields = Vec<(Datum, Direction)>;

fn key(datums: &[Datum]) -> Key {
    Key::from_datums(datums).unwrap()
}

fn decimal_of(unscaled: i128, scale: i8) -> Datum {
    Datum::Decimal { unscaled, scale }
}

/// A decimal as a sign and digits of fixed width: an order that shares nothing with the encoding.
fn plain_digits(unscaled: i128, scale: i8) -> (bool, String) {
    let digits = unscaled.unsigned_abs().to_string();
    let zeros_behind = usize::try_from(127 - i32::from(scale)).unwrap();
    (
        unscaled < 0,
        format!("{:0>400}", digits + &"0".repeat(zeros_behind)),
    )
}

fn order_of_decimals(a: (i128, i8), b: (i128, i8)) -> Ordering {
    match (plain_digits(a.0, a.1), plain_digits(b.0, b.1)) {
        ((false, a), (false, b)) => a.cmp(&b),
        ((true, a), (true, b)) => b.cmp(&a),
        ((true, _), (false, _)) => Ordering::Less,
        ((false, _), (true, _)) => Ordering::Greater,
    }
}

fn order_of_fields(a: &[(Datum, Direction)], b: &[(Datum, Direction)]) -> Ordering {
    for ((left, direction), (right, _)) in a.iter().zip(b) {
        let order = match direction {
            Direction::Ascending => left.cmp(right),
            Direction::Descending => right.cmp(left),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

/// Two tuples with the same directions, often with equal fields at the front.
fn comparable() -> impl Strategy<Value = (Fields, Fields)> {
    let column = prop_oneof![
        (datum(), datum()),
        (int(), int()),
        (float(), float()),
        (decimal(), decimal()),
        (text(), text()),
        (bytes(), bytes()),
        datum().prop_map(|datum| (datum.clone(), datum)),
    ];
    let columns = prop::collection::vec((column, direction()), 0..4);
    (columns, any::<prop::sample::Index>()).prop_map(|(columns, cut)| {
        let (left, mut right): (Vec<_>, Vec<_>) = columns
            .into_iter()
            .map(|((a, b), direction)| ((a, direction), (b, direction)))
            .unzip();
        if !right.is_empty() && cut.index(3) == 0 {
            right.truncate(cut.index(right.len()));
        }
        (left, right)
    })
}

/// Any bytes, or many of those that mean something.
fn like_a_key() -> impl Strategy<Value = Vec<u8>> {
    let meaning: Vec<u8> = (0..=2).chain(0x04..0x50).chain(0xb0..=255).collect();
    let meaning = prop::collection::vec(prop::sample::select(meaning), 0..8);
    prop_oneof![prop::collection::vec(any::<u8>(), 0..24), meaning]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_encoded_comes_back(fields in fields()) {
        let key = Key::encode(&fields).unwrap();
        let back: Vec<_> = key.fields().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(&back, &fields);
        prop_assert_eq!(Key::encode(&back).unwrap(), key.clone());
        prop_assert_eq!(Key::from_bytes(key.as_bytes().to_vec()).unwrap(), key);
    }

    #[test]
    fn bytes_are_ordered_as_values((a, b) in comparable()) {
        let (left, right) = (Key::encode(&a).unwrap(), Key::encode(&b).unwrap());
        prop_assert_eq!(left.cmp(&right), order_of_fields(&a, &b), "{:?} {:?}", left, right);
    }

    #[test]
    fn decimals_are_ordered_by_number(a in decimal(), b in decimal()) {
        let (Datum::Decimal { unscaled: m, scale: s }, Datum::Decimal { unscaled: n, scale: t }) =
            (&a, &b) else { unreachable!() };
        prop_assert_eq!(a.cmp(&b), order_of_decimals((*m, *s), (*n, *t)));
        let Datum::Decimal { unscaled, scale } = key(std::slice::from_ref(&a)).datums().unwrap()[0] else {
            unreachable!()
        };
        prop_assert_eq!(order_of_decimals((unscaled, scale), (*m, *s)), Ordering::Equal);
    }

    #[test]
    fn a_prefix_scan_finds_what_continues_the_tuple(a in fields(), b in fields()) {
        let (prefix, other) = (Key::encode(&a).unwrap(), Key::encode(&b).unwrap());
        let longer = Key::encode(&[a.clone(), b.clone()].concat()).unwrap();
        prop_assert!(longer.starts_with(&prefix));
        prop_assert!(longer >= prefix && longer.as_bytes() < &prefix.prefix_end()[..]);
        let continues = b.len() >= a.len() && b[..a.len()] == a[..];
        prop_assert_eq!(other.starts_with(&prefix), continues);
        let in_range = other >= prefix && other.as_bytes() < &prefix.prefix_end()[..];
        prop_assert_eq!(in_range, continues);
    }

    #[test]
    fn whatever_decodes_is_canonical(bytes in like_a_key()) {
        if let Ok(key) = Key::from_bytes(bytes.clone()) {
            let fields: Vec<_> = key.fields().collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(Key::encode(&fields).unwrap().into_bytes(), bytes.clone());
        }
        // Taking apart what nobody checked ends in an error at most.
        let _ = Key::from_encoded(bytes).to_string();
    }

    #[test]
    fn damaged_keys_are_canonical_or_errors(
        fields in fields(),
        at in any::<prop::sample::Index>(),
        flip in 1u8..,
    ) {
        let mut bytes = Key::encode(&fields).unwrap().as_bytes().to_vec();
        if bytes.is_empty() { return Ok(()); }
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(key) = Key::from_bytes(bytes.clone()) {
            let fields: Vec<_> = key.fields().collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(Key::encode(&fields).unwrap().into_bytes(), bytes);
        }
    }
}

#[test]
fn types_are_ordered_as_documented() {
    let ascending = [
        Datum::Null,
        false.into(),
        true.into(),
        i64::MIN.into(),
        (-256).into(),
        (-255).into(),
        (-1).into(),
        0.into(),
        1.into(),
        255.into(),
        256.into(),
        i64::MAX.into(),
        u64::MAX.into(),
        f64::NEG_INFINITY.into(),
        (-1.5).into(),
        0.0.into(),
        5e-324.into(),
        f64::INFINITY.into(),
        f64::NAN.into(),
        decimal_of(i128::MIN, -128),
        decimal_of(-1, 0),
        decimal_of(0, 0),
        decimal_of(1, 127),
        decimal_of(1229, 2),
        decimal_of(123, 1),
        decimal_of(1231, 2),
        decimal_of(13, 0),
        decimal_of(i128::MAX, -128),
        "".into(),
        "\0".into(),
        "A".into(),
        "AA".into(),
        "AA\0".into(),
        "AAB".into(),
        "é".into(),
        vec![].into(),
        vec![0].into(),
        vec![0, 0].into(),
        vec![1].into(),
        vec![0xff].into(),
        Datum::Uuid(0),
        Datum::Uuid(u128::MAX),
        Datum::Date(i32::MIN),
        Datum::Date(-1),
        Datum::Date(i32::MAX),
        Datum::Timestamp(i64::MIN),
        Datum::Timestamp(-1),
        Datum::Timestamp(i64::MAX),
    ];
    for pair in ascending.windows(2) {
        assert!(pair[0] < pair[1], "{pair:?}");
        assert!(key(&pair[..1]) < key(&pair[1..]), "{pair:?}");
    }
}

#[test]
fn equal_values_are_one_key() {
    assert_eq!(key(&[0.0.into()]), key(&[(-0.0).into()]));
    assert_eq!(
        key(&[f64::NAN.into()]),
        key(&[f64::from_bits(u64::MAX).into()])
    );
    assert_eq!(key(&[decimal_of(1230, 2)]), key(&[decimal_of(123, 1)]));
    assert_eq!(key(&[decimal_of(0, 5)]), key(&[decimal_of(0, 0)]));
    assert_eq!(key(&[decimal_of(12, -2)]), key(&[decimal_of(1200, 0)]));
    assert_ne!(key(&[1.into()]), key(&[1.0.into()]));
    assert_ne!(key(&[1.into()]), key(&[decimal_of(1, 0)]));
}

#[test]
fn bytes_are_as_the_format_document_says() {
    let hex = |fields: &[(Datum, Direction)]| {
        let bytes = Key::encode(fields).unwrap().into_bytes();
        bytes
            .iter()
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
    };
    let ascending = |datum: Datum| hex(&[(datum, Direction::Ascending)]);
    assert_eq!(ascending(Datum::Null), "04");
    assert_eq!(ascending(false.into()), "08");
    assert_eq!(ascending(true.into()), "09");
    assert_eq!(ascending(0.into()), "18");
    assert_eq!(ascending(2735.into()), "1a0aaf");
    assert_eq!(ascending((-1).into()), "17fe");
    assert_eq!(ascending(u64::MAX.into()), "20ffffffffffffffff");
    assert_eq!(ascending(1.0.into()), "28bff0000000000000");
    assert_eq!(ascending(f64::NAN.into()), "28fff8000000000000");
    assert_eq!(ascending(decimal_of(1230, 2)), "328002193c");
    assert_eq!(ascending(decimal_of(-1230, 2)), "307ffde6c3");
    assert_eq!(ascending(decimal_of(0, 3)), "31");
    assert_eq!(ascending("AA".into()), "40414100");
    assert_eq!(ascending(vec![0, 1, 2].into()), "44010101020200");
    assert_eq!(
        ascending(Datum::Uuid(1)),
        "4800000000000000000000000000000001"
    );
    assert_eq!(ascending(Datum::Date(0)), "4a80000000");
    assert_eq!(ascending(Datum::Date(-1)), "4a7fffffff");
    assert_eq!(ascending(Datum::Timestamp(0)), "4c8000000000000000");
    assert_eq!(hex(&[("AA".into(), Direction::Descending)]), "bfbebeff");
}

#[test]
fn limits_hold_at_their_edge() {
    let longest = "x".repeat(KEY_LEN_MAX - 2);
    assert_eq!(key(&[longest.as_str().into()]).len(), KEY_LEN_MAX);
    let error = Key::from_datums(&[(longest + "x").into()]).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Limit {
                got: 4097,
                max: 4096,
                ..
            }
        ),
        "{error}"
    );
    let error = Key::from_bytes(vec![0x04; KEY_LEN_MAX + 1]).unwrap_err();
    assert!(matches!(error, Error::Limit { .. }), "{error}");

    for beyond in [i128::from(u64::MAX) + 1, i128::from(i64::MIN) - 1] {
        let mut builder = KeyBuilder::new();
        let error = builder
            .push(&Datum::Int(beyond), Direction::Descending)
            .unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
        assert_eq!(builder.as_bytes(), b"");
    }
}

#[test]
fn a_builder_writes_what_datums_write() {
    let mut builder = KeyBuilder::new();
    builder.push_str("left over");
    builder.clear();
    builder.push_null();
    builder.push_bool(true);
    builder.push_i64(-7);
    builder.descending(|inner| inner.push_u64(7));
    builder.push_f64(1.5);
    builder.push_decimal(1230, 2);
    builder.push_str("AA");
    builder.push_bytes(&[0, 1]);
    builder.push_uuid(9);
    builder.push_timestamp(-1);
    let mut fields = [
        Datum::Null,
        true.into(),
        (-7).into(),
        7.into(),
        1.5.into(),
        decimal_of(1230, 2),
        "AA".into(),
        vec![0, 1].into(),
        Datum::Uuid(9),
        Datum::Timestamp(-1),
    ]
    .map(|datum| (datum, Direction::Ascending));
    fields[3].1 = Direction::Descending;
    assert_eq!(builder.to_key().unwrap(), Key::encode(&fields).unwrap());
}

#[test]
fn other_forms_of_a_value_are_damage() {
    let forms: [&[u8]; 17] = [
        &[0x19, 0x00],                                    // 0 in one byte
        &[0x1a, 0x00, 0x01],                              // 1 in two bytes
        &[0x16, 0xff, 0xfe],                              // -1 in two bytes
        &[0x10, 0x7f, 0, 0, 0, 0, 0, 0, 0],               // below i64
        &[0x28, 0x7f, 255, 255, 255, 255, 255, 255, 255], // -0.0
        &[0x28, 0xff, 0xf8, 0, 0, 0, 0, 0, 1],            // another NaN
        &[0x28, 0, 0, 0, 0, 0, 0, 0, 0],                  // a negative NaN
        &[0x32, 0x80, 0x01, 0x00],                        // no digit
        &[0x32, 0x80, 0x01, 0x02],                        // a leading zero
        &[0x32, 0x80, 0x01, 0x15, 0x00],                  // trailing zeros
        &[0x32, 0x80, 0x01, 0xc8],                        // a pair above 99
        &[0x32, 0xff, 0xff, 0x14],                        // an exponent out of range
        &[0x40, 0x01, 0x03, 0x00],                        // an unknown escape
        &[0x40, 0x01, 0x00],                              // half an escape
        &[0x40, 0xff, 0x00],                              // not UTF-8
        &[0x05],                                          // an unknown code
        &[0xff],                                          // the bound after every key
    ];
    for form in forms {
        let flipped: Vec<u8> = form.iter().map(|byte| !byte).collect();
        for bytes in [form.to_vec(), flipped] {
            let key = Key::from_bytes(bytes.clone());
            assert!(
                matches!(key, Err(Error::Corrupt { .. })),
                "{bytes:02x?} is {key:?}"
            );
        }
    }
}

#[test]
fn errors_say_where() {
    let bytes = [key(&["AA".into()]).as_bytes(), &[0x28, 1, 2]].concat();
    let error = Key::from_bytes(bytes).unwrap_err();
    assert_eq!(
        error.to_string(),
        "corrupt: key: the field at byte 4 is cut off"
    );
}
