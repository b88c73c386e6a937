//! Values as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Number, Value};

use super::{text, timestamp, uuid};
use crate::base::error::{Error, Result};
use crate::base::key::{Datum, decimal};

impl Datum {
    /// This value as JSON; [`Datum::from_json`] gives an equal one back. An integer beyond 64 bits,
    /// which no key holds, is written as a decimal.
    pub fn to_json(&self) -> Value {
        match self {
            Datum::Null => Value::Null,
            Datum::Bool(value) => Value::Bool(*value),
            Datum::Int(value) => match Number::from_i128(*value) {
                Some(number) => Value::Number(number),
                None => tagged("$dec", value.to_string()),
            },
            Datum::Float(value) => match Number::from_f64(*value) {
                Some(number) => Value::Number(number),
                None => tagged("$f64", name_of_f64(*value).to_owned()),
            },
            Datum::Decimal { unscaled, scale } => {
                tagged("$dec", decimal::format(*unscaled, *scale))
            }
            Datum::Str(value) => Value::String(value.clone()),
            Datum::Bytes(value) => tagged("$bytes", BASE64.encode(value)),
            Datum::Uuid(value) => tagged("$uuid", uuid::format(*value)),
            Datum::Date(days) => tagged("$date", timestamp::format_date(*days)),
            Datum::Timestamp(micros) => tagged("$ts", timestamp::format(*micros)),
        }
    }

    /// The value that `json` is. A number with a point or an exponent is a float; so is, since the
    /// parser made it one, an integer beyond 64 bits: [`Datum::parse_json`] refuses those.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an array, for an object that is none of the forms, and for a form whose
    /// text is not what it should be.
    pub fn from_json(json: &Value) -> Result<Datum> {
        match json {
            Value::Null => Ok(Datum::Null),
            Value::Bool(value) => Ok(Datum::Bool(*value)),
            Value::Number(number) => from_number(number),
            Value::String(value) => Ok(Datum::Str(value.clone())),
            Value::Array(_) => Err(Error::Invalid(format!(
                "expected a scalar, found the array {json}"
            ))),
            Value::Object(members) => match single(members) {
                Some((tag, value)) => from_tagged(tag, value),
                None => Err(unknown_form(json)),
            },
        }
    }

    /// The value that a JSON text is.
    ///
    /// # Errors
    /// As [`Datum::from_json`]; also for what is not JSON, and for an integer beyond 64 bits.
    pub fn parse_json(json: &str) -> Result<Datum> {
        Datum::from_json(&text::parse("value", json)?)
    }
}

/// The only member of an object.
pub(super) fn single(members: &Map<String, Value>) -> Option<(&str, &Value)> {
    let mut iter = members.iter();
    match (iter.next(), iter.next()) {
        (Some((tag, value)), None) => Some((tag, value)),
        _ => None,
    }
}

/// An object of one member.
pub(super) fn tagged(tag: &str, value: impl Into<Value>) -> Value {
    Value::Object(Map::from_iter([(tag.to_owned(), value.into())]))
}

fn from_number(number: &Number) -> Result<Datum> {
    if let Some(value) = number.as_i128() {
        return Ok(Datum::Int(value));
    }
    let float = number.as_f64().filter(|value| value.is_finite());
    float.map(Datum::Float).ok_or_else(|| {
        Error::Invalid(format!(
            "number {number} is neither an integer of 64 bits nor a float"
        ))
    })
}

fn from_tagged(tag: &str, value: &Value) -> Result<Datum> {
    let expected = match tag {
        "$date" => "a date, as in \"2013-01-01\"",
        "$ts" => "a date, a time and an offset, to the microsecond, as in \"2013-01-01T10:00:00Z\"",
        "$bytes" => "base64 with padding, as in \"AP8=\"",
        "$uuid" => "32 hexadecimal digits, as in \"67e55044-10b1-426f-9247-bb680e5fe0c8\"",
        "$dec" => "a decimal of at most 38 digits, as in \"12.30\"",
        "$f64" => "\"NaN\", \"Inf\" or \"-Inf\"",
        _ => return Err(unknown_form(&tagged(tag, value.clone()))),
    };
    let datum = value.as_str().and_then(|text| match tag {
        "$date" => timestamp::parse_date(text).map(Datum::Date),
        "$ts" => timestamp::parse(text).map(Datum::Timestamp),
        "$bytes" => BASE64.decode(text).ok().map(Datum::Bytes),
        "$uuid" => uuid::parse(text).map(Datum::Uuid),
        "$dec" => decimal::parse(text).map(|(unscaled, scale)| Datum::Decimal { unscaled, scale }),
        _ => f64_of_name(text).map(Datum::Float),
    });
    datum.ok_or_else(|| Error::Invalid(format!("{tag} is {value}, expected {expected}")))
}

fn unknown_form(json: &Value) -> Error {
    Error::Invalid(format!(
        "expected a scalar or an object of one member $date, $ts, $bytes, $uuid, $dec or $f64, found {json}"
    ))
}

fn name_of_f64(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Inf"
    } else {
        "-Inf"
    }
}

fn f64_of_name(name: &str) -> Option<f64> {
    match name {
        "NaN" => Some(f64::NAN),
        "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}
