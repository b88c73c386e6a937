//! What has come into a mailbox, and who waits for it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::future::{Either, select};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::base::TxId;
use crate::base::clock::Clock;
use crate::base::limits::BUS_ANSWERS_MAX;

/// Answers that have come and were not taken yet.
#[derive(Default)]
pub(super) struct Inbox {
    answers: Mutex<VecDeque<(TxId, Bytes)>>,
    /// Whoever waits should look again, although nothing has come.
    is_nudged: AtomicBool,
    come: Notify,
}

impl Inbox {
    /// Puts answers in; the oldest go where there are too many.
    pub(super) fn put(&self, answers: impl IntoIterator<Item = (TxId, Bytes)>) {
        {
            let mut held = self.answers.lock();
            held.extend(answers);
            let surplus = held.len().saturating_sub(BUS_ANSWERS_MAX);
            held.drain(..surplus);
            assert!(
                held.len() <= BUS_ANSWERS_MAX,
                "{} answers in a mailbox",
                held.len()
            );
        }
        self.come.notify_one();
    }

    /// Has whoever waits look again, now or the next time.
    pub(super) fn nudge(&self) {
        self.is_nudged.store(true, Ordering::Release);
        self.come.notify_one();
    }

    /// Takes what has come, once anything has, or once `ms_max` milliseconds have gone by; nothing after a
    /// nudge.
    pub(super) async fn take(&self, clock: &dyn Clock, ms_max: u64) -> Vec<(TxId, Bytes)> {
        let mut deadline = clock.sleep_ms(ms_max);
        loop {
            let come = self.come.notified();
            let taken: Vec<_> = self.answers.lock().drain(..).collect();
            if self.is_nudged.swap(false, Ordering::Acquire) || !taken.is_empty() {
                return taken;
            }
            match select(std::pin::pin!(come), deadline).await {
                Either::Left(((), still)) => deadline = still,
                Either::Right(_) => return self.answers.lock().drain(..).collect(),
            }
        }
    }
}
