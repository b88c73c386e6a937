//! Types of columns, from the first rows.
//!
//! A type is inferred only where it holds every value of the first rows exactly, and where no two of them that differ
//! become one: a column with `007` is text, and so is one with an integer beyond 64 bits, with digits that a float loses,
//! or with timestamps of which some have an offset and some have not.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use serde_json::value::RawValue;

use super::jsonl::{NestedMember, nested_members};
use super::moment::{Zone, date, timestamp};
use super::number::{Literal, Spelling, float64, integer};
use super::reading::{LOCAL, MIXED, OFFSET, UNSEEN};
use crate::spec::JSON;

/// How deep values nest in a type; deeper ones are JSON text.
const DEPTH_MAX: usize = 16;
/// Members of an object in a type; more are JSON text: their names are data.
const MEMBERS_MAX: usize = 256;

/// The type of every timestamp: microseconds, UTC.
pub(super) fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// A kind of value, as fine as types are told apart by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shape {
    Bool,
    /// A negative integer that a float holds.
    Negative,
    /// A non-negative integer that a float holds, up to the largest signed integer.
    Natural,
    /// A negative integer that a float does not hold.
    WideNegative,
    /// The same, not negative.
    WideNatural,
    /// Beyond the largest signed integer.
    Large,
    /// A number that a float holds.
    Float,
    /// A number that neither an integer nor a float holds.
    Digits,
    /// `NaN` and other words for floats.
    Word,
    Date,
    /// A timestamp without an offset.
    Local,
    /// A timestamp with one.
    Offset,
    Text,
    Nested,
}

impl Shape {
    /// The shape of a field of CSV.
    pub(super) fn of_text(text: &str) -> Shape {
        let first = text.as_bytes().first();
        let numeric = first.is_some_and(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.'));
        if numeric {
            if let Some(shape) = Shape::of_number(text) {
                return shape;
            }
            return Shape::of_string(text);
        }
        let is = |word: &str| text.eq_ignore_ascii_case(word);
        if is("true") || is("false") {
            Shape::Bool
        } else if float64(text, Spelling::Free).is_some_and(|value| !value.is_finite()) {
            Shape::Word
        } else {
            Shape::Text
        }
    }

    /// The shape of a value of JSON that is not null.
    pub(super) fn of_json(value: &str) -> Shape {
        match value.as_bytes().first() {
            Some(b'{' | b'[') => Shape::Nested,
            Some(b't' | b'f') => Shape::Bool,
            Some(b'"') => match serde_json::from_str::<String>(value) {
                Ok(text) => Shape::of_string(&text),
                Err(_) => Shape::Text,
            },
            _ => Shape::of_number(value).unwrap_or(Shape::Digits),
        }
    }

    fn of_string(text: &str) -> Shape {
        if date(text.as_bytes()).is_some() {
            return Shape::Date;
        }
        match timestamp(text.as_bytes()) {
            Some((_, Zone::Date)) => Shape::Date,
            Some((_, Zone::Local)) => Shape::Local,
            Some((_, Zone::Offset)) => Shape::Offset,
            None => Shape::Text,
        }
    }

    /// The shape of a number in canonical spelling.
    fn of_number(text: &str) -> Option<Shape> {
        let float = float64(text, Spelling::Canonical);
        let Some(value) = integer(text.as_bytes(), Spelling::Canonical) else {
            if float.is_some() {
                return Some(Shape::Float);
            }
            let digits = text.strip_prefix('-').unwrap_or(text);
            let led =
                digits.starts_with('0') && digits[1..].starts_with(|c: char| c.is_ascii_digit());
            let is_number = !led && Literal::parse(text.as_bytes()).is_some();
            return is_number.then_some(Shape::Digits);
        };
        Some(match (i64::try_from(value), u64::try_from(value)) {
            (Ok(value), _) if value < 0 && float.is_some() => Shape::Negative,
            (Ok(value), _) if value < 0 => Shape::WideNegative,
            (Ok(_), _) if float.is_some() => Shape::Natural,
            (Ok(_), _) => Shape::WideNatural,
            (Err(_), Ok(_)) => Shape::Large,
            (Err(_), Err(_)) => Shape::Digits,
        })
    }

    /// The type to declare for such a value.
    pub(super) fn declared(self) -> &'static str {
        use Shape::{
            Bool, Date, Digits, Float, Large, Local, Natural, Negative, Nested, Offset, Text,
            WideNatural, WideNegative, Word,
        };
        match self {
            Bool => "bool",
            Negative | Natural | WideNegative | WideNatural => "int64",
            Large => "uint64",
            Digits => "decimal(38,0)",
            Float => "float64",
            Date => "date",
            Local | Offset => "timestamp",
            Nested => "json",
            Word | Text => "string",
        }
    }

