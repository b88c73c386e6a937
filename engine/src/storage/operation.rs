//! The operations of a medium, named once: errors, metrics and injected faults speak of the same things.

use std::fmt;
use std::io;

use crate::base::Error;
use crate::base::metric::count_storage_error;

/// An operation of a [`Storage`](super::Storage), or of an object or file that it opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// [`Storage::create`](super::Storage::create).
    Create,
    /// [`Storage::sync_names`](super::Storage::sync_names).
    SyncNames,
    /// [`Storage::stat`](super::Storage::stat).
    Stat,
    /// [`Storage::read`](super::Storage::read).
    Read,
    /// [`Storage::open`](super::Storage::open).
    Open,
    /// [`Object::read_at`](super::Object::read_at).
    ReadAt,
    /// [`Storage::list`](super::Storage::list).
    List,
    /// [`Storage::remove`](super::Storage::remove).
    Remove,
    /// [`Storage::replace`](super::Storage::replace).
    Replace,
    /// [`Storage::writer`](super::Storage::writer) and [`ObjectWriter::write`](super::ObjectWriter::write).
    Write,
    /// [`ObjectWriter::finish`](super::ObjectWriter::finish).
    Finish,
    /// [`Storage::append_file`](super::Storage::append_file).
    AppendFile,
    /// [`AppendFile::allocate`](super::AppendFile::allocate).
    Allocate,
    /// [`AppendFile::write_durable`](super::AppendFile::write_durable).
    WriteDurable,
    /// [`AppendFile::sync`](super::AppendFile::sync).
    Sync,
    /// [`AppendFile::truncate`](super::AppendFile::truncate).
    Truncate,
    /// [`Storage::lock`](super::Storage::lock).
    Lock,
}

impl Operation {
    /// The name in error messages and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "create",
            Operation::SyncNames => "sync_names",
            Operation::Stat => "stat",
            Operation::Read => "read",
            Operation::Open => "open",
            Operation::ReadAt => "read_at",
            Operation::List => "list",
            Operation::Remove => "remove",
            Operation::Replace => "replace",
            Operation::Write => "write",
            Operation::Finish => "finish",
            Operation::AppendFile => "append_file",
            Operation::Allocate => "allocate",
            Operation::WriteDurable => "write_durable",
            Operation::Sync => "sync",
            Operation::Truncate => "truncate",
            Operation::Lock => "lock",
        }
    }

    /// The failure of this operation on `object`.
    pub(crate) fn error(self, object: impl fmt::Display, cause: &io::Error) -> Error {
        count_storage_error(self.as_str(), cause);
        Error::storage(self.as_str(), object, cause)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a failure only says that there is no room: nothing is damaged, and the same call may
/// succeed once there is.
pub(super) fn is_out_of_space(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
