//! The section `[source]` of a job file.

use eciton_proto::v1::{Format, OnError, OnNewColumns, SourceSpec, Verify};

use super::declared::read_schema;
use super::error::SpecError;
use super::limits::{
    NULL_VALUES_MAX, PATHS_MAX, SHARD_LEN_MAX, SHARD_SIZE_DEFAULT, SHARD_SIZE_MAX, SHARD_SIZE_MIN,
};
use super::names::{list, suggest};
use super::section::{Entry, Section};
use super::units::{parse_size, show_size};

const KEYS: [&str; 16] = [
    "format",
    "paths",
    "shard_size",
    "null_values",
    "on_error",
    "on_new_columns",
    "header",
    "delimiter",
    "quote",
    "newlines_in_values",
    "schema",
    "from",
    "to",
    "shard_len",
    "store",
    "verify",
];

const FORMATS: [(&str, Format); 6] = [
    ("csv", Format::Csv),
    ("tsv", Format::Tsv),
    ("jsonl", Format::Jsonl),
    ("parquet", Format::Parquet),
    ("range", Format::Range),
    ("store", Format::Store),
];

/// Reads and checks `[source]`.
pub(super) fn read(top: &Section<'_>) -> Result<SourceSpec, SpecError> {
    let Some(section) = top.table("source", &KEYS)? else {
        return Err(top.missing("source", "a table `[source]`"));
    };
    let (name, format) = read_format(&section)?;
    check_keys(&section, name, format)?;
    let mut spec = SourceSpec::default();
    spec.set_format(format);
    spec.set_on_error(read_on_error(&section)?);
    spec.set_verify(read_verify(&section)?);
    if format == Format::Range {
        read_range(&section, &mut spec)?;
        return Ok(spec);
    }
    spec.paths = read_paths(&section)?;
    spec.shard_size = read_shard_size(&section)?;
    spec.schema = read_schema(&section)?;
    if let Some(answer) = read_on_new_columns(&section)? {
        spec.set_on_new_columns(answer);
    }
    if matches!(format, Format::Csv | Format::Tsv) {
        read_delimited(&section, format, &mut spec)?;
    }
    Ok(spec)
}

fn read_format(section: &Section<'_>) -> Result<(&'static str, Format), SpecError> {
    let names = FORMATS.map(|(name, _)| name);
    let expected = format!("one of {}", list(names));
    let entry = section.required_string("format", &expected)?;
    let Some(format) = FORMATS.into_iter().find(|(name, _)| *name == entry.value) else {
        let hint = suggest(&entry.value, names);
        return Err(entry.error(format!(
            "expected {expected}, found `{}`{hint}",
            entry.value.escape_debug()
        )));
    };
    if format.1 == Format::Store {
        return Err(entry.error("format `store` is not supported by this version"));
    }
    Ok(format)
}

/// Refuses keys that the format has no use for: a key that changes nothing is a mistake.
fn check_keys(section: &Section<'_>, name: &str, format: Format) -> Result<(), SpecError> {
    let delimited = matches!(format, Format::Csv | Format::Tsv);
    let rules: [(&[&str], bool, &str); 7] = [
        (
            &["paths", "shard_size", "verify"],
            format != Format::Range,
            "files",
        ),
        (
            &["header", "quote", "newlines_in_values"],
            delimited,
            "`csv` and `tsv`",
        ),
        (&["null_values"], delimited, "`csv` and `tsv`"),
        (&["on_new_columns"], format == Format::Jsonl, "`jsonl`"),
        (&["delimiter"], format == Format::Csv, "`csv`"),
        (
            &["schema"],
            format != Format::Range,
            "`csv`, `tsv`, `jsonl` and `parquet`",
        ),
        (
            &["from", "to", "shard_len"],
            format == Format::Range,
            "`range`",
        ),
    ];
    for (keys, allowed, of) in rules {
        if !allowed {
            section.refuse(
                keys,
                format!("format `{name}` does not use it; it is a key of {of}"),
            )?;
        }
    }
    section.refuse(
        &["store"],
        format!("format `{name}` does not use it; it is a key of `store`"),
    )
}

fn read_on_error(section: &Section<'_>) -> Result<OnError, SpecError> {
    let expected = "\"fail\" or \"skip\"";
    let Some(entry) = section.string("on_error", expected)? else {
        return Ok(OnError::Fail);
    };
    let parse = |text: &String| match text.as_str() {
        "fail" => Some(OnError::Fail),
        "skip" => Some(OnError::Skip),
        _ => None,
    };
    Ok(entry.parsed(parse, expected)?.value)
}

/// The default is not recorded, so that a file that spells it out is that of a job of before.
fn read_verify(section: &Section<'_>) -> Result<Verify, SpecError> {
    let names = ["metadata", "content"];
    let expected = format!("one of {}", list(names));
    let Some(entry) = section.string("verify", &expected)? else {
        return Ok(Verify::Unspecified);
    };
    match entry.value.as_str() {
        "metadata" => Ok(Verify::Unspecified),
        "content" => Ok(Verify::Content),
        found => {
            let hint = suggest(found, names);
            Err(entry.error(format!(
                "expected {expected}, found `{}`{hint}",
                found.escape_debug()
            )))
        }
    }
}

