//! How many shards a process computes at the same time, of all jobs together.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// How long a worker keeps its permit for shard after shard while others wait for some.
const TURN: Duration = Duration::from_millis(20);

/// Permits to compute so many shards at the same time, shared by clones. They go to jobs of the largest priority, and
/// among these to the worker that has waited longest, so that jobs whose workers ask in turn get equal parts. A worker
/// keeps its permit while only jobs of smaller priorities wait, gives it up after a while to its equals, and after the
/// shard that it is at to larger ones.
#[derive(Clone, Debug)]
pub struct Permits(Arc<Mutex<PermitPool>>);

#[derive(Debug)]
struct PermitPool {
    total: usize,
    free: usize,
    waiting: BinaryHeap<Waiter>,
    /// How many have ever waited.
    waited: u64,
}

/// Who waits, ordered by who comes first.
#[derive(Debug)]
struct Waiter {
    order: (i32, Reverse<u64>),
    pass: oneshot::Sender<Permit>,
}

impl PartialEq for Waiter {
    fn eq(&self, other: &Waiter) -> bool {
        self.order == other.order
    }
}

impl Eq for Waiter {}

impl PartialOrd for Waiter {
    fn partial_cmp(&self, other: &Waiter) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiter {
    fn cmp(&self, other: &Waiter) -> std::cmp::Ordering {
        self.order.cmp(&other.order)
    }
}

/// A permit to compute one shard at a time, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    /// Where it goes back to; nowhere once it was given to nobody.
    permits: Option<Permits>,
    since: Instant,
    priority: i32,
}

impl Permit {
    /// Whether it is somebody else's turn.
    pub(crate) fn is_wanted(&self) -> bool {
        let Some(first) = self.permits.as_ref().and_then(Permits::first) else {
            return false;
        };
        first > self.priority || first == self.priority && self.since.elapsed() >= TURN
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(permits) = self.permits.take() {
            permits.give_back();
        }
    }
}

impl Permits {
    /// Permits for `count` shards, at least one.
    pub fn new(count: usize) -> Permits {
        let total = count.max(1);
        Permits(Arc::new(Mutex::new(PermitPool {
            total,
            free: total,
            waiting: BinaryHeap::new(),
            waited: 0,
        })))
    }

    /// Whether there is a permit that nobody wants at this moment.
    pub(crate) fn has_free(&self) -> bool {
        self.0.lock().free > 0
    }

    fn permit(&self, priority: i32) -> Permit {
        Permit {
            permits: Some(self.clone()),
            since: Instant::now(),
            priority,
        }
    }

    /// The priority of whoever gets the next permit, if anybody waits.
    fn first(&self) -> Option<i32> {
        let mut pool = self.0.lock();
        loop {
            let first = pool.waiting.peek()?;
            if !first.pass.is_closed() {
                return Some(first.order.0);
            }
            // It has gone away.
            pool.waiting.pop();
        }
    }

    /// A permit, if there is any now; workers that wait are given one before any is free.
    pub(crate) fn now(&self, priority: i32) -> Option<Permit> {
        let mut pool = self.0.lock();
        pool.free = pool.free.checked_sub(1)?;
        assert!(
            pool.waiting.is_empty(),
            "{} wait beside free permits",
            pool.waiting.len()
        );
        drop(pool);
        Some(self.permit(priority))
    }

    /// A permit for a job of that priority, once there is any; `None` once `stop` is requested.
    pub(crate) async fn next(&self, priority: i32, stop: &CancellationToken) -> Option<Permit> {
        if stop.is_cancelled() {
            return None;
        }
        let passed = {
            let mut pool = self.0.lock();
            if pool.free > 0 {
                assert!(
                    pool.waiting.is_empty(),
                    "{} wait beside free permits",
                    pool.waiting.len()
                );
                pool.free -= 1;
                drop(pool);
                return Some(self.permit(priority));
            }
            let (pass, passed) = oneshot::channel();
            assert_eq!(pool.free, 0, "nobody waits beside free permits");
            let order = (priority, Reverse(pool.waited));
            pool.waited += 1;
            pool.waiting.push(Waiter { order, pass });
            passed
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => None,
            permit = passed => permit.ok(),
        }
    }

