//! The watchdog of one medium.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use futures::executor::block_on;
use futures::future::{Either, select};
use parking_lot::{Condvar, Mutex};

use super::WatchOptions;
use super::pace::Pace;
use super::threads::{StorageCall, Threads};
use crate::base::entropy::SystemEntropy;
use crate::base::{Error, Result};
use crate::storage::mirror::write_probe;
use crate::storage::{Operation, Storage};

/// Bytes a second that even a busy medium writes: a large operation gets that much more time.
const BYTES_PER_SECOND: u64 = 16 * 1024 * 1024;
/// How often the watchdog looks, as a part of the limit.
const TICKS: u32 = 20;
/// How long the watchdog's thread waits for the next operation before it ends.
const IDLE: Duration = Duration::from_secs(10);

/// What every handle on a watched medium shares.
pub(super) struct Watch {
    inner: Arc<dyn Storage>,
    pub(super) options: WatchOptions,
    pub(super) pace: Pace,
    threads: Arc<Threads>,
    state: Mutex<WatchState>,
    begun: Condvar,
}

#[derive(Default)]
struct WatchState {
    next: u64,
    pending: BTreeMap<u64, Unanswered>,
    probe: Probe,
    /// Callers that wait for the probe that runs.
    waiters: Vec<oneshot::Sender<Result<()>>>,
    /// Whether the watchdog's thread runs, and whether it waits for an operation.
    is_watched: bool,
    is_asleep: bool,
}

/// An operation that has not returned.
struct Unanswered {
    since: Instant,
    limit: Duration,
    /// Dropped to tell the caller that the time is up.
    _expires: oneshot::Sender<()>,
}

/// The write probe that tells a hang from an operation that takes long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Probe {
    #[default]
    None,
    Running {
        since: Instant,
        limit: Duration,
    },
    /// It has not returned in time: the medium hangs until it does.
    Hung,
}

impl Watch {
    pub(super) fn new(inner: Arc<dyn Storage>, options: WatchOptions) -> Watch {
        Watch {
            inner,
            options,
            pace: Pace::default(),
            threads: Arc::default(),
            state: Mutex::default(),
            begun: Condvar::new(),
        }
    }

