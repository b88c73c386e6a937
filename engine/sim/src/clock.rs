//! Virtual time for production code: [`SimClock`], and the two ways to wait.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use eciton_engine::base::clock::Clock;

use crate::kernel::Kernel;

/// The wall clock's time at virtual time 0: some day in 2026.
const WALL_START_MS: u64 = 1_780_000_000_000;
const NS_PER_MS: u64 = 1_000_000;

/// The clock of one process.
pub struct SimClock {
    kernel: Arc<Kernel>,
    skew_ms: i64,
}

impl SimClock {
    /// A clock whose wall time differs from that of other processes by `skew_ms`.
    pub fn new(kernel: Arc<Kernel>, skew_ms: i64) -> SimClock {
        SimClock { kernel, skew_ms }
    }
}

#[async_trait]
impl Clock for SimClock {
    fn wall_ms(&self) -> u64 {
        (WALL_START_MS + self.kernel.now_ms()).saturating_add_signed(self.skew_ms)
    }

    fn monotonic_ns(&self) -> u64 {
        self.kernel.now_ms() * NS_PER_MS
    }

    async fn sleep_ms(&self, ms: u64) {
        sleep(&self.kernel, ms).await;
    }
}

/// Waits so many virtual milliseconds.
pub fn sleep(kernel: &Arc<Kernel>, ms: u64) -> Sleep {
    Sleep {
        kernel: Arc::clone(kernel),
        due: kernel.now_ms().saturating_add(ms),
        timer: None,
    }
}

/// See [`sleep`].
pub struct Sleep {
    kernel: Arc<Kernel>,
    due: u64,
    timer: Option<u64>,
}

impl Sleep {
    fn disarm(&mut self) {
        if let Some(number) = self.timer.take() {
            self.kernel.remove_timer(self.due, number);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.disarm();
        if self.kernel.now_ms() >= self.due {
            return Poll::Ready(());
        }
        let number = self.kernel.add_timer(self.due, context.waker().clone());
        self.timer = Some(number);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.disarm();
    }
}

/// Lets others go first: the task goes on in some later step.
pub fn yield_now() -> YieldNow {
    YieldNow(false)
}

/// See [`yield_now`].
pub struct YieldNow(bool);

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
