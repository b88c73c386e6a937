//! One table of a job file, read key by key.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::SpecError;
use super::lines::{Lines, join};
use super::names::{list, suggest};

/// What every table of one file shares.
pub(crate) struct Document<'d> {
    pub(super) path: &'d Path,
    pub(super) lines: &'d Lines,
}

impl Document<'_> {
    pub(crate) fn error(
        &self,
        span: &Range<usize>,
        key: &str,
        message: impl fmt::Display,
    ) -> SpecError {
        SpecError::at(self.path, self.lines.line(span.start), Some(key), message)
    }
}

/// A value with the place it stands at, for the checks that come after its type is known.
pub(crate) struct Entry<'d, T> {
    pub(crate) value: T,
    document: &'d Document<'d>,
    span: Range<usize>,
    key: String,
}

impl<'d, T> Entry<'d, T> {
    /// An error about this value.
    pub(crate) fn error(&self, message: impl fmt::Display) -> SpecError {
        self.document.error(&self.span, &self.key, message)
    }

    /// Passes the value if `check` does.
    pub(crate) fn checked(self, check: impl Fn(&T) -> Result<(), String>) -> Result<T, SpecError> {
        match check(&self.value) {
            Ok(()) => Ok(self.value),
            Err(message) => Err(self.error(message)),
        }
    }

    /// Turns the value into another type, or says what was expected.
    pub(crate) fn parsed<U>(
        self,
        parse: impl Fn(&T) -> Option<U>,
        expected: impl fmt::Display,
    ) -> Result<Entry<'d, U>, SpecError>
    where
        T: fmt::Display,
    {
        match parse(&self.value) {
            Some(value) => Ok(Entry {
                value,
                document: self.document,
                span: self.span,
                key: self.key,
            }),
            None => Err(self.error(format!("expected {expected}, found `{}`", self.value))),
        }
    }
}

/// A table whose keys are all known.
pub(crate) struct Section<'d> {
    document: &'d Document<'d>,
    name: String,
    /// Where the table's own key stands: what a missing key is blamed on.
    span: Range<usize>,
    table: &'d DeTable<'d>,
}

impl<'d> Section<'d> {
    /// Checks that `table` has no key but `known`; an empty `known` means any key.
    pub(super) fn new(
        document: &'d Document<'d>,
        name: &str,
        span: Range<usize>,
        table: &'d DeTable<'d>,
        known: &[&str],
    ) -> Result<Self, SpecError> {
        let section = Self {
            document,
            name: name.to_owned(),
            span,
            table,
        };
        let unknown = |key: &str| !known.is_empty() && !known.contains(&key);
        if let Some(key) = section.keys_in_order().find(|key| unknown(key.get_ref())) {
            let found: &str = key.get_ref();
            return Err(document.error(
                &key.span(),
                &join(name, found),
                format!(
                    "unknown key; expected one of {}{}",
                    list(known.iter().copied()),
                    suggest(found, known.iter().copied())
                ),
            ));
        }
        Ok(section)
    }

