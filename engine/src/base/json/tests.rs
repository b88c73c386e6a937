#![allow(clippy::float_cmp, reason = "texts name exact floats")]

use proptest::prelude::*;
use serde_json::json;

use super::timestamp;
use crate::base::error::Error;
use crate::base::key::testing::{datum, fields};
use crate::base::key::{Datum, Key};

fn reads(text: &str) -> Datum {
    Datum::parse_json(text).unwrap()
}

/// The key of `text`, which must print as `text` again.
fn stays(text: &str) -> Key {
    let key = Key::parse_json(text).unwrap();
    assert_eq!(key.to_string(), text);
    key
}

fn refused(text: &str) -> String {
    match Key::parse_json(text).unwrap_err() {
        Error::Invalid(why) => why,
        other => panic!("{text}: {other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn values_come_back_from_json(datum in datum()) {
        let text = datum.to_json().to_string();
        let back = Datum::parse_json(&text).unwrap();
        prop_assert_eq!(&back, &datum, "{}", text);
        // The text is canonical, trailing zeros of decimals included.
        prop_assert_eq!(back.to_json().to_string(), text);
    }

    #[test]
    fn keys_come_back_from_json(fields in fields()) {
        let key = Key::encode(&fields).unwrap();
        prop_assert_eq!(Key::parse_json(&key.to_string()).unwrap(), key.clone());
        prop_assert_eq!(Key::from_json(&key.to_json().unwrap()).unwrap(), key);
    }

    #[test]
    fn moments_come_back_from_text(micros in any::<i64>()) {
        prop_assert_eq!(timestamp::parse(&timestamp::format(micros)), Some(micros));
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>(), tag in "\\$(ts|bytes|uuid|dec|f64)") {
        drop(Key::parse_json(&text));
        drop(Datum::from_json(&json!({ tag: text })));
    }

    #[test]
    fn texts_like_moments_are_read_or_refused(text in "[-+]?[0-9]{4,6}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,7})?(Z|[-+][0-2][0-9]:?[0-5][0-9])") {
        if let Some(micros) = timestamp::parse(&text) {
            prop_assert_eq!(timestamp::parse(&timestamp::format(micros)), Some(micros));
        }
    }
}

#[test]
fn scalars_have_the_forms_of_the_documentation() {
    stays("null");
    stays("true");
    stays("1");
    stays("1.0");
    stays("-9223372036854775808");
    stays("18446744073709551615");
    stays("0.1");
    stays("\"AA \\\" -99999999999999999999\"");
    stays(r#"{"$ts":"2013-01-01T10:00:00Z"}"#);
    stays(r#"{"$bytes":"AP8="}"#);
    stays(r#"{"$uuid":"67e55044-10b1-426f-9247-bb680e5fe0c8"}"#);
    stays(r#"{"$dec":"12.3"}"#);
    stays(r#"{"$f64":"NaN"}"#);
    stays(r#"{"$f64":"Inf"}"#);
    stays(r#"{"$f64":"-Inf"}"#);
    stays("[]");
    stays(r#"["AA",1,null]"#);
    stays(r#"["AA",{"$desc":1},{"$desc":{"$ts":"2013-01-01T10:00:00Z"}}]"#);
}

#[test]
fn integers_and_floats_stay_apart() {
    assert!(matches!(reads("1"), Datum::Int(1)));
    assert!(matches!(reads("1.0"), Datum::Float(value) if value == 1.0));
    assert!(matches!(reads("1e2"), Datum::Float(value) if value == 100.0));
    assert!(matches!(reads("18446744073709551615"), Datum::Int(value) if value == u64::MAX.into()));
    // The parser must be exact: shortest texts of floats name exactly one float.
    let hard = 6.929_001_713_869_936e236;
    assert!(matches!(reads("6.929001713869936e236"), Datum::Float(value) if value == hard));
    assert_eq!(
        Datum::Int(i128::MAX).to_json(),
        json!({ "$dec": i128::MAX.to_string() })
    );
}

#[test]
fn integers_beyond_64_bits_are_refused() {
    for text in [
        "18446744073709551616",
        "[1,-9223372036854775809]",
        r#"["\"",1,-0]"#,
    ] {
        assert!(
            refused(text).contains("no integer of 64 bits"),
            "{}",
            refused(text)
        );
    }
    assert!(Key::parse_json("18446744073709551616.0").is_ok());
}

#[test]
fn a_tuple_of_one_is_its_field() {
    assert_eq!(
        Key::parse_json("[\"AA\"]").unwrap(),
        Key::parse_json("\"AA\"").unwrap()
    );
    assert_eq!(Key::parse_json("[\"AA\"]").unwrap().to_string(), "\"AA\"");
}

/// Years of seven digits were written and not read.
#[test]
fn the_first_and_the_last_day_come_back() {
    for days in [i32::MIN, -719_528, 0, 364_522_972, i32::MAX] {
        let text = timestamp::format_date(days);
        assert_eq!(timestamp::parse_date(&text), Some(days), "{text}");
    }
    for micros in [i64::MIN, i64::MAX] {
        let text = timestamp::format(micros);
        assert_eq!(timestamp::parse(&text), Some(micros), "{text}");
    }
}

#[test]
fn what_is_no_key_is_refused_with_a_reason() {
    assert_eq!(
        refused("AA"),
        "key `AA` is not JSON: expected value at line 1 column 1 \
         (text is written in double quotes, as in \"AA\")"
    );
    assert_eq!(
        refused(r#"["AA",[1]]"#),
        r#"field 2 of key ["AA",[1]]: expected a scalar, found the array [1]"#
    );
    assert!(refused(r#"{"a":1}"#).contains("found {\"a\":1}"));
    assert!(refused(r#"{"$ts":"2013-01-01T10:00:00Z","x":1}"#).contains("one member"));
    assert!(refused(r#"{"$ts":5}"#).starts_with("$ts is 5, expected a date"));
    assert!(refused(r#"{"$desc":{"$desc":1}}"#).contains("found {\"$desc\":1}"));
    assert!(refused(r#"{"$f64":"nan"}"#).contains("\"NaN\""));
    assert!(refused(r#"{"$bytes":"AP8"}"#).contains("base64"));
    assert!(refused(r#"{"$uuid":"67e55044-10b1-426f-9247-bb680e5fe0c"}"#).contains("hexadecimal"));
    assert!(refused(r#"{"$dec":"1."}"#).contains("decimal"));
}

#[test]
fn decimals_keep_their_zeros_outside_of_keys() {
    let print = |unscaled, scale| Datum::Decimal { unscaled, scale }.to_json()["$dec"].clone();
    assert_eq!(print(1230, 2), "12.30");
    assert_eq!(print(-5, 3), "-0.005");
    assert_eq!(print(0, 2), "0.00");
    assert_eq!(print(0, -2), "0");
    assert_eq!(print(12, -2), "1200");
    let parse = |text: &str| match reads(&json!({ "$dec": text }).to_string()) {
        Datum::Decimal { unscaled, scale } => (unscaled, scale),
        other => panic!("{other:?}"),
    };
    assert_eq!(parse("12.30"), (1230, 2));
    assert_eq!(parse("+1.5e3"), (1500, 0));
    assert_eq!(parse("-0.00"), (0, 2));
    assert_eq!(parse("1e-127"), (1, 127));
    assert_eq!(
        parse(&format!("1{}", "0".repeat(100))),
        (10i128.pow(38), -62)
    );
    assert_eq!(
        parse(&format!("0.5{}", "0".repeat(1_000_000))),
        (5 * 10i128.pow(37), 38)
    );
    let refused = |text: &str| Datum::from_json(&json!({ "$dec": text })).is_err();
    for text in [
        "", "-", ".5", "5.", "1e", "1e-128", "1e999999", "0x10", "1_000", "NaN", " 1",
    ] {
        assert!(refused(text), "{text}");
    }
    assert!(refused(&"9".repeat(40)));
}

#[test]
fn moments_are_read_with_offsets_and_fractions() {
    let cases = [
        ("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00Z"),
        (
            "1969-12-31t23:59:59.999999z",
            -1,
            "1969-12-31T23:59:59.999999Z",
        ),
        (
            "2013-01-01 10:00:00.250000000Z",
            1_357_034_400_250_000,
            "2013-01-01T10:00:00.25Z",
        ),
        (
            "2013-01-01T01:00:00+02:00",
            1_356_994_800_000_000,
            "2012-12-31T23:00:00Z",
        ),
        (
            "2000-02-29T00:00:00-0330",
            951_795_000_000_000,
            "2000-02-29T03:30:00Z",
        ),
        (
            "0000-03-01T00:00:00Z",
            -62_162_035_200_000_000,
            "0000-03-01T00:00:00Z",
        ),
        (
            "-0001-01-01T00:00:00Z",
            -62_198_755_200_000_000,
            "-0001-01-01T00:00:00Z",
        ),
        (
            "+12013-01-01T00:00:00Z",
            316_926_518_400_000_000,
            "+12013-01-01T00:00:00Z",
        ),
    ];
    for (text, micros, canonical) in cases {
        assert_eq!(timestamp::parse(text), Some(micros), "{text}");
        assert_eq!(timestamp::format(micros), canonical);
    }
    assert_eq!(
        timestamp::format(i64::MIN),
        "-290308-12-21T19:59:05.224192Z"
    );
    assert_eq!(
        timestamp::format(i64::MAX),
        "+294247-01-10T04:00:54.775807Z"
    );
}

/// Every day of 400 years, counted by hand.
#[test]
fn days_follow_the_calendar() {
    // 1600-01-01; the calendar repeats after 400 years.
    let mut micros = -11_676_096_000_000_000;
    for year in 1600..2000 {
        let leap = year % 4 == 0 && (year % 100 != 0 || year == 1600);
        let february = if leap { 29 } else { 28 };
        let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        for (month, days) in (1..).zip(months) {
            for day in 1..=days {
                let text = format!("{year}-{month:02}-{day:02}T00:00:00Z");
                assert_eq!(timestamp::format(micros), text);
                assert_eq!(timestamp::parse(&text), Some(micros), "{text}");
                micros += 86_400_000_000;
            }
        }
    }
    assert_eq!(micros, 946_684_800_000_000, "2000-01-01");
}

#[test]
fn what_is_no_moment_is_refused() {
    let texts = [
        "2013-01-01",
        "2013-01-01T10:00:00",
        "2013-01-01T10:00Z",
        "2013-02-29T10:00:00Z",
        "1900-02-29T10:00:00Z",
        "2013-13-01T10:00:00Z",
        "2013-00-01T10:00:00Z",
        "2013-01-00T10:00:00Z",
        "2013-01-01T24:00:00Z",
        "2013-01-01T10:00:60Z",
        "2013-01-01T10:00:00.Z",
        "2013-01-01T10:00:00.0000001Z",
        "2013-01-01T10:00:00+2:00",
        "2013-01-01T10:00:00Zx",
        "12013-01-01T00:00:00Z",
        "+294247-01-10T04:00:54.775808Z",
        "-290308-12-21T19:59:05.224191Z",
        "2013-01-01T1é:00:00Z",
    ];
    for text in texts {
        assert_eq!(timestamp::parse(text), None, "{text}");
    }
}

#[test]
fn bytes_that_are_no_key_print_in_hexadecimal() {
    assert_eq!(
        format!("{:?}", Key::from_encoded(vec![0x01, 0xff])),
        "Key(0x01ff)"
    );
}
