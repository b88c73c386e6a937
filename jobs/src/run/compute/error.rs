//! Why an attempt at a shard gave nothing.

use eciton_engine::{Action, Error as EngineError};

use crate::aggregate::AggregateError;
use crate::query::TopError;
use crate::run::records::error::JobError;
use crate::source::{Shard, Source, SourceError};
use crate::transform::TransformError;
use crate::upsert::UpsertError;

/// Why an attempt gave nothing.
pub(crate) enum AttemptError {
    /// Something about this shard.
    Shard {
        /// What, for people.
        message: String,
        /// Whether another attempt at the same bytes may succeed.
        transient: bool,
    },
    /// What became of a program, or what it has written: nothing is wrong with the process that ran it.
    Program {
        /// What, for people.
        message: String,
        /// Whether another attempt may succeed.
        transient: bool,
    },
    /// The file of the shard is not there, or not as it was recorded, as this process sees it.
    Source(SourceError),
    /// Something about the database: the run ends.
    Fatal(JobError),
}

impl AttemptError {
    /// One that every attempt would meet.
    pub(crate) fn lasting(message: impl ToString) -> AttemptError {
        AttemptError::Shard {
            message: message.to_string(),
            transient: false,
        }
    }

    /// The error with the file and the part of it that the shard covers, unless it names the file itself.
    pub(crate) fn within(self, source: &Source, shard: Shard) -> AttemptError {
        let (message, transient, of_program) = match self {
            AttemptError::Shard { message, transient } => (message, transient, false),
            AttemptError::Program { message, transient } => (message, transient, true),
            other => return other,
        };
        let file = source.file(shard).ok().map(|file| &file.display);
        let message = match file {
            Some(file) if !message.contains(&format!("`{file}`")) => {
                let (unit, end) = (source.unit(), shard.start.saturating_add(shard.len));
                format!("`{file}`, {unit} {} to {end}: {message}", shard.start)
            }
            _ => message,
        };
        match of_program {
            true => AttemptError::Program { message, transient },
            false => AttemptError::Shard { message, transient },
        }
    }
}

impl From<EngineError> for AttemptError {
    /// A result that the database refuses is the shard's fault; a medium that fails is not.
    fn from(error: EngineError) -> AttemptError {
        match error {
            EngineError::Limit { .. } | EngineError::Invalid(_) => AttemptError::lasting(error),
            error if error.action() == Action::Retry => AttemptError::Shard {
                message: error.to_string(),
                transient: true,
            },
            error => AttemptError::Fatal(error.into()),
        }
    }
}

impl From<SourceError> for AttemptError {
    fn from(error: SourceError) -> AttemptError {
        if error.is_of_this_place() {
            return AttemptError::Source(error);
        }
        AttemptError::Shard {
            message: error.to_string(),
            transient: error.is_transient(),
        }
    }
}

impl From<TransformError> for AttemptError {
    /// A query has memory of its own, so that even running out of it repeats itself.
    fn from(error: TransformError) -> AttemptError {
        AttemptError::Shard {
            message: error.to_string(),
            transient: error.is_transient(),
        }
    }
}

impl From<AggregateError> for AttemptError {
    fn from(error: AggregateError) -> AttemptError {
        AttemptError::lasting(error)
    }
}

impl From<UpsertError> for AttemptError {
    fn from(error: UpsertError) -> AttemptError {
        AttemptError::lasting(error)
    }
}

impl From<TopError> for AttemptError {
    fn from(error: TopError) -> AttemptError {
        AttemptError::lasting(error)
    }
}
