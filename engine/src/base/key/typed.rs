//! Types for fields of keys that Rust has none for, and the wrapper that turns an order round.
//!
//! In a key each is the field of its name. In a format for people, JSON above all, each has the form that
//! the command line gives it: `{"$ts":"2013-01-01T10:00:00Z"}`. So one struct may be a key and a value.

use std::cmp::{Ordering, Reverse};
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use super::{Datum, decimal};

/// The names under which these types come to a serializer.
pub(super) const DESC: &str = "$desc";
pub(super) const TIMESTAMP: &str = "$ts";
pub(super) const UUID: &str = "$uuid";
pub(super) const DECIMAL: &str = "$dec";
/// Bytes of a decimal in a format that is not for people: the digits, little-endian, and the scale.
pub(super) const DECIMAL_LEN: usize = 17;

/// A part of a key in descending order, as `std::cmp::Reverse` is to comparing: the largest value comes
/// first, NULL last. Around a struct or tuple it turns every field. In other formats it is not seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Desc<T>(pub T);

/// A moment: microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// A UUID, its first byte the most significant one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub u128);

/// Bytes. A `Vec<u8>` comes to serde as a list of numbers, which no key holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob(pub Vec<u8>);

/// The number `unscaled · 10^-scale`, compared as a number: `12.30` equals `12.3`, which is what a key keeps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decimal {
    /// All digits, as an integer.
    pub unscaled: i128,
    /// How many of them stand after the point.
    pub scale: i8,
}

impl<T: Ord> Ord for Desc<T> {
    fn cmp(&self, other: &Desc<T>) -> Ordering {
        Reverse(&self.0).cmp(&Reverse(&other.0))
    }
}

impl<T: PartialOrd> PartialOrd for Desc<T> {
    fn partial_cmp(&self, other: &Desc<T>) -> Option<Ordering> {
        Reverse(&self.0).partial_cmp(&Reverse(&other.0))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Decimal) -> Ordering {
        decimal::compare((self.unscaled, self.scale), (other.unscaled, other.scale))
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Decimal) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Decimal) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

impl<T: Serialize> Serialize for Desc<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(DESC, &self.0)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Desc<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Desc<T>, D::Error> {
        let inner = deserializer.deserialize_newtype_struct(DESC, Newtype(PhantomData));
        inner.map(Desc)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        write(serializer, TIMESTAMP, &Datum::Timestamp(self.0), &self.0)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let from_datum = |datum| match datum {
            Datum::Timestamp(micros) => Some(Timestamp(micros)),
            _ => None,
        };
        read(deserializer, TIMESTAMP, from_datum, |micros| {
            Some(Timestamp(micros))
        })
    }
}

impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        write(serializer, UUID, &Datum::Uuid(self.0), &self.0)
    }
}

impl<'de> Deserialize<'de> for Uuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
        let from_datum = |datum| match datum {
            Datum::Uuid(uuid) => Some(Uuid(uuid)),
            _ => None,
        };
        read(deserializer, UUID, from_datum, |uuid| Some(Uuid(uuid)))
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (unscaled, scale) = (self.unscaled, self.scale);
        let mut bytes = [0; DECIMAL_LEN];
        bytes[..16].copy_from_slice(&unscaled.to_le_bytes());
        bytes[16..].copy_from_slice(&scale.to_le_bytes());
        let datum = Datum::Decimal { unscaled, scale };
        write(serializer, DECIMAL, &datum, &BytesOf(&bytes))
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
        let from_datum = |datum| match datum {
            Datum::Decimal { unscaled, scale } => Some(Decimal { unscaled, scale }),
            _ => None,
        };
        read(deserializer, DECIMAL, from_datum, |Blob(bytes)| {
            decimal_of(&bytes)
        })
    }
}

/// The decimal of its bytes in a format that is not for people.
pub(super) fn decimal_of(bytes: &[u8]) -> Option<Decimal> {
    let (unscaled, rest) = bytes.split_first_chunk()?;
    let scale: [u8; 1] = rest.try_into().ok()?;
    Some(Decimal {
        unscaled: i128::from_le_bytes(*unscaled),
        scale: i8::from_le_bytes(scale),
    })
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return Datum::Bytes(self.0.clone()).to_json().serialize(serializer);
        }
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Blob, D::Error> {
        if deserializer.is_human_readable() {
            return match of_json(deserializer)? {
                Datum::Bytes(bytes) => Ok(Blob(bytes)),
                other => Err(not_a("$bytes", &other)),
            };
        }
        deserializer.deserialize_byte_buf(Buffer)
    }
}

/// In a format for people the form of JSON, else the plain value under a name that a key knows.
fn write<S: Serializer>(
    serializer: S,
    name: &'static str,
    datum: &Datum,
    plain: &impl Serialize,
) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        return datum.to_json().serialize(serializer);
    }
    serializer.serialize_newtype_struct(name, plain)
}

fn read<'de, D: Deserializer<'de>, P: Deserialize<'de>, T>(
    deserializer: D,
    name: &'static str,
    from_datum: impl FnOnce(Datum) -> Option<T>,
    from_plain: impl FnOnce(P) -> Option<T>,
) -> Result<T, D::Error> {
    let found = if deserializer.is_human_readable() {
        from_datum(of_json(deserializer)?)
    } else {
        from_plain(deserializer.deserialize_newtype_struct(name, Newtype(PhantomData))?)
    };
    found.ok_or_else(|| de::Error::custom(format_args!("expected the form {name}")))
}

fn of_json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Datum, D::Error> {
    let json = serde_json::Value::deserialize(deserializer)?;
    Datum::from_json(&json).map_err(de::Error::custom)
}

fn not_a<E: de::Error>(name: &str, found: &Datum) -> E {
    let found = found.type_name();
    E::custom(format_args!("expected the form {name}, found {found}"))
}

struct BytesOf<'a>(&'a [u8]);

impl Serialize for BytesOf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// Takes what is within a newtype.
struct Newtype<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Newtype<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value in a wrapper")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<T, D::Error> {
        T::deserialize(inner)
    }
}

struct Buffer;

impl de::Visitor<'_> for Buffer {
    type Value = Blob;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
        Ok(Blob(bytes.to_vec()))
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
        Ok(Blob(bytes))
    }
}
