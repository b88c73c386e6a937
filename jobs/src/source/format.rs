//! The seam between source formats and everything that plans, reads, mends or drafts sources.
//!
//! A format is one type that implements [`SourceFormat`] and one line in the [registry](super::formats). Everything else
//! asks the registry: the job file for names and keys, planning for columns and cuts, workers for rows, `job retry` for
//! the places of shards in a mended file, `eciton init` for extensions and contents, pulls for the task of a program.
//! `docs/internals.md` has the recipe for a new one.

use std::fmt;
use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use eciton_proto::v1::task_spec::Read;
use eciton_proto::v1::{SourceFile, SourceSpec};

use super::content::{Hashed, Promise};
use super::dialect::Dialect;
use super::error::SourceError;
use super::mend::{Mending, Piece};
use super::peek::{Peek, Separation};
use super::plan::{Shard, Source};
use super::schema::{FileFacts, Surveyed, Writings};
use crate::spec::{JobFile, Section, SpecError};

/// The facts about a format that need no code.
#[derive(Debug)]
pub(crate) struct About {
    /// The name that job files write: `csv`.
    pub(crate) name: &'static str,
    /// The number of `eciton.v1.Format`, which recorded jobs have. It is never given to another format.
    pub(crate) number: i32,
    /// What sentences call it: `CSV`, `JSON lines`.
    pub(crate) title: &'static str,
    /// Extensions of its files, in lower case and without the one of a compression.
    pub(crate) extensions: &'static [&'static str],
    /// The bytes that its files begin with, where they begin in a way of their own.
    pub(crate) magic: Option<Magic>,
    /// Keys of `[source]` that it uses, beside `format` and `on_error`. A format of files has `paths` among them.
    pub(crate) keys: &'static [&'static str],
    /// What tells the types of its columns.
    pub(crate) types: Types,
    /// What the places of shards are counted in: `bytes`, `row groups`.
    pub(crate) unit: &'static str,
}

impl About {
    /// Whether its rows come from files.
    pub(crate) fn has_files(&self) -> bool {
        self.uses("paths")
    }

    /// Whether it uses a key of `[source]`.
    pub(crate) fn uses(&self, key: &str) -> bool {
        self.keys.contains(&key)
    }
}

/// How the files of a format begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Magic {
    /// The first bytes of a file: one of these.
    pub(crate) begins: &'static [&'static [u8]],
    /// The first bytes of nearly every file, so many of them that no text begins so: one of these.
    pub(crate) never_text: &'static [&'static [u8]],
}

/// What tells the types of columns that `[source.schema]` does not declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Types {
    /// The first rows, whose values are text.
    Text,
    /// The first rows, whose values are JSON.
    Json,
    /// The files themselves.
    Files,
    /// The format: they are always the same.
    Fixed,
}

/// A source whose rows the job file itself describes.
pub(crate) struct ComputedSource {
    /// Its columns.
    pub(crate) schema: SchemaRef,
    /// Its rows.
    pub(crate) len: u64,
    /// Rows of a shard.
    pub(crate) shard_len: u64,
    /// The key that tells the number of shards.
    pub(crate) key: &'static str,
}

