//! A typed scalar, and the direction in which a key orders it.

use std::cmp::Ordering;

use super::decimal;
use super::encode::ordered_f64;

/// A typed scalar: a field of a key, or a column of a merged record.
///
/// Values compare as keys order them: by type, then by value. So `-0.0` equals `0.0`, NaN equals
/// NaN, the decimals `12.30` and `12.3` are equal, and `1`, `1.0` and the decimal `1` are not.
#[derive(Clone, Debug)]
pub enum Datum {
    /// SQL's NULL; sorts first.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer, exact over the ranges of `i64` and `u64`; a key refuses others.
    Int(i128),
    /// A float; NaN sorts last.
    Float(f64),
    /// The decimal `unscaled · 10^-scale`. A key does not keep trailing zeros.
    Decimal {
        /// All digits, as an integer.
        unscaled: i128,
        /// How many of them stand after the point.
        scale: i8,
    },
    /// Text; ordered by code points.
    Str(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A UUID, its first byte the most significant one.
    Uuid(u128),
    /// Days since the Unix epoch.
    Date(i32),
    /// Microseconds since the Unix epoch, UTC.
    Timestamp(i64),
}

/// How a field of a key is ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Smallest first.
    #[default]
    Ascending,
    /// Largest first, NULL last.
    Descending,
}

impl Datum {
    /// The name of the type, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Datum::Null => "null",
            Datum::Bool(_) => "bool",
            Datum::Int(_) => "int",
            Datum::Float(_) => "float",
            Datum::Decimal { .. } => "decimal",
            Datum::Str(_) => "string",
            Datum::Bytes(_) => "bytes",
            Datum::Uuid(_) => "uuid",
            Datum::Date(_) => "date",
            Datum::Timestamp(_) => "timestamp",
        }
    }

    /// The place of the type in the order of types.
    fn rank(&self) -> u8 {
        match self {
            Datum::Null => 0,
            Datum::Bool(_) => 1,
            Datum::Int(_) => 2,
            Datum::Float(_) => 3,
            Datum::Decimal { .. } => 4,
            Datum::Str(_) => 5,
            Datum::Bytes(_) => 6,
            Datum::Uuid(_) => 7,
            Datum::Date(_) => 8,
            Datum::Timestamp(_) => 9,
        }
    }
}

impl Ord for Datum {
    fn cmp(&self, other: &Datum) -> Ordering {
        match (self, other) {
            (Datum::Bool(a), Datum::Bool(b)) => a.cmp(b),
            (Datum::Int(a), Datum::Int(b)) => a.cmp(b),
            (Datum::Float(a), Datum::Float(b)) => ordered_f64(*a).cmp(&ordered_f64(*b)),
            (
                Datum::Decimal {
                    unscaled: a,
                    scale: a_scale,
                },
                Datum::Decimal {
                    unscaled: b,
                    scale: b_scale,
                },
            ) => decimal::compare((*a, *a_scale), (*b, *b_scale)),
            (Datum::Str(a), Datum::Str(b)) => a.cmp(b),
            (Datum::Bytes(a), Datum::Bytes(b)) => a.cmp(b),
            (Datum::Uuid(a), Datum::Uuid(b)) => a.cmp(b),
            (Datum::Date(a), Datum::Date(b)) => a.cmp(b),
            (Datum::Timestamp(a), Datum::Timestamp(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Datum {
    fn partial_cmp(&self, other: &Datum) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Datum {
    fn eq(&self, other: &Datum) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Datum {}

impl From<bool> for Datum {
    fn from(value: bool) -> Datum {
        Datum::Bool(value)
    }
}
impl From<i32> for Datum {
    fn from(value: i32) -> Datum {
        Datum::Int(value.into())
    }
}
impl From<i64> for Datum {
    fn from(value: i64) -> Datum {
        Datum::Int(value.into())
    }
}
impl From<u64> for Datum {
    fn from(value: u64) -> Datum {
        Datum::Int(value.into())
    }
}
impl From<f64> for Datum {
    fn from(value: f64) -> Datum {
        Datum::Float(value)
    }
}
impl From<&str> for Datum {
    fn from(value: &str) -> Datum {
        Datum::Str(value.to_owned())
    }
}
impl From<String> for Datum {
    fn from(value: String) -> Datum {
        Datum::Str(value)
    }
}
impl From<Vec<u8>> for Datum {
    fn from(value: Vec<u8>) -> Datum {
        Datum::Bytes(value)
    }
}
