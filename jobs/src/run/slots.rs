//! How many shards a process computes at the same time, of all jobs together.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::stop::Stop;

/// How long a worker keeps its room for shard after shard while others wait for some.
const TURN: Duration = Duration::from_millis(20);

/// Room for so many shards at the same time, shared by clones. It goes to jobs of the largest priority, and among
/// these to who has waited longest, so that jobs whose workers ask in turn get equal parts.
#[derive(Clone, Debug)]
pub struct Slots(Arc<Mutex<Room>>);

#[derive(Debug)]
struct Room {
    free: usize,
    waiting: BinaryHeap<Waiting>,
    /// How many have ever waited.
    waited: u64,
}

/// Who waits, ordered by who comes first.
#[derive(Debug)]
struct Waiting {
    order: (i32, Reverse<u64>),
    pass: oneshot::Sender<Slot>,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Waiting) -> bool {
        self.order == other.order
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Waiting) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Waiting) -> std::cmp::Ordering {
        self.order.cmp(&other.order)
    }
}

/// Room for one shard, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    /// Where it goes back to; nowhere once it was given to nobody.
    slots: Option<Slots>,
    since: Instant,
}

impl Slot {
    /// Whether it is somebody else's turn.
    pub(super) fn is_wanted(&self) -> bool {
        let is_waited_for = |slots: &Slots| !slots.0.lock().waiting.is_empty();
        self.since.elapsed() >= TURN && self.slots.as_ref().is_some_and(is_waited_for)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(slots) = self.slots.take() {
            slots.give_back();
        }
    }
}

impl Slots {
    /// Room for `count` shards, at least one.
    pub fn new(count: usize) -> Slots {
        Slots(Arc::new(Mutex::new(Room {
            free: count.max(1),
            waiting: BinaryHeap::new(),
            waited: 0,
        })))
    }

    fn slot(&self) -> Slot {
        Slot {
            slots: Some(self.clone()),
            since: Instant::now(),
        }
    }

    /// Room for a shard, if there is any now; who waits is given room before any is free.
    pub(super) fn now(&self) -> Option<Slot> {
        let mut room = self.0.lock();
        room.free = room.free.checked_sub(1)?;
        drop(room);
        Some(self.slot())
    }

    /// Room for a shard of a job of that priority, once there is any; `None` once `stop` is requested.
    pub(super) async fn next(&self, priority: i32, stop: &Stop) -> Option<Slot> {
        if stop.is_requested() {
            return None;
        }
        let passed = {
            let mut room = self.0.lock();
            if room.free > 0 {
                room.free -= 1;
                drop(room);
                return Some(self.slot());
            }
            let (pass, passed) = oneshot::channel();
            let order = (priority, Reverse(room.waited));
            room.waited += 1;
            room.waiting.push(Waiting { order, pass });
            passed
        };
        tokio::select! {
            biased;
            () = stop.requested() => None,
            slot = passed => slot.ok(),
        }
    }

    /// Passes room on to who comes first; who has gone away meanwhile drops it, and so passes it on.
    fn give_back(&self) {
        loop {
            let next = {
                let mut room = self.0.lock();
                let Some(next) = room.waiting.pop() else {
                    room.free += 1;
                    return;
                };
                next
            };
            match next.pass.send(self.slot()) {
                Ok(()) => return,
                // Nobody is there: the room goes to the next one, and is not given back twice.
                Err(mut slot) => slot.slots = None,
            }
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
        let mut first = Box::pin(slots.next(0, &stop));
        let mut second = Box::pin(slots.next(0, &stop));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        drop(held);
        assert!(slots.now().is_none(), "it is the first one's");
        assert!(second.as_mut().now_or_never().is_none());
        let held = first.now_or_never().unwrap().unwrap();
        stop.request();
        assert!(second.now_or_never().unwrap().is_none());
        drop(held);
        assert!(slots.next(0, &stop).await.is_none());
        assert!(slots.now().is_some(), "none is lost to who stopped waiting");
    }

    #[tokio::test]
    async fn a_larger_priority_goes_first() {
        let (slots, stop) = (Slots::new(1), Stop::new());
        let held = slots.now().unwrap();
        let mut usual = Box::pin(slots.next(0, &stop));
        let mut urgent = Box::pin(slots.next(7, &stop));
        assert!(usual.as_mut().now_or_never().is_none());
        assert!(urgent.as_mut().now_or_never().is_none());
        drop(held);
        assert!(usual.as_mut().now_or_never().is_none());
        let held = urgent.now_or_never().unwrap();
        drop(held);
        assert!(usual.now_or_never().unwrap().is_some());
    }

    #[tokio::test]
    async fn room_that_nobody_takes_any_more_is_not_lost() {
        let (slots, stop) = (Slots::new(1), Stop::new());
        let held = slots.now().unwrap();
        let mut gone = Box::pin(slots.next(0, &stop));
        assert!(gone.as_mut().now_or_never().is_none());
        drop(held);
        // It was passed room, and goes away with it.
        drop(gone);
        assert!(slots.now().is_some());
    }

    #[test]
    fn there_is_always_room_for_one() {
        assert!(Slots::new(0).now().is_some());
    }
}
