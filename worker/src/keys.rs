//! Keys as people type them.

use eciton_engine::{Datum, Error, Key, Result, Store};

/// The key of a store that an argument means: JSON, or the string itself where it is no JSON, so that
/// `eciton get airlines AA` works. Text that begins like an array, an object or a string must be JSON:
/// there a slip is told instead of stored under a strange key.
///
/// # Errors
/// [`Error::Invalid`] for broken JSON and for JSON that is no key, [`Error::Limit`] for a key that is
/// too long.
pub(crate) fn parse(store: &Store, argument: &str) -> Result<Key> {
    parse_with(argument, |json| store.parse_key(json))
}

/// Refuses what is no key of any store, before anything is opened or made.
///
/// # Errors
/// As [`parse`].
pub(crate) fn check(argument: &str) -> Result<()> {
    parse_with(argument, Key::parse_json).map(drop)
}

fn parse_with(argument: &str, key: impl Fn(&str) -> Result<Key>) -> Result<Key> {
    let is_word = !argument.trim_start().starts_with(['[', '{', '"'])
        && serde_json::from_str::<serde::de::IgnoredAny>(argument).is_err();
    if is_word {
        return key(&Datum::Str(argument.to_owned()).to_json().to_string());
    }
    key(argument).map_err(|error| match error {
        Error::Invalid(why) => Error::Invalid(format!("{argument}: {why}")),
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(argument: &str) -> String {
        parse_with(argument, Key::parse_json).unwrap().to_string()
    }

    #[test]
    fn words_are_strings_and_json_is_json() {
        assert_eq!(json("AA"), "\"AA\"");
        assert_eq!(json("9E"), "\"9E\"");
        assert_eq!(json("2013-01-01"), "\"2013-01-01\"");
        assert_eq!(json(""), "\"\"");
        assert_eq!(json("17"), "17");
        assert_eq!(json("-17"), "-17");
        assert_eq!(json("\"17\""), "\"17\"");
        assert_eq!(json("null"), "null");
        assert_eq!(json("[\"AA\", 1]"), "[\"AA\",1]");
    }

    #[test]
    fn broken_json_is_refused() {
        for broken in ["[\"AA\",", "{\"a\":", "\"open", "[[1]]", "[1] 2"] {
            let error = parse_with(broken, Key::parse_json).unwrap_err();
            assert!(matches!(error, Error::Invalid(_)), "{broken}: {error:?}");
        }
    }
}
