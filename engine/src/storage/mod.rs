//! Media behind one trait: a local folder, memory, object stores. One conformance suite for all.
//!
//! A database is a set of named, mostly write-once objects. What the trait promises is only what
//! every medium can keep; what it leaves open (is the *name* durable?) is the commit protocol's work.
//!
//! Data and name are two promises. An object's *data* is durable when the call that wrote it
//! returns; its *name*, and equally the *removal* of its name, is durable only after
//! [`Storage::sync_names`]. Before that a power loss may keep or lose each of them by itself.

mod below;
mod capabilities;
mod confirm;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod fault;
mod local;
mod memory;
mod mirror;
mod name;
#[cfg(feature = "object-store")]
mod object;
mod operation;
mod prepared;
mod watched;

pub use below::Below;
pub use capabilities::{Capabilities, Exclusion};
pub(crate) use confirm::{head, is_head_of};
pub use local::LocalStorage;
pub use memory::MemoryStorage;
pub(crate) use mirror::probe;
pub use mirror::{KnownPath, MirrorGuide, MirrorParts, MirrorStorage, Sealed, Unreachable};
pub use name::Name;
#[cfg(feature = "object-store")]
pub use object::{CacheOptions, ObjectOptions, ObjectStorage};
pub use operation::Operation;
pub use prepared::Prepared;
pub use watched::{WatchOptions, WatchedStorage};

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::base::Result;

/// What a medium is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading and writing.
    ReadWrite,
    /// Reading only: nothing is created, changed, synced or locked, so a medium without write permission will do.
    ReadOnly,
}

/// How a create-if-absent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The name now belongs to exactly the bytes given.
    New,
    /// The name was taken: by another writer, or by this very call whose reply was lost. Read and compare.
    Exists,
}

/// What a look at a name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Bytes.
    pub len: u64,
    /// Tells one object under a name from another that was created under the same name later. It
    /// stays the same as long as the object exists, through renamed folders and restarts.
    pub identity: u128,
}

/// The bytes of an object that are to hold its own identity.
pub type ContentOf<'a> = dyn Fn(u128) -> Vec<u8> + Send + Sync + 'a;

