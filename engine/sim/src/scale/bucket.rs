//! An object store as far as its time goes: [`Bucket`].

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use eciton_engine::base::Result;
use eciton_engine::storage::{
    AppendFile, Capabilities, ContentOf, Created, LockGuard, LockMode, MemoryStorage, Name, Object,
    ObjectWriter, Stat, Storage,
};
use parking_lot::Mutex;

use crate::clock::sleep;
use crate::kernel::Kernel;
use crate::random::Random;

const NS_A_MS: u64 = 1_000_000;
const NS_A_S: u64 = 1_000_000_000;
/// A request that waits this long before storage takes it has met a store that is saturated.
const SATURATED_NS_MIN: u64 = 10 * NS_A_MS;

/// What an object store's operations take, and how many of them it takes.
#[derive(Clone, Copy, Debug)]
pub struct Latencies {
    /// Milliseconds of a read or of a look for a name, the median.
    pub read_ms: f64,
    /// Milliseconds of a write or a removal, the median.
    pub write_ms: f64,
    /// Milliseconds of a listing, the median.
    pub list_ms: f64,
    /// The standard deviation of their logarithms.
    pub spread: f64,
    /// Bytes that a connection carries a millisecond.
    pub bytes_a_ms: u64,
    /// Reads, looks and listings a second, at most.
    pub reads_a_second: u64,
    /// Writes and removals a second, at most.
    pub writes_a_second: u64,
}

impl Latencies {
    /// S3 Standard, about: conditional writes of one small object were measured at 58 to 68 ms
    /// apiece (14.7 to 15.3 a second), first bytes come within a few tens of milliseconds; at most 3,500 writes and
    /// 5,500 reads a second and prefix are what its documentation promises ("Best practices design patterns: optimizing
    /// Amazon S3 performance"), and a database is taken to be one prefix. A 99th percentile is 2.5 medians.
    pub const S3: Latencies = Latencies {
        read_ms: 20.0,
        write_ms: 60.0,
        list_ms: 40.0,
        spread: 0.4,
        bytes_a_ms: 80_000,
        reads_a_second: 5_500,
        writes_a_second: 3_500,
    };

    /// As [`Latencies::S3`], only so many times as fast, and with as many times the requests a second.
    #[must_use]
    pub fn faster(self, times: f64) -> Latencies {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "small"
        )]
        let more = |rate: u64| (rate as f64 * times) as u64;
        Latencies {
            read_ms: self.read_ms / times,
            write_ms: self.write_ms / times,
            list_ms: self.list_ms / times,
            reads_a_second: more(self.reads_a_second),
            writes_a_second: more(self.writes_a_second),
            ..self
        }
    }
}

/// What was asked of a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    /// Reads, looks for names and listings.
    pub reads: u64,
    /// Writes and removals.
    pub writes: u64,
    /// Milliseconds in which requests waited for storage to take them.
    pub saturated_ms: u64,
}

/// A bucket in memory whose operations take their time. All processes see the same one.
pub struct Bucket {
    memory: MemoryStorage,
    inner: Arc<Inner>,
}

struct Inner {
    kernel: Arc<Kernel>,
    latencies: Latencies,
    state: Mutex<State>,
}

struct State {
    random: Random,
    meter: Meter,
    /// When the next request of each kind is taken, in virtual nanoseconds.
    read_next_ns: u64,
    write_next_ns: u64,
    /// Until when requests wait that are there, in virtual milliseconds.
    saturated_until_ms: u64,
}

#[derive(Clone, Copy)]
enum Request {
    Read,
    Write,
    List,
}

impl Bucket {
    /// An empty bucket.
    pub fn new(kernel: Arc<Kernel>, latencies: Latencies, random: Random) -> Bucket {
        let state = State {
            random,
            meter: Meter::default(),
            read_next_ns: 0,
            write_next_ns: 0,
            saturated_until_ms: 0,
        };
        let inner = Inner {
            kernel,
            latencies,
            state: Mutex::new(state),
        };
        Bucket {
            memory: MemoryStorage::new(),
            inner: Arc::new(inner),
        }
    }

    /// What was asked so far.
    pub fn meter(&self) -> Meter {
        self.inner.state.lock().meter
    }
}

impl Inner {
    /// What a request takes, with so many bytes to carry.
    async fn take(&self, request: Request, len: usize) {
        let ms = self.draw(request, len);
        sleep(&self.kernel, ms).await;
    }

