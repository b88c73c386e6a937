//! How text is separated that nobody has described yet.

use std::collections::HashMap;

use eciton_proto::v1::SourceFile;

use super::dialect::Dialect;
use super::error::SourceError;
use super::fields::split;
use super::files::resolve;
use super::infer::Shape;
use super::sample::sample;
use crate::spec::{JobFile, SpecError};

/// Records that are looked at.
const RECORDS_MAX: usize = 1000;
/// What separates fields, the most usual first.
const DELIMITERS: [u8; 4] = [b',', b'\t', b';', b'|'];

/// The beginning of the first file that has any text.
#[derive(Debug)]
pub(crate) struct Peek {
    /// Whole lines, decompressed.
    text: Vec<u8>,
}

/// How delimited text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Separation {
    /// The byte between fields.
    pub(crate) delimiter: u8,
    /// Whether the first record names the columns.
    pub(crate) header: bool,
}

impl Separation {
    /// What formats have that are not delimited.
    pub(crate) const PLAIN: Separation = Separation {
        delimiter: b',',
        header: true,
    };
}

/// The files that the globs of a job match, in order.
///
/// # Errors
/// [`SpecError`] as for planning the job.
pub(crate) fn files_of(job: &JobFile) -> Result<Vec<SourceFile>, SpecError> {
    let paths = job.spec().source.as_ref().map(|source| &source.paths);
    Ok(resolve(job, paths.map_or(&[][..], Vec::as_slice))?.0)
}

/// Reads the beginning of the first of these files that is not empty.
///
/// # Errors
/// [`SourceError`] if a file cannot be read, or is in no encoding that is.
pub(crate) fn peek(files: &[SourceFile]) -> Result<Peek, SourceError> {
    for file in files {
        let text = sample(file, dialect(b','), RECORDS_MAX)?.text;
        if text.iter().any(|byte| !byte.is_ascii_whitespace()) {
            return Ok(Peek { text });
        }
    }
    Ok(Peek { text: Vec::new() })
}

impl Peek {
    /// Whether there is nothing in any file.
    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The first byte that is no white space.
    pub(crate) fn first_byte(&self) -> Option<u8> {
        let mut bytes = self.text.iter().copied();
        bytes.find(|byte| !byte.is_ascii_whitespace())
    }

    /// The first line that is not blank.
    pub(crate) fn first_line(&self) -> &[u8] {
        let mut lines = self.text.split(|byte| matches!(byte, b'\n' | b'\r'));
        let line = lines.find(|line| line.iter().any(|byte| !byte.is_ascii_whitespace()));
        line.unwrap_or_default()
    }

    /// Whether this is no text at all.
    pub(crate) fn is_binary(&self) -> bool {
        std::str::from_utf8(&self.text).is_err() && self.text.contains(&0)
    }

    /// How the text is separated into fields: by what gives most records the same number of them.
    pub(crate) fn separation(&self) -> Separation {
        let mut best: Option<(u64, usize, u8)> = None;
        for delimiter in DELIMITERS {
            let counts = self
                .records(delimiter)
                .into_iter()
                .map(|fields| fields.len());
            let Some((usual, share)) = usual(counts) else {
                continue;
            };
            let is_better = best.is_none_or(|(other, _, _)| share > other);
            if usual > 1 && is_better {
                best = Some((share, usual, delimiter));
            }
        }
        let delimiter = best.map_or(b',', |(_, _, delimiter)| delimiter);
        Separation {
            delimiter,
            header: has_header(&self.records(delimiter)),
        }
    }

    fn records(&self, delimiter: u8) -> Vec<Vec<String>> {
        let dialect = dialect(delimiter);
        let mut rest = &self.text[..];
        let mut records = Vec::new();
        while !rest.is_empty() && records.len() < RECORDS_MAX {
            let (fields, end) = split(rest, dialect);
            if end == 0 {
                break;
            }
            let value = |field: &super::fields::Field<'_>| {
                String::from_utf8_lossy(&field.value(dialect)).into_owned()
            };
            let record: Vec<String> = fields.iter().map(value).collect();
            // A blank line among records of several fields is none.
            if record.len() > 1 || record.iter().any(|field| !field.is_empty()) {
                records.push(record);
            }
            rest = &rest[end..];
        }
        records
    }
}

fn dialect(delimiter: u8) -> Dialect {
    Dialect {
        delimiter,
        quote: b'"',
        newlines: false,
        header: false,
    }
}

/// The most frequent number, and how many of a thousand are it.
fn usual(counts: impl Iterator<Item = usize>) -> Option<(usize, u64)> {
    let mut times: HashMap<usize, u64> = HashMap::new();
    let mut total = 0;
    for count in counts {
        *times.entry(count).or_default() += 1;
        total += 1;
    }
    let (usual, count) = times
        .into_iter()
        .max_by_key(|(count, times)| (*times, *count))?;
    Some((usual, count * 1000 / total))
}

/// Whether the first record names the columns: none of its fields is a value of another kind than text, or one of them
/// stands over values of another kind.
fn has_header(records: &[Vec<String>]) -> bool {
    let Some((first, rest)) = records.split_first() else {
        return true;
    };
    let is_text = |field: &String| Shape::of_text(field) == Shape::Text;
    if first
        .iter()
        .any(|field| !field.is_empty() && !is_text(field))
    {
        return false;
    }
    let is_value = |column: usize, name: &String| {
        let values = rest.iter().filter_map(|record| record.get(column));
        values.into_iter().any(|value| value == name)
    };
    let columns = first.iter().enumerate();
    // Text over text tells nothing, but a name is no value of its own column.
    let are_all_values =
        !rest.is_empty() && columns.clone().all(|(column, name)| is_value(column, name));
    !are_all_values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn separation(text: &str) -> (char, bool) {
        let peek = Peek {
            text: text.as_bytes().to_vec(),
        };
        let Separation { delimiter, header } = peek.separation();
        (char::from(delimiter), header)
    }

    #[test]
    fn delimiters_and_headers_are_found() {
        assert_eq!(separation("a,b\n1,2\n"), (',', true));
        assert_eq!(separation("1,2\n3,4\n"), (',', false));
        assert_eq!(separation("a;b\n1,5;2,5\n3,5;4,5\n"), (';', true));
        assert_eq!(separation("a\tb\n1\t\"x,y,z\"\n"), ('\t', true));
        assert_eq!(separation("a|b|c\nx|y|z\n"), ('|', true));
        assert_eq!(separation("name\nx\ny\n"), (',', true));
        assert_eq!(separation("AA,x\nB6,y\nAA,x\n"), (',', false));
        assert_eq!(separation("a,b\n\n1,2\n"), (',', true));
        assert_eq!(separation(",a\n1,2\n"), (',', true));
        assert_eq!(separation("2024-01-01,x\n"), (',', false));
    }
}
