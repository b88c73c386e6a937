//! The formats of sources: the one list that everything asks.
//!
//! | module | is |
//! |---|---|
//! | `csv`, `jsonl` over `text` | records of text: blocks of lines, compressions, malformed records |
//! | `parquet`, `arrow` over `grouped` | files of groups of rows that tell their columns |
//! | `range` | integers, without a file |
//! | `store` | records of a store, without a file |

mod arrow;
mod csv;
mod grouped;
mod jsonl;
mod parquet;
mod range;
mod store;
mod text;

use eciton_proto::v1::SourceSpec;

use self::grouped::Grouped;
pub(super) use self::grouped::{FileOutline, GroupedFormat, ReadRequest};
use self::text::TextSource;
use super::error::SourceError;
use super::format::SourceFormat;

/// Every format, in the order in which messages list them.
static FORMATS: [&dyn SourceFormat; 7] = [
    &TextSource(csv::Csv),
    &TextSource(csv::Tsv),
    &TextSource(jsonl::JsonLinesFormat),
    &Grouped(parquet::Parquet),
    &Grouped(arrow::Arrow),
    &range::RangeFormat,
    &store::StoreFormat,
];

/// Every format.
pub(crate) fn all() -> impl Iterator<Item = &'static dyn SourceFormat> {
    FORMATS.iter().copied()
}

/// The formats of files.
pub(crate) fn of_files() -> impl Iterator<Item = &'static dyn SourceFormat> {
    all().filter(|format| format.about().has_files())
}

/// The format of a name.
pub(crate) fn by_name(name: &str) -> Option<&'static dyn SourceFormat> {
    all().find(|format| format.about().name == name)
}

/// The format of a number of `eciton.v1.Format`.
pub(crate) fn by_number(number: i32) -> Option<&'static dyn SourceFormat> {
    all().find(|format| format.about().number == number)
}

/// The format that files of an extension, in lower case, are named after.
pub(crate) fn by_extension(extension: &str) -> Option<&'static dyn SourceFormat> {
    all().find(|format| format.about().extensions.contains(&extension))
}

/// The format of a recorded source.
///
/// # Errors
/// [`SourceError::Plan`] for one that this version does not know.
pub(crate) fn of(spec: &SourceSpec) -> Result<&'static dyn SourceFormat, SourceError> {
    by_number(spec.format).ok_or_else(|| SourceError::Plan("an unknown format".to_owned()))
}

/// The name of a recorded source's format; `unknown` for one that this version does not know.
pub(crate) fn name_of(spec: &SourceSpec) -> &'static str {
    by_number(spec.format).map_or("unknown", |format| format.about().name)
}

/// The names of the formats that match, as `csv, tsv or jsonl`.
pub(crate) fn listed(
    word: fn(&'static dyn SourceFormat) -> String,
    is_wanted: impl Fn(&dyn SourceFormat) -> bool,
    last: &str,
) -> String {
    let words: Vec<String> = all()
        .filter(|format| is_wanted(*format))
        .map(word)
        .collect();
    match &words[..] {
        [] => String::new(),
        [one] => one.clone(),
        [before @ .., end] => format!("{} {last} {end}", before.join(", ")),
    }
}

/// The titles of the formats of files: `CSV, TSV, JSON lines and Parquet`.
pub(crate) fn titles(last: &str) -> String {
    let title = |format: &'static dyn SourceFormat| format.about().title.to_owned();
    listed(title, |format| format.about().has_files(), last)
}

/// The names of the formats of files: `csv, tsv, jsonl or parquet`.
pub(crate) fn names(last: &str) -> String {
    let name = |format: &'static dyn SourceFormat| format.about().name.to_owned();
    listed(name, |format| format.about().has_files(), last)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::format::About;
    use super::*;

    #[test]
    fn names_numbers_and_extensions_are_told_apart() {
        let (mut names, mut numbers, mut extensions) =
            (HashSet::new(), HashSet::new(), HashSet::new());
        for format in all() {
            let about = format.about();
            assert!(names.insert(about.name), "{} twice", about.name);
            assert!(numbers.insert(about.number), "{} twice", about.number);
            for extension in about.extensions {
                assert!(extensions.insert(extension), "{extension} twice");
                assert_eq!(by_extension(extension), Some(format));
            }
            assert_eq!(by_name(about.name), Some(format));
            assert_eq!(by_number(about.number), Some(format));
        }
        assert_eq!(by_number(0), None, "0 is no format");
    }

    /// The contract's numbers and the registry's are the same ones under the same names.
    #[test]
    fn every_format_is_in_the_contract() {
        use eciton_proto::v1::Format;
        for format in all() {
            let About { name, number, .. } = format.about();
            let known = Format::try_from(*number).unwrap();
            let expected = format!("FORMAT_{}", name.to_uppercase());
            assert_eq!(known.as_str_name(), expected);
        }
    }

    #[test]
    fn every_format_is_in_the_book() {
        let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        let page = |name: &str| std::fs::read_to_string(docs.join(name)).unwrap();
        let (formats, keys) = (page("formats.md"), page("job-file.md"));
        for format in all() {
            let name = format!("`{}`", format.about().name);
            assert!(keys.contains(&name), "{name} is not in job-file.md");
            let has_files = format.about().has_files();
            assert!(
                !has_files || formats.contains(&name),
                "{name} is not in formats.md"
            );
        }
    }

    /// A format is known in its own file: nothing else matches on the formats of the contract.
    #[test]
    fn nothing_but_the_registry_names_a_format() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut folders = vec![root.clone()];
        let mut looked_at = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let shown = path.strip_prefix(&root).unwrap().display().to_string();
                if path.is_dir() {
                    let is_apart = shown.ends_with("tests") || shown == "source/formats";
                    folders.extend((!is_apart).then_some(path));
                    continue;
                }
                // What queries are written as is another list.
                if shown.ends_with("tests.rs") || shown == "stores/written.rs" {
                    continue;
                }
                looked_at += 1;
                let text = std::fs::read_to_string(&path).unwrap();
                for (number, line) in (1..).zip(text.lines()) {
                    for (at, _) in line.match_indices("Format::") {
                        let before = line[..at].chars().next_back();
                        let is_other = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
                        assert!(is_other, "{shown}:{number}: {line}");
                    }
                }
            }
        }
        assert!(looked_at > 100, "{looked_at} files");
    }
}