    /// Carries out `work`, which moves `len` bytes, on another thread. Waits no longer than the limit.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        operation: Operation,
        object: &str,
        len: usize,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let late = || Err(operation.error(object, &self.late()));
        let Some((number, expired)) = self.begin(len) else {
            return late();
        };
        let (answer, answered) = oneshot::channel();
        let watch = Arc::clone(self);
        self.spawn(Box::new(move || {
            let begun = now();
            let done = block_on(work);
            watch.pace.note(operation, begun.elapsed());
            // Nobody listens any more once the limit has passed. The answer first: what ends has its time cancelled.
            drop(answer.send(done));
            watch.end(number);
        }));
        match select(answered, expired).await {
            Either::Left((Ok(done), _)) => done,
            Either::Left((Err(_), _)) => late(),
            // An operation that ends between the two looks has its time cancelled, too: its answer is there by then.
            Either::Right((_, mut answered)) => match answered.try_recv() {
                Ok(Some(done)) => done,
                _ => late(),
            },
        }
    }

    /// Runs `job` on a thread that may hang.
    pub(super) fn spawn(&self, job: StorageCall) {
        self.threads.spawn(job);
    }

    fn late(&self) -> io::Error {
        let limit = self.options.limit.as_millis();
        let message = format!("no answer within {limit} ms (ETIMEDOUT)");
        io::Error::new(io::ErrorKind::TimedOut, message)
    }

    /// Notes that an operation begins; `None` while the medium hangs.
    fn begin(self: &Arc<Self>, len: usize) -> Option<(u64, oneshot::Receiver<()>)> {
        let mut state = self.state.lock();
        if state.probe == Probe::Hung {
            return None;
        }
        let number = state.next;
        state.next += 1;
        let (expires, expired) = oneshot::channel();
        let allowance = Duration::from_millis(len as u64 / (BYTES_PER_SECOND / 1000));
        let pending = Unanswered {
            since: now(),
            limit: self.options.limit + allowance,
            _expires: expires,
        };
        let before = state.pending.insert(number, pending);
        assert!(before.is_none(), "operation {number} begins twice");
        self.keep_watch(&mut state);
        Some((number, expired))
    }

    fn end(&self, number: u64) {
        self.state.lock().pending.remove(&number);
    }

    /// Makes sure that the watchdog looks.
    fn keep_watch(self: &Arc<Self>, state: &mut WatchState) {
        if state.is_watched {
            if state.is_asleep {
                self.begun.notify_one();
            }
            return;
        }
        let own = Arc::clone(self);
        let builder = std::thread::Builder::new().name("watchdog".to_owned());
        match builder.spawn(move || own.watch()) {
            Ok(_) => state.is_watched = true,
            Err(cause) => tracing::warn!(%cause, "no thread for the storage watchdog"),
        }
    }

    /// Whether the medium can be written to, as far as that is known within the limit.
    ///
    /// # Errors
    /// What the medium refused, or that it did not answer.
    pub(super) async fn probe(self: &Arc<Self>) -> Result<()> {
        let late = || Err(Operation::Write.error("a write probe", &self.late()));
        let done = {
            let mut state = self.state.lock();
            match state.probe {
                Probe::Hung => return late(),
                Probe::Running { .. } => {}
                Probe::None => self.start_probe(&mut state, self.options.limit),
            }
            let (answer, answered) = oneshot::channel();
            state.waiters.push(answer);
            answered
        };
        done.await.unwrap_or_else(|_| late())
    }

    fn start_probe(self: &Arc<Self>, state: &mut WatchState, limit: Duration) {
        assert_eq!(state.probe, Probe::None, "one probe at a time");
        let since = now();
        state.probe = Probe::Running { since, limit };
        self.keep_watch(state);
        let own = Arc::clone(self);
        self.spawn(Box::new(move || {
            let done = block_on(write_probe(&*own.inner, &SystemEntropy));
            let mut state = own.state.lock();
            assert_ne!(state.probe, Probe::None, "a probe that ends has begun");
            state.probe = Probe::None;
            for waiter in state.waiters.drain(..) {
                drop(waiter.send(done.clone()));
            }
        }));
    }

    /// Ends operations whose time is up. An operation that takes half of its time starts a write probe: once that hangs,
    /// too, the medium does, and every operation is told so before its own time is up.
    fn watch(self: Arc<Self>) {
        let tick = self.options.limit / TICKS;
        let mut state = self.state.lock();
        loop {
            let is_idle = state.pending.is_empty() && !matches!(state.probe, Probe::Running { .. });
            let (begun, wait) = (now(), if is_idle { IDLE } else { tick });
            state.is_asleep = is_idle;
            let waited = self.begun.wait_for(&mut state, wait);
            state.is_asleep = false;
            let slept = begun.elapsed();
            if is_idle {
                if waited.timed_out() && state.pending.is_empty() {
                    state.is_watched = false;
                    return;
                }
            } else if slept > wait + self.options.limit / 4 {
                // This process was stopped, or got no processor: that is not the medium's fault.
                state.forgive(slept.saturating_sub(wait));
            }
            self.look(&mut state);
        }
    }

    fn look(self: &Arc<Self>, state: &mut WatchState) {
        let (now, limit) = (now(), self.options.limit);
        if let Probe::Running { since, limit } = state.probe
            && now.saturating_duration_since(since) >= limit
        {
            state.probe = Probe::Hung;
            state.waiters.clear();
            state.pending.clear();
            return;
        }
        let age = |pending: &Unanswered| now.saturating_duration_since(pending.since);
        let is_late = |pending: &Unanswered| age(pending) + limit / 2 >= pending.limit;
        if state.probe == Probe::None && state.pending.values().any(is_late) {
            self.start_probe(state, limit * 2 / 5);
        }
        state
            .pending
            .retain(|_, pending| age(pending) < pending.limit);
    }
}

impl WatchState {
    /// Gives everything that waits so much more time.
    fn forgive(&mut self, excess: Duration) {
        for pending in self.pending.values_mut() {
            pending.since += excess;
        }
        if let Probe::Running { since, .. } = &mut self.probe {
            *since += excess;
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "media hang in real time")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// The failure that ended a handle whose operation has not returned.
pub(super) fn gone(operation: Operation, object: &str) -> Error {
    let cause = io::Error::new(
        io::ErrorKind::TimedOut,
        "an earlier operation on it has not returned (ETIMEDOUT)",
    );
    operation.error(object, &cause)
}
