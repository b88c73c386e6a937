//! The kinds of values that a column takes.

use std::fmt;

use crate::base::{Datum, Error, Result};

/// The kind of the values that go into a column; NULL belongs to every kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Every kind.
    Any,
    /// Truth values.
    Bool,
    /// Integers of 64 bits, signed or not.
    Int,
    /// Floats.
    Float,
    /// Decimals.
    Decimal {
        /// Digits after the point; sums are exact because all values of a column have the same.
        scale: i8,
    },
    /// Text.
    Str,
    /// Bytes.
    Bytes,
    /// UUIDs.
    Uuid,
    /// Days.
    Date,
    /// Moments.
    Timestamp,
}

impl Kind {
    /// The kind of a value, `None` for NULL.
    pub fn of(datum: &Datum) -> Option<Kind> {
        match datum {
            Datum::Null => None,
            Datum::Bool(_) => Some(Kind::Bool),
            Datum::Int(_) => Some(Kind::Int),
            Datum::Float(_) => Some(Kind::Float),
            Datum::Decimal { scale, .. } => Some(Kind::Decimal { scale: *scale }),
            Datum::Str(_) => Some(Kind::Str),
            Datum::Bytes(_) => Some(Kind::Bytes),
            Datum::Uuid(_) => Some(Kind::Uuid),
            Datum::Date(_) => Some(Kind::Date),
            Datum::Timestamp(_) => Some(Kind::Timestamp),
        }
    }

    /// The kind of a name as [`Kind`]'s `Display` writes it: `int`, `decimal(2)`.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the names there are.
    pub fn parse(name: &str) -> Result<Kind> {
        let scale = name
            .strip_prefix("decimal(")
            .and_then(|rest| rest.strip_suffix(')'));
        if let Some(scale) = scale.and_then(|scale| scale.parse().ok()) {
            return Ok(Kind::Decimal { scale });
        }
        match name {
            "any" => Ok(Kind::Any),
            "bool" => Ok(Kind::Bool),
            "int" => Ok(Kind::Int),
            "float" => Ok(Kind::Float),
            "string" => Ok(Kind::Str),
            "bytes" => Ok(Kind::Bytes),
            "uuid" => Ok(Kind::Uuid),
            "date" => Ok(Kind::Date),
            "timestamp" => Ok(Kind::Timestamp),
            _ => Err(Error::Invalid(format!(
                "no kind `{name}`, expected one of any, bool, int, float, decimal(SCALE), string, \
                 bytes, uuid, date, timestamp"
            ))),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Any => f.write_str("any"),
            Kind::Bool => f.write_str("bool"),
            Kind::Int => f.write_str("int"),
            Kind::Float => f.write_str("float"),
            Kind::Decimal { scale } => write!(f, "decimal({scale})"),
            Kind::Str => f.write_str("string"),
            Kind::Bytes => f.write_str("bytes"),
            Kind::Uuid => f.write_str("uuid"),
            Kind::Date => f.write_str("date"),
            Kind::Timestamp => f.write_str("timestamp"),
        }
    }
}

impl std::str::FromStr for Kind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Kind> {
        Kind::parse(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        let kinds = [
            Kind::Any,
            Kind::Bool,
            Kind::Int,
            Kind::Float,
            Kind::Decimal { scale: 2 },
            Kind::Decimal { scale: -128 },
            Kind::Str,
            Kind::Bytes,
            Kind::Uuid,
            Kind::Date,
            Kind::Timestamp,
        ];
        for kind in kinds {
            assert_eq!(Kind::parse(&kind.to_string()).unwrap(), kind);
        }
        for name in ["", "Int", "decimal", "decimal()", "decimal(200)"] {
            assert!(Kind::parse(name).is_err(), "{name}");
        }
    }
}
