//! A large write-once object: parts that become one at the end.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, PutMultipartOptions, Result as StoreResult};
use tokio::task::JoinSet;

use super::create::create;
use super::failure::{is_in_doubt, request};
use super::mark::{Mark, look};
use super::runtime;
use crate::base::{Error, Result};
use crate::storage::{Created, Name, ObjectWriter, Operation};

/// Bytes of a part. All but the last are of one length, as some stores ask.
pub(super) const PART_LEN: usize = 16 * 1024 * 1024;
/// Parts that a store takes.
const PARTS_MAX: u64 = 10_000;
/// Parts on their way at once, each of them in memory.
const SENT_MAX: usize = 2;

/// An upload that has been begun.
struct Upload {
    parts: Box<dyn MultipartUpload>,
    sent: JoinSet<StoreResult<()>>,
    count: u64,
}

pub(super) struct BucketWriter {
    store: Arc<dyn ObjectStore>,
    name: Name,
    path: Path,
    mark: Mark,
    buffer: Vec<u8>,
    upload: Option<Upload>,
    failed: Option<Error>,
}

impl BucketWriter {
    pub(super) fn new(store: Arc<dyn ObjectStore>, name: Name, path: Path) -> BucketWriter {
        BucketWriter {
            store,
            name,
            path,
            mark: Mark::new(),
            buffer: Vec::new(),
            upload: None,
            failed: None,
        }
    }

    async fn add(&mut self, mut bytes: &[u8]) -> Result<()> {
        while self.buffer.len() + bytes.len() > PART_LEN {
            let (now, rest) = bytes.split_at(PART_LEN - self.buffer.len());
            self.buffer.extend_from_slice(now);
            bytes = rest;
            assert_eq!(self.buffer.len(), PART_LEN, "{}: a whole part", self.name);
            self.send().await?;
        }
        self.buffer.extend_from_slice(bytes);
        assert!(
            self.buffer.len() <= PART_LEN,
            "{}: {} bytes are gathered",
            self.name,
            self.buffer.len()
        );
        Ok(())
    }

    /// Sends what is gathered as the next part.
    async fn send(&mut self) -> Result<()> {
        let part = Bytes::from(std::mem::take(&mut self.buffer));
        let mut upload = match self.upload.take() {
            Some(upload) => upload,
            None => self.begin().await?,
        };
        if upload.count == PARTS_MAX {
            leave(upload);
            return Err(Error::Limit {
                what: "parts of one object",
                got: PARTS_MAX + 1,
                max: PARTS_MAX,
            });
        }
        upload.count += 1;
        assert!(
            upload.count <= PARTS_MAX,
            "{}: part {}",
            self.name,
            upload.count
        );
        let work = upload.parts.put_part(part.into());
        let handle = runtime::handle();
        let handle = handle.map_err(|cause| Operation::Write.error(&self.name, &cause))?;
        upload.sent.spawn_on(work, &handle);
        let upload = self.upload.insert(upload);
        arrived(upload, SENT_MAX, Operation::Write, &self.name).await
    }

    async fn begin(&mut self) -> Result<Upload> {
        let (store, path) = (Arc::clone(&self.store), self.path.clone());
        let options = PutMultipartOptions {
            attributes: self.mark.attributes(),
            ..PutMultipartOptions::default()
        };
        let begun = async move { store.put_multipart_opts(&path, options).await };
        let parts = request(Operation::Write, self.name.as_str(), begun).await?;
        Ok(Upload {
            parts,
            sent: JoinSet::new(),
            count: 0,
        })
    }

    /// Makes the parts an object, if the name is free (see [the module](super)).
    async fn publish(&mut self) -> Result<Created> {
        let (store, path, mark) = (Arc::clone(&self.store), self.path.clone(), self.mark);
        if self.upload.is_none() {
            let bytes = Bytes::from(std::mem::take(&mut self.buffer));
            let created = async move { create(&*store, &path, bytes, mark).await };
            return request(Operation::Finish, self.name.as_str(), created).await;
        }
        if !self.buffer.is_empty() {
            self.send().await?;
        }
        if let Some(upload) = &mut self.upload {
            arrived(upload, 0, Operation::Finish, &self.name).await?;
            assert!(
                upload.sent.is_empty(),
                "{}: {} parts are on their way",
                self.name,
                upload.sent.len()
            );
        }
        assert!(
            self.buffer.is_empty(),
            "{}: {} bytes are not sent",
            self.name,
            self.buffer.len()
        );
        let Some(mut upload) = self.upload.take() else {
            let cause = io::Error::other("the upload is gone");
            return Err(Operation::Finish.error(&self.name, &cause));
        };
        let finished = async move {
            if look(&*store, &path).await?.is_some() {
                leave(upload);
                return Ok(Created::Exists);
            }
            let Err(failure) = upload.parts.complete().await else {
                return Ok(Created::New);
            };
            // It may have become an object, and only the answer was lost.
            let found = match is_in_doubt(&failure) || is_unknown_upload(&failure) {
                true => look(&*store, &path).await?,
                false => None,
            };
            match found {
                Some(found) if found.mark == Some(mark) => Ok(Created::New),
                Some(_) => Ok(Created::Exists),
                None => {
                    leave(upload);
                    Err(failure)
                }
            }
        };
        request(Operation::Finish, self.name.as_str(), finished).await
    }
}

/// A store forgets an upload that has become an object: the second of two tries to end it finds none.
fn is_unknown_upload(failure: &object_store::Error) -> bool {
    matches!(failure, object_store::Error::NotFound { .. })
}

/// Waits until at most so many parts are on their way.
async fn arrived(
    upload: &mut Upload,
    left_max: usize,
    operation: Operation,
    name: &Name,
) -> Result<()> {
    while upload.sent.len() > left_max {
        match upload.sent.join_next().await {
            Some(Ok(Ok(()))) | None => {}
            Some(Ok(Err(failure))) => {
                return Err(super::failure::error(operation, name.as_str(), &failure));
            }
            Some(Err(cause)) => return Err(operation.error(name, &io::Error::other(cause))),
        }
    }
    Ok(())
}

/// Lets the store drop the parts. Where that fails they cost space until the bucket's own rule for
/// unfinished uploads removes them.
fn leave(mut upload: Upload) {
    runtime::leave(async move {
        upload.sent.shutdown().await;
        if let Err(failure) = upload.parts.abort().await {
            tracing::warn!(%failure, "an unfinished upload was not removed");
        }
    });
}

#[async_trait]
impl ObjectWriter for BucketWriter {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(failure) = &self.failed {
            return Err(failure.clone());
        }
        let written = self.add(bytes).await;
        self.failed = written.as_ref().err().cloned();
        written
    }

    async fn finish(mut self: Box<Self>) -> Result<Created> {
        match self.failed.take() {
            Some(failure) => Err(failure),
            None => self.publish().await,
        }
    }
}

impl Drop for BucketWriter {
    fn drop(&mut self) {
        if let Some(upload) = self.upload.take() {
            leave(upload);
        }
    }
}
