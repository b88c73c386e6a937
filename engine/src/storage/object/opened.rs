//! An immutable object, open.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error as Failure, GetOptions, GetRange, ObjectStore};

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
    e_tag: Option<String>,
    head: Bytes,
}

impl BucketObject {
    /// Opens `path`; `None` where nothing is.
    pub(super) async fn open(
        store: Arc<dyn ObjectStore>,
        name: Name,
        path: Path,
    ) -> object_store::Result<Option<BucketObject>> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(0..HEAD_LEN)),
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
                    })),
                    Some(_) => Err(failure),
                    None => Ok(None),
                };
            }
        };
        let (len, e_tag) = (got.meta.size, got.meta.e_tag.clone());
        let head = got.bytes().await?;
        Ok(Some(BucketObject {
            store,
            name,
            path,
            len,
            e_tag,
            head,
        }))
    }
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
        let (store, path) = (Arc::clone(&self.store), self.path.clone());
        let options = GetOptions {
            range: Some(GetRange::Bounded(offset..end)),
            if_match: self.e_tag.clone(),
            ..GetOptions::default()
        };
        let read = runtime::run(async move { store.get_opts(&path, options).await?.bytes().await });
        match read.await {
            Ok(Ok(bytes)) if bytes.len() == len => Ok(bytes),
            Ok(Ok(bytes)) => Err(past_end(
                &self.name,
                offset,
                len,
                offset + bytes.len() as u64,
            )),
            Ok(Err(Failure::NotFound { .. } | Failure::Precondition { .. })) => {
                Err(gone(&self.name))
            }
            Ok(Err(failure)) => Err(error(Operation::ReadAt, self.name.as_str(), &failure)),
            Err(cause) => Err(Operation::ReadAt.error(&self.name, &cause)),
        }
    }
}
