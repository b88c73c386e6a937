//! The streams of rows that are taken at a time: how many, for how long, and which one goes where others wait.
//!
//! A stream that is slow, or whose program has forgotten it, must not keep out one that is not. So a place is not for
//! ever; a stream that waits for one too long takes that of the slowest, if that is slower than any has to be; and a
//! lease has one stream, so that nobody takes places by opening many for the same shard.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eciton_proto::limits::{COMPLETE_MS_MAX, COMPLETE_RATE_MIN};
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::error::PullError;
use crate::run::schedule::leases::LeaseHolder;

/// Streams whose rows are taken at the same time.
pub const COMPLETES_MAX: usize = 32;
/// How long a stream waits for a place before it looks for one that is too slow, and between two such looks.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long a stream may be as slow as it likes.
const GRACE: Duration = Duration::from_secs(2);

/// Places for streams.
pub(super) struct Streams {
    room: Arc<Semaphore>,
    taken: Mutex<HashMap<LeaseHolder, OpenStream>>,
}

/// A stream that has a place.
struct OpenStream {
    since: Instant,
    /// Bytes that came.
    len: u64,
    out: Arc<Eviction>,
}

/// Tells a stream that it has lost its place.
#[derive(Default)]
struct Eviction {
    why: Mutex<Option<&'static str>>,
    told: Notify,
}

/// A place, until it is dropped.
pub(super) struct StreamPlace {
    streams: Arc<Streams>,
    holder: LeaseHolder,
    out: Arc<Eviction>,
    since: Instant,
    _room: OwnedSemaphorePermit,
}

impl Streams {
    pub(super) fn new() -> Arc<Streams> {
        Arc::new(Streams {
            room: Arc::new(Semaphore::new(COMPLETES_MAX)),
            taken: Mutex::default(),
        })
    }

    /// A place for the stream of a lease, once there is one. Another stream of that lease loses its own.
    ///
    /// # Errors
    /// [`PullError::Unavailable`] where this peer ends.
    pub(super) async fn place(
        self: &Arc<Streams>,
        holder: LeaseHolder,
    ) -> Result<StreamPlace, PullError> {
        self.put_out(holder, "another stream of the same lease has begun");
        let mut waiting = Box::pin(Arc::clone(&self.room).acquire_owned());
        let room = loop {
            tokio::select! {
                biased;
                room = &mut waiting => break room,
                () = tokio::time::sleep(PATIENCE) => self.put_out_slowest(),
            }
        };
        let room = room.map_err(|_| PullError::Unavailable("this peer ends".to_owned()))?;
        let (out, since) = (Arc::new(Eviction::default()), Instant::now());
        let taken = OpenStream {
            since,
            len: 0,
            out: Arc::clone(&out),
        };
        let (before, count) = {
            let mut streams = self.taken.lock();
            (streams.insert(holder, taken), streams.len())
        };
        assert!(
            count <= COMPLETES_MAX,
            "{count} streams have a place of {COMPLETES_MAX}"
        );
        if let Some(before) = before {
            before
                .out
                .tell("another stream of the same lease has begun");
        }
        Ok(StreamPlace {
            streams: Arc::clone(self),
            holder,
            out,
            since,
            _room: room,
        })
    }

    fn put_out(&self, holder: LeaseHolder, why: &'static str) {
        if let Some(taken) = self.taken.lock().remove(&holder) {
            taken.out.tell(why);
        }
    }

    /// Takes the place of the slowest stream, if it is slower than it has to be.
    fn put_out_slowest(&self) {
        let slowest = {
            let taken = self.taken.lock();
            let rates = taken.iter().map(|(holder, taken)| (taken.rate(), *holder));
            rates.min_by_key(|(rate, _)| *rate)
        };
        if let Some((rate, holder)) = slowest
            && rate < COMPLETE_RATE_MIN
        {
            self.put_out(holder, "the stream was the slowest one while others waited");
        }
    }
}

impl OpenStream {
    /// Bytes a second; of one that has just begun no less than it needs.
    fn rate(&self) -> u64 {
        let age = self.since.elapsed();
        if age < GRACE {
            return u64::MAX;
        }
        let ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX).max(1);
        self.len.saturating_mul(1000) / ms
    }
}

impl Eviction {
    fn tell(&self, why: &'static str) {
        self.why.lock().get_or_insert(why);
        self.told.notify_one();
    }
}

impl StreamPlace {
    /// So many bytes came.
    pub(super) fn came(&self, len: usize) {
        if let Some(taken) = self.streams.taken.lock().get_mut(&self.holder)
            && Arc::ptr_eq(&taken.out, &self.out)
        {
            assert!(
                taken.since == self.since,
                "a stream has the place of one that began at another moment"
            );
            taken.len = taken.len.saturating_add(len as u64);
        }
    }

    /// Waits until the place is lost; why.
    pub(super) fn lost(&self) -> impl Future<Output = PullError> + Send + use<> {
        let (out, since) = (Arc::clone(&self.out), self.since);
        async move {
            let most = Duration::from_millis(COMPLETE_MS_MAX.into());
            let why = tokio::select! {
                () = out.told.notified() => *out.why.lock(),
                () = tokio::time::sleep(most.saturating_sub(since.elapsed())) => None,
            };
            PullError::Slow(match why {
                Some(why) => format!("{why}; expected the rows to be made first, and sent then"),
                None => format!("the stream was open for more than {COMPLETE_MS_MAX} ms"),
            })
        }
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut taken = self.streams.taken.lock();
        let is_own = |taken: &OpenStream| Arc::ptr_eq(&taken.out, &self.out);
        if taken.get(&self.holder).is_some_and(is_own) {
            taken.remove(&self.holder);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// They kept out everybody for as long as they liked.
    #[tokio::test]
    async fn the_slowest_stream_makes_room() {
        let streams = Streams::new();
        let mut places = Vec::new();
        for n in 0..COMPLETES_MAX {
            let place = streams.place(LeaseHolder(n as u128)).await.unwrap();
            place.came(10 << 20);
            places.push(place);
        }
        // All are quick: whoever comes waits.
        let late = streams.place(LeaseHolder(99));
        let late = tokio::time::timeout(Duration::from_millis(1), late).await;
        assert!(late.is_err());
        let begun = Instant::now().checked_sub(2 * GRACE).unwrap();
        for taken in streams.taken.lock().values_mut() {
            taken.since = begun;
        }
        streams.put_out_slowest();
        assert_eq!(
            streams.taken.lock().len(),
            COMPLETES_MAX,
            "they are quick enough"
        );
        streams.taken.lock().get_mut(&LeaseHolder(7)).unwrap().len = 100;
        let coming = tokio::spawn({
            let streams = Arc::clone(&streams);
            async move { streams.place(LeaseHolder(99)).await }
        });
        let slow = places.remove(7);
        assert!(matches!(slow.lost().await, PullError::Slow(_)));
        assert!(
            places
                .iter()
                .all(|place| place.lost().now_or_never().is_none())
        );
        drop(slow);
        assert!(coming.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_lease_has_one_stream() {
        let streams = Streams::new();
        let first = streams.place(LeaseHolder(1)).await.unwrap();
        let second = streams.place(LeaseHolder(1)).await.unwrap();
        assert!(matches!(first.lost().await, PullError::Slow(_)));
        drop(first);
        assert!(second.lost().now_or_never().is_none());
        assert_eq!(streams.taken.lock().len(), 1);
        drop(second);
        assert!(streams.taken.lock().is_empty());
    }
}
