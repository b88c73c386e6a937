//! What can go wrong, named by what the caller can do about it.

use super::ids::{Position, TxId};

/// The engine's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Run the transaction again from its beginning.
    Retry,
    /// Ask later whether the transaction committed.
    Ask,
    /// Change the call: the same call will fail again.
    Mend,
    /// Wait for whoever excludes this, or use another mode.
    Wait,
    /// Close, look after the medium, open again.
    Reopen,
    /// Data is damaged: verify, then restore.
    Recover,
}

/// Why an operation failed. Messages are lower case, name the object, and end without a full stop.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another transaction changed what this one read. Nothing was written.
    #[error("conflict: another transaction changed {what} after position {read_at}")]
    Conflict {
        /// The key or range, for people.
        what: String,
        /// The position this transaction had read.
        read_at: Position,
    },
    /// The transaction read a state so old that nobody can validate it any more. Nothing was written.
    #[error("too old: the transaction read position {read_at}, the window begins at {oldest}")]
    TooOld {
        /// The position this transaction had read.
        read_at: Position,
        /// The oldest position that is still validated.
        oldest: Position,
    },
    /// An object of the snapshot has been collected; a newer snapshot will do, in a bucket after
    /// [`Db::refresh`](crate::db::Db::refresh).
    #[error("snapshot too old: {object} has been collected")]
    SnapshotTooOld {
        /// The object that is gone.
        object: String,
    },
    /// The medium failed in the middle: the transaction may or may not be durable.
    #[error("commit unknown: transaction {txid} may or may not have been committed: {cause}")]
    CommitUnknown {
        /// The name to ask about.
        txid: TxId,
        /// What happened.
        cause: String,
    },
    /// The transaction was withdrawn before any slot held it. Nothing was written, and nothing will be.
    #[error("cancelled: transaction {txid} was withdrawn before it committed")]
    Cancelled {
        /// Its name.
        txid: TxId,
    },
    /// Bytes are not what was written.
    #[error("corrupt: {object}: {detail}")]
    Corrupt {
        /// The object, as a path relative to the database.
        object: String,
        /// What does not hold, and where.
        detail: String,
    },
    /// The medium refused an operation; nothing of it counts.
    #[error("storage: {op} {object}: {message}")]
    Storage {
        /// The operation.
        op: &'static str,
        /// The object, as a path relative to the database.
        object: String,
        /// The kind of failure.
        kind: std::io::ErrorKind,
        /// The operating system's number, where there is one.
        errno: Option<i32>,
        /// The operating system's words.
        message: String,
    },
    /// An earlier failure of the medium ended writing by this process; open again to go on.
    #[error("halted: {cause}; open the database again to go on")]
    Halted {
        /// The failure.
        cause: String,
    },
    /// A storage path of a mirrored database cannot be reached, and nothing is written without it: it is the passive one,
    /// on which others may have gone on, or it was not there when the database was opened, which may be a slip.
    #[error(
        "storage path lost: {path}; nothing is written without this path: mount it, or name the right one"
    )]
    PathLost {
        /// The path and what it refused.
        path: String,
    },
    /// Someone has the database open in a mode that excludes this one.
    #[error("locked: {path} is open read-write by {}", holder(*pid, host))]
    Locked {
        /// The database.
        path: String,
        /// The holder's process; 0 where it left no name.
        pid: u32,
        /// The holder's host.
        host: String,
    },
    /// There is no database here.
    #[error("not a database: {path}: {why}")]
    NotADatabase {
        /// Where.
        path: String,
        /// What was found instead.
        why: String,
    },
    /// A database was being copied here, by restoring or publishing, and that was interrupted: what is here is a part.
    #[error(
        "unfinished: {path}: restoring or publishing into it was interrupted, as its file UNFINISHED says; run \
         `eciton db restore` or `eciton db publish` into it again, which clears it first, or remove it"
    )]
    Unfinished {
        /// Where.
        path: String,
    },
    /// A newer program wrote this.
    #[error("format {found} of {object} is newer than this program's {known}")]
    FormatTooNew {
        /// The object.
        object: String,
        /// Its version.
        found: u32,
        /// The newest version this program knows.
        known: u32,
    },
    /// A named limit was passed.
    #[error("{what} is {got}, the limit is {max}")]
    Limit {
        /// What was measured, with its unit.
        what: &'static str,
        /// Its value.
        got: u64,
        /// The largest value allowed.
        max: u64,
    },
    /// There is no store of that name.
    #[error("no store named `{name}`")]
    StoreNotFound {
        /// The name.
        name: String,
    },
    /// The store exists with other properties.
    #[error("store `{name}` exists and is different: {detail}")]
    StoreDiffers {
        /// The name.
        name: String,
        /// In what it differs.
        detail: String,
    },
    /// A type and a key do not fit each other.
    #[error("no key of type `{type_name}`: {why}")]
    KeyType {
        /// The type.
        type_name: &'static str,
        /// What does not fit, and where.
        why: String,
    },
    /// A merged value has grown beyond what can be read.
    #[error("overflow: {what} of key {key}")]
    Overflow {
        /// Store and column.
        what: String,
        /// The key, as JSON.
        key: String,
    },
    /// The call makes no sense; the message says why.
    #[error("invalid: {0}")]
    Invalid(String),
    /// The database was opened for reading.
    #[error("read-only: the database was opened for reading")]
    ReadOnly,
}