    fn draw(&self, request: Request, len: usize) -> u64 {
        let latencies = &self.latencies;
        let now_ms = self.kernel.now_ms();
        let now = now_ms * NS_A_MS;
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let (median, rate, next) = match request {
            Request::Read => (
                latencies.read_ms,
                latencies.reads_a_second,
                &mut state.read_next_ns,
            ),
            Request::List => (
                latencies.list_ms,
                latencies.reads_a_second,
                &mut state.read_next_ns,
            ),
            Request::Write => (
                latencies.write_ms,
                latencies.writes_a_second,
                &mut state.write_next_ns,
            ),
        };
        let taken = now.max(*next);
        *next = taken + NS_A_S / rate.max(1);
        match request {
            Request::Read | Request::List => state.meter.reads += 1,
            Request::Write => state.meter.writes += 1,
        }
        if taken - now >= SATURATED_NS_MIN {
            // Overlapping waits count once.
            let from = state.saturated_until_ms.max(now_ms);
            let until = (taken / NS_A_MS).max(from);
            state.meter.saturated_ms += until - from;
            state.saturated_until_ms = until;
        }
        let ms = median * (latencies.spread * normal(&mut state.random)).exp();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "some milliseconds"
        )]
        let ms = ms.round() as u64;
        (taken - now).div_ceil(NS_A_MS) + ms + len as u64 / latencies.bytes_a_ms.max(1)
    }
}

/// A number that is normally distributed, about: the sum of twelve even ones.
fn normal(random: &mut Random) -> f64 {
    const ONE: u64 = 1 << 32;
    #[allow(clippy::cast_precision_loss, reason = "32 bits")]
    let even = |random: &mut Random| random.below(ONE) as f64 / ONE as f64;
    (0..12).map(|_| even(random)).sum::<f64>() - 6.0
}

#[async_trait]
impl Storage for Bucket {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            read_only: false,
            ..Capabilities::BUCKET
        }
    }

    async fn create(&self, name: &Name, bytes: &[u8]) -> Result<Created> {
        self.inner.take(Request::Write, bytes.len()).await;
        self.memory.create(name, bytes).await
    }

    async fn sync_names(&self, name: &Name) -> Result<()> {
        self.memory.sync_names(name).await
    }

    async fn stat(&self, name: &Name) -> Result<Option<Stat>> {
        self.inner.take(Request::Read, 0).await;
        self.memory.stat(name).await
    }

    async fn read(&self, name: &Name) -> Result<Option<Bytes>> {
        self.inner.take(Request::Read, 0).await;
        let read = self.memory.read(name).await?;
        let len = read.as_ref().map_or(0, Bytes::len) as u64;
        sleep(
            &self.inner.kernel,
            len / self.inner.latencies.bytes_a_ms.max(1),
        )
        .await;
        Ok(read)
    }

    async fn open(&self, name: &Name) -> Result<Option<Arc<dyn Object>>> {
        self.inner.take(Request::Read, 0).await;
        let opened = self.memory.open(name).await?;
        let inner = Arc::clone(&self.inner);
        Ok(opened.map(|object| Arc::new(Distant { object, inner }) as _))
    }

    async fn list(&self, dir: &str) -> Result<Vec<Name>> {
        self.inner.take(Request::List, 0).await;
        self.memory.list(dir).await
    }

    async fn remove(&self, name: &Name) -> Result<bool> {
        self.inner.take(Request::Write, 0).await;
        self.memory.remove(name).await
    }

    async fn writer(&self, name: &Name) -> Result<Box<dyn ObjectWriter>> {
        Ok(Box::new(Outgoing {
            writer: self.memory.writer(name).await?,
            len: 0,
            inner: Arc::clone(&self.inner),
        }))
    }

    async fn append_file(&self, name: &Name) -> Result<Box<dyn AppendFile>> {
        self.memory.append_file(name).await
    }

    async fn replace(&self, name: &Name, content: &ContentOf) -> Result<u128> {
        self.inner.take(Request::Write, 0).await;
        self.memory.replace(name, content).await
    }

    async fn lock(&self, mode: LockMode) -> Result<Box<dyn LockGuard>> {
        self.memory.lock(mode).await
    }

    fn location(&self) -> String {
        "a bucket".to_owned()
    }
}

/// An object of the bucket.
struct Distant {
    object: Arc<dyn Object>,
    inner: Arc<Inner>,
}

#[async_trait]
impl Object for Distant {
    fn len(&self) -> u64 {
        self.object.len()
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        self.inner.take(Request::Read, len).await;
        self.object.read_at(offset, len).await
    }
}

/// An object on its way: it is sent when it is whole.
struct Outgoing {
    writer: Box<dyn ObjectWriter>,
    len: usize,
    inner: Arc<Inner>,
}

#[async_trait]
impl ObjectWriter for Outgoing {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.len += bytes.len();
        self.writer.write(bytes).await
    }

    async fn finish(self: Box<Self>) -> Result<Created> {
        self.inner.take(Request::Write, self.len).await;
        self.writer.finish().await
    }
}
