//! Asking a run to come to its end.

use std::sync::Arc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// A request, shared by clones: no new shards, those at work finish and commit, or break off if that takes longer than
/// they are given.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    requested: OnceLock<Instant>,
    /// How long shards at work are given; as long as they like if `None`.
    grace: Option<Duration>,
    notify: Notify,
}

impl Stop {
    /// Nothing is requested yet.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Nothing is requested yet. Shards that are at work when it is have so long to finish.
    pub fn within(grace: Duration) -> Stop {
        Stop(Arc::new(Inner {
            grace: Some(grace),
            ..Inner::default()
        }))
    }

    /// Requests it, for good.
    pub fn request(&self) {
        self.0.requested.get_or_init(Instant::now);
        assert!(self.is_requested(), "a request is for good");
        self.0.notify.notify_waiters();
    }

    /// Whether it was requested.
    pub fn is_requested(&self) -> bool {
        self.0.requested.get().is_some()
    }

    /// Whether it was requested so long ago that shards at work are to break off.
    pub fn is_overdue(&self) -> bool {
        let requested = self.0.requested.get().zip(self.0.grace);
        requested.is_some_and(|(requested, grace)| requested.elapsed() >= grace)
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