/// `None` for the default, which encodes to nothing: a job of an earlier version is joined.
fn read_on_new_columns(section: &Section<'_>) -> Result<Option<OnNewColumns>, SpecError> {
    let expected = "\"fail\" or \"ignore\"";
    let Some(entry) = section.string("on_new_columns", expected)? else {
        return Ok(None);
    };
    let parse = |text: &String| match text.as_str() {
        "fail" => Some(OnNewColumns::Unspecified),
        "ignore" => Some(OnNewColumns::Ignore),
        _ => None,
    };
    let answer = entry.parsed(parse, expected)?.value;
    Ok((answer != OnNewColumns::Unspecified).then_some(answer))
}

fn read_paths(section: &Section<'_>) -> Result<Vec<String>, SpecError> {
    let expected = "an array of globs such as [\"flights/*.csv\"]";
    let Some(entries) = section.strings("paths", expected)? else {
        return Err(section.missing("paths", expected));
    };
    if entries.is_empty() || entries.len() > PATHS_MAX {
        return Err(section.error(
            "paths",
            format!("expected 1 to {PATHS_MAX} globs, found {}", entries.len()),
        ));
    }
    let check = |text: &String| {
        if text.is_empty() {
            return Err("expected a glob, found an empty string".to_owned());
        }
        let legal = glob::Pattern::new(text).map(|_| ());
        legal.map_err(|e| format!("expected a glob, found `{text}`: {} (at {})", e.msg, e.pos))
    };
    entries
        .into_iter()
        .map(|entry| entry.checked(check))
        .collect()
}

fn read_shard_size(section: &Section<'_>) -> Result<u64, SpecError> {
    let expected = "a size such as \"8MiB\" or a number of bytes";
    let Some(entry) = section.string_or_integer("shard_size", expected)? else {
        return Ok(SHARD_SIZE_DEFAULT);
    };
    entry
        .parsed(|text| parse_size(text), expected)?
        .checked(|bytes| {
            if (SHARD_SIZE_MIN..=SHARD_SIZE_MAX).contains(bytes) {
                return Ok(());
            }
            Err(format!(
                "expected a size from {} to {}, found {}",
                show_size(SHARD_SIZE_MIN),
                show_size(SHARD_SIZE_MAX),
                show_size(*bytes)
            ))
        })
}

fn read_delimited(
    section: &Section<'_>,
    format: Format,
    spec: &mut SourceSpec,
) -> Result<(), SpecError> {
    spec.header = section.bool("header")?.unwrap_or(true);
    spec.newlines_in_values = section.bool("newlines_in_values")?.unwrap_or(false);
    let tab = format == Format::Tsv;
    spec.delimiter = read_byte(section, "delimiter", if tab { b'\t' } else { b',' })?;
    spec.quote = read_byte(section, "quote", b'"')?;
    if spec.delimiter == spec.quote {
        return Err(section.error("quote", "expected a character other than the delimiter"));
    }
    spec.null_values = read_null_values(section)?;
    Ok(())
}

fn read_byte(section: &Section<'_>, key: &str, default: u8) -> Result<u32, SpecError> {
    let expected = "one ASCII character, neither a newline nor NUL";
    let Some(entry) = section.string(key, expected)? else {
        return Ok(u32::from(default));
    };
    let one = |text: &String| match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Some(u32::from(*byte)),
        _ => None,
    };
    Ok(entry.parsed(one, expected)?.value)
}

fn read_null_values(section: &Section<'_>) -> Result<Vec<String>, SpecError> {
    let expected = "an array of strings such as [\"\", \"NA\"]";
    let Some(entries) = section.strings("null_values", expected)? else {
        return Ok(vec![String::new()]);
    };
    if entries.len() > NULL_VALUES_MAX {
        return Err(section.error(
            "null_values",
            format!(
                "expected at most {NULL_VALUES_MAX} strings, found {}",
                entries.len()
            ),
        ));
    }
    let mut values: Vec<String> = entries.into_iter().map(|entry| entry.value).collect();
    values.sort();
    values.dedup();
    Ok(values)
}

fn read_range(section: &Section<'_>, spec: &mut SourceSpec) -> Result<(), SpecError> {
    let required = |key: &str| -> Result<Entry<'_, i64>, SpecError> {
        let found = section.integer(key, "an integer")?;
        found.ok_or_else(|| section.missing(key, "an integer"))
    };
    spec.from = required("from")?.value;
    let to = required("to")?;
    spec.to = to.value;
    if spec.to < spec.from {
        return Err(to.error(format!(
            "expected at least `source.from`, which is {}, found {}",
            spec.from, spec.to
        )));
    }
    let expected = format!("an integer from 1 to {SHARD_LEN_MAX}");
    let legal = |len: &i64| {
        u64::try_from(*len)
            .ok()
            .filter(|n| (1..=SHARD_LEN_MAX).contains(n))
    };
    spec.shard_len = required("shard_len")?.parsed(legal, expected)?.value;
    Ok(())
}
