//! Drafting a job file from data: what `eciton init` writes.
//!
//! | module | is |
//! |---|---|
//! | `data` | which files are meant, and their format |
//! | `survey` | reading the rows: types, NULLs, different values of each column |
//! | `question` | a query that makes sense for the columns |
//! | `text` | the job file, with its comments |
//!
//! A draft is checked like any job file before it is returned, so it runs as it is.

mod data;
mod question;
mod survey;
mod text;

use std::path::{Path, PathBuf};

use crate::run::{self, JobError};
use crate::source::format::About;
use crate::source::{Separation, SourceError};
use crate::spec::{JobFile, SpecError};

pub use data::{job_name, looks_like_data};

/// Bytes of data that are read of larger sources: spread over them.
pub const READ_LEN_MAX: u64 = 256 << 20;

/// What to draft a job file for.
#[derive(Clone, Debug)]
pub struct DraftRequest {
    /// Files, folders or globs, relative to `dir`.
    pub data: Vec<String>,
    /// What `data` is relative to.
    pub dir: PathBuf,
    /// Where the job file will lie, with its name: its globs are relative to its folder.
    pub file: PathBuf,
    /// The job's name; made from that of the data if `None`.
    pub name: Option<String>,
    /// Whether every row is read, however many there are.
    pub full: bool,
}

/// A job file that runs.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The job's name, and that of its store.
    pub name: String,
    /// Its text.
    pub text: String,
    /// The name of its format, as `csv`.
    pub format: &'static str,
    /// Files that its globs match now.
    pub files: u64,
    /// Columns of the source.
    pub columns: u64,
    /// Rows that were read.
    pub rows: u64,
    /// Whether that is all of them.
    pub is_whole: bool,
    /// What is to be known of the data.
    pub warnings: Vec<String>,
}

/// Why no job file can be drafted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DraftError {
    /// The data is none that a job reads. One sentence that says what to do.
    #[error("{0}")]
    Data(String),
    /// A file of the data cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The job that was drafted is refused.
    #[error(transparent)]
    Job(#[from] JobError),
}

/// What is wrong with the data is told without the job file, which does not exist yet.
impl From<SpecError> for DraftError {
    fn from(error: SpecError) -> DraftError {
        DraftError::Data(error.message().to_owned())
    }
}

/// Called from time to time with the bytes read and those to be read.
pub type OnRead<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// A source, as far as it is known without its rows.
#[derive(Clone, Debug)]
struct SourceShape {
    format: &'static About,
    /// Globs, as the job file has them.
    paths: Vec<String>,
    separation: Separation,
}

/// Looks at data and drafts a job file for it. Reads up to [`READ_LEN_MAX`] bytes, or all; writes nothing. Blocks the thread.
///
/// # Errors
/// [`DraftError`] for data that no job reads.
pub fn draft(request: &DraftRequest, progress: OnRead<'_>) -> Result<Draft, DraftError> {
    let found = data::find(request)?;
    let name = match &request.name {
        Some(name) if *name != data::job_name(name) => {
            return Err(DraftError::Data(format!(
                "expected a name of ASCII letters, digits, `.`, `_` and `-` that begins and ends with a letter or a digit, \
                 found `{}`",
                name.escape_debug()
            )));
        }
        Some(name) => name.clone(),
        None => data::job_name(&found.stem),
    };
    let surveyed = survey::survey(&request.file, &found.shape, request.full, progress)?;
    let question = question::of(&surveyed.columns);
    Ok(Draft {
        text: text::write(&text::DraftParts {
            name: &name,
            file: &request.file,
            data: &request.data,
            shape: &found.shape,
            surveyed: &surveyed,
            question: &question,
        }),
        name,
        format: found.shape.format.name,
        files: surveyed.files,
        columns: surveyed.columns.len() as u64,
        rows: surveyed.rows,
        is_whole: surveyed.is_whole,
        warnings: surveyed.warnings,
    })
}

impl Draft {
    /// Checks the job file at the path where it will lie, as `eciton run` would.
    ///
    /// # Errors
    /// [`DraftError::Job`] if it is refused.
    pub async fn check(&self, file: &Path) -> Result<(), DraftError> {
        let parsed = JobFile::parse(file, &self.text).map_err(JobError::from)?;
        run::check(&parsed).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
