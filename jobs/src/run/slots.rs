//! How many shards a process computes at the same time, of all jobs together.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::stop::Stop;

/// Room for so many shards at the same time, shared by clones. Whoever waits gets it in the order of asking, so that
/// jobs whose workers ask in turn get equal parts.
#[derive(Clone, Debug)]
pub struct Slots(Arc<Semaphore>);

/// Room for one shard, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    /// Room for `count` shards, at least one.
    pub fn new(count: usize) -> Slots {
        Slots(Arc::new(Semaphore::new(
            count.clamp(1, Semaphore::MAX_PERMITS),
        )))
    }

    /// Room for a shard, if there is any now and nobody waits for it.
    pub(super) fn now(&self) -> Option<Slot> {
        let permit = Arc::clone(&self.0).try_acquire_owned().ok()?;
        Some(Slot { _permit: permit })
    }

    /// Room for a shard once there is any; `None` once `stop` is requested.
    pub(super) async fn next(&self, stop: &Stop) -> Option<Slot> {
        tokio::select! {
            biased;
            () = stop.requested() => None,
            permit = Arc::clone(&self.0).acquire_owned() => permit.ok().map(|permit| Slot { _permit: permit }),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn room_goes_to_who_has_waited_longest_and_nobody_waits_after_a_stop() {
        let (slots, stop) = (Slots::new(1), Stop::new());
        let held = slots.now().unwrap();
        assert!(slots.now().is_none());
        let mut first = Box::pin(slots.next(&stop));
        let mut second = Box::pin(slots.next(&stop));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        drop(held);
        assert!(second.as_mut().now_or_never().is_none());
        let held = first.now_or_never().unwrap().unwrap();
        stop.request();
        assert!(second.now_or_never().unwrap().is_none());
        drop(held);
        assert!(slots.next(&stop).await.is_none());
    }

    #[test]
    fn there_is_always_room_for_one() {
        assert!(Slots::new(0).now().is_some());
    }
}
