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
        Key::parse_json_ordered(json, &[])
    }

    /// As [`Key::parse_json`], in the directions of `order`.
    ///
    /// # Errors
    /// As [`Key::from_json_ordered`].
    pub fn parse_json_ordered(json: &str, order: &[Direction]) -> Result<Key> {
        Key::from_json_ordered(&text::parse("key", json)?, order)
    }

    /// The key that `json` is.
    ///
    /// # Errors
    /// As [`Key::parse_json`].
    pub fn from_json(json: &Value) -> Result<Key> {
        Key::from_json_ordered(json, &[])
    }

    /// As [`Key::from_json`], each field in the direction that `order` has for it, beyond its end as it is
    /// written. `$desc` may stand where `order` says descending, and changes nothing there.
    ///
    /// # Errors
    /// As [`Key::parse_json`]; [`Error::Invalid`] also for `$desc` where `order` says ascending.
    pub fn from_json_ordered(json: &Value, order: &[Direction]) -> Result<Key> {
        let Value::Array(items) = json else {
            return Key::encode(&[field(json, order.first())?]);
        };
        let fields = items.iter().enumerate().map(|(index, item)| {
            field(item, order.get(index)).map_err(|error| match error {
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
        self.to_json_ordered(&[])
    }

    /// As [`Key::to_json`], without `$desc` where `order` says descending: [`Key::from_json_ordered`] gives
    /// the same key back if the key has the directions of `order`.
    ///
    /// # Errors
    /// As [`Key::to_json`].
    pub fn to_json_ordered(&self, order: &[Direction]) -> Result<Value> {
        let fields = self.fields().enumerate().map(|(index, field)| {
            field.map(|(datum, direction)| {
                let is_declared = order.get(index) == Some(&direction);
                match direction {
                    Direction::Descending if !is_declared => tagged("$desc", datum.to_json()),
                    Direction::Ascending | Direction::Descending => datum.to_json(),
                }
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

fn field(json: &Value, declared: Option<&Direction>) -> Result<(Datum, Direction)> {
    let (json, written) = match json {
        Value::Object(members) => match single(members) {
            Some(("$desc", inner)) => (inner, Direction::Descending),
            _ => (json, Direction::Ascending),
        },
        _ => (json, Direction::Ascending),
    };
    if declared == Some(&Direction::Ascending) && written == Direction::Descending {
        let why = "$desc, and the store has this field ascending";
        return Err(Error::Invalid(why.to_owned()));
    }
    let datum = Datum::from_json(json)?;
    Ok((datum, declared.copied().unwrap_or(written)))
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
