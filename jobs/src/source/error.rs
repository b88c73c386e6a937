//! Why a source could not be read.

use std::fmt;
use std::io;

use super::input::OPENING;

/// A source that cannot be read as it was recorded. Every variant names the file as the job file named it.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file system refused. Trying again may help.
    #[error("`{file}`: {what}: {source}")]
    Io {
        /// The file, as messages show it.
        file: String,
        /// What was being done.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not the one that was recorded. Mending it is for `job retry`.
    #[error(
        "`{file}`: the file changed since the job was recorded: expected {expected}, found {found}"
    )]
    Changed {
        /// The file, as messages show it.
        file: String,
        /// What was recorded.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The file is another one than was recorded, or was written to since.
    #[error(
        "`{file}`: the file changed since the job was recorded: expected {expected}, found {found}; submit it as a new \
         job, or restore the file (`eciton job retry` accepts one whose bytes are the same where shards are done)"
    )]
    Stale {
        /// The file, as messages show it.
        file: String,
        /// What was recorded.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A compressed file that ends early or is damaged.
    #[error(
        "`{file}`: byte {offset} of the decompressed text: damaged or truncated {codec} stream: {source}"
    )]
    Compressed {
        /// The file, as messages show it.
        file: String,
        /// Bytes of text that came out before the damage.
        offset: u64,
        /// The compression.
        codec: &'static str,
        /// What the decompressor said.
        source: io::Error,
    },
    /// A record that is not one, or has a value that is not of its column's type.
    #[error(transparent)]
    Malformed(Box<Malformed>),
    /// A text in another encoding than UTF-8.
    #[error(
        "`{file}`: the text is encoded as {found}; expected UTF-8: convert it, as with `iconv -f {found} -t UTF-8`"
    )]
    Encoding {
        /// The file, as messages show it.
        file: String,
        /// The encoding.
        found: &'static str,
    },
    /// A file that is not what its name or the job file says.
    #[error("`{file}`: {message}")]
    Content {
        /// The file, as messages show it.
        file: String,
        /// What was expected and what was found.
        message: String,
    },
    /// A file that is right and has something that is not read.
    #[error("`{file}`: not supported: {what}")]
    Unsupported {
        /// The file, as messages show it.
        file: String,
        /// What it has, and where.
        what: String,
    },
    /// A value that its column's type does not hold exactly.
    #[error(
        "`{file}`: row {row}, column `{column}`: expected {expected}, found {value}, which it does not hold \
         exactly; give the column another type in [source.schema], or none"
    )]
    Inexact {
        /// The file, as messages show it.
        file: String,
        /// The row of the file, counted from 1.
        row: u64,
        /// The column.
        column: String,
        /// The value.
        value: String,
        /// The type.
        expected: String,
    },
    /// A file that contradicts itself or ends early.
    #[error("`{file}`: damaged {title} file: {message}")]
    Damaged {
        /// The file, as messages show it.
        file: String,
        /// What its format is called: `Parquet`.
        title: &'static str,
        /// What the reader said.
        message: String,
    },
    /// Names or types of columns that cannot be used, or differ between files.
    #[error("{0}")]
    Columns(String),
    /// The records of a store are others than were recorded.
    #[error(
        "store `{store}`: records {first} to {last}, in the order of keys, changed since the job was recorded: expected {}, \
         found {found}; submit it as a new job, which reads the store as it is then",
        last + 1 - first
    )]
    StoreChanged {
        /// The store.
        store: String,
        /// The first record of the shard, counted from 1.
        first: u64,
        /// The last one.
        last: u64,
        /// How many there are now, or how they differ.
        found: String,
    },
    /// The records of a store cannot be read.
    #[error("store `{store}`: {message}")]
    Stored {
        /// The store.
        store: String,
        /// Why not.
        message: String,
        /// Whether trying again may help.
        transient: bool,
    },
    /// The job came over gRPC, and this process may not read its files for such jobs.
    #[error("{0}")]
    OutOfReach(String),
    /// What was recorded of the source cannot be right: a damaged plan, or one of a later version.
    #[error("the recorded plan is damaged: {0}")]
    Plan(String),
}

impl SourceError {
    /// Whether the bytes of the file, and not the system, are why it cannot be read.
    pub(super) fn is_of_the_bytes(&self) -> bool {
        matches!(
            self,
            Self::Compressed { .. } | Self::Content { .. } | Self::Unsupported { .. }
        )
    }

    /// Whether the same attempt may succeed later without any file being changed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() != io::ErrorKind::NotFound,
            Self::Stored { transient, .. } => *transient,
            _ => false,
        }
    }

    /// The same of a file that changed while its job was being planned.
    pub(super) fn while_planning(self) -> SourceError {
        match self {
            Self::Stale {
                file,
                expected,
                found,
            } => Self::Columns(format!(
                "`{file}`: the file changed while the job was planned: {expected} became {found}; expected files that \
                 nobody writes to"
            )),
            other => other,
        }
    }

    /// Whether another machine may see the file as it was recorded: it is not there, cannot be opened, or is another one.
    pub fn is_of_this_place(&self) -> bool {
        match self {
            Self::Io { what, .. } => *what == OPENING,
            Self::Stale { .. } => true,
            _ => false,
        }
    }
}

/// Why a decoder did not take a text, before anybody looked for the record to blame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal(String);

impl Refusal {
    pub(super) fn new(message: impl Into<String>) -> Refusal {
        Refusal(message.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a record went wrong, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The file, as the job file named it.
    pub file: String,
    /// Byte of the place, counted from 0 in the file; in the decompressed text of a compressed one.
    pub offset: u64,
    /// Byte where the record begins.
    pub record_offset: u64,
    /// Line of the place, counted from 1.
    pub line: u64,
    /// The field, where one is to blame.
    pub column: Option<ColumnPosition>,
    /// What was expected and what was found.
    pub message: String,
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnPosition {
    /// Its number, counted from 1. In JSON lines: the position in the line, in bytes.
    pub number: u64,
    /// The name of the column, where there is one of that number.
    pub name: Option<String>,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: line {}, ", self.file, self.line)?;
        if let Some(column) = &self.column {
            write!(f, "column {}", column.number)?;
            if let Some(name) = &column.name {
                write!(f, " (`{name}`)")?;
            }
            write!(f, ", ")?;
        }
        write!(f, "byte {}: {}", self.offset, self.message)?;
        if self.record_offset != self.offset {
            write!(f, " (the record begins at byte {})", self.record_offset)?;
        }
        Ok(())
    }
}

impl std::error::Error for Malformed {}