/// A medium that holds a database.
///
/// Errors are [`Error::Storage`](crate::base::Error::Storage) with the operation and the object, and
/// [`Error::ReadOnly`](crate::base::Error::ReadOnly) where the medium was opened for reading.
/// Nothing is retried but interrupted system calls: whether to try again is the protocol's decision.
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// What the medium can do; the same whenever it is asked.
    fn capabilities(&self) -> Capabilities;

    /// Creates `name` with `bytes` if it is absent; never replaces, never shows a part.
    /// On `New` the *data* is durable; the *name* is after [`Storage::sync_names`].
    ///
    /// # Errors
    /// [`Error::Storage`](crate::base::Error::Storage): whether the name was created is unknown,
    /// read it back. [`Error::ReadOnly`](crate::base::Error::ReadOnly).
    async fn create(&self, name: &Name, bytes: &[u8]) -> Result<Created>;

    /// Does the part of [`Storage::create`] that takes time and that nobody sees: the bytes become durable without a name.
    /// `None` on a medium without such a part. Dropping what it returns leaves nothing behind.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::base::Error::Storage): nothing was created.
    /// [`Error::ReadOnly`](crate::base::Error::ReadOnly).
    async fn prepare(&self, name: &Name, bytes: &[u8]) -> Result<Option<Prepared>> {
        let _ = (name, bytes);
        Ok(None)
    }

    /// As [`Storage::create`], with what [`Storage::prepare`] made of the same name and bytes.
    ///
    /// # Errors
    /// As [`Storage::create`].
    async fn publish(
        &self,
        name: &Name,
        bytes: &[u8],
        prepared: Option<Prepared>,
    ) -> Result<Created> {
        drop(prepared);
        self.create(name, bytes).await
    }

    /// As [`Storage::create`], with bytes that are to hold the identity that the new object has.
    ///
    /// As it stands here, for media where the one who calls holds the exclusive lock.
    ///
    /// # Errors
    /// As [`Storage::create`].
    async fn create_with(&self, name: &Name, content: &ContentOf) -> Result<Created> {
        if self.stat(name).await?.is_some() {
            return Ok(Created::Exists);
        }
        self.replace(name, content).await?;
        Ok(Created::New)
    }

    /// Makes durable every name, and every removal of a name, in the directory of `name`, and that
    /// directory's own name upwards. It does so for names that other processes created, too.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::base::Error::Storage): which names are durable is unknown, and a
    /// second call that succeeds proves nothing about them (the system may have dropped what it
    /// could not write). [`Error::ReadOnly`](crate::base::Error::ReadOnly).
    async fn sync_names(&self, name: &Name) -> Result<()>;

    /// Makes durable the name of an object that was created or read, and looks again: `true` if the very
    /// same object, with these bytes, stands there before and after. Only then does it count.
    ///
    /// Storage may have restarted between the create and the sync and lost the name; another process may
    /// then have created it anew, with the same bytes even, and that name is not durable.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::base::Error::Storage). After a sync that failed this process must not write any more.
    async fn confirm(&self, name: &Name, bytes: &[u8]) -> Result<bool> {
        confirm::confirm(self, name, bytes).await
    }

    /// Makes sure that what was opened still counts: that no path of a mirrored database was emptied meanwhile, after the
    /// database had left it. Asked after each slot that was created, read, or not found.
    ///
    /// # Errors
    /// [`Error::PathLost`](crate::base::Error::PathLost).
    async fn stands(&self) -> Result<()> {
        Ok(())
    }

    /// The watchdog of this medium, where it has one.
    fn watched(&self) -> Option<&WatchedStorage> {
        None
    }

    /// The paths of a mirrored database, where this is one.
    fn mirror(&self) -> Option<&MirrorStorage> {
        None
    }

    /// What stands under `name`, `None` where nothing does.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::base::Error::Storage).
    async fn stat(&self, name: &Name) -> Result<Option<Stat>>;

    /// The whole object, `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::base::Error::Storage).
    async fn read(&self, name: &Name) -> Result<Option<Bytes>>;

    /// The whole object, as [`Storage::read`], unless it has more than `len_max` bytes: then nothing is read of
    /// it. For objects of a kind that has a bound, in a place that a stranger may have filled.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::base::Error::Corrupt) naming an object that is too long;
    /// [`Error::Storage`](crate::base::Error::Storage).
    async fn read_at_most(&self, name: &Name, len_max: u64) -> Result<Option<Bytes>> {
        let bytes = self.read(name).await?;
        match bytes.as_ref().map(|bytes| bytes.len() as u64) {
            Some(len) if len > len_max => Err(too_long(name, len, len_max)),
            _ => Ok(bytes),
        }
    }

    /// Opens an immutable object for reads at offsets, `None` where there is none. It stays readable
    /// when its name is removed; where the medium cannot keep it, a read says
    /// [`Error::SnapshotTooOld`](crate::base::Error::SnapshotTooOld).
    ///
    /// # Errors
    /// [`Error::Storage`](crate::base::Error::Storage).
    async fn open(&self, name: &Name) -> Result<Option<Arc<dyn Object>>>;

    /// The names below a directory (given without a trailing `/`, `""` for the whole database), to
    /// any depth, sorted. An absent directory is empty. What is being written under a temporary
    /// name, and what can be no [`Name`], is not listed. Names that come or go meanwhile may be
    /// listed or not.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::base::Error::Invalid) where `dir` can be no directory of a
    /// database, [`Error::Storage`](crate::base::Error::Storage).
    async fn list(&self, dir: &str) -> Result<Vec<Name>>;

    /// Removes `name`; `false` where there was nothing. The removal is durable after
    /// [`Storage::sync_names`].
    ///
    /// # Errors
    /// [`Error::Storage`](crate::base::Error::Storage), [`Error::ReadOnly`](crate::base::Error::ReadOnly).
    async fn remove(&self, name: &Name) -> Result<bool>;

    /// Begins a large write-once object, written front to back; nothing stands under `name` until
    /// [`ObjectWriter::finish`].
    ///
    /// # Errors
    /// [`Error::Storage`](crate::base::Error::Storage), [`Error::ReadOnly`](crate::base::Error::ReadOnly).
    async fn writer(&self, name: &Name) -> Result<Box<dyn ObjectWriter>>;

    /// Opens the append-only file `name` for writing, creating it empty if it is absent (its name is
    /// durable after [`Storage::sync_names`]). The one who calls holds the exclusive lock. What an
    /// earlier process left in the file may be unsynced: [`AppendFile::sync`] before relying on it.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::base::Error::Storage), [`Error::ReadOnly`](crate::base::Error::ReadOnly).
    async fn append_file(&self, name: &Name) -> Result<Box<dyn AppendFile>>;

    /// Replaces the small object `name` atomically and durably, name included: a reader, or a power
    /// loss, finds the old bytes or the new. Only for `INSTANCE`, which nobody else writes.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::base::Error::Storage): the object is the old or the new one.
    /// [`Error::ReadOnly`](crate::base::Error::ReadOnly).
    /// `content` is asked what to write, given the identity that the new object has; that is returned.
    async fn replace(&self, name: &Name, content: &ContentOf) -> Result<u128>;

    /// Takes the lock of the database and keeps it as long as the guard lives. It dies with the
    /// process.
    ///
    /// # Errors
    /// [`Error::Locked`](crate::base::Error::Locked) with a holder of a mode that excludes this one,
    /// at once. [`Error::Invalid`](crate::base::Error::Invalid) where the medium is not fit for that, and why:
    /// for the exclusive lock where there is [none](Exclusion::None), for sharing a folder that hides what others write.
    /// [`Error::Storage`](crate::base::Error::Storage), [`Error::ReadOnly`](crate::base::Error::ReadOnly).
    async fn lock(&self, mode: LockMode) -> Result<Box<dyn LockGuard>>;

    /// Removes what of the medium's own bookkeeping holds no object any more (the empty directories of a
    /// folder). The one who calls holds the exclusive lock. Nothing depends on it.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::base::Error::Storage), [`Error::ReadOnly`](crate::base::Error::ReadOnly).
    async fn prune(&self) -> Result<()> {
        Ok(())
    }

    /// The same place, opened anew, where another folder may stand there by now; `None` where this handle will do.
    ///
    /// # Errors
    /// As opening it.
    async fn reopened(&self) -> Result<Option<Arc<dyn Storage>>> {
        Ok(None)
    }

    /// Where this is, for people.
    fn location(&self) -> String;
}

