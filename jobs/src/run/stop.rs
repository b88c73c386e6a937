//! Asking a run to come to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// A request, shared by clones: no new shards, those at work finish and commit.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    requested: AtomicBool,
    notify: Notify,
}

impl Stop {
    /// Nothing is requested yet.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Requests it, for good.
    pub fn request(&self) {
        self.0.requested.store(true, Ordering::SeqCst);
        self.0.notify.notify_waiters();
    }

    /// Whether it was requested.
    pub fn is_requested(&self) -> bool {
        self.0.requested.load(Ordering::SeqCst)
    }

    /// Waits until it is requested.
    pub async fn requested(&self) {
        loop {
            let notified = self.0.notify.notified();
            // Looked at after the wait is set up: a request in between would be missed otherwise.
            if self.is_requested() {
                return;
            }
            notified.await;
        }
    }
}
