//! The job file, with its comments.

use std::fmt::Write as _;
use std::path::Path;

use super::SourceShape;
use super::question::{self, Question};
use super::survey::{Facts, SurveyedData};
use crate::source::format::Types;
use crate::source::formats;

/// Columns that the comments list.
const COLUMNS_MAX: usize = 100;

/// What a job file is written from.
pub(super) struct DraftParts<'a> {
    pub(super) name: &'a str,
    pub(super) file: &'a Path,
    pub(super) data: &'a [String],
    pub(super) shape: &'a SourceShape,
    pub(super) surveyed: &'a SurveyedData,
    pub(super) question: &'a Question,
}

/// Writes the job file.
pub(super) fn write(parts: &DraftParts<'_>) -> String {
    let mut lines = heading(parts);
    lines.push(String::new());
    lines.push(format!("name = {}", string(parts.name)));
    lines.push(String::new());
    lines.extend(source(parts));
    lines.push(String::new());
    lines.extend(columns(parts));
    lines.extend(declared(&parts.surveyed.columns));
    lines.push(String::new());
    lines.push(
        "# One SELECT over the table `source`. The answer is the same for any number of workers."
            .to_owned(),
    );
    lines.push("[transform]".to_owned());
    lines.push(format!("sql = {}", block(&question::sql(parts.question))));
    lines.push(String::new());
    lines.push("[result]".to_owned());
    lines.push(format!(
        "store = {:<27} # the store that takes the answer",
        string(parts.name)
    ));
    lines.extend(variants(parts));
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

fn heading(parts: &DraftParts<'_>) -> Vec<String> {
    let SurveyedData {
        files,
        rows,
        is_whole,
        bytes,
        ..
    } = parts.surveyed;
    let read = match (rows, is_whole) {
        (0, false) => "its rows were not read".to_owned(),
        (1, true) => "its only row was read".to_owned(),
        (rows, true) => format!("all {} were read", counted(*rows, "row")),
        (rows, false) => format!("{} of it were read", counted(*rows, "row")),
    };
    let shown: Vec<String> = parts.data.iter().take(3).map(|data| plain(data)).collect();
    let rest = match parts.data.len().saturating_sub(3) {
        0 => String::new(),
        rest => format!(" and {rest} more"),
    };
    let file = plain(&parts.file.display().to_string());
    let file = match file.contains(|c: char| c.is_whitespace() || "'\"$&;".contains(c)) {
        true => format!("'{file}'"),
        false => file,
    };
    vec![
        format!("# Made by `eciton init` from {}{rest}", shown.join(", ")),
        format!(
            "# ({}, {}, {}; {read}).",
            parts.shape.format.name,
            counted(*files, "file"),
            size(*bytes)
        ),
        "#".to_owned(),
    ]
    .into_iter()
    .chain(steps(&file, parts.name))
    .collect()
}

fn source(parts: &DraftParts<'_>) -> Vec<String> {
    let (shape, surveyed) = (parts.shape, parts.surveyed);
    let mut lines = vec!["[source]".to_owned()];
    let mut key = |name: &str, value: &str, comment: &str| {
        let said = format!("{name} = {value}");
        lines.push(match comment {
            "" => said,
            comment => format!("{said:<35} # {comment}"),
        });
    };
    key("format", &string(shape.format.name), &formats::names("or"));
    let paths: Vec<String> = shape.paths.iter().map(|path| string(path)).collect();
    let paths = match paths.len() {
        0..=3 => format!("[{}]", paths.join(", ")),
        _ => format!("[\n    {},\n]", paths.join(",\n    ")),
    };
    key("paths", &paths, "files or globs, relative to this file");
    if shape.format.uses("delimiter") {
        let delimiter = char::from(shape.separation.delimiter).to_string();
        key("delimiter", &string(&delimiter), "between the fields");
    }
    if shape.format.uses("header") {
        let header = shape.separation.header;
        let comment = match header {
            true => "the first line names the columns",
            false => "the first line is data: columns are named column_1, column_2, ...",
        };
        key("header", &header.to_string(), comment);
        if surveyed.newlines {
            key("newlines_in_values", "true", "quoted fields hold newlines");
        }
        let words = surveyed.nulls.iter().map(|word| string(word));
        let words: Vec<String> = std::iter::once(string("")).chain(words).collect();
        let words = format!("[{}]", words.join(", "));
        key("null_values", &words, "fields that stand for NULL");
    }
    if surveyed.malformed > 0 {
        let comment = format!("{} malformed", counted(surveyed.malformed, "row"));
        key("on_error", "\"skip\"", &comment);
    }
    lines
}

/// What to do with the job file.
fn steps(file: &str, store: &str) -> Vec<String> {
    let steps = [
        (format!("eciton plan {file}"), "look at it first"),
        (
            format!("eciton run {file} --db ./db"),
            "run it, or resume it",
        ),
        (format!("eciton scan {store} --db ./db"), "see the result"),
    ];
    let width = steps
        .iter()
        .map(|(call, _)| call.chars().count())
        .max()
        .unwrap_or(0);
    let line = |(call, what): &(String, &str)| format!("#   {call:<width$}   # {what}");
    steps.iter().map(line).collect()
}

/// The columns as comments.
fn columns(parts: &DraftParts<'_>) -> Vec<String> {
    let columns = &parts.surveyed.columns;
    let inferred = match parts.shape.format.types {
        Types::Files => "types of the file",
        _ => "inferred types",
    };
    let mut lines = vec![format!(
        "# {}, with {inferred}:",
        counted(columns.len() as u64, "column")
    )];
    let name = |column: &Facts| plain(&column.name);
    let shown = columns.iter().take(COLUMNS_MAX);
    let width = |text: fn(&Facts) -> String| {
        let widths = columns
            .iter()
            .take(COLUMNS_MAX)
            .map(|column| text(column).chars().count());
        widths.max().unwrap_or(0).min(40)
    };
    let (names, types) = (width(|c| plain(&c.name)), width(|c| c.shown_type.clone()));
    for column in shown {
        let mut facts = Vec::new();
        match column.distinct {
            Some(0) => facts.push("no value".to_owned()),
            Some(count) => facts.push(counted(count as u64, "value")),
            None => {}
        }
        if column.nulls > 0 && column.distinct != Some(0) {
            facts.push(format!("{} NULL", grouped(column.nulls)));
        }
        let line = format!(
            "#   {:<names$}  {:<types$}  {}",
            name(column),
            column.shown_type,
            facts.join(", ")
        );
        lines.push(line.trim_end().to_owned());
    }
    if columns.len() > COLUMNS_MAX {
        let rest = columns.len() - COLUMNS_MAX;
        lines.push(format!("#   and {rest} more: `eciton plan` lists all"));
    }
    lines
}

/// Types that the first rows alone do not tell.
fn declared(columns: &[Facts]) -> Vec<String> {
    let mut lines = Vec::new();
    for column in columns {
        if let Some(declared) = &column.declared {
            lines.push(format!("{} = {}", string(&column.name), string(declared)));
        }
    }
    match lines.is_empty() {
        true => vec![
            "# Declare another type so:".to_owned(),
            "# [source.schema]".to_owned(),
            format!(
                "# {} = \"string\"",
                columns
                    .first()
                    .map_or_else(|| string("column"), |column| string(&column.name))
            ),
        ],
        false => {
            let comment = "# Later rows are of another type than the first 1,000 alone tell.";
            let heading = [comment.to_owned(), "[source.schema]".to_owned()];
            heading.into_iter().chain(lines).collect()
        }
    }
}

/// What else a job may do with the rows, as comments.
fn variants(parts: &DraftParts<'_>) -> Vec<String> {
    let Question {
        group: _,
        number,
        count_name,
        average_name,
        by,
        key,
    } = parts.question;
    let mut lines = Vec::new();
    if let Some(by) = by {
        lines.extend([
            String::new(),
            "# Instead of [transform] and [result]: values that merge as shards finish, and that later jobs may add to.".to_owned(),
            "# [merge]".to_owned(),
            format!("# store = {}", string(&with_suffix(parts.name, "-merged"))),
            format!("# key = [{}]", string(by)),
            "# [merge.values]".to_owned(),
            format!("# {count_name} = \"count()\""),
        ]);
        let operand = number.as_ref().filter(|number| !number.contains('"'));
        if let Some(number) = operand {
            let is_plain = !number.contains([',', '(', ')', '*']) && number.trim() == number;
            let call = string(&match is_plain {
                true => format!("avg({number})"),
                false => format!("avg(\"{number}\")"),
            });
            lines.push(format!("# {average_name} = {call}"));
        }
    }
    let rows = counted(parts.surveyed.rows, "row");
    let which = match (parts.surveyed.rows, parts.surveyed.is_whole) {
        // Nothing was found out of no rows.
        (0, _) => return lines,
        (_, true) => "all of them",
        (_, false) => "as many as were read",
    };
    match key {
        Some(key) => lines.extend([
            String::new(),
            "# Or: one record a row, under a key that tells rows apart; of one key the last row wins."
                .to_owned(),
            format!("# No two of {rows} ({which}) have the same `{}`.", plain(key)),
            "# [upsert]".to_owned(),
            format!("# store = {}", string(&with_suffix(parts.name, "-rows"))),
            format!("# key = [{}]", string(key)),
        ]),
        None => lines.extend([
            String::new(),
            "# Or [upsert]: one record a row, under a key that tells rows apart; of one key the last row wins.".to_owned(),
            format!("# No single column does so in {rows} ({which}): name several, as key = [\"a\", \"b\"]."),
        ]),
    }
    lines
}

fn with_suffix(name: &str, suffix: &str) -> String {
    let kept = crate::spec::limits::JOB_NAME_LEN_MAX - suffix.len();
    let name: String = name.chars().take(kept).collect();
    format!("{name}{suffix}")
}

/// Text that may stand in a comment.
fn plain(text: &str) -> String {
    text.chars()
        .flat_map(char::escape_debug)
        .filter(|c| *c != '\n')
        .collect::<String>()
        .replace("\\'", "'")
        .replace("\\\"", "\"")
}

/// A text as TOML writes it.
pub(super) fn string(text: &str) -> String {
    let mut written = String::with_capacity(text.len() + 2);
    written.push('"');
    for c in text.chars() {
        match c {
            '"' => written.push_str("\\\""),
            '\\' => written.push_str("\\\\"),
            '\n' => written.push_str("\\n"),
            '\t' => written.push_str("\\t"),
            '\r' => written.push_str("\\r"),
            c if c.is_control() => {
                write!(written, "\\u{:04X}", u32::from(c)).ok();
            }
            c => written.push(c),
        }
    }
    written.push('"');
    written
}

/// Lines of text as TOML writes them.
fn block(text: &str) -> String {
    let is_plain = !text.contains("'''") && !text.chars().any(|c| c.is_control() && c != '\n');
    match is_plain && !text.ends_with('\'') {
        true => format!("'''\n{text}\n'''"),
        false => string(text),
    }
}

/// `1 row`, `12,345 rows`.
pub(super) fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(count))
}

/// `12,345`.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `31.2 MB`.
fn size(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return counted(bytes, "byte");
    }
    #[allow(clippy::cast_precision_loss, reason = "shown with one place")]
    let mut amount = bytes as f64 / 1000.0;
    let mut units = units.into_iter();
    let mut unit = units.next().unwrap_or_default();
    while amount >= 999.95
        && let Some(larger) = units.next()
    {
        amount /= 1000.0;
        unit = larger;
    }
    format!("{amount:.1} {unit}")
}
