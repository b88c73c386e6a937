//! What a store's failures mean here.

use std::error::Error as _;
use std::io;

use object_store::Error as Failure;
use object_store::client::{HttpError, HttpErrorKind};

use super::runtime;
use crate::base::{Error, Result};
use crate::storage::{Name, Operation};

/// Runs a request; its failure is that of `operation` on `object`.
pub(super) async fn request<T: Send + 'static>(
    operation: Operation,
    object: &str,
    work: impl Future<Output = object_store::Result<T>> + Send + 'static,
) -> Result<T> {
    let what = format!("{operation} {object}");
    match runtime::run(what, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(failure)) => Err(error(operation, object, &failure)),
        Err(cause) => Err(operation.error(object, &cause)),
    }
}

/// The failure of `operation` on `object`.
pub(super) fn error(operation: Operation, object: &str, failure: &Failure) -> Error {
    if let Some(answer) = misplaced(operation, failure) {
        return operation.error(object, &io::Error::other(answer));
    }
    operation.error(object, &io::Error::new(kind(failure), failure.to_string()))
}

/// What a read was answered that only a write can be. The client takes it for "the object exists", and for "it was
/// changed", which says nothing true of a read.
fn misplaced(operation: Operation, failure: &Failure) -> Option<&'static str> {
    let is_read = matches!(
        operation,
        Operation::Read | Operation::ReadAt | Operation::Open | Operation::Stat | Operation::List
    );
    match failure {
        Failure::AlreadyExists { .. } if is_read => {
            Some("the store answered 409 (conflict), which is no answer to a read; try again")
        }
        Failure::Precondition { .. } if is_read => Some(
            "the store answered 412 (precondition failed) to a read without a condition; try again",
        ),
        _ => None,
    }
}

/// An object that was open and is gone, since nothing keeps it here without its name.
pub(super) fn gone(name: &Name) -> Error {
    Error::SnapshotTooOld {
        object: name.to_string(),
    }
}

/// Whether a put that failed so may have landed, or may land if it is sent again. Otherwise the store will
/// say the same again.
pub(super) fn is_in_doubt(failure: &Failure) -> bool {
    !matches!(
        failure,
        Failure::NotFound { .. }
            | Failure::InvalidPath { .. }
            | Failure::NotSupported { .. }
            | Failure::NotImplemented { .. }
            | Failure::PermissionDenied { .. }
            | Failure::Unauthenticated { .. }
    )
}

/// Absence is no failure.
pub(super) fn present<T>(done: object_store::Result<T>) -> object_store::Result<Option<T>> {
    match done {
        Err(Failure::NotFound { .. }) => Ok(None),
        done => done.map(Some),
    }
}

fn kind(failure: &Failure) -> io::ErrorKind {
    match failure {
        Failure::NotFound { .. } => io::ErrorKind::NotFound,
        Failure::AlreadyExists { .. } => io::ErrorKind::AlreadyExists,
        Failure::InvalidPath { .. } => io::ErrorKind::InvalidInput,
        Failure::NotSupported { .. } | Failure::NotImplemented { .. } => io::ErrorKind::Unsupported,
        Failure::PermissionDenied { .. } | Failure::Unauthenticated { .. } => {
            io::ErrorKind::PermissionDenied
        }
        other => connection(other),
    }
}

/// What became of the connection, if that was it.
fn connection(failure: &Failure) -> io::ErrorKind {
    let mut cause = failure.source();
    while let Some(error) = cause {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            return match http.kind() {
                HttpErrorKind::Timeout => io::ErrorKind::TimedOut,
                HttpErrorKind::Connect => io::ErrorKind::NotConnected,
                HttpErrorKind::Interrupted | HttpErrorKind::Request => {
                    io::ErrorKind::ConnectionReset
                }
                _ => io::ErrorKind::Other,
            };
        }
        cause = error.source();
    }
    io::ErrorKind::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_not_told_that_its_object_exists() {
        let failure = || Failure::AlreadyExists {
            path: "p/log/1".to_owned(),
            source: "409".into(),
        };
        let told = |operation| error(operation, "log/1", &failure()).to_string();
        for read in [
            Operation::Read,
            Operation::ReadAt,
            Operation::Open,
            Operation::Stat,
        ] {
            let told = told(read);
            assert!(told.contains("409") && !told.contains("exists"), "{told}");
        }
        assert!(told(Operation::Create).contains("exists"));
    }
}
