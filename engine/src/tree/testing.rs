//! A medium in memory for the tests of this module: it counts what is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::executor::block_on;
use parking_lot::Mutex;

use super::{PageCache, Run, RunBuilder, RunOptions, RunSummary};
use crate::base::{Error, Op, Result};
use crate::storage::{Created, Object, ObjectWriter};

/// A writer whose bytes can be seen when it has finished, and not before.
#[derive(Clone, Default)]
pub(super) struct TestWriter {
    written: Vec<u8>,
    finished: Arc<Mutex<Option<Bytes>>>,
    /// Bytes after which writing fails.
    len_max: Option<usize>,
}

impl TestWriter {
    pub(super) fn failing_after(len: usize) -> TestWriter {
        TestWriter {
            len_max: Some(len),
            ..TestWriter::default()
        }
    }

    pub(super) fn file(&self) -> Option<Bytes> {
        self.finished.lock().clone()
    }
}

#[async_trait]
impl ObjectWriter for TestWriter {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.written.extend_from_slice(bytes);
        if self.len_max.is_some_and(|max| self.written.len() > max) {
            return Err(Error::Storage {
                op: "write",
                object: "seg/test".to_owned(),
                kind: std::io::ErrorKind::StorageFull,
                errno: None,
                message: "no space".to_owned(),
            });
        }
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Created> {
        *self.finished.lock() = Some(Bytes::from(self.written));
        Ok(Created::New)
    }
}

/// An object in memory that counts.
pub(super) struct TestObject {
    bytes: Bytes,
    /// Whether it reads without waiting.
    at_once: bool,
    pub(super) reads: AtomicU64,
    pub(super) read_len: AtomicU64,
}

impl TestObject {
    pub(super) fn new(bytes: impl Into<Bytes>) -> Arc<TestObject> {
        TestObject::with(bytes, false)
    }

    /// One that reads without waiting, as a file does.
    pub(super) fn at_once(bytes: impl Into<Bytes>) -> Arc<TestObject> {
        TestObject::with(bytes, true)
    }

    fn with(bytes: impl Into<Bytes>, at_once: bool) -> Arc<TestObject> {
        let (reads, read_len) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(TestObject {
            bytes: bytes.into(),
            at_once,
            reads,
            read_len,
        })
    }

    fn read(&self, offset: u64, len: usize) -> Bytes {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.read_len.fetch_add(len as u64, Ordering::Relaxed);
        let from = usize::try_from(offset).unwrap();
        assert!(
            from + len <= self.bytes.len(),
            "a read of {len} bytes at {offset} past the end"
        );
        self.bytes.slice(from..from + len)
    }
}

#[async_trait]
impl Object for TestObject {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        Ok(self.read(offset, len))
    }

    fn read_into(&self, offset: u64, bytes: &mut [u8]) -> Option<Result<()>> {
        let read = self.at_once.then(|| self.read(offset, bytes.len()))?;
        bytes.copy_from_slice(&read);
        Some(Ok(()))
    }
}

/// The file of a run with these writes.
pub(super) fn write(options: RunOptions, ops: &[(Vec<u8>, Op)]) -> (Bytes, RunSummary) {
    let writer = TestWriter::default();
    let mut builder = RunBuilder::new(Box::new(writer.clone()), options);
    let summary = block_on(async {
        for (key, op) in ops {
            builder.add(key, op).await.unwrap();
        }
        builder.finish().await.unwrap()
    });
    (writer.file().unwrap(), summary)
}

/// Opens a file, with a cache of its own.
pub(super) fn try_open(file: impl Into<Bytes>) -> Result<Arc<Run>> {
    let cache = Arc::new(PageCache::new(64 * 1024 * 1024));
    block_on(Run::open(
        TestObject::new(file),
        cache,
        "seg/test".to_owned(),
    ))
    .map(Arc::new)
}

/// Opens a file that is read without waiting, with a cache that has room for nothing.
pub(super) fn try_open_past_cache(file: impl Into<Bytes>) -> Result<Arc<Run>> {
    let cache = Arc::new(PageCache::new(0));
    let object = TestObject::at_once(file);
    block_on(Run::open(object, cache, "seg/test".to_owned())).map(Arc::new)
}

/// Opens a file that is whole.
pub(super) fn open(file: impl Into<Bytes>) -> Arc<Run> {
    try_open(file).unwrap()
}

/// `n` puts with keys in order: an 8-byte number behind `prefix`, and `value` of the number.
pub(super) fn numbered(
    prefix: &[u8],
    n: u64,
    value: impl Fn(u64) -> Vec<u8>,
) -> Vec<(Vec<u8>, Op)> {
    let key = |i: u64| [prefix, &i.to_be_bytes()[..]].concat();
    (0..n).map(|i| (key(i), Op::Put(value(i).into()))).collect()
}
