//! An immutable object, open.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error as Failure, GetOptions, GetRange, ObjectStore};

use super::cache::PIECE_LEN;
use super::cached::CachedSegment;
use super::failure::{error, gone, present};
use super::mark::look;
use super::runtime;
use crate::base::Result;
use crate::storage::{Name, Object, Operation, check_range, past_end};

/// Bytes from the front that come with opening: it costs one request as it is, and a slot or a manifest is
/// seldom longer.
const HEAD_LEN: u64 = 16 * 1024;

/// An object that a later one of the same name is not taken for.
pub(super) struct BucketObject {
    store: Arc<dyn ObjectStore>,
    name: Name,
    path: Path,
    len: u64,
    /// `None` too for what was opened in the cache, which has only what never changes.
    e_tag: Option<String>,
    head: Bytes,
    cached: Option<CachedSegment>,
}

impl BucketObject {
    /// Opens what the cache has the beginning of.
    pub(super) fn cached(
        store: Arc<dyn ObjectStore>,
        name: Name,
        path: Path,
        len: u64,
        head: Bytes,
        cached: Option<CachedSegment>,
    ) -> BucketObject {
        BucketObject {
            store,
            name,
            path,
            len,
            e_tag: None,
            head: beginning(head),
            cached,
        }
    }

    /// Opens `path`; `None` where nothing is.
    pub(super) async fn open(
        store: Arc<dyn ObjectStore>,
        name: Name,
        path: Path,
        cached: Option<CachedSegment>,
    ) -> object_store::Result<Option<BucketObject>> {
        let head_len = match &cached {
            Some(_) => PIECE_LEN as u64,
            None => HEAD_LEN,
        };
        let options = GetOptions {
            range: Some(GetRange::Bounded(0..head_len)),
            ..GetOptions::default()
        };
        let got = match present(store.get_opts(&path, options).await) {
            Ok(Some(got)) => got,
            Ok(None) => return Ok(None),
            Err(failure) => {
                // An empty object has no range at all.
                let found = look(&*store, &path).await?;
                return match found {
                    Some(found) if found.len == 0 => Ok(Some(BucketObject {
                        store,
                        name,
                        path,
                        len: 0,
                        e_tag: None,
                        head: Bytes::new(),
                        cached: None,
                    })),
                    Some(_) => Err(failure),
                    None => Ok(None),
                };
            }
        };
        let (len, e_tag) = (got.meta.size, got.meta.e_tag.clone());
        let head = got.bytes().await?;
        if let Some(cached) = &cached {
            cached.keep(0, &head, len);
        }
        Ok(Some(BucketObject {
            store,
            name,
            path,
            len,
            e_tag,
            head: beginning(head),
            cached,
        }))
    }

    /// Asks the bucket.
    async fn request(&self, range: Range<u64>) -> Result<Bytes> {
        let (store, path) = (Arc::clone(&self.store), self.path.clone());
        assert!(
            range.start < range.end && range.end <= self.len,
            "{}: {range:?} of {} bytes",
            self.name,
            self.len
        );
        let (start, wanted) = (range.start, range.end - range.start);
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            if_match: self.e_tag.clone(),
            ..GetOptions::default()
        };
        let (cached, len) = (self.cached.clone(), self.len);
        let what = format!("{} {}", Operation::ReadAt, self.name);
        let read = runtime::run(what, async move {
            let bytes = store.get_opts(&path, options).await?.bytes().await?;
            if let Some(cached) = cached.filter(|_| bytes.len() as u64 == wanted) {
                cached.keep(start, &bytes, len);
            }
            Ok(bytes)
        });
        match read.await {
            Ok(Ok(bytes)) if bytes.len() as u64 == wanted => Ok(bytes),
            Ok(Ok(bytes)) => {
                let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
                let now = start + bytes.len() as u64;
                Err(past_end(&self.name, start, wanted, now))
            }
            Ok(Err(Failure::NotFound { .. } | Failure::Precondition { .. })) => {
                Err(gone(&self.name))
            }
            Ok(Err(failure)) => Err(error(Operation::ReadAt, self.name.as_str(), &failure)),
            Err(cause) => Err(Operation::ReadAt.error(&self.name, &cause)),
        }
    }
}

/// What of the first bytes is held in memory.
fn beginning(mut head: Bytes) -> Bytes {
    let len = usize::try_from(HEAD_LEN).unwrap_or(usize::MAX);
    if head.len() > len {
        // A copy: a slice would hold the rest, too.
        head = Bytes::copy_from_slice(&head[..len]);
    }
    head
}

#[async_trait]
impl Object for BucketObject {
    fn len(&self) -> u64 {
        self.len
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        // Before anything is asked for: a damaged reference must not ask for the memory of the machine.
        let end = check_range(&self.name, offset, len, self.len)?;
        if end <= self.head.len() as u64 {
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            return Ok(self.head.slice(at..at + len));
        }
        if len == 0 {
            return Ok(Bytes::new());
        }
        let Some(cached) = &self.cached else {
            return self.request(offset..end).await;
        };
        let mut read = cached.read(&(offset..end), self.len);
        let missing = offset + read.len() as u64..end;
        if !missing.is_empty() {
            let around = cached.around(&missing, self.len);
            let got = self.request(around.clone()).await?;
            let at = usize::try_from(missing.start - around.start).unwrap_or(usize::MAX);
            let left = len - read.len();
            assert!(
                at + left <= got.len(),
                "{}: {left} bytes from {at} on of {}",
                self.name,
                got.len()
            );
            read.extend_from_slice(&got[at..at + left]);
        }
        assert_eq!(read.len(), len, "{} at {offset}", self.name);
        Ok(read.freeze())
    }
}