    /// Whether it is written as a number.
    pub(super) fn is_number(self) -> bool {
        use Shape::{Digits, Float, Large, Natural, Negative, WideNatural, WideNegative};
        matches!(
            self,
            Negative | Natural | WideNegative | WideNatural | Large | Float | Digits
        )
    }
}

/// An inferred type, and how its values are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guess {
    pub(crate) data_type: DataType,
    /// As in `SchemaField`.
    pub(crate) format: &'static str,
}

impl Guess {
    fn plain(data_type: DataType) -> Guess {
        Guess {
            data_type,
            format: "",
        }
    }
}

/// Numbers that are codes as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbers {
    /// Of 64 bits, with zeros before them.
    Padded,
    /// Some are longer.
    Decimal,
}

/// What the values of a column have been so far.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Default)]
pub(crate) struct Sampled {
    shapes: BTreeSet<Shape>,
    /// Whether a value of JSON was no string.
    has_others: bool,
    /// Whether a value was no integer, however it is written.
    has_no_integer: bool,
    /// Whether an integer was beyond 64 bits.
    has_long: bool,
    /// The items of all lists.
    items: Option<Box<Sampled>>,
    /// The members of all objects, in order of their first appearance.
    members: Option<Vec<(String, Sampled)>>,
    /// Whether values nest in a way that no type has.
    is_unlike: bool,
}

impl Sampled {
    /// Takes a field of CSV into account that is not NULL.
    pub(crate) fn add_text(&mut self, text: &str) {
        self.shapes.insert(Shape::of_text(text));
        self.add_integer(text);
    }

    fn add_integer(&mut self, text: &str) {
        match integer(text.as_bytes(), Spelling::Free).filter(|_| !text.starts_with('+')) {
            Some(value) => self.has_long |= i64::try_from(value).is_err(),
            None => self.has_no_integer = true,
        }
    }

    /// Takes a value of JSON into account.
    pub(crate) fn add_json(&mut self, value: &str) {
        self.add_nested(value, DEPTH_MAX);
    }

    fn add_nested(&mut self, value: &str, depth: usize) {
        if value == "null" {
            return;
        }
        let shape = Shape::of_json(value);
        self.shapes.insert(shape);
        self.has_others |= !value.starts_with('"');
        self.add_integer(value);
        if shape != Shape::Nested || self.is_unlike {
            return;
        }
        let added = match depth {
            0 => None,
            _ if value.starts_with('[') => self.add_items(value, depth - 1),
            _ => self.add_members(value, depth - 1),
        };
        self.is_unlike |= added.is_none();
    }

    fn add_items(&mut self, value: &str, depth: usize) -> Option<()> {
        let items = serde_json::from_str::<Vec<&RawValue>>(value).ok()?;
        let sampled = self.items.get_or_insert_default();
        for item in items {
            sampled.add_nested(item.get(), depth);
        }
        Some(())
    }

    fn add_members(&mut self, value: &str, depth: usize) -> Option<()> {
        let known = self.members.get_or_insert_default();
        for NestedMember { name, value } in nested_members(value).ok()? {
            let at = known.iter().position(|(known, _)| *known == name);
            let at = at.unwrap_or_else(|| {
                known.push((name.into_owned(), Sampled::default()));
                known.len() - 1
            });
            if known.len() > MEMBERS_MAX {
                return None;
            }
            known[at].1.add_nested(value.get(), depth);
        }
        Some(())
    }

    /// The narrowest type that holds every value without loss: text where there is none.
    pub(crate) fn guess(&self) -> Guess {
        if self.shapes.contains(&Shape::Nested) {
            let nested = self.nested();
            return nested.map_or(
                Guess {
                    data_type: DataType::Utf8,
                    format: JSON,
                },
                Guess::plain,
            );
        }
        if self.shapes.is_empty() && !self.has_others {
            return Guess {
                data_type: DataType::Utf8,
                format: UNSEEN,
            };
        }
        self.scalar().unwrap_or(Guess {
            data_type: DataType::Utf8,
            format: if self.has_others { MIXED } else { "" },
        })
    }

    /// The numbers that a column may be read as which is text only because of zeros before its integers, or because some
    /// of them are long: as codes they are text, but a job may add them up.
    pub(super) fn numbers(&self) -> Option<Numbers> {
        let is_text = self.guess().data_type == DataType::Utf8;
        if !is_text || self.has_no_integer || self.shapes.is_empty() {
            return None;
        }
        Some(match self.has_long {
            true => Numbers::Decimal,
            false => Numbers::Padded,
        })
    }