/// An immutable object, open.
#[async_trait]
pub trait Object: Send + Sync {
    /// Bytes, as of the opening.
    fn len(&self) -> u64;

    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Exactly `len` bytes from `offset`.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::base::Error::Corrupt) where the range passes the end: whoever
    /// refers to it read a length that was durable. [`Error::Storage`](crate::base::Error::Storage).
    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes>;

    /// As [`Object::read_at`], `bytes.len()` bytes into memory of the caller's, which may have use for it again.
    /// For media that read without waiting for others to do so; `None` where this is none: then nothing was read.
    /// After an error it is unknown what stands in `bytes`.
    ///
    /// # Errors
    /// As [`Object::read_at`].
    fn read_into(&self, offset: u64, bytes: &mut [u8]) -> Option<Result<()>> {
        let _ = (offset, bytes);
        None
    }
}

/// A write-once object on its way. After a failure every later call returns that failure again.
#[async_trait]
pub trait ObjectWriter: Send {
    /// Adds bytes at the end. They are durable after [`ObjectWriter::finish`].
    ///
    /// # Errors
    /// [`Error::Storage`](crate::base::Error::Storage).
    async fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Makes the data durable and gives it its name, if that is free; the name is durable after
    /// [`Storage::sync_names`]. Dropping the writer instead leaves nothing under the name.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::base::Error::Storage): as with [`Storage::create`].
    async fn finish(self: Box<Self>) -> Result<Created>;
}

