//! Keys as people type them.

use eciton_engine::base::{Datum, Error, Key, Result};

/// The key that an argument means: JSON, or the string itself where it is no JSON, so that
/// `eciton get airlines AA` works. Text that begins like an array, an object or a string must be JSON:
/// there a slip is told instead of stored under a strange key.
///
/// # Errors
/// [`Error::Invalid`] for broken JSON and for JSON that is no key, [`Error::Limit`] for a key that is
/// too long.
pub(crate) fn parse(argument: &str) -> Result<Key> {
    let is_word = !argument.trim_start().starts_with(['[', '{', '"'])
        && serde_json::from_str::<serde::de::IgnoredAny>(argument).is_err();
    if is_word {
        return Key::from_datums(&[Datum::Str(argument.to_owned())]);
    }
    Key::parse_json(argument).map_err(|error| match error {
        Error::Invalid(why) => Error::Invalid(format!("{argument}: {why}")),
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(argument: &str) -> String {
        parse(argument).unwrap().to_string()
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
            let error = parse(broken).unwrap_err();
            assert!(matches!(error, Error::Invalid(_)), "{broken}: {error:?}");
        }
    }
}
