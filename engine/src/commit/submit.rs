//! Hands an intent over and waits for its outcome, or combines for everyone who waits (S4).

use std::sync::Arc;

use tokio::sync::Mutex;

use super::combiner::Combiner;
use crate::base::limits::{SLOT_LEN_MAX, SLOT_RECORDS_MAX};
use crate::base::{Position, Result, TxId};
use crate::coord::{Answer, Coordinator, Intent, Turn};

/// Bytes kept free in a slot for its own header.
const SLOT_HEADER_ROOM_LEN: usize = 4096;

/// Leaves nothing behind at the coordinator, however its submitter ends.
struct Submitted<'a> {
    coordinator: &'a dyn Coordinator,
    txid: TxId,
}

impl Drop for Submitted<'_> {
    fn drop(&mut self) {
        self.coordinator.forget(self.txid);
    }
}

/// The way of every commit: publish, then be answered or combine.
pub struct Committer {
    coordinator: Arc<dyn Coordinator>,
    combiner: Mutex<Combiner>,
}

impl Committer {
    /// A committer over the one combiner of this process.
    pub fn new(coordinator: Arc<dyn Coordinator>, combiner: Combiner) -> Committer {
        Committer {
            coordinator,
            combiner: Mutex::new(combiner),
        }
    }

    /// Commits an intent; it is durable and visible to whoever begins afterwards.
    ///
    /// # Errors
    /// [`Error::Conflict`](crate::base::Error::Conflict),
    /// [`Error::TooOld`](crate::base::Error::TooOld): nothing was written, run it again.
    /// [`Error::CommitUnknown`](crate::base::Error::CommitUnknown): the medium failed in the middle.
    /// What the storage refuses, and [`Error::Halted`](crate::base::Error::Halted) after that.
    pub async fn submit(&self, intent: Intent) -> Result<Position> {
        let intent = Arc::new(intent);
        let _forgotten_in_the_end = Submitted {
            coordinator: &*self.coordinator,
            txid: intent.txid,
        };
        self.coordinator.publish(&intent).await;
        loop {
            match self.coordinator.turn(intent.txid).await {
                Turn::Settled(Answer::Committed(n)) => return Ok(n),
                Turn::Settled(Answer::Rejected(error)) => return Err(error),
                Turn::Combine(token) => {
                    // The lock first: an intent that has been taken is always answered, since
                    // nothing below waits for anyone but the storage.
                    let mut combiner = self.combiner.lock().await;
                    let len_max = SLOT_LEN_MAX - SLOT_HEADER_ROOM_LEN;
                    let batch = self.coordinator.take(SLOT_RECORDS_MAX, len_max).await;
                    let answers = combiner.combine(batch).await;
                    self.coordinator.answer(answers).await;
                    drop(combiner);
                    drop(token);
                }
            }
        }
    }

    /// The combiner, for what is done between slots: freezing the tail, closing.
    pub async fn combiner(&self) -> tokio::sync::MutexGuard<'_, Combiner> {
        self.combiner.lock().await
    }
}
