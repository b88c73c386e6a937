//! The section `[source]` of a job file.

use eciton_proto::v1::job_spec::Sink;
use eciton_proto::v1::{OnError, OnNewColumns, SourceSpec, Verify};

use super::declared::read_schema;
use super::error::SpecError;
use super::limits::{
    NULL_VALUES_MAX, PATHS_MAX, SHARD_SIZE_DEFAULT, SHARD_SIZE_MAX, SHARD_SIZE_MIN,
};
use super::names::{check_store, list, suggest};
use super::section::Section;
use super::units::{parse_size, show_size};
use crate::source::format::{About, SourceFormat};
use crate::source::formats;
use crate::source::{check_address, is_remote};

/// The keys, in the order in which messages list them; those of a later format follow.
const KEYS: [&str; 17] = [
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
    "hive_partitions",
];

/// Keys that mean something whatever the format is.
const EVERYWHERE: [&str; 2] = ["format", "on_error"];

/// Keys that formats use or not, those together that a message calls by one name, in the order in which they are refused.
const OF_FORMATS: [&[&str]; 8] = [
    &["paths", "verify", "hive_partitions"],
    &["shard_size"],
    &["header", "quote", "newlines_in_values"],
    &["null_values"],
    &["on_new_columns"],
    &["delimiter"],
    &["schema"],
    &["from", "to", "shard_len"],
];

/// Reads and checks `[source]`.
pub(super) fn read(top: &Section<'_>) -> Result<SourceSpec, SpecError> {
    let Some(section) = top.table("source", &known_keys())? else {
        return Err(top.missing("source", "a table `[source]`"));
    };
    let format = read_format(&section)?;
    let about = format.about();
    check_keys(&section, about)?;
    let mut spec = SourceSpec {
        format: about.number,
        ..SourceSpec::default()
    };
    spec.set_on_error(read_on_error(&section)?);
    spec.set_verify(read_verify(&section)?);
    if about.uses("shard_size") {
        spec.shard_size = read_shard_size(&section)?;
    }
    if about.has_files() {
        spec.paths = read_paths(&section)?;
        spec.schema = read_schema(&section)?;
        spec.hive_partitions = section.bool("hive_partitions")?.unwrap_or(false);
    }
    if let Some(answer) = read_on_new_columns(&section)? {
        spec.set_on_new_columns(answer);
    }
    format.read_keys(&section, &mut spec)?;
    Ok(spec)
}

/// The keys of all formats.
fn known_keys() -> Vec<&'static str> {
    let mut known = KEYS.to_vec();
    for key in formats::all().flat_map(|format| format.about().keys) {
        if !known.contains(key) {
            known.push(key);
        }
    }
    known
}

fn read_format(section: &Section<'_>) -> Result<&'static dyn SourceFormat, SpecError> {
    let names = || formats::all().map(|format| format.about().name);
    let expected = format!("one of {}", list(names()));
    let entry = section.required_string("format", &expected)?;
    let found = entry.value.as_str();
    if let Some(format) = formats::by_name(found) {
        return Ok(format);
    }
    let hint = suggest(found, names());
    Err(entry.error(format!(
        "expected {expected}, found `{}`{hint}",
        found.escape_debug()
    )))
}

/// Refuses keys that the format has no use for: a key that changes nothing is a mistake.
fn check_keys(section: &Section<'_>, about: &About) -> Result<(), SpecError> {
    let name = about.name;
    let grouped = |key: &&str| OF_FORMATS.iter().any(|keys| keys.contains(key));
    let others = known_keys();
    let others: Vec<[&str; 1]> = others
        .iter()
        .filter(|key| !grouped(key) && !EVERYWHERE.contains(key))
        .map(|key| [*key])
        .collect();
    let groups = OF_FORMATS.into_iter();
    for keys in groups.chain(others.iter().map(|keys| &keys[..])) {
        let [first, ..] = keys else { continue };
        if !about.uses(first) {
            let of = users_of(first);
            section.refuse(
                keys,
                format!("format `{name}` does not use it; it is a key of {of}"),
            )?;
        }
    }
    Ok(())
}

/// The formats that use a key, as messages name them.
fn users_of(key: &str) -> String {
    if key == "paths" {
        return "files".to_owned();
    }
    if key == "shard_size" {
        return "files and of `store`".to_owned();
    }
    let name = |format: &'static dyn SourceFormat| format!("`{}`", format.about().name);
    formats::listed(name, |format| format.about().uses(key), "and")
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
        if is_remote(text) {
            return check_address(text);
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

/// Reads the name of the store whose records are the source.
///
/// # Errors
/// [`SpecError`] at the key to blame.
pub(crate) fn read_store_name(section: &Section<'_>) -> Result<String, SpecError> {
    let name = section.required_string("store", "a string, the name of a store")?;
    name.checked(|name| check_store(name))
}

/// Refuses a job that reads the store that it writes: what it read would depend on which shards had committed.
pub(super) fn check_apart(
    top: &Section<'_>,
    source: &SourceSpec,
    sink: Option<&Sink>,
) -> Result<(), SpecError> {
    let written = match sink {
        Some(Sink::Merge(merge)) => &merge.store,
        Some(Sink::Upsert(upsert)) => &upsert.store,
        Some(Sink::Answer(answer)) => &answer.store,
        Some(Sink::Delete(delete)) => &delete.store,
        Some(Sink::Export(_)) | None => return Ok(()),
    };
    if source.store.is_empty() || source.store != *written {
        return Ok(());
    }
    let message = format!(
        "the job writes store `{written}` and cannot read it, too; expected its results in another store"
    );
    Err(match top.table("source", &known_keys())? {
        Some(section) => section.error("store", message),
        None => top.error("source", message),
    })
}

/// Reads the keys of delimited text.
///
/// # Errors
/// [`SpecError`] at the key to blame.
pub(crate) fn read_delimited(
    section: &Section<'_>,
    delimiter: u8,
    spec: &mut SourceSpec,
) -> Result<(), SpecError> {
    spec.header = section.bool("header")?.unwrap_or(true);
    spec.newlines_in_values = section.bool("newlines_in_values")?.unwrap_or(false);
    spec.delimiter = read_byte(section, "delimiter", delimiter)?;
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