/// Who holds a lock, for people.
fn holder(pid: u32, host: &str) -> String {
    match pid {
        0 => "a process that did not leave its name, perhaps on another machine or over another mount".to_owned(),
        pid => format!("process {pid} on {host}"),
    }
}

impl Error {
    /// What the caller can do.
    pub fn action(&self) -> Action {
        match self {
            Error::Conflict { .. }
            | Error::TooOld { .. }
            | Error::SnapshotTooOld { .. }
            | Error::Cancelled { .. } => Action::Retry,
            Error::CommitUnknown { .. } => Action::Ask,
            Error::Corrupt { .. } => Action::Recover,
            Error::Storage { .. } | Error::PathLost { .. } | Error::Halted { .. } => Action::Reopen,
            Error::Locked { .. } => Action::Wait,
            Error::NotADatabase { .. }
            | Error::Unfinished { .. }
            | Error::FormatTooNew { .. }
            | Error::Limit { .. }
            | Error::StoreNotFound { .. }
            | Error::StoreDiffers { .. }
            | Error::KeyType { .. }
            | Error::Overflow { .. }
            | Error::Invalid(_)
            | Error::ReadOnly => Action::Mend,
        }
    }

    /// Whether the medium only had no room: nothing was written, and nothing is damaged.
    pub(crate) fn is_no_room(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(
            self,
            Error::Storage {
                kind: StorageFull | QuotaExceeded,
                ..
            }
        )
    }

    /// Whether the medium turned an operation away before it did anything: it is full, may not be written, or not
    /// by this user; or the folder is no longer where it was opened, which is asked first and has no number of the
    /// system's.
    pub(crate) fn is_refusal(&self) -> bool {
        use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem, StaleNetworkFileHandle};
        let (kind, errno) = match self {
            Error::Storage { kind, errno, .. } => (*kind, *errno),
            _ => return false,
        };
        let is_moved = kind == StaleNetworkFileHandle && errno.is_none();
        self.is_no_room() || is_moved || matches!(kind, PermissionDenied | ReadOnlyFilesystem)
    }

    /// Damage found in `object`.
    pub fn corrupt(object: impl std::fmt::Display, detail: impl Into<String>) -> Error {
        Error::Corrupt {
            object: object.to_string(),
            detail: detail.into(),
        }
    }

    /// An operation that the operating system refused.
    pub fn storage(
        op: &'static str,
        object: impl std::fmt::Display,
        cause: &std::io::Error,
    ) -> Error {
        Error::Storage {
            op,
            object: object.to_string(),
            kind: cause.kind(),
            errno: cause.raw_os_error(),
            message: cause.to_string(),
        }
    }
}
