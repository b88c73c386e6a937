//! Sources: files cut into shards, and the rows of a shard as Arrow batches.
//!
//! [`plan()`] turns a [`JobFile`](crate::spec::JobFile) into what is recorded with the job: files, columns with
//! types, shards. [`Source`] is that record put together again, in any process, and [`open_shard`] reads the
//! rows of one shard of it.
//!
//! - **Shards never cut a record**, and where they are cut depends only on the bytes of the files and
//!   `shard_size`.
//! - **A record is a line** unless `newlines_in_values = true`. A quote that is open at the end of a line is
//!   then malformed wherever the cuts are, so no cut can change an answer. Lines end with `\n`, `\r\n` or `\r`.
//! - **No value is altered**: what the type of its column does not hold exactly is malformed, and a type that was
//!   inferred is a guess that takes nothing but what it was inferred from.
//! - **A malformed record** is an error with file, byte, line, column and what was expected; under
//!   `on_error = "skip"` it alone is left out and counted.
//! - **Memory** holds one block of text or one batch at a time; compressed files stream.
//!
//! Paths are recorded absolute, links resolved, beside the name that messages show. Types come from
//! `[source.schema]` or from the first 1,000 rows over the files in order: integers that fit 64 bits,
//! floats, booleans, dates, timestamps (UTC microseconds; without an offset they are taken as UTC), else
//! strings.
//!
//! ```
//! use std::path::Path;
//! use eciton_jobs::source::{open_shard, plan};
//! use eciton_jobs::spec::JobFile;
//!
//! let text = r#"
//!     name = "squares"
//!     [source]
//!     format = "range"
//!     from = 0
//!     to = 10
//!     shard_len = 4
//!     [upsert]
//!     store = "squares"
//!     key = ["i"]
//! "#;
//! let job = JobFile::parse(Path::new("squares.toml"), text)?;
//! let planned = plan(&job)?;
//! let source = planned.source(job.into_spec().source.unwrap_or_default())?;
//! let shards = planned.shards()?;
//! assert_eq!(shards.len(), 3);
//!
//! let mut last = open_shard(&source, shards[2], &[0])?;
//! let rows = last.next().transpose()?.map(|batch| batch.num_rows());
//! assert_eq!(rows, Some(2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | is |
//! |---|---|
//! | `plan` | files, columns and shards together; their recorded form |
//! | `files`, `schema`, `cut` | the three steps of planning; `sample`, `header`, `infer`, `columns` serve `schema` |
//! | `identity`, `content` over `watch` | whether a file is the one that was recorded: by its times and number, or by its bytes |
//! | `found` | whether a recorded job has the files that its globs match now |
//! | `mend` | where the shards are after a file was mended |
//! | `read` | the rows of a shard of any format |
//! | `format`, `formats` | the seam that every format fits, and the registry of them |
//! | `text` over `csv` (with `plain`), `jsonl`; `parquet`; `range` | reading the formats |
//! | `array` over `reading`, `number`, `moment` | values as they stand in text, exactly, to arrays |
//! | `reach` | which files may be read, and opening them |
//! | `handle` | an open file, of this machine or elsewhere |
//! | `remote` | objects in buckets, and files of web servers |
//! | `locate` over `fields` | what is wrong with a malformed record, and where |
//! | `rows` | where rows of a shard stand in its file |
//! | `hive` | folders `name=value` as columns |
//! | `head` | where the records of a compressed file begin |
//! | `block` over `input`, `scan` | whole records out of a file, decompressed |
//! | `decompress`, `bzip2`, `xz`, `sniff` | gzip, zstd and the others; what a file is by how it begins |
//! | `guard` | panics of libraries as errors |
//! | `peek` | how text is separated that nobody has described yet |
//! | `unify`, `exact` | one type for a column that files disagree about, and values brought to it unchanged |
//! | `stored` | the records of a store, which the database has |
//! | `whole` | a file that one shard alone reads: what a program has written |
//! | [`limits`] | every bound |

mod array;
mod block;
mod bzip2;
mod columns;
mod content;
mod csv;
mod cut;
mod decompress;
mod dialect;
mod error;
mod exact;
mod fields;
mod files;
pub(crate) mod format;
pub(crate) mod formats;
mod found;
mod guard;
mod handle;
mod head;
mod header;
pub(crate) mod hive;
mod identity;
mod infer;
mod input;
mod jsonl;
pub mod limits;
mod locate;
mod mend;
mod moment;
mod number;
mod parquet;
mod peek;
mod plain;
mod plan;
mod range;
mod reach;
mod read;
mod reading;
mod remote;
mod rows;
mod sample;
mod scan;
mod schema;
mod sniff;
mod stored;
mod text;
mod unify;
mod watch;
mod whole;
mod xz;

pub use error::{ColumnPosition, Malformed, SourceError};
pub use found::{FilesNow, files_now, probe};
pub(crate) use identity::is_same as is_same_file;
pub(crate) use infer::Sampled;
pub(crate) use jsonl::members;
pub use mend::{KeptHash, content_hash, mend};
pub(crate) use peek::{Separation, files_of, peek};
pub use plan::{Planned, Shard, Source, plan, plan_within, shards};
pub use reach::Reach;
pub use read::{ShardReader, open_shard};
pub use remote::check_credentials;
pub(crate) use remote::{check_address, is_remote};
pub use rows::place_of_rows;
pub(crate) use sniff::article;
pub(crate) use stored::{SourceDatabase, is_stored, plan_stored};
pub(crate) use watch::check_read_by_others;
pub(crate) use whole::whole;

#[cfg(test)]
mod tests;
