//! Why a program could not be run.

use std::io;

/// Why a program could not be run. How one ended that ran is no such error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// Its scratch folder cannot be had.
    #[error("the scratch folder cannot be used: {0}")]
    Scratch(#[source] io::Error),
    /// It is not there.
    #[error(
        "program `{0}` is not found; name it by its path, list it in `command.files`, or install it on every worker"
    )]
    NotFound(String),
    /// It cannot be started.
    #[error("program `{program}` cannot be started: {cause}")]
    Start {
        /// Its name.
        program: String,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The system has failed around it.
    #[error("program `{program}`: {cause}")]
    Io {
        /// Its name.
        program: String,
        /// How.
        #[source]
        cause: io::Error,
    },
}

impl CommandError {
    /// Whether another attempt may succeed.
    pub(crate) fn is_transient(&self) -> bool {
        !matches!(self, CommandError::NotFound(_))
    }
}
