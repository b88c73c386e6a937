//! The connection for one database: a queue of calls, and the task that sends them together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use redis::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::driver::Driver;
use super::health::Health;
use super::link_state::{Job, LinkState};
use super::names::Names;
use super::script::Call;
use crate::coord::Mailbox;
use crate::coord::inbox::Inbox;

/// Calls that wait to be sent at most; what is more is lost.
const QUEUE_MAX: usize = 8192;
/// Bytes of them at most.
const QUEUE_LEN_MAX: usize = 64 * 1024 * 1024;
/// Mailboxes of one process at one database at most: more coordinators than anybody has.
const MAILBOXES_MAX: usize = 256;

/// A database's way to Redis.
pub(super) struct Link {
    pub(super) shared: Arc<LinkState>,
    queue: mpsc::Sender<Job>,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    /// A link whose driver runs on `runtime`.
    pub(super) fn new(
        names: Names,
        runtime: &tokio::runtime::Handle,
        driver: impl FnOnce(Arc<LinkState>, mpsc::Receiver<Job>) -> Driver,
    ) -> Link {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let shared = Arc::new(LinkState {
            names,
            is_up: AtomicBool::new(false),
            queued_len: AtomicUsize::new(0),
            inboxes: Mutex::default(),
            health: Health::default(),
        });
        let driver = driver(Arc::clone(&shared), jobs);
        let task = runtime.spawn(driver.run());
        Link {
            shared,
            queue,
            task,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.shared.is_up.load(Ordering::SeqCst)
    }

    /// Whether calls are sent, and come to something.
    pub(super) fn is_of_use(&self) -> bool {
        self.is_up() && !self.shared.health.refuses()
    }

    /// Sends a call and does not wait.
    pub(super) fn tell(&self, call: Call) {
        self.send(Job::Call(call, None));
    }

    /// Sends a call and waits for what comes of it; `None` if nothing does.
    pub(super) async fn ask(&self, call: Call) -> Option<Value> {
        let (reply, replied) = oneshot::channel();
        if !self.send(Job::Call(call, Some(reply))) {
            return None;
        }
        replied.await.ok()
    }

    /// Waits until what was told before has been answered, or is lost with the connection.
    pub(super) async fn flush(&self) {
        let (done, is_done) = oneshot::channel();
        if self.send(Job::Flush(done)) {
            // Dropped where the connection is lost: there is nothing more to wait for.
            drop(is_done.await);
        }
    }

    fn send(&self, job: Job) -> bool {
        let (len, queued) = (job.len(), &self.shared.queued_len);
        if !self.is_up() || queued.load(Ordering::Relaxed) + len > QUEUE_LEN_MAX {
            return false;
        }
        queued.fetch_add(len, Ordering::Relaxed);
        let is_sent = self.queue.try_send(job).is_ok();
        if !is_sent {
            queued.fetch_sub(len, Ordering::Relaxed);
        }
        is_sent
    }

    /// What has come into a mailbox, which is listened to from the first time on that it is asked for.
    pub(super) fn inbox(&self, mailbox: Mailbox) -> Arc<Inbox> {
        let mut inboxes = self.shared.inboxes.lock();
        if let Some(inbox) = inboxes.get(&mailbox) {
            return Arc::clone(inbox);
        }
        let inbox = Arc::new(Inbox::default());
        if inboxes.len() < MAILBOXES_MAX {
            inboxes.insert(mailbox, Arc::clone(&inbox));
            assert!(
                inboxes.len() <= MAILBOXES_MAX,
                "{} mailboxes",
                inboxes.len()
            );
            drop(inboxes);
            // Where the link is down, the driver listens to whatever is in the map once it is up.
            self.send(Job::Listen(mailbox));
        }
        inbox
    }
}
