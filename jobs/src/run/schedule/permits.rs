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
/// these to who has waited longest, so that jobs whose workers ask in turn get equal parts. Whoever has room keeps it
/// while only jobs of smaller priorities wait, gives it up after a while to its equals, and after the shard that it is at
/// to larger ones.
#[derive(Clone, Debug)]
pub struct Slots(Arc<Mutex<Room>>);

#[derive(Debug)]
struct Room {
    total: usize,
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
pub(crate) struct Slot {
    /// Where it goes back to; nowhere once it was given to nobody.
    slots: Option<Slots>,
    since: Instant,
    priority: i32,
}

impl Slot {
    /// Whether it is somebody else's turn.
    pub(crate) fn is_wanted(&self) -> bool {
        let Some(first) = self.slots.as_ref().and_then(Slots::first) else {
            return false;
        };
        first > self.priority || first == self.priority && self.since.elapsed() >= TURN
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
        let total = count.max(1);
        Slots(Arc::new(Mutex::new(Room {
            total,
            free: total,
            waiting: BinaryHeap::new(),
            waited: 0,
        })))
    }

    /// Whether there is room that nobody wants at this moment.
    pub(crate) fn has_free(&self) -> bool {
        self.0.lock().free > 0
    }

    fn slot(&self, priority: i32) -> Slot {
        Slot {
            slots: Some(self.clone()),
            since: Instant::now(),
            priority,
        }
    }

    /// The priority of whoever gets the next room, if anybody waits.
    fn first(&self) -> Option<i32> {
        let mut room = self.0.lock();
        loop {
            let first = room.waiting.peek()?;
            if !first.pass.is_closed() {
                return Some(first.order.0);
            }
            // It has gone away.
            room.waiting.pop();
        }
    }

    /// Room for a shard, if there is any now; who waits is given room before any is free.
    pub(crate) fn now(&self, priority: i32) -> Option<Slot> {
        let mut room = self.0.lock();
        room.free = room.free.checked_sub(1)?;
        assert!(
            room.waiting.is_empty(),
            "{} wait beside free slots",
            room.waiting.len()
        );
        drop(room);
        Some(self.slot(priority))
    }

    /// Room for a shard of a job of that priority, once there is any; `None` once `stop` is requested.
    pub(crate) async fn next(&self, priority: i32, stop: &Stop) -> Option<Slot> {
        if stop.is_requested() {
            return None;
        }
        let passed = {
            let mut room = self.0.lock();
            if room.free > 0 {
                assert!(
                    room.waiting.is_empty(),
                    "{} wait beside free slots",
                    room.waiting.len()
                );
                room.free -= 1;
                drop(room);
                return Some(self.slot(priority));
            }
            let (pass, passed) = oneshot::channel();
            assert_eq!(room.free, 0, "nobody waits beside free slots");
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
                    let (free, total) = (room.free, room.total);
                    assert!(free <= total, "{free} of {total} slots are free");
                    return;
                };
                next
            };
            match next.pass.send(self.slot(next.order.0)) {
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
        let held = slots.now(0).unwrap();
        assert!(slots.now(0).is_none());
        let mut first = Box::pin(slots.next(0, &stop));
        let mut second = Box::pin(slots.next(0, &stop));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        drop(held);
        assert!(slots.now(0).is_none(), "it is the first one's");
        assert!(second.as_mut().now_or_never().is_none());
        let held = first.now_or_never().unwrap().unwrap();
        stop.request();
        assert!(second.now_or_never().unwrap().is_none());
        drop(held);
        assert!(slots.next(0, &stop).await.is_none());
        assert!(
            slots.now(0).is_some(),
            "none is lost to who stopped waiting"
        );
    }

    #[tokio::test]
    async fn a_larger_priority_goes_first() {
        let (slots, stop) = (Slots::new(1), Stop::new());
        let held = slots.now(0).unwrap();
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
        let held = slots.now(0).unwrap();
        let mut gone = Box::pin(slots.next(0, &stop));
        assert!(gone.as_mut().now_or_never().is_none());
        drop(held);
        // It was passed room, and goes away with it.
        drop(gone);
        assert!(slots.now(0).is_some());
    }

    /// It went to whoever waited, whatever its priority, as soon as its holder had had it for a while.
    #[tokio::test]
    async fn room_is_kept_from_smaller_priorities_and_given_up_to_larger_ones_at_once() {
        let (slots, stop) = (Slots::new(1), Stop::new());
        let mut held = slots.now(0).unwrap();
        held.since -= TURN;
        assert!(!held.is_wanted(), "nobody waits");
        let mut low = Box::pin(slots.next(-1, &stop));
        assert!(low.as_mut().now_or_never().is_none());
        assert!(!held.is_wanted(), "only a smaller one waits");
        let mut equal = Box::pin(slots.next(0, &stop));
        assert!(equal.as_mut().now_or_never().is_none());
        assert!(held.is_wanted(), "its turn is over");
        held.since = Instant::now() + TURN;
        assert!(!held.is_wanted(), "it is its turn");
        let mut high = Box::pin(slots.next(1, &stop));
        assert!(high.as_mut().now_or_never().is_none());
        assert!(held.is_wanted(), "whatever its turn");
        drop(high);
        assert!(!held.is_wanted(), "it has gone away");
    }

    #[test]
    fn there_is_always_room_for_one() {
        assert!(Slots::new(0).now(0).is_some());
    }
}