    fn keys_in_order(
        &self,
    ) -> impl Iterator<Item = &'d Spanned<std::borrow::Cow<'d, str>>> + use<'d> {
        let mut keys: Vec<_> = self.table.keys().collect();
        keys.sort_by_key(|key| key.span().start);
        keys.into_iter()
    }

    /// An error about a key of this table, present or missing.
    pub(crate) fn error(&self, key: &str, message: impl fmt::Display) -> SpecError {
        let span = self
            .table
            .get_key_value(key)
            .map_or(self.span.clone(), |(key, _)| key.span());
        self.document.error(&span, &join(&self.name, key), message)
    }

    /// Refuses the first of `keys` that is present, with `why`.
    pub(super) fn refuse(&self, keys: &[&str], why: impl fmt::Display) -> Result<(), SpecError> {
        match self
            .keys_in_order()
            .find(|key| keys.contains(&key.get_ref().as_ref()))
        {
            Some(key) => Err(self.error(key.get_ref(), why)),
            None => Ok(()),
        }
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: impl fmt::Display,
        convert: impl Fn(&'d DeValue<'d>) -> Option<T>,
    ) -> Result<Option<Entry<'d, T>>, SpecError> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        match convert(value.get_ref()) {
            Some(converted) => Ok(Some(Entry {
                value: converted,
                document: self.document,
                span: value.span(),
                key: join(&self.name, key),
            })),
            None => Err(self.document.error(
                &value.span(),
                &join(&self.name, key),
                format!("expected {expected}, found {}", describe(value.get_ref())),
            )),
        }
    }

    /// The string under `key`; `expected` completes "expected ...".
    pub(crate) fn string(
        &self,
        key: &str,
        expected: &str,
    ) -> Result<Option<Entry<'d, String>>, SpecError> {
        self.typed(key, expected, |value| value.as_str().map(str::to_owned))
    }

    /// The string under `key`, which must be there.
    pub(super) fn required_string(
        &self,
        key: &str,
        expected: &str,
    ) -> Result<Entry<'d, String>, SpecError> {
        self.string(key, expected)?
            .ok_or_else(|| self.missing(key, expected))
    }

    /// The error of a key that must be there and is not.
    pub(crate) fn missing(&self, key: &str, expected: impl fmt::Display) -> SpecError {
        self.error(key, format!("missing; expected {expected}"))
    }

    /// The boolean under `key`.
    pub(crate) fn bool(&self, key: &str) -> Result<Option<bool>, SpecError> {
        let entry = self.typed(key, "true or false", DeValue::as_bool)?;
        Ok(entry.map(|entry| entry.value))
    }

    /// The integer under `key`.
    pub(crate) fn integer(
        &self,
        key: &str,
        expected: &str,
    ) -> Result<Option<Entry<'d, i64>>, SpecError> {
        self.typed(key, expected, as_i64)
    }

    /// The text of a string or an integer under `key`.
    pub(super) fn string_or_integer(
        &self,
        key: &str,
        expected: &str,
    ) -> Result<Option<Entry<'d, String>>, SpecError> {
        self.typed(key, expected, |value| match value {
            DeValue::String(text) => Some(text.to_string()),
            value => as_i64(value).map(|number| number.to_string()),
        })
    }

    /// The strings of the array under `key`, each with its own place.
    pub(crate) fn strings(
        &self,
        key: &str,
        expected: &str,
    ) -> Result<Option<Vec<Entry<'d, String>>>, SpecError> {
        let Some(array) = self.typed(key, expected, DeValue::as_array)? else {
            return Ok(None);
        };
        let item = |item: &'d Spanned<DeValue<'d>>| match item.get_ref().as_str() {
            Some(text) => Ok(Entry {
                value: text.to_owned(),
                document: self.document,
                span: item.span(),
                key: array.key.clone(),
            }),
            None => Err(self.document.error(
                &item.span(),
                &array.key,
                format!(
                    "expected {expected}, found {} in it",
                    describe(item.get_ref())
                ),
            )),
        };
        array
            .value
            .iter()
            .map(item)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// The integers of the array under `key`, each with its own place.
    pub(super) fn integers(
        &self,
        key: &str,
        expected: &str,
    ) -> Result<Option<Vec<Entry<'d, i64>>>, SpecError> {
        let Some(array) = self.typed(key, expected, DeValue::as_array)? else {
            return Ok(None);
        };
        let item = |item: &'d Spanned<DeValue<'d>>| match as_i64(item.get_ref()) {
            Some(value) => Ok(Entry {
                value,
                document: self.document,
                span: item.span(),
                key: array.key.clone(),
            }),
            None => Err(self.document.error(
                &item.span(),
                &array.key,
                format!(
                    "expected {expected}, found {} in it",
                    describe(item.get_ref())
                ),
            )),
        };
        array
            .value
            .iter()
            .map(item)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// The table under `key`, whose keys must all be `known`.
    pub(super) fn table(
        &self,
        key: &str,
        known: &[&str],
    ) -> Result<Option<Section<'d>>, SpecError> {
        let name = join(&self.name, key);
        let Some(entry) = self.typed(key, format!("a table `[{name}]`"), DeValue::as_table)? else {
            return Ok(None);
        };
        let span = self
            .table
            .get_key_value(key)
            .map_or(entry.span, |(key, _)| key.span());
        Section::new(self.document, &name, span, entry.value, known).map(Some)
    }

    /// The keys of the table, in the order of the file.
    pub(super) fn names(&self) -> Vec<String> {
        self.keys_in_order()
            .map(|key| key.get_ref().to_string())
            .collect()
    }

    /// Whether a table is under `key`.
    pub(super) fn is_table(&self, key: &str) -> bool {
        let value = self.table.get(key);
        value.is_some_and(|value| value.get_ref().as_table().is_some())
    }

    /// Every string of the table, in the order of the file, with its key.
    pub(super) fn all_strings(
        &self,
        expected: &str,
    ) -> Result<Vec<(String, Entry<'d, String>)>, SpecError> {
        let mut entries = Vec::with_capacity(self.table.len());
        for key in self.keys_in_order() {
            if let Some(entry) = self.string(key.get_ref(), expected)? {
                entries.push((key.get_ref().to_string(), entry));
            }
        }
        Ok(entries)
    }
}

fn as_i64(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// What was found, for messages.
fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string `{}`", text.escape_debug()),
        DeValue::Integer(number) => format!("the integer {number}"),
        DeValue::Float(number) => format!("the float {number}"),
        DeValue::Boolean(value) => format!("{value}"),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