    fn scalar(&self) -> Option<Guess> {
        use Shape::{
            Bool, Date, Float, Large, Local, Natural, Negative, Offset, WideNatural, WideNegative,
        };
        let types: [(&[Shape], DataType, &'static str); 7] = [
            (&[Bool], DataType::Boolean, ""),
            (
                &[Negative, Natural, WideNegative, WideNatural],
                DataType::Int64,
                "",
            ),
            (&[Natural, WideNatural, Large], DataType::UInt64, ""),
            (&[Negative, Natural, Float], DataType::Float64, ""),
            (&[Date], DataType::Date32, ""),
            (&[Local], timestamp_type(), LOCAL),
            (&[Offset], timestamp_type(), OFFSET),
        ];
        let holds = |shapes: &[Shape]| self.shapes.iter().all(|shape| shapes.contains(shape));
        let mut types = types.into_iter();
        let narrowest = types.find(|(shapes, _, _)| !self.shapes.is_empty() && holds(shapes));
        narrowest.map(|(_, data_type, format)| Guess { data_type, format })
    }

    /// The type of lists or objects that are alike.
    fn nested(&self) -> Option<DataType> {
        if self.is_unlike || self.shapes.len() > 1 {
            return None;
        }
        match (&self.items, &self.members) {
            (Some(items), None) => {
                let field = Field::new("item", items.inner()?, true);
                Some(DataType::List(Arc::new(field)))
            }
            (None, Some(members)) if !members.is_empty() => {
                let field = |(name, member): &(String, Sampled)| {
                    Some(Field::new(name, member.inner()?, true))
                };
                let fields = members.iter().map(field).collect::<Option<Vec<_>>>()?;
                Some(DataType::Struct(Fields::from(fields)))
            }
            _ => None,
        }
    }

    /// The type inside of lists and objects, where strings are strings, whatever they say.
    fn inner(&self) -> Option<DataType> {
        if self.shapes.contains(&Shape::Nested) {
            return self.nested();
        }
        if !self.has_others {
            return Some(DataType::Utf8);
        }
        self.scalar().map(|guess| guess.data_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::type_name;

    fn of(values: &[&str], add: impl Fn(&mut Sampled, &str)) -> String {
        let mut sampled = Sampled::default();
        for value in values {
            add(&mut sampled, value);
        }
        let guess = sampled.guess();
        match guess.format {
            "" => type_name(&guess.data_type),
            format => format!("{} {format}", type_name(&guess.data_type)),
        }
    }

    #[test]
    fn fields_of_csv() {
        for (values, expected) in [
            (&["1", "-2"][..], "int64"),
            (&["007", "1"], "string"),
            (&["1", "+5"], "string"),
            (&["1_000"], "string"),
            (&["-0", "1"], "float64"),
            (&["1", "1.5", ".5"], "float64"),
            (&["9007199254740993"], "int64"),
            (&["9007199254740993", "1.5"], "string"),
            (&["9223372036854775808", "1"], "uint64"),
            (&["9223372036854775808", "-1"], "string"),
            (&["18446744073709551616"], "string"),
            (&["3.141592653589793238"], "string"),
            (&["00.5"], "string"),
            (&["1e400"], "string"),
            (&["NaN", "1.5"], "string"),
            (&["true", "FALSE"], "bool"),
            (&["true", "1"], "string"),
            (&["T"], "string"),
            (&["2024-01-01"], "date"),
            (&["2024-02-30"], "string"),
            (&["2024-01-01", "2024-01-01T10:00:00"], "string"),
            (&["2024-01-01 10:00:00"], "timestamp local"),
            (&["2024-01-01 10:00:00Z"], "timestamp offset"),
            (&["2024-01-01 10:00:00Z", "2024-01-01 10:00:00"], "string"),
            (&["2024-01-01 10:00:00.1234567"], "string"),
            (&[], "string unseen"),
        ] {
            assert_eq!(of(values, Sampled::add_text), expected, "{values:?}");
        }
    }

    #[test]
    fn values_of_json() {
        for (values, expected) in [
            (&["1", "null"][..], "int64"),
            (&["1", "1.0"], "float64"),
            (&["-0"], "float64"),
            (&["1", "\"1\""], "string mixed"),
            (
                &["9007199254740993", "18446744073709551616"],
                "string mixed",
            ),
            (&["\"007\""], "string"),
            (&["\"2024-01-01\""], "date"),
            (&["\"2024-01-01\"", "7"], "string mixed"),
            (&["true", "0"], "string mixed"),
            (&["null"], "string unseen"),
            (&["[1,2]", "[]"], "List(Int64)"),
            (&["[1,\"x\"]"], "string json"),
            (&["[1]", "1"], "string json"),
            (&["[1]", "{\"a\":1}"], "string json"),
            (
                &["{\"a\":1}", "{\"b\":\"2024-01-01\"}"],
                "Struct(\"a\": Int64, \"b\": Utf8)",
            ),
            (&["{}"], "string json"),
            (&["[9007199254740993, 0.5]"], "string json"),
        ] {
            assert_eq!(of(values, Sampled::add_json), expected, "{values:?}");
        }
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert_eq!(of(&[&deep], Sampled::add_json), "string json");
    }
}
