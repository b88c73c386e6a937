//! Background work, and waiting for its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// What runs in the background for one database. Apart from the database, so that work can let go of that before it
/// says that it has ended.
#[derive(Clone, Default)]
pub(super) struct Background(Arc<BackgroundTasks>);

#[derive(Default)]
struct BackgroundTasks {
    running: AtomicUsize,
    ended: Notify,
}

/// Work that is running, or about to, until this is dropped.
pub(super) struct Running(Arc<BackgroundTasks>);

impl Background {
    /// Work begins.
    pub(super) fn begin(&self) -> Running {
        self.0.running.fetch_add(1, Ordering::AcqRel);
        Running(Arc::clone(&self.0))
    }

    /// Waits until nothing is running.
    pub(super) async fn idle(&self) {
        loop {
            let ended = self.0.ended.notified();
            // Looked at after the wait is set up: an end in between would be missed otherwise.
            if self.0.running.load(Ordering::Acquire) == 0 {
                return;
            }
            ended.await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.ended.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn idle_is_when_the_last_work_has_ended() {
        let background = Background::default();
        assert!(background.idle().now_or_never().is_some());
        let (first, second) = (background.begin(), background.begin());
        let mut idle = Box::pin(background.idle());
        assert!(idle.as_mut().now_or_never().is_none());
        drop(first);
        assert!(idle.as_mut().now_or_never().is_none());
        drop(second);
        assert!(idle.as_mut().now_or_never().is_some());
    }
}
