//! `arrow`: record batches of Apache Arrow, as IPC files (Feather of version 2) and IPC streams.
//!
//! A group of rows is a record batch. A file says in its footer where its batches are; a stream is walked once, from message
//! to message. Columns and types are handled as those of Parquet: found by name, unified between files, brought to the
//! type wanted unchanged. Dictionary columns have the type of their values.
//!
//! What a shard covers are its batches and every dictionary that is in force for one of them, since the values of rows
//! are in both.
//!
//! | module | is |
//! |---|---|
//! | `outline` | what a file says of itself, checked before anything is allocated by it |
//! | `reader` | the rows of some batches |

mod outline;
mod reader;

use std::fmt::Display;
use std::ops::Range;

use arrow::datatypes::DataType;
use eciton_proto::v1::task_spec::Read;
use eciton_proto::v1::{Format, RowGroups, SourceFile};

use self::outline::ArrowOutline;
use self::reader::ArrowBatches;
use super::super::error::SourceError;
use super::super::format::{About, Magic, ShardRows, Types};
use super::super::guard::guard;
use super::grouped::{FileOutline, GroupedFormat, ReadRequest};

static ABOUT: About = About {
    name: "arrow",
    number: Format::Arrow as i32,
    title: "Arrow",
    extensions: &["arrow", "arrows", "feather", "ipc"],
    magic: Some(Magic {
        begins: &[FILE_MAGIC, STREAM_MAGIC],
        never_text: &[b"ARROW1\0\0", STREAM_MAGIC],
    }),
    keys: &["paths", "shard_size", "verify", "schema"],
    types: Types::Files,
    unit: "record batches",
};

/// What a file begins and ends with.
const FILE_MAGIC: &[u8] = b"ARROW1";
/// What every message begins with, and so a stream.
const STREAM_MAGIC: &[u8] = b"\xff\xff\xff\xff";

/// The format `arrow`.
pub(super) struct Arrow;

impl GroupedFormat for Arrow {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn outline(&self, file: &SourceFile) -> Result<Box<dyn FileOutline>, SourceError> {
        Ok(Box::new(ArrowOutline::read(file)?))
    }

    fn open(
        &self,
        file: &SourceFile,
        groups: Range<u64>,
        request: ReadRequest<'_>,
    ) -> Result<Box<dyn ShardRows>, SourceError> {
        Ok(Box::new(ArrowBatches::open(file, &groups, request)?))
    }

    fn unreadable(&self, _: &DataType) -> Option<&'static str> {
        None
    }

    fn task(&self, groups: RowGroups) -> Read {
        Read::RecordBatches(groups)
    }
}

fn damaged(file: &SourceFile, message: impl Into<String>) -> SourceError {
    SourceError::Damaged {
        file: file.display.clone(),
        title: ABOUT.title,
        message: message.into(),
    }
}

fn unsupported(file: &SourceFile, what: impl Into<String>) -> SourceError {
    SourceError::Unsupported {
        file: file.display.clone(),
        what: what.into(),
    }
}

/// Runs the library. Its functions panic on some damages; a file must not take the process down.
fn guarded<T, E: Display>(
    file: &SourceFile,
    read: impl FnOnce() -> Result<T, E>,
) -> Result<T, SourceError> {
    match guard(read) {
        Some(result) => result.map_err(|error| refused(file, &error.to_string())),
        None => Err(damaged(file, "the reader gave up")),
    }
}

/// The library's refusal, on one line.
fn refused(file: &SourceFile, message: &str) -> SourceError {
    let message = message.split(['\n', '\r']).next().unwrap_or_default();
    if let Some(what) = message.strip_prefix("Not yet implemented: ") {
        return unsupported(file, what);
    }
    let kinds = ["Ipc error: ", "Parser error: ", "Invalid argument error: "];
    let known = kinds.iter().find_map(|kind| message.strip_prefix(kind));
    damaged(file, known.unwrap_or(message))
}