/// A file that one process appends to, in place, beyond what is valid.
///
/// After a failure that leaves it unknown what stands in the file, every later call returns that
/// failure again: a sync that failed must not be tried again, since the system may have dropped
/// what it could not write, and would report success.
#[async_trait]
pub trait AppendFile: Send + Sync {
    /// Bytes that are allocated: written or zero.
    fn allocated(&self) -> u64;

    /// Makes sure that the file is still where it was opened, before something is written to it that somebody will
    /// look for there.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::base::Error::Storage): nothing was written, and nothing should be.
    async fn check_place(&self) -> Result<()> {
        Ok(())
    }

    /// Makes sure that `len` bytes are allocated, new ones zero and durable, so that
    /// [`AppendFile::write_durable`] below `len` changes no metadata. Less than is allocated already
    /// changes nothing.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::base::Error::Storage): nothing of it counts. Where there was no
    /// room (kind `StorageFull` or `QuotaExceeded`) the file is as before and may be used further.
    async fn allocate(&mut self, len: u64) -> Result<()>;

    /// Writes `bytes` at `offset`, within what is allocated, and returns when they are durable.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::base::Error::Storage): what stands there is unknown.
    /// [`Error::Invalid`](crate::base::Error::Invalid) beyond what is allocated: nothing is written.
    async fn write_durable(&mut self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Makes durable whatever stands in the file, for bytes that an earlier process may have left unsynced.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::base::Error::Storage).
    async fn sync(&mut self) -> Result<()>;

    /// Cuts the file to `len`, durably.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::base::Error::Storage): the length is the old or the new one.
    /// [`Error::Invalid`](crate::base::Error::Invalid) beyond what is allocated: nothing is changed.
    async fn truncate(&mut self, len: u64) -> Result<()>;
}

/// Who else may have the database open for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Nobody: standalone, or while a database is created or a copy becomes its own.
    Exclusive,
    /// Everybody who shares it: clustered.
    Shared,
}

/// The lock of a database; dropping it lets go.
pub trait LockGuard: Send + Sync {}

/// A medium without an exclusive lock was asked for it.
pub(crate) fn no_exclusion(storage: &dyn Storage) -> crate::base::Error {
    let location = storage.location();
    crate::base::Error::Invalid(format!(
        "{location}: an object store has no lock that would keep other writers out: open it clustered"
    ))
}

/// The range of an append file must lie in what is allocated.
fn check_allocated(name: &Name, end: Option<u64>, allocated: u64) -> Result<()> {
    match end {
        Some(end) if end <= allocated => Ok(()),
        _ => Err(crate::base::Error::Invalid(format!(
            "{name}: a write must lie within the {allocated} bytes that are allocated"
        ))),
    }
}

/// The range of an open object must lie in it; returns where it ends.
fn check_range(name: &Name, offset: u64, len: usize, object_len: u64) -> Result<u64> {
    let end = u64::try_from(len)
        .ok()
        .and_then(|len| offset.checked_add(len));
    end.filter(|end| *end <= object_len)
        .ok_or_else(|| past_end(name, offset, len, object_len))
}

/// An object has more bytes than any of its kind.
fn too_long(name: &Name, len: u64, len_max: u64) -> crate::base::Error {
    let detail = format!("it has {len} bytes, and no such object has more than {len_max}");
    crate::base::Error::corrupt(name, detail)
}

fn past_end(name: &Name, offset: u64, len: usize, object_len: u64) -> crate::base::Error {
    let detail = format!("{len} bytes expected at offset {offset}, the object has {object_len}");
    crate::base::Error::corrupt(name, detail)
}
