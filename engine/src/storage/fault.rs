//! What an error of a medium means for the path that it came from (S13 of the protocol).

use std::io::ErrorKind;

use rustix::io::Errno;

use super::Operation;
use crate::base::Error;

/// What is to be done about an error of a medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultClass {
    /// It passes by itself, or is this process's own: the same operation may be tried again, within bounds.
    Retryable,
    /// The path may be lost: if a write probe fails, too, the database goes on without it.
    Failover,
    /// It is the caller's to mend. Another path would refuse it as well.
    Fatal,
}

/// Errors of the operating system that have a class other than [`FaultClass::Fatal`].
const CLASSES: &[(Errno, &str, FaultClass)] = &[
    (Errno::IO, "io", FaultClass::Failover),
    (Errno::ROFS, "read_only", FaultClass::Failover),
    (Errno::NOSPC, "no_space", FaultClass::Failover),
    (Errno::DQUOT, "no_space", FaultClass::Failover),
    (Errno::UCLEAN, "damaged", FaultClass::Failover),
    (Errno::STALE, "stale", FaultClass::Failover),
    (Errno::TIMEDOUT, "hang", FaultClass::Failover),
    (Errno::NXIO, "gone", FaultClass::Failover),
    (Errno::NODEV, "gone", FaultClass::Failover),
    (Errno::NOTCONN, "gone", FaultClass::Failover),
    (Errno::CONNABORTED, "gone", FaultClass::Failover),
    (Errno::CONNRESET, "gone", FaultClass::Failover),
    (Errno::CONNREFUSED, "gone", FaultClass::Failover),
    (Errno::SHUTDOWN, "gone", FaultClass::Failover),
    (Errno::HOSTDOWN, "gone", FaultClass::Failover),
    (Errno::HOSTUNREACH, "gone", FaultClass::Failover),
    (Errno::NETDOWN, "gone", FaultClass::Failover),
    (Errno::NETUNREACH, "gone", FaultClass::Failover),
    (Errno::REMOTEIO, "io", FaultClass::Failover),
    (Errno::NOMEDIUM, "gone", FaultClass::Failover),
    (Errno::PROTO, "io", FaultClass::Failover),
    (Errno::INTR, "busy", FaultClass::Retryable),
    (Errno::AGAIN, "busy", FaultClass::Retryable),
    (Errno::BUSY, "busy", FaultClass::Retryable),
    (Errno::NOMEM, "own", FaultClass::Retryable),
    (Errno::MFILE, "own", FaultClass::Retryable),
    (Errno::NFILE, "own", FaultClass::Retryable),
];

/// Failures that have no number of the system's: of object stores, and those that this program finds itself.
const KINDS: &[(ErrorKind, &str, FaultClass)] = &[
    (ErrorKind::StorageFull, "no_space", FaultClass::Failover),
    (ErrorKind::QuotaExceeded, "no_space", FaultClass::Failover),
    (
        ErrorKind::ReadOnlyFilesystem,
        "read_only",
        FaultClass::Failover,
    ),
    (
        ErrorKind::StaleNetworkFileHandle,
        "stale",
        FaultClass::Failover,
    ),
    (ErrorKind::TimedOut, "hang", FaultClass::Failover),
    (ErrorKind::NotConnected, "gone", FaultClass::Failover),
    (ErrorKind::ConnectionAborted, "gone", FaultClass::Failover),
    (ErrorKind::ConnectionRefused, "gone", FaultClass::Failover),
    (ErrorKind::ConnectionReset, "gone", FaultClass::Failover),
    (ErrorKind::HostUnreachable, "gone", FaultClass::Failover),
    (ErrorKind::NetworkUnreachable, "gone", FaultClass::Failover),
    (ErrorKind::NetworkDown, "gone", FaultClass::Failover),
    (ErrorKind::Interrupted, "busy", FaultClass::Retryable),
    (ErrorKind::WouldBlock, "busy", FaultClass::Retryable),
    (ErrorKind::ResourceBusy, "busy", FaultClass::Retryable),
    (ErrorKind::OutOfMemory, "own", FaultClass::Retryable),
];

/// The word for a sync that failed.
pub(crate) const SYNC_FAILED: &str = "sync";

/// What an error means, and a word for it in metrics. What is no error of a medium is fatal.
pub fn class_of(error: &Error) -> (FaultClass, &'static str) {
    let fatal = (FaultClass::Fatal, "other");
    let Error::Storage {
        op, kind, errno, ..
    } = error
    else {
        return fatal;
    };
    let found = match errno {
        Some(number) => {
            let mut classes = CLASSES.iter();
            let known = classes.find(|(errno, ..)| errno.raw_os_error() == *number);
            known.map(|(_, cause, class)| (*class, *cause))
        }
        None => {
            let known = KINDS.iter().find(|(known, ..)| known == kind);
            known.map(|(_, cause, class)| (*class, *cause))
        }
    };
    // It may succeed yet; if it fails, the medium itself takes no further sync for good.
    let is_unanswered = errno.is_none() && *kind == ErrorKind::TimedOut;
    match found {
        // The system may have dropped what it could not write, and would report success the next time.
        _ if *op == Operation::SyncNames.as_str() && !is_unanswered => {
            (FaultClass::Failover, SYNC_FAILED)
        }
        Some(found) => found,
        None => fatal,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn class(operation: Operation, errno: i32) -> FaultClass {
        let cause = io::Error::from_raw_os_error(errno);
        class_of(&operation.error("x", &cause)).0
    }

    #[test]
    fn each_row_of_the_table_is_told() {
        for (errno, cause, expected) in CLASSES {
            let error = io::Error::from_raw_os_error(errno.raw_os_error());
            let error = Operation::Create.error("x", &error);
            assert_eq!(class_of(&error), (*expected, *cause), "{errno:?}");
        }
        for (kind, cause, expected) in KINDS {
            let error = Operation::Create.error("x", &io::Error::from(*kind));
            assert_eq!(class_of(&error), (*expected, *cause), "{kind:?}");
        }
    }

    #[test]
    fn what_the_caller_must_mend_is_no_reason_to_leave_a_path() {
        for errno in [
            Errno::ACCESS,
            Errno::PERM,
            Errno::INVAL,
            Errno::NOTDIR,
            Errno::ISDIR,
            Errno::NAMETOOLONG,
            Errno::FBIG,
        ] {
            assert_eq!(
                class(Operation::Create, errno.raw_os_error()),
                FaultClass::Fatal,
                "{errno:?}"
            );
        }
        let own = Error::Invalid("no".to_owned());
        assert_eq!(class_of(&own).0, FaultClass::Fatal);
    }

    #[test]
    fn a_failed_sync_gives_the_path_up_whatever_its_number() {
        for errno in [Errno::IO, Errno::INTR, Errno::INVAL] {
            let class = class(Operation::SyncNames, errno.raw_os_error());
            assert_eq!(class, FaultClass::Failover, "{errno:?}");
        }
        let failed = io::Error::from_raw_os_error(Errno::TIMEDOUT.raw_os_error());
        let failed = class_of(&Operation::SyncNames.error("x", &failed));
        assert_eq!(failed, (FaultClass::Failover, SYNC_FAILED));
        // One that has not returned needs a probe like any other operation.
        let unanswered = io::Error::from(ErrorKind::TimedOut);
        let unanswered = class_of(&Operation::SyncNames.error("x", &unanswered));
        assert_eq!(unanswered, (FaultClass::Failover, "hang"));
    }
}
