//! Values between the command line and the engine.

use bytes::Bytes;
use eciton_engine::merge::{self, Latest};
use eciton_engine::{Datum, Encoding, Error, Key, Record, Store};
use serde::de::IgnoredAny;

use crate::failure::Failure;

/// Whether the store's records have columns of their own: they are merged, and not as whole records.
pub(crate) fn has_columns(store: &Store) -> bool {
    store.is_merged() && !Latest::is_only(&store.schema().columns)
}

/// Refuses to change a record of a store that jobs merge into, by a command of that name.
///
/// # Errors
/// [`Failure::Usage`].
pub(crate) fn refuse_merged(store: &Store, command: &str) -> Result<(), Failure> {
    if !has_columns(store) {
        return Ok(());
    }
    let name = store.name();
    Err(Failure::Usage(format!(
        "store `{name}` is merged: its records change by what jobs merge into them, not by {command}; `eciton job rm JOB \
         --with-results` removes a job with all of them"
    )))
}

/// The bytes to store for a value as typed.
///
/// # Errors
/// [`Error::Invalid`] where the store holds JSON and this is none.
pub(crate) fn encode(store: &Store, text: Vec<u8>) -> Result<Bytes, Error> {
    let name = store.name();
    match store.schema().encoding {
        Encoding::Raw => Ok(text.into()),
        Encoding::Json => compact(&text).map(Bytes::from).map_err(|why| {
            let hint = "expected JSON, in which a string has its quotes";
            Error::Invalid(format!("value for store `{name}`: {hint}: {why}"))
        }),
        Encoding::MessagePack => Err(Error::Invalid(format!(
            "store `{name}` holds MessagePack, which only programs write"
        ))),
    }
}

/// The value of a record as one line of JSON. What is not JSON shows as `{"$bytes":...}`.
///
/// # Errors
/// [`Error::Corrupt`] where the bytes are not what the store's schema says, [`Error::Overflow`] where a
/// sum has grown beyond 64 bits.
pub(crate) fn json(store: &Store, key: &Key, value: &Bytes) -> Result<String, Error> {
    if store.is_merged() {
        let columns = &store.schema().columns;
        let object = merge::read_json(columns, key, value).map_err(|error| of(store, error))?;
        return Ok(object.to_string());
    }
    match store.schema().encoding {
        Encoding::Json => compact(value)
            .map_err(|why| of(store, Error::corrupt(format!("record of key {key}"), why))),
        Encoding::Raw | Encoding::MessagePack => {
            Ok(Datum::Bytes(value.to_vec()).to_json().to_string())
        }
    }
}

/// The values of a merged record, in the order of the store's columns.
///
/// # Errors
/// As [`json`].
pub(crate) fn merged(store: &Store, key: &Key, value: &Bytes) -> Result<Vec<Datum>, Error> {
    let read = merge::read(&store.schema().columns, key, value);
    let read = read.map_err(|error| of(store, error))?;
    Ok(read.into_iter().map(|(_, datum)| datum).collect())
}

/// Adds the store's name to an error about one of its records.
fn of(store: &Store, error: Error) -> Error {
    match error {
        Error::Corrupt { object, detail } => Error::Corrupt {
            object: format!("{object} of store `{}`", store.name()),
            detail,
        },
        Error::Overflow { what, key } => Error::Overflow {
            what: format!("{what} in store `{}`", store.name()),
            key,
        },
        other => other,
    }
}

/// A record as one line of JSON: `{"key":...,"value":...}`, the key alone if `keys_only`.
///
/// # Errors
/// As [`json`].
pub(crate) fn record_json(
    store: &Store,
    record: &Record,
    keys_only: bool,
) -> Result<String, Error> {
    let key = store.key_to_json(&record.key)?;
    if keys_only {
        return Ok(format!("{{\"key\":{key}}}"));
    }
    let value = json(store, &record.key, &record.value)?;
    Ok(format!("{{\"key\":{key},\"value\":{value}}}"))
}

/// The same JSON without the spaces between its parts. Numbers and strings stay as they were written:
/// nothing is rounded and no member is moved.
fn compact(bytes: &[u8]) -> std::result::Result<String, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| error.to_string())?;
    let mut compact = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in text.chars() {
        if in_string {
            (in_string, escaped) = match c {
                _ if escaped => (true, false),
                '\\' => (true, true),
                '"' => (false, false),
                _ => (true, false),
            };
        } else if c.is_ascii_whitespace() {
            continue;
        } else {
            in_string = c == '"';
        }
        compact.push(c);
    }
    Ok(compact)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compacted(text: &str) -> String {
        compact(text.as_bytes()).unwrap()
    }

    #[test]
    fn compacting_keeps_strings_numbers_and_order() {
        let text = " { \"b\" : [ 1.50 , 18446744073709551616 ] ,\n\t\"a\" : \"x \\\" y\\\\\" , \"c\":\" \" } ";
        let expected = r#"{"b":[1.50,18446744073709551616],"a":"x \" y\\","c":" "}"#;
        assert_eq!(compacted(text), expected);
        assert_eq!(compacted(expected), expected);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "hello", "{\"a\":}", "1 2", "[1,]", "\"\u{1}\""] {
            assert!(compact(text.as_bytes()).is_err(), "{text:?} passed");
        }
        assert!(compact(b"\"\xff\"").is_err());
    }
}
