//! A database in a bucket of an object store: S3 and what speaks its protocol, Google Cloud Storage, Azure.
//!
//! An object is an object of the bucket under the database's prefix and its own name. Nothing there is ever
//! in part: a put is whole or absent.
//!
//! # What the promises rest on
//! | promise | kept by |
//! |---|---|
//! | one winner a name | a put that is refused where the name is taken (`If-None-Match: *`); probed at opening |
//! | a lost reply is no lost race | every put carries a random mark as metadata of the object; after anything but plain success the mark is read back and compared, never the bytes, which may be equal by chance |
//! | bytes and names are durable | the store's word: what it answers stands, for every reader, from then on |
//! | an identity | a hash of bucket, prefix, name and mark: a copy under another prefix has another one |
//!
//! # What a bucket has not
//! - A lock. So a database in a bucket is opened clustered only: any number of processes are safe by the
//!   conditional creates alone, and there is no other mode that somebody could be in meanwhile.
//! - Append files; each slot is an object of its own.
//! - Objects without a name: what was removed cannot be read any more by those who had it open. They get
//!   [`Error::SnapshotTooOld`](crate::base::Error::SnapshotTooOld), and begin again from a newer snapshot.
//!
//! # Large objects
//! More than one part long, they are uploaded in parts that become an object at the end. That end has no
//! condition in the client library, so it is looked just before whether the name is free. Only segments get
//! so long, and a segment's name holds 128 random bits: nobody else writes it. What is shorter is put with
//! the condition.
//!
//! # What is kept on a local disk
//! Segments, if a folder is given for it: a segment's name is drawn once and never given again, so there is nothing
//! that could be out of date. Slots, manifests, floors and `INSTANCE` are asked of the bucket every time: whether
//! they are there, still or again, is what those ask who read them. A segment of which a part is kept may be opened
//! here after it was collected, as one in a folder can be read as long as it is open.

mod cache;
mod cached;
mod client;
mod create;
mod failure;
mod mark;
mod opened;
mod options;
mod place;
mod probe;
mod runtime;
mod storage;
#[cfg(test)]
mod tests;
mod writer;

pub use cache::CacheOptions;
pub use options::ObjectOptions;
pub use storage::ObjectStorage;
