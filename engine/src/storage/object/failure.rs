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
    match runtime::run(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(failure)) => Err(error(operation, object, &failure)),
        Err(cause) => Err(operation.error(object, &cause)),
    }
}

/// The failure of `operation` on `object`.
pub(super) fn error(operation: Operation, object: &str, failure: &Failure) -> Error {
    operation.error(object, &io::Error::new(kind(failure), failure.to_string()))
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
