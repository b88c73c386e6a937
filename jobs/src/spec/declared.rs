//! Types of columns as `[source.schema]` declares them.

use arrow::datatypes::DataType;
use eciton_proto::v1::SchemaField;

use super::error::SpecError;
use super::limits::COLUMNS_MAX;
use super::names::check_column;
use super::pattern::Pattern;
use super::section::Section;
use super::types::{parse_decimal, parse_type, type_name};

/// The names a job file may declare a column of a text format with.
const DECLARABLE: &str = "`bool`, `int8` to `int64`, `uint8` to `uint64`, `float32`, `float64`, `string`, `json`, \
     `date`, `timestamp`, `decimal(precision,scale)`, `decimal(precision,scale,round)`, `date(format=...)`, \
     `date(unit=days)`, `timestamp(format=...)`, `timestamp(unit=s|ms|us|ns)`";

/// The format of a decimal that is rounded.
pub(crate) const ROUND: &str = "round";
/// The format of a string that is the JSON text of a value.
pub(crate) const JSON: &str = "json";

/// A type, and how its values are written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DeclaredType {
    data_type: DataType,
    format: String,
    unit: String,
}

/// The power of ten of microseconds that a unit of time has.
pub(crate) fn unit_scale(unit: &str) -> Option<i64> {
    let mut known = UNITS.into_iter();
    known.find_map(|(name, scale)| (name == unit).then_some(scale))
}

/// The unit of such a power.
pub(crate) fn unit_name(scale: i64) -> &'static str {
    let mut known = UNITS.into_iter();
    known
        .find_map(|(name, of)| (of == scale).then_some(name))
        .unwrap_or("?")
}

/// Units of timestamps, and the powers of ten of microseconds that they are.
const UNITS: [(&str, i64); 4] = [("s", 6), ("ms", 3), ("us", 0), ("ns", -3)];

/// Reads the table `[source.schema]`: a name of a type, or a table `{ type = ..., format = ..., unit = ... }`.
pub(super) fn read_schema(source: &Section<'_>) -> Result<Vec<SchemaField>, SpecError> {
    let Some(schema) = source.table("schema", &[])? else {
        return Ok(vec![]);
    };
    let names = schema.names();
    if names.len() > COLUMNS_MAX {
        return Err(source.error(
            "schema",
            format!(
                "a source has at most {COLUMNS_MAX} columns, found {}",
                names.len()
            ),
        ));
    }
    let mut fields = Vec::with_capacity(names.len());
    for name in names {
        let declared = read_column(&schema, &name)?;
        fields.push(SchemaField {
            r#type: type_name(&declared.data_type),
            name,
            nullable: true,
            format: declared.format,
            unit: declared.unit,
        });
    }
    // The order of declarations means nothing: sorted, so that equal meanings are equal specs.
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(fields)
}

fn read_column(schema: &Section<'_>, name: &str) -> Result<DeclaredType, SpecError> {
    check_column(name).map_err(|message| schema.error(name, message))?;
    if !schema.is_table(name) {
        let expected = "the name of a type such as \"int64\", or a table { type = \"...\" }";
        let entry = schema.required_string(name, expected)?;
        return parse(&entry.value).map_err(|message| entry.error(message));
    }
    let Some(column) = schema.table(name, &["type", "format", "unit"])? else {
        return Err(schema.missing(name, "a type"));
    };
    let entry = column.required_string("type", "the name of a type such as \"timestamp\"")?;
    let mut declared = parse(&entry.value).map_err(|message| entry.error(message))?;
    for (key, place) in [
        ("format", &mut declared.format),
        ("unit", &mut declared.unit),
    ] {
        let Some(entry) = column.string(key, "a string")? else {
            continue;
        };
        if !place.is_empty() {
            return Err(entry.error(format!("`type` names the {key} already")));
        }
        *place = entry.value;
    }
    let key = if declared.unit.is_empty() {
        "format"
    } else {
        "unit"
    };
    check(&declared).map_err(|message| column.error(key, message))?;
    Ok(declared)
}

/// The type of a text such as `timestamp(format=%d/%m/%Y, unit=ms)`.
fn parse(text: &str) -> Result<DeclaredType, String> {
    let unknown = || format!("expected one of {DECLARABLE}, found `{text}`");
    let plain = |data_type: DataType| DeclaredType {
        data_type,
        format: String::new(),
        unit: String::new(),
    };
    if text == JSON {
        return Ok(DeclaredType {
            format: JSON.to_owned(),
            ..plain(DataType::Utf8)
        });
    }
    let Some((name, arguments)) = text
        .split_once('(')
        .and_then(|(name, rest)| Some((name, rest.strip_suffix(')')?)))
    else {
        let is_simple = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let known = text.bytes().all(is_simple).then(|| parse_type(text));
        return known.flatten().map(plain).ok_or_else(unknown);
    };
    let declared = match name {
        "decimal" => match arguments.rsplit_once(',') {
            Some((numbers, last)) if last.trim() == ROUND => DeclaredType {
                format: ROUND.to_owned(),
                ..plain(parse_decimal(&format!("decimal({numbers})")).ok_or_else(unknown)?)
            },
            _ => plain(parse_decimal(text).ok_or_else(unknown)?),
        },
        "date" | "timestamp" => {
            let (format, unit) = moment_arguments(arguments).ok_or_else(unknown)?;
            DeclaredType {
                format,
                unit,
                ..plain(parse_type(name).ok_or_else(unknown)?)
            }
        }
        _ => return Err(unknown()),
    };
    check(&declared)?;
    Ok(declared)
}

