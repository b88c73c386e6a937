//! Errors as gRPC tells them: `swarm.proto` says what each code means to the caller.

use eciton_engine::Error;
use eciton_jobs::run::JobError;
use tonic::{Code, Status};

/// Bytes of the message of a status. Libraries take 8 KiB of headers, in which a byte may need three.
const MESSAGE_LEN_MAX: usize = 2048;

/// A status with a message of bounded length.
pub(crate) fn status(code: Code, message: impl std::fmt::Display) -> Status {
    let mut message = message.to_string();
    if message.len() > MESSAGE_LEN_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_LEN_MAX - '…'.len_utf8()));
        message.push('…');
    }
    Status::new(code, message)
}

/// The request is wrong.
pub(crate) fn invalid(message: impl std::fmt::Display) -> Status {
    status(Code::InvalidArgument, message)
}

/// Why a job could not be told of, recorded or changed.
pub(crate) fn of_job(error: &JobError) -> Status {
    let code = match error {
        JobError::JobFile(_) => Code::InvalidArgument,
        JobError::NotFound { .. } => Code::NotFound,
        JobError::Differs { .. } | JobError::OtherFiles { .. } => Code::AlreadyExists,
        // A file that cannot be read excludes a retry just as one that changed does.
        JobError::State { .. }
        | JobError::Changed(_)
        | JobError::Source(_)
        | JobError::StoreGone { .. }
        | JobError::Shared { .. }
        | JobError::StoreInUse { .. }
        | JobError::Removed { .. } => Code::FailedPrecondition,
        // A newer peer knows it.
        JobError::Needs { .. } => Code::Unavailable,
        JobError::Damaged { .. } => Code::DataLoss,
        JobError::Busy => Code::ResourceExhausted,
        JobError::Engine(error) => engine_code(error),
        _ => Code::Internal,
    };
    if code == Code::Internal {
        tracing::error!(%error, "a call failed that should not");
    }
    status(code, error)
}

fn engine_code(error: &Error) -> Code {
    match error {
        // Lost against others again and again, or the medium failed, or this program is too old: later, or at
        // another peer, it may work.
        Error::Conflict { .. }
        | Error::TooOld { .. }
        | Error::SnapshotTooOld { .. }
        | Error::CommitUnknown { .. }
        | Error::Cancelled { .. }
        | Error::Storage { .. }
        | Error::Halted { .. }
        | Error::Locked { .. }
        | Error::NotADatabase { .. }
        | Error::Unfinished { .. }
        | Error::FormatTooNew { .. } => Code::Unavailable,
        Error::Corrupt { .. } => Code::DataLoss,
        Error::Limit { .. } => Code::ResourceExhausted,
        _ => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_bounded() {
        let at_the_edge = "x".repeat(MESSAGE_LEN_MAX);
        assert_eq!(invalid(&at_the_edge).message(), at_the_edge);
        let long = invalid("ä".repeat(MESSAGE_LEN_MAX));
        assert!(long.message().len() <= MESSAGE_LEN_MAX, "{long}");
        assert!(long.message().ends_with("ä…"), "{long}");
    }

    #[test]
    fn codes_are_those_of_the_contract() {
        let engine = |error: Error| of_job(&JobError::Engine(error)).code();
        assert_eq!(engine(Error::corrupt("log/1", "checksum")), Code::DataLoss);
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(
            engine(Error::storage("write", "log/1", &full)),
            Code::Unavailable
        );
        assert_eq!(engine(Error::ReadOnly), Code::Internal);
        let absent = JobError::NotFound {
            name: "a".into(),
            known: vec!["b".into()],
        };
        let told = of_job(&absent);
        assert_eq!(told.code(), Code::NotFound);
        assert_eq!(told.message(), "no job named `a`: expected one of `b`");
    }
}