/// Whether the beginning of a text is of a format: what `eciton init` asks where nobody has named it.
pub(crate) enum Recognized {
    /// It is not.
    No,
    /// It may be, if no other format knows it.
    Perhaps(&'static About, Separation),
    /// It is.
    Yes(&'static About, Separation),
    /// It is nearly: a sentence that says what is missing and what to do.
    Refused(String),
}

/// The rows of one shard, and counts of what was read so far.
pub(crate) trait ShardRows: Send {
    /// The next batch, of at most [`BATCH_ROWS_MAX`](super::limits::BATCH_ROWS_MAX) rows; `None` at the end of the shard.
    ///
    /// # Errors
    /// [`SourceError`] with file and place of what is wrong. Nothing is read after an error.
    fn next(&mut self) -> Result<Option<RecordBatch>, SourceError>;

    /// XXH3-128 of the bytes that the shard covers, whichever columns are read. Complete at the end of the shard.
    fn digest(&self) -> u128;

    /// Bytes read.
    fn bytes_read(&self) -> u64 {
        0
    }

    /// Malformed records that were left out.
    fn rows_skipped(&self) -> u64 {
        0
    }

    /// Values that belong to no column, which were left out.
    fn values_ignored(&self) -> u64 {
        0
    }
}

/// One format of sources. Methods that take files or shards block the thread.
pub(crate) trait SourceFormat: Sync {
    /// Its facts.
    fn about(&self) -> &'static About;

    // --- the job file ------------------------------------------------------------------------

    /// Reads the keys that only this format knows how to read; those of all formats of files are read already.
    ///
    /// # Errors
    /// [`SpecError`] at the key to blame.
    fn read_keys(&self, section: &Section<'_>, spec: &mut SourceSpec) -> Result<(), SpecError>;

    /// How records and fields are separated, where its records are text.
    fn dialect(&self, spec: &SourceSpec) -> Option<Dialect> {
        let _ = spec;
        None
    }

    // --- drafting ----------------------------------------------------------------------------

    /// Whether a text is of this format. `named` says whether its file has one of the extensions; `shown` and `bare` are
    /// the file's name for messages, and without its extensions.
    fn recognize(&self, text: &Peek, named: bool, shown: &str, bare: &str) -> Recognized {
        let _ = (text, named, shown, bare);
        Recognized::No
    }

    // --- planning ----------------------------------------------------------------------------

    /// The rows of a source without files; `None` for one with files.
    fn computed(&self, spec: &SourceSpec) -> Option<ComputedSource> {
        let _ = spec;
        None
    }

    /// Finds the columns of some files, and looks at the start of each.
    ///
    /// # Errors
    /// [`SpecError`] at the key to blame.
    fn survey(
        &self,
        job: &JobFile,
        spec: &SourceSpec,
        files: &[SourceFile],
    ) -> Result<(Surveyed, Writings), SpecError>;

    /// The shards of a file, in order. Depends only on the bytes of the file and on the job file.
    ///
    /// # Errors
    /// Those of reading the file.
    fn cut(
        &self,
        spec: &SourceSpec,
        file: &SourceFile,
        facts: &FileFacts,
    ) -> Result<Vec<Range<u64>>, SourceError>;

    /// Why values of a type cannot be read, if so.
    fn unreadable(&self, data_type: &DataType) -> Option<&'static str> {
        let _ = data_type;
        None
    }

    // --- reading -----------------------------------------------------------------------------

    /// Opens a shard. `columns` are those wanted, in the order wanted, and `schema` has their types.
    ///
    /// # Errors
    /// [`SourceError`] if the file cannot be opened, is not the recorded one, or is damaged where reading begins.
    fn open(
        &self,
        source: &Source,
        shard: Shard,
        columns: &[usize],
        schema: &SchemaRef,
    ) -> Result<Box<dyn ShardRows>, SourceError>;

    /// Where some rows of a shard, counted from 0, stand in its file; `None` where that cannot be told.
    ///
    /// # Errors
    /// Those of reading the shard once more.
    fn place_of_rows(
        &self,
        source: &Source,
        shard: Shard,
        columns: &[usize],
        rows: &Range<u64>,
    ) -> Result<Option<Places>, SourceError>;

    /// How many rows a shard can have at most, as far as that is known without reading it.
    ///
    /// # Errors
    /// [`SourceError::Plan`] for a shard without a file.
    fn rows_max(&self, source: &Source, shard: Shard) -> Result<Option<u64>, SourceError>;

    /// What a program is told to read that pulls a shard.
    ///
    /// # Errors
    /// [`SourceError`] where the file is not there, or another one by now.
    fn task(&self, source: &Source, shard: Shard) -> Result<Read, SourceError>;

    // --- files that are known by their bytes, and files that were mended -------------------------

    /// Hashes a file, and what each of its shards covers.
    ///
    /// # Errors
    /// Those of reading the file.
    fn hash(&self, file: &SourceFile, ranges: &[Range<u64>]) -> Result<Hashed, SourceError>;

    /// Whether a file has, where a shard lies, the bytes that were recorded.
    ///
    /// # Errors
    /// Those of reading the file.
    fn is_kept(&self, promise: &Promise<'_>) -> Result<bool, SourceError>;

    /// Whether rows depend on bytes of the file beside those that the shard's digest covers.
    fn reads_beside_shard(&self) -> bool {
        false
    }

    /// The place of a shard in its file, as messages name it.
    fn shown_place(&self, file: &SourceFile, range: &Range<u64>) -> String;

    /// Where each shard of a mended file is now.
    ///
    /// # Errors
    /// [`SourceError::Changed`] if bytes of a done shard changed or cannot be found again; those of reading the file.
    fn places_now(
        &self,
        mending: &Mending<'_>,
        pieces: &[Piece],
    ) -> Result<Vec<Range<u64>>, SourceError>;
}

/// Consecutive places in a file, counted from 1 (or the values of a range).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Places {
    /// What is counted: `line`, `row`.
    pub(crate) what: &'static str,
    /// The first of them.
    pub(crate) first: i128,
    /// The last of them.
    pub(crate) last: i128,
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Places { what, first, last } = self;
        match first == last {
            true => write!(f, "{what} {first}"),
            false => write!(f, "{what}s {first} to {last}"),
        }
    }
}

impl fmt::Debug for dyn SourceFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.about().name)
    }
}

impl PartialEq for dyn SourceFormat {
    fn eq(&self, other: &Self) -> bool {
        self.about().number == other.about().number
    }
}