/// `format=...` and `unit=...`, in any order; a format may hold commas and parentheses.
fn moment_arguments(text: &str) -> Option<(String, String)> {
    let text = text.trim();
    let unquoted = |text: &str| {
        let text = text.trim();
        let inner = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
        inner('\'')
            .or_else(|| inner('"'))
            .unwrap_or(text)
            .to_owned()
    };
    if let Some(rest) = text.strip_prefix("unit=") {
        return Some(match rest.split_once(',') {
            None => (String::new(), unquoted(rest)),
            Some((unit, format)) => (
                unquoted(format.trim().strip_prefix("format=")?),
                unquoted(unit),
            ),
        });
    }
    let rest = text.strip_prefix("format=")?;
    let with_unit = rest.rsplit_once(',').and_then(|(format, unit)| {
        let unit = unit.trim().strip_prefix("unit=")?;
        Some((unquoted(format), unquoted(unit)))
    });
    Some(with_unit.unwrap_or_else(|| (unquoted(rest), String::new())))
}

/// Whether the type has such a format and such a unit.
fn check(declared: &DeclaredType) -> Result<(), String> {
    let DeclaredType {
        data_type,
        format,
        unit,
    } = declared;
    let name = type_name(data_type);
    match data_type {
        DataType::Date32 | DataType::Timestamp(_, _) => {
            let clock = *data_type != DataType::Date32;
            let units = if clock {
                "`s`, `ms`, `us` or `ns`"
            } else {
                "`days`"
            };
            let known = match clock {
                true => unit_scale(unit).is_some(),
                false => unit == "days",
            };
            if !unit.is_empty() && !known {
                return Err(format!("a {name} has the unit {units}, found `{unit}`"));
            }
            if !format.is_empty() {
                Pattern::parse(format, clock).map_err(|why| format!("the format {why}"))?;
            }
            Ok(())
        }
        DataType::Decimal128(_, _) if unit.is_empty() && (format.is_empty() || format == ROUND) => {
            Ok(())
        }
        DataType::Utf8 if unit.is_empty() && (format.is_empty() || format == JSON) => Ok(()),
        _ if format.is_empty() && unit.is_empty() => Ok(()),
        DataType::Decimal128(_, _) => Err(format!("a {name} has no format but `{ROUND}`")),
        DataType::Utf8 => Err(format!("a {name} has no format but `{JSON}`")),
        _ => Err(format!(
            "a {name} has neither a format nor a unit; they are of `date` and `timestamp`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, String, String) {
        let declared = parse(text).unwrap();
        (
            type_name(&declared.data_type),
            declared.format,
            declared.unit,
        )
    }

    #[test]
    fn types_have_formats_and_units() {
        for (text, r#type, format, unit) in [
            ("int64", "int64", "", ""),
            ("json", "string", "json", ""),
            ("decimal(12, 2)", "decimal(12,2)", "", ""),
            ("decimal(12,2, round)", "decimal(12,2)", "round", ""),
            ("date(format=%d/%m/%Y)", "date", "%d/%m/%Y", ""),
            ("date(unit=days)", "date", "", "days"),
            ("timestamp(unit=ms)", "timestamp", "", "ms"),
            (
                "timestamp(format=%b %d, %Y (%H:%M))",
                "timestamp",
                "%b %d, %Y (%H:%M)",
                "",
            ),
            (
                "timestamp(format='%d/%m/%Y %H:%M', unit=s)",
                "timestamp",
                "%d/%m/%Y %H:%M",
                "s",
            ),
            (
                "timestamp(unit=us, format=%d/%m/%Y)",
                "timestamp",
                "%d/%m/%Y",
                "us",
            ),
        ] {
            assert_eq!(
                parts(text),
                (r#type.into(), format.into(), unit.into()),
                "{text}"
            );
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "Int64",
            "integer",
            "decimal(0,0)",
            "decimal(39,2)",
            "decimal(4,5)",
            "decimal(4,2,up)",
            "",
            "List(Int64)",
            "timestamp(",
            "timestamp()",
            "timestamp(zone=UTC)",
            "timestamp(unit=days)",
            "date(unit=s)",
            "date(format=%H:%M)",
            "timestamp(format=%q)",
            "int64(unit=s)",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
