//! The fields of a record.

use std::borrow::Cow;
use std::fmt;

use eciton_engine::merge::{self, Latest};
use eciton_engine::{Datum, Encoding, Error, Key, Result, Store};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Digits that every float keeps.
const FLOAT_DIGITS: usize = 15;

/// One value of a record.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum RecordValue {
    Datum(Datum),
    /// JSON text that is no scalar, or a number with more digits than a scalar keeps.
    Json(String),
}

/// The values of a record beside its key.
#[derive(Debug, Default)]
pub(super) struct Values<'r> {
    /// Named ones.
    pub(super) members: Vec<(Cow<'r, str>, RecordValue)>,
    /// The value as a whole, where it is no object.
    pub(super) whole: Option<RecordValue>,
}

/// How the values of a store become fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordLayout {
    /// The columns of a merged store.
    Merged,
    /// One JSON value a record, which jobs upsert.
    Latest,
    Json,
    Bytes,
}

impl RecordLayout {
    pub(super) fn of(store: &Store) -> RecordLayout {
        let columns = &store.schema().columns;
        match store.schema().encoding {
            _ if Latest::is_only(columns) && store.is_merged() => RecordLayout::Latest,
            _ if store.is_merged() => RecordLayout::Merged,
            Encoding::Json => RecordLayout::Json,
            Encoding::Raw | Encoding::MessagePack => RecordLayout::Bytes,
        }
    }
}

/// Takes a value apart.
///
/// # Errors
/// [`Error::Corrupt`] for bytes that the store does not have, [`Error::Overflow`] for a sum beyond 64 bits.
pub(super) fn values<'r>(
    store: &'r Store,
    layout: RecordLayout,
    key: &Key,
    value: &'r [u8],
) -> Result<Values<'r>> {
    match layout {
        RecordLayout::Bytes => Ok(Values {
            whole: Some(RecordValue::Datum(Datum::Bytes(value.to_vec()))),
            ..Values::default()
        }),
        RecordLayout::Json => of_json(value).map_err(|why| no_json(store, key, why)),
        RecordLayout::Merged => {
            let read = merge::read(&store.schema().columns, key, value);
            let read = read.map_err(|error| of_store(store, error))?;
            let members = store.schema().columns.iter().zip(read);
            let member = |(column, (name, datum)): (&merge::Column, _)| {
                let cell = match datum {
                    Datum::Str(list) if column.operator.info().shows == merge::Shows::List => {
                        RecordValue::Json(list)
                    }
                    datum => RecordValue::Datum(datum),
                };
                (Cow::Borrowed(name), cell)
            };
            Ok(Values {
                members: members.map(member).collect(),
                whole: None,
            })
        }
        RecordLayout::Latest => {
            let read = merge::read(&store.schema().columns, key, value);
            let read = read.map_err(|error| of_store(store, error))?;
            match read.into_iter().next() {
                Some((_, Datum::Str(json))) => {
                    let parsed =
                        of_json(json.as_bytes()).map_err(|why| no_json(store, key, why))?;
                    let owned = parsed
                        .members
                        .into_iter()
                        .map(|(name, cell)| (Cow::Owned(name.into_owned()), cell));
                    Ok(Values {
                        members: owned.collect(),
                        whole: parsed.whole,
                    })
                }
                other => Ok(Values {
                    members: Vec::new(),
                    whole: other.map(|(_, datum)| RecordValue::Datum(datum)),
                }),
            }
        }
    }
}

/// Adds the store's name to an error about one of its records.
fn of_store(store: &Store, error: Error) -> Error {
    let name = store.name();
    match error {
        Error::Corrupt { object, detail } => Error::Corrupt {
            object: format!("{object} of store `{name}`"),
            detail,
        },
        Error::Overflow { what, key } => Error::Overflow {
            what: format!("{what} in store `{name}`"),
            key,
        },
        other => other,
    }
}

fn no_json(store: &Store, key: &Key, why: serde_json::Error) -> Error {
    let object = format!("record of key {key} of store `{}`", store.name());
    Error::corrupt(object, why.to_string())
}

fn of_json(bytes: &[u8]) -> serde_json::Result<Values<'_>> {
    let is_object = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let whole: &RawValue = serde_json::from_slice(bytes)?;
    if !is_object {
        return Ok(Values {
            members: Vec::new(),
            whole: Some(cell(whole.get())),
        });
    }
    let mut members =
        serde_json::Deserializer::from_str(whole.get()).deserialize_map(MembersVisitor)?;
    if let [(name, _)] = &members[..]
        && name.starts_with('$')
        && let Ok(datum) = Datum::parse_json(whole.get())
    {
        members.clear();
        return Ok(Values {
            members: Vec::new(),
            whole: Some(RecordValue::Datum(datum)),
        });
    }
    // Of a name twice the last one counts, as for whoever reads the value as JSON.
    let mut named: Vec<(Cow<'_, str>, RecordValue)> = Vec::with_capacity(members.len());
    for (name, value) in members {
        let cell = cell(value.get());
        match named.iter_mut().find(|(other, _)| *other == name) {
            Some((_, other)) => *other = cell,
            None => named.push((name, cell)),
        }
    }
    Ok(Values {
        members: named,
        whole: None,
    })
}

/// One JSON value.
fn cell(text: &str) -> RecordValue {
    let is_number = text.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    let is_fraction = is_number && text.contains(['.', 'e', 'E']);
    if is_fraction && significant(text) > FLOAT_DIGITS && !reads_back(text) {
        return RecordValue::Json(text.to_owned());
    }
    match Datum::parse_json(text) {
        Ok(datum) => RecordValue::Datum(datum),
        Err(_) => RecordValue::Json(text.to_owned()),
    }
}

/// Digits of a number without zeros before them and behind them.
fn significant(text: &str) -> usize {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    digits.trim_start_matches('0').trim_end_matches('0').len()
}

/// Whether the nearest float, written with as few digits as tell it, has the digits of the text.
fn reads_back(text: &str) -> bool {
    let digits = |text: &str| {
        let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
        let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
        digits
            .trim_start_matches('0')
            .trim_end_matches('0')
            .to_owned()
    };
    let float: Option<f64> = text.parse().ok();
    float.is_some_and(|float| digits(&format!("{float:e}")) == digits(text))
}

/// The members of an object, in their order.
struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            members.push((Cow::Owned(name), value));
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits() {
        assert_eq!(cell("1.5"), RecordValue::Datum(Datum::Float(1.5)));
        assert_eq!(cell("0.1"), RecordValue::Datum(Datum::Float(0.1)));
        assert_eq!(cell("1000000.000"), RecordValue::Datum(Datum::Float(1e6)));
        assert_eq!(
            cell("16.882510013351133"),
            RecordValue::Datum(Datum::Float(16.882_510_013_351_133))
        );
        for text in [
            "3.14159265358979323846",
            "18446744073709551616",
            "[1]",
            "{\"a\":1}",
        ] {
            assert_eq!(cell(text), RecordValue::Json(text.to_owned()));
        }
        assert_eq!(
            cell("18446744073709551615"),
            RecordValue::Datum(Datum::Int(u64::MAX.into()))
        );
        assert_eq!(
            cell("{\"$ts\":\"1970-01-01T00:00:00Z\"}"),
            RecordValue::Datum(Datum::Timestamp(0))
        );
    }
}
