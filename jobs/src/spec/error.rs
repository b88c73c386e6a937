//! Why a job file was refused.

use std::fmt;
use std::path::{Path, PathBuf};

/// A job file that cannot be run as it is. Its text is one message with file, line, key and what was
/// expected; nothing was written when it is returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecError {
    file: PathBuf,
    line: Option<usize>,
    key: Option<String>,
    message: String,
}

impl SpecError {
    /// An error about the file as a whole.
    pub fn whole(file: impl Into<PathBuf>, message: impl fmt::Display) -> Self {
        Self {
            file: file.into(),
            line: None,
            key: None,
            message: message.to_string(),
        }
    }

    pub(super) fn at(
        file: &Path,
        line: usize,
        key: Option<&str>,
        message: impl fmt::Display,
    ) -> Self {
        Self {
            file: file.to_owned(),
            line: Some(line),
            key: key.map(str::to_owned),
            message: message.to_string(),
        }
    }

    /// The job file, as it was named by the caller.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The line, counted from 1, where one is to blame.
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// The dotted key, where one is to blame.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// What was expected, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": key `{key}`")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for SpecError {}
