//! Keys as JSON.

use std::fmt;

use serde_json::Value;

use super::datum::{single, tagged};
use super::text;
use crate::base::error::{Error, Result};
use crate::base::key::{Datum, Direction, Key};

impl Key {
    /// The key that a JSON text is: a scalar, or a flat array of scalars for a tuple.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is not JSON, for nested arrays, for objects that are none of the
    /// forms of values, for integers beyond 64 bits; [`Error::Limit`] for a key that is too long.
    pub fn parse_json(json: &str) -> Result<Key> {
        Key::from_json(&text::parse("key", json)?)
    }

    /// The key that `json` is.
    ///
    /// # Errors
    /// As [`Key::parse_json`].
    pub fn from_json(json: &Value) -> Result<Key> {
        let Value::Array(items) = json else {
            return Key::encode(&[field(json)?]);
        };
        let fields = items.iter().enumerate().map(|(index, item)| {
            field(item).map_err(|error| match error {
                Error::Invalid(why) => {
                    Error::Invalid(format!("field {} of key {json}: {why}", index + 1))
                }
                other => other,
            })
        });
        Key::encode(&fields.collect::<Result<Vec<_>>>()?)
    }

    /// This key as JSON: a scalar if it has one field, an array otherwise. [`Key::from_json`] gives
    /// the same key back.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the bytes are not a tuple.
    pub fn to_json(&self) -> Result<Value> {
        let fields = self.fields().map(|field| {
            field.map(|(datum, direction)| match direction {
                Direction::Ascending => datum.to_json(),
                Direction::Descending => tagged("$desc", datum.to_json()),
            })
        });
        let mut items = fields.collect::<Result<Vec<_>>>()?;
        Ok(if items.len() == 1 {
            items.remove(0)
        } else {
            Value::Array(items)
        })
    }
}

fn field(json: &Value) -> Result<(Datum, Direction)> {
    if let Value::Object(members) = json
        && let Some(("$desc", inner)) = single(members)
    {
        return Ok((Datum::from_json(inner)?, Direction::Descending));
    }
    Ok((Datum::from_json(json)?, Direction::Ascending))
}

/// The key as JSON; bytes that are not a tuple in hexadecimal.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Ok(json) = self.to_json() {
            return json.fmt(f);
        }
        f.write_str("0x")?;
        self.as_bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}
