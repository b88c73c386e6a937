//! Threads for calls that may never return.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Threads of one medium at most. A call that hangs keeps its thread until it returns; once all hang, later calls wait
/// in the queue until their own limit passes.
const THREADS_MAX: usize = 64;
/// How long a thread without work is kept.
const IDLE: Duration = Duration::from_secs(10);

/// Work for a thread.
pub(super) type StorageCall = Box<dyn FnOnce() + Send>;

/// The threads of one medium: started when needed, shared with nobody, and never waited for.
#[derive(Default)]
pub(super) struct Threads {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<StorageCall>,
    idle: usize,
    threads: usize,
}

impl Threads {
    /// Runs `job` on another thread, soon or when one becomes free.
    pub(super) fn spawn(self: &Arc<Self>, job: StorageCall) {
        let mut queue = self.queue.lock();
        queue.jobs.push_back(job);
        assert!(
            queue.idle <= queue.threads && queue.threads <= THREADS_MAX,
            "{} of {} threads are idle",
            queue.idle,
            queue.threads
        );
        if queue.idle >= queue.jobs.len() {
            self.arrived.notify_one();
            return;
        }
        if queue.threads == THREADS_MAX {
            return;
        }
        queue.threads += 1;
        drop(queue);
        let own = Arc::clone(self);
        let builder = std::thread::Builder::new().name("storage".to_owned());
        if let Err(cause) = builder.spawn(move || own.work()) {
            self.queue.lock().threads -= 1;
            tracing::warn!(%cause, "no thread for a storage operation; it waits for a free one");
        }
    }

    fn work(&self) {
        let mut queue = self.queue.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                job();
                queue = self.queue.lock();
                continue;
            }
            queue.idle += 1;
            let waited = self.arrived.wait_for(&mut queue, IDLE);
            assert!(queue.idle > 0, "a thread that waits is counted as idle");
            queue.idle -= 1;
            if waited.timed_out() && queue.jobs.is_empty() {
                queue.threads -= 1;
                return;
            }
        }
    }
}