    /// Passes a permit on to the first waiter; one that has gone away meanwhile drops it, and so passes it on.
    fn give_back(&self) {
        loop {
            let next = {
                let mut pool = self.0.lock();
                let Some(next) = pool.waiting.pop() else {
                    pool.free += 1;
                    let (free, total) = (pool.free, pool.total);
                    assert!(free <= total, "{free} of {total} permits are free");
                    return;
                };
                next
            };
            match next.pass.send(self.permit(next.order.0)) {
                Ok(()) => return,
                // Nobody is there: the permit goes to the next one, and is not given back twice.
                Err(mut permit) => permit.permits = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_permit_goes_to_who_has_waited_longest_and_nobody_waits_after_a_stop() {
        let (permits, stop) = (Permits::new(1), CancellationToken::new());
        let held = permits.now(0).unwrap();
        assert!(permits.now(0).is_none());
        let mut first = Box::pin(permits.next(0, &stop));
        let mut second = Box::pin(permits.next(0, &stop));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        drop(held);
        assert!(permits.now(0).is_none(), "it is the first one's");
        assert!(second.as_mut().now_or_never().is_none());
        let held = first.now_or_never().unwrap().unwrap();
        stop.cancel();
        assert!(second.now_or_never().unwrap().is_none());
        drop(held);
        assert!(permits.next(0, &stop).await.is_none());
        assert!(
            permits.now(0).is_some(),
            "none is lost to who stopped waiting"
        );
    }

    #[tokio::test]
    async fn a_larger_priority_goes_first() {
        let (permits, stop) = (Permits::new(1), CancellationToken::new());
        let held = permits.now(0).unwrap();
        let mut usual = Box::pin(permits.next(0, &stop));
        let mut urgent = Box::pin(permits.next(7, &stop));
        assert!(usual.as_mut().now_or_never().is_none());
        assert!(urgent.as_mut().now_or_never().is_none());
        drop(held);
        assert!(usual.as_mut().now_or_never().is_none());
        let held = urgent.now_or_never().unwrap();
        drop(held);
        assert!(usual.now_or_never().unwrap().is_some());
    }

    #[tokio::test]
    async fn a_permit_that_nobody_takes_any_more_is_not_lost() {
        let (permits, stop) = (Permits::new(1), CancellationToken::new());
        let held = permits.now(0).unwrap();
        let mut gone = Box::pin(permits.next(0, &stop));
        assert!(gone.as_mut().now_or_never().is_none());
        drop(held);
        // It was passed a permit, and goes away with it.
        drop(gone);
        assert!(permits.now(0).is_some());
    }

    /// It went to whoever waited, whatever its priority, as soon as its holder had had it for a while.
    #[tokio::test]
    async fn a_permit_is_kept_from_smaller_priorities_and_given_up_to_larger_ones_at_once() {
        let (permits, stop) = (Permits::new(1), CancellationToken::new());
        let mut held = permits.now(0).unwrap();
        held.since -= TURN;
        assert!(!held.is_wanted(), "nobody waits");
        let mut low = Box::pin(permits.next(-1, &stop));
        assert!(low.as_mut().now_or_never().is_none());
        assert!(!held.is_wanted(), "only a smaller one waits");
        let mut equal = Box::pin(permits.next(0, &stop));
        assert!(equal.as_mut().now_or_never().is_none());
        assert!(held.is_wanted(), "its turn is over");
        held.since = Instant::now() + TURN;
        assert!(!held.is_wanted(), "it is its turn");
        let mut high = Box::pin(permits.next(1, &stop));
        assert!(high.as_mut().now_or_never().is_none());
        assert!(held.is_wanted(), "whatever its turn");
        drop(high);
        assert!(!held.is_wanted(), "it has gone away");
    }

    #[test]
    fn there_is_always_a_permit() {
        assert!(Permits::new(0).now(0).is_some());
    }
}
