//! How the values of a column are read: its type, how they are written, and whether the type is a guess.
//!
//! A type that the job file declares says what its text means: `007` is the number 7 where `int64` is declared. A type
//! that was inferred from the first rows is a guess: a later value that is written in any other way than the guess has it
//! is refused, with the declaration that would take it.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, TimeUnit};
use eciton_proto::v1::SchemaField;

use super::infer::Shape;
use super::moment::Zone;
use super::number::Spelling;
use crate::spec::{JSON, Pattern, ROUND, parse_type, type_name, unit_name, unit_scale};

/// The format of an inferred timestamp without an offset.
pub(super) const LOCAL: &str = "local";
/// The format of an inferred timestamp with an offset.
pub(super) const OFFSET: &str = "offset";
/// The format of an inferred integer that may have zeros before it.
pub(super) const PADDED: &str = "padded";
/// The format of an inferred string beside which there are other values.
pub(super) const MIXED: &str = "mixed";

/// The format of an inferred string of which the first rows have no value.
pub(super) const UNSEEN: &str = "unseen";

/// How the values of one column are read.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) name: String,
    pub(super) data_type: DataType,
    pub(super) kind: ParsedKind,
    /// Whether the job file names the type.
    pub(super) declared: bool,
    /// Whether numbers may have zeros before them, although the type is inferred.
    padded: bool,
}

/// What values are.
#[derive(Debug, Clone)]
pub(super) enum ParsedKind {
    Bool,
    /// Of the type's width.
    Integer,
    Float32,
    Float64,
    Decimal {
        precision: u8,
        scale: i8,
        round: bool,
    },
    Date(Writing),
    Timestamp(Writing),
    Text(TextRule),
    List(Box<Reading>),
    Struct(Vec<Reading>),
    /// No text format has such values.
    Other,
}

/// How dates and timestamps are written.
#[derive(Debug, Clone)]
pub(super) struct Writing {
    /// The pattern of texts; else they are those of ISO 8601.
    pub(super) pattern: Option<Arc<Pattern>>,
    /// The power of ten of microseconds (days for a date) that a number counts; else a number is neither.
    pub(super) scale: Option<i64>,
    /// The only kind of timestamp that the guess takes.
    pub(super) zone: Option<Zone>,
}

/// What a column of strings takes of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextRule {
    /// Strings.
    Strings,
    /// Strings, and the text of numbers and booleans.
    Scalars,
    /// The same, and no string that is the text of another value, so that no two values become one.
    Mixed,
    /// The JSON text of any value.
    Json,
    /// Strings that are not written like a value of another type: no value was there to tell the type by.
    Unseen,
}

