//! A stream as a snapshot sees it.

use bytes::Bytes;
use futures::Stream as Source;

use super::node::Head;
use super::walk::{Walk, bytes_of, head_of};
use super::writer::copy_from;
use crate::base::{Key, Result};
use crate::txn::{Snapshot, Store, StreamPart, StreamPlace};

/// A stream of a snapshot: it stays as it is, whatever is committed, folded or dropped meanwhile. Cheap to
/// open, however long the stream is. It holds one chunk and one node in memory.
pub struct Stream {
    snapshot: Snapshot,
    place: StreamPlace,
    head: Head,
    walk: Walk,
    /// The chunk read last, by its offset.
    chunk: Option<(u64, Bytes)>,
}

impl Snapshot {
    /// The stream of `store` under `key`; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Limit`](crate::base::Error::Limit) for a key longer than
    /// [`STREAM_KEY_LEN_MAX`](crate::base::limits::STREAM_KEY_LEN_MAX); as [`Snapshot::get`].
    pub async fn stream(&self, store: &Store, key: &Key) -> Result<Option<Stream>> {
        let place = StreamPlace::new(store.id(), key)?;
        let record = self.get_full(&place.full(StreamPart::Head)).await?;
        Ok(head_of(&place, record)?.map(|head| Stream {
            snapshot: self.clone(),
            place,
            head,
            walk: Walk::default(),
            chunk: None,
        }))
    }
}

impl Stream {
    /// Bytes of the stream.
    pub fn len(&self) -> u64 {
        self.head.root.len()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads from `offset` into `buffer` until it is full or the stream ends: the number of bytes. The
    /// chunks in which they lie are read whole.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::base::Error::Corrupt) naming what is damaged; what the storage refuses.
    pub async fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            let at = offset + read as u64;
            let Some((start, chunk)) = self.chunk_at(at).await? else {
                break;
            };
            read += copy_from(&chunk, at - start, &mut buffer[read..]);
        }
        Ok(read)
    }

    /// The bytes from `offset` to the end, as they come: a chunk in memory at a time, none copied.
    pub fn chunks(self, offset: u64) -> Chunks {
        Chunks {
            stream: self,
            offset,
        }
    }

    /// The chunk that holds `offset`, and where it begins.
    async fn chunk_at(&mut self, offset: u64) -> Result<Option<(u64, Bytes)>> {
        if let Some((start, chunk)) = &self.chunk
            && offset
                .checked_sub(*start)
                .is_some_and(|within| within < chunk.len() as u64)
        {
            return Ok(self.chunk.clone());
        }
        let (snapshot, place, head) = (&mut self.snapshot, &self.place, &self.head);
        let Some(at) = self.walk.locate(snapshot, place, head, offset).await? else {
            return Ok(None);
        };
        // The one before makes room first: two chunks in memory are one too many.
        self.chunk = None;
        let bytes = bytes_of(snapshot, place, at.chunk).await?;
        self.chunk = Some((at.start, bytes));
        Ok(self.chunk.clone())
    }
}

/// The bytes of a stream, front to back.
pub struct Chunks {
    stream: Stream,
    offset: u64,
}

impl Chunks {
    /// The next bytes, at most a chunk of them; `None` at the end. After an error the same is tried again.
    ///
    /// # Errors
    /// As [`Stream::read_at`].
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        let Some((start, chunk)) = self.stream.chunk_at(self.offset).await? else {
            return Ok(None);
        };
        let from = usize::try_from(self.offset - start).unwrap_or(usize::MAX);
        self.offset = start + chunk.len() as u64;
        Ok(Some(chunk.slice(from.min(chunk.len())..)))
    }

    /// As a stream of the crate `futures`, which has adaptors to readers.
    pub fn into_source(self) -> impl Source<Item = Result<Bytes>> + Send {
        futures::stream::try_unfold(self, |mut chunks| async move {
            Ok(chunks.next().await?.map(|bytes| (bytes, chunks)))
        })
    }
}
