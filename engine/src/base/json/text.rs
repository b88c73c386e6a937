//! JSON text, with a check that the parser does not make.

use serde_json::Value;

use crate::base::error::{Error, Result};

/// Parses `text`. An integer that 64 bits do not hold is an error, where the parser alone would
/// quietly make it a float.
pub(super) fn parse(what: &str, text: &str) -> Result<Value> {
    let value = serde_json::from_str(text).map_err(|error| {
        let hint = "text is written in double quotes, as in \"AA\"";
        Error::Invalid(format!("{what} `{text}` is not JSON: {error} ({hint})"))
    })?;
    match integers(text).find(|integer| !fits(integer)) {
        None => Ok(value),
        Some(integer) => Err(Error::Invalid(format!(
            "{what} `{text}`: {integer} is no integer of 64 bits (a float has a point, as in 1.0)"
        ))),
    }
}

/// `-0` does not fit either: as an integer it is 0, as a float it is `-0.0`, and parsers disagree.
fn fits(integer: &str) -> bool {
    integer != "-0" && (integer.parse::<i64>().is_ok() || integer.parse::<u64>().is_ok())
}

/// The numbers of valid JSON that have neither point nor exponent.
fn integers(json: &str) -> impl Iterator<Item = &str> {
    let mut rest = json;
    let numbers = std::iter::from_fn(move || {
        loop {
            let start = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit())?;
            rest = &rest[start..];
            if rest.starts_with('"') {
                rest = after_string(rest);
                continue;
            }
            let part_of_number = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
            let len = rest.find(|c| !part_of_number(c)).unwrap_or(rest.len());
            let (number, tail) = rest.split_at(len);
            rest = tail;
            return Some(number);
        }
    });
    numbers.filter(|number| !number.contains(['.', 'e', 'E']))
}

/// What follows the string that `json` begins with.
fn after_string(json: &str) -> &str {
    let mut escaped = false;
    for (index, byte) in json.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return &json[index + 1..],
            _ => {}
        }
    }
    ""
}