impl Reading {
    /// The column of a recorded field; `None` if its type is unknown.
    pub(super) fn of(field: &SchemaField, declared: bool) -> Option<Reading> {
        let data_type = parse_type(&field.r#type)?;
        let kind = ParsedKind::of(&data_type, &field.format, &field.unit, declared)?;
        Some(Reading {
            name: field.name.clone(),
            data_type,
            kind,
            declared,
            padded: field.format == PADDED,
        })
    }

    /// The item or the member of a nested column.
    fn nested(field: &FieldRef) -> Option<Reading> {
        Some(Reading {
            name: field.name().clone(),
            data_type: field.data_type().clone(),
            kind: ParsedKind::of(field.data_type(), "", "", false)?,
            declared: false,
            padded: false,
        })
    }

    /// The column in a schema.
    #[cfg(test)]
    pub(super) fn field(&self) -> arrow::datatypes::Field {
        arrow::datatypes::Field::new(&self.name, self.data_type.clone(), true)
    }

    /// How numbers are written where they stand as such.
    pub(super) fn spelling(&self) -> Spelling {
        match self.declared || self.padded {
            true => Spelling::Free,
            false => Spelling::Canonical,
        }
    }

    /// The type for people.
    pub(super) fn shown(&self) -> String {
        let name = type_name(&self.data_type);
        match &self.kind {
            ParsedKind::Decimal { round: true, .. } => name.replace(')', ",round)"),
            ParsedKind::Text(TextRule::Json) => JSON.to_owned(),
            _ => name,
        }
    }

    /// What to do about a value that is not of the type, to follow what was expected and what was found.
    pub(super) fn remedy(&self, found: Shape) -> String {
        if self.declared {
            return self.declared_remedy(found);
        }
        if matches!(self.kind, ParsedKind::Text(TextRule::Unseen)) {
            return format!(
                "; the first rows have no value to tell the type by: add `{}` to [source.schema]",
                declaration(&self.name, found.declared())
            );
        }
        format!(
            "; {} is what the first rows have: add `{}` to [source.schema]",
            self.shown(),
            declaration(&self.name, self.wider(found))
        )
    }

    fn declared_remedy(&self, found: Shape) -> String {
        match &self.kind {
            ParsedKind::Decimal {
                precision,
                scale,
                round: false,
            } if found.is_number() => {
                format!("; `decimal({precision},{scale},round)` rounds half away from zero")
            }
            ParsedKind::Date(writing) if found.is_number() && writing.scale.is_none() => {
                "; a number is a date where the job file names its unit: `date(unit=days)`, or its \
                 format: `date(format=%Y%m%d)`"
                    .to_owned()
            }
            ParsedKind::Timestamp(writing) if found.is_number() && writing.scale.is_none() => {
                "; a number is a timestamp where the job file names its unit, such as \
                 `timestamp(unit=s)`"
                    .to_owned()
            }
            ParsedKind::Date(Writing { scale: Some(_), .. }) if found.is_number() => {
                "; the unit of the column is days since 1970, of the years 1 to 9999".to_owned()
            }
            ParsedKind::Timestamp(Writing {
                scale: Some(scale), ..
            }) if found.is_number() => format!(
                "; the unit of the column is `{}` since 1970, of the years 1 to 9999 and in whole microseconds; other units \
                 are `s`, `ms`, `us` and `ns`",
                unit_name(*scale)
            ),
            ParsedKind::Text(_) if found == Shape::Nested => {
                format!("; `{}` takes any value", declaration(&self.name, JSON))
            }
            _ => String::new(),
        }
    }

    /// A type that takes both the values of a column that was inferred and this one.
    fn wider(&self, found: Shape) -> &'static str {
        let is_moment = matches!(found, Shape::Date | Shape::Local | Shape::Offset);
        match &self.kind {
            ParsedKind::List(_)
            | ParsedKind::Struct(_)
            | ParsedKind::Text(TextRule::Mixed | TextRule::Json) => JSON,
            _ if found == Shape::Nested => JSON,
            ParsedKind::Date(_) | ParsedKind::Timestamp(_) if is_moment => "timestamp",
            ParsedKind::Integer if self.data_type == DataType::Int64 && found == Shape::Float => {
                "float64"
            }
            ParsedKind::Float64 if found == Shape::Word => "float64",
            _ => "string",
        }
    }
}

/// A line of `[source.schema]`.
fn declaration(name: &str, declared: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !name.is_empty() && name.bytes().all(is_bare) {
        format!("{name} = \"{declared}\"")
    } else {
        format!("\"{}\" = \"{declared}\"", name.escape_default())
    }
}

impl ParsedKind {
    fn of(data_type: &DataType, format: &str, unit: &str, declared: bool) -> Option<ParsedKind> {
        Some(match data_type {
            DataType::Boolean => ParsedKind::Bool,
            integer if integer.is_integer() => ParsedKind::Integer,
            DataType::Float32 => ParsedKind::Float32,
            DataType::Float64 => ParsedKind::Float64,
            DataType::Decimal128(precision, scale) => ParsedKind::Decimal {
                precision: *precision,
                scale: *scale,
                round: format == ROUND,
            },
            DataType::Date32 => ParsedKind::Date(Writing::of(format, unit, false)?),
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
                ParsedKind::Timestamp(Writing::of(format, unit, true)?)
            }
            DataType::Utf8 => ParsedKind::Text(match format {
                JSON => TextRule::Json,
                MIXED => TextRule::Mixed,
                UNSEEN if !declared => TextRule::Unseen,
                _ if declared => TextRule::Scalars,
                _ => TextRule::Strings,
            }),
            DataType::List(item) => ParsedKind::List(Box::new(Reading::nested(item)?)),
            DataType::Struct(members) => ParsedKind::Struct(
                members
                    .iter()
                    .map(Reading::nested)
                    .collect::<Option<Vec<_>>>()?,
            ),
            _ => ParsedKind::Other,
        })
    }
}

impl Writing {
    fn of(format: &str, unit: &str, clock: bool) -> Option<Writing> {
        let scale = match unit {
            "" => None,
            "days" => Some(0),
            unit => Some(unit_scale(unit)?),
        };
        let (pattern, zone) = match format {
            "" => (None, None),
            LOCAL => (None, Some(Zone::Local)),
            OFFSET => (None, Some(Zone::Offset)),
            format => (Some(Arc::new(Pattern::parse(format, clock).ok()?)), None),
        };
        Some(Writing {
            pattern,
            scale,
            zone,
        })
    }
}
