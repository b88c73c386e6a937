//! Strategies for property tests: values of every type, the awkward ones often.

use proptest::prelude::*;

use super::{Datum, Direction};

/// Any value that a key holds.
pub(crate) fn datum() -> impl Strategy<Value = Datum> {
    prop_oneof![
        Just(Datum::Null),
        any::<bool>().prop_map(Datum::Bool),
        int(),
        float(),
        decimal(),
        text(),
        bytes(),
        any::<u128>().prop_map(Datum::Uuid),
        date(),
        timestamp(),
    ]
}

/// An integer, as often of one byte as of eight.
pub(crate) fn int() -> impl Strategy<Value = Datum> {
    let sizes = (any::<u64>(), 0u32..64, any::<bool>()).prop_map(|(bits, shift, negative)| {
        let magnitude = i128::from(bits >> shift);
        let value = if negative { -magnitude } else { magnitude };
        Datum::Int(value.max(i64::MIN.into()))
    });
    let edges = prop::sample::select(vec![
        0,
        -1,
        255,
        256,
        -255,
        -256,
        i128::from(i64::MIN),
        i128::from(i64::MAX),
        i128::from(i64::MAX) + 1,
        i128::from(u64::MAX),
    ]);
    prop_oneof![4 => sizes, 1 => edges.prop_map(Datum::Int)]
}

/// A float, NaN of any bits and infinities included.
pub(crate) fn float() -> impl Strategy<Value = Datum> {
    let edges = prop::sample::select(vec![
        0.0,
        -0.0,
        f64::NAN,
        -f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN_POSITIVE,
        5e-324,
        f64::MAX,
    ]);
    prop_oneof![
        any::<u64>().prop_map(|bits| Datum::Float(f64::from_bits(bits))),
        (-1000.0..1000.0).prop_map(Datum::Float),
        edges.prop_map(Datum::Float),
    ]
}

/// A decimal; often a near neighbour of another one, at another scale.
pub(crate) fn decimal() -> impl Strategy<Value = Datum> {
    let any_size =
        (any::<i128>(), 0u32..128, any::<i8>()).prop_map(|(bits, shift, scale)| Datum::Decimal {
            unscaled: bits >> shift,
            scale,
        });
    let near =
        (-130i128..130, 0u32..6, -4i8..4).prop_map(|(digits, zeros, scale)| Datum::Decimal {
            unscaled: digits * 10i128.pow(zeros),
            scale,
        });
    prop_oneof![1 => any_size, 2 => near]
}

/// Text; often with the characters that the encoding escapes.
pub(crate) fn text() -> impl Strategy<Value = Datum> {
    prop_oneof![
        any::<String>(),
        "[\u{0}\u{1}\u{2}a\u{ff}]{0,5}",
        "[ab]{0,3}"
    ]
    .prop_map(Datum::Str)
}

/// Bytes; often those that the encoding escapes.
pub(crate) fn bytes() -> impl Strategy<Value = Datum> {
    let awkward = prop::sample::select(vec![0x00, 0x01, 0x02, 0xfe, 0xff]);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::collection::vec(awkward, 0..6)
    ]
    .prop_map(Datum::Bytes)
}

/// Any moment, or one of our time.
pub(crate) fn timestamp() -> impl Strategy<Value = Datum> {
    prop_oneof![any::<i64>(), 0i64..2_000_000_000_000_000].prop_map(Datum::Timestamp)
}

/// Any day, or one of our time.
pub(crate) fn date() -> impl Strategy<Value = Datum> {
    prop_oneof![any::<i32>(), 0i32..30_000].prop_map(Datum::Date)
}

/// Either direction.
pub(crate) fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Ascending), Just(Direction::Descending)]
}

/// Up to four fields.
pub(crate) fn fields() -> impl Strategy<Value = Vec<(Datum, Direction)>> {
    prop::collection::vec((datum(), direction()), 0..5)
}
