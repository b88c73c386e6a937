//! The job file: TOML in, a checked [`JobSpec`](eciton_proto::v1::JobSpec) out.
//!
//! [`JobFile::load`] reads and checks everything that can be checked without opening a source: keys,
//! types, units, names, operators, contradictions. What needs the data (globs, columns, SQL) is checked by
//! the layers above, which report through [`JobFile::error`], so that every refusal has the one form
//! `file:line: key ...: what was expected`.
//!
//! Every default is filled in, so two files that mean the same give equal specs; the order of
//! `[merge.values]` is kept, since it is the order of the parts of a record. A job is its name: whether a
//! second file of that name is the same job is decided by [`fingerprint()`], that is by the spec alone.
//! The spec holds the globs as written and not the directory, so a job file that was moved or copied
//! joins the recorded job and reads the files that were recorded with it.
//!
//! | module | is |
//! |---|---|
//! | `file` | the job file and its sections |
//! | `section` | one table, read key by key |
//! | `source` | `[source]`: keys of all formats; each [format](crate::source) reads those of its own |
//! | `command` | `[command]`; `program_file` has the files that a job carries with it |
//! | `after` | the jobs that come first, in `[run]` |
//! | `export` | the section `[export]` |
//! | `mode` | whether a job takes later files, in `[run]` |
//! | `failures` | failed attempts and shards, and resources, in `[run]` |
//! | `lines` | where each key stands |
//! | `operator`, `types`, `units`, `names`, `pattern` | the small languages inside values |
//! | `declared` | the types of `[source.schema]` |
//! | `fingerprint` | equality of specs in 128 bits |
//! | [`limits`] | every bound |

mod after;
mod command;
mod declared;
mod edges;
mod error;
mod export;
mod failures;
mod file;
mod fingerprint;
pub mod limits;
mod lines;
mod mode;
mod names;
mod operator;
mod pattern;
mod program_file;
mod section;
mod source;
mod types;
mod units;

pub(crate) use declared::{JSON, ROUND, unit_name, unit_scale};
pub use error::SpecError;
pub use failures::{SLOTS, failures_allowed, parse_resources};
pub use file::JobFile;
pub use fingerprint::fingerprint;
pub use mode::is_incremental;
pub(crate) use operator::column_of;
pub(crate) use pattern::Pattern;
pub use program_file::{FileContents, ProgramFile};
pub(crate) use section::{Entry, Section};
pub(crate) use source::{read_delimited, read_store_name};
pub use types::{parse_type, type_name};
pub use units::{parse_duration_ms, parse_size, show_duration_ms};

#[cfg(test)]
mod tests;
