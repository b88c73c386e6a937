//! A Redis as far as its time goes: [`LateBus`].

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use eciton_engine::base::{InstanceId, Position, TxId};
use eciton_engine::coord::{Answered, Board, Bus, Claimed, Mailbox, OfferId, Offered};
use parking_lot::Mutex;

use crate::clock::sleep;
use crate::kernel::Kernel;

/// What was asked of the bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    /// Calls.
    pub calls: u64,
    /// Bytes of intents, answers, slots and notes, there and back.
    pub len: u64,
}

/// A [`Board`] for all processes, at some distance from each.
pub struct LateBus {
    board: Arc<Board>,
    kernel: Arc<Kernel>,
    round_trip_ms: u64,
    meter: Arc<Mutex<Meter>>,
}

impl LateBus {
    /// The board as one process sees it.
    pub fn new(
        board: Arc<Board>,
        kernel: Arc<Kernel>,
        round_trip_ms: u64,
        meter: Arc<Mutex<Meter>>,
    ) -> LateBus {
        LateBus {
            board,
            kernel,
            round_trip_ms,
            meter,
        }
    }

    /// A call that takes so many bytes with it.
    async fn call(&self, len: usize) {
        self.meter.lock().calls += 1;
        self.carry(len);
        sleep(&self.kernel, self.round_trip_ms).await;
    }

    fn carry(&self, len: usize) {
        self.meter.lock().len += len as u64;
    }
}

#[async_trait]
impl Bus for LateBus {
    async fn publish(&self, of: InstanceId, by: Mailbox, id: OfferId, intents: Bytes) {
        self.call(intents.len()).await;
        self.board.publish(of, by, id, intents).await;
    }

    async fn intents(
        &self,
        of: InstanceId,
        but: Mailbox,
        count_max: usize,
        len_max: usize,
    ) -> Vec<Offered> {
        self.call(0).await;
        let offers = self.board.intents(of, but, count_max, len_max).await;
        self.carry(offers.iter().map(|offered| offered.intents.len()).sum());
        offers
    }

    async fn settle(&self, of: InstanceId, settled: Vec<OfferId>, answers: Vec<Answered>) {
        self.call(answers.iter().map(|answered| answered.answer.len()).sum())
            .await;
        self.board.settle(of, settled, answers).await;
    }

    async fn answers(&self, of: InstanceId, mailbox: Mailbox, ms_max: u64) -> Vec<(TxId, Bytes)> {
        self.call(0).await;
        let answers = self.board.answers(of, mailbox, ms_max).await;
        self.carry(answers.iter().map(|(_, answer)| answer.len()).sum());
        answers
    }

    async fn claim(&self, of: InstanceId, name: &str, owner: u128, ms: u64) -> bool {
        self.call(name.len()).await;
        self.board.claim(of, name, owner, ms).await
    }

    async fn stand(&self, of: InstanceId, name: &str, owner: u128, ms: u64) -> Claimed {
        self.call(name.len()).await;
        self.board.stand(of, name, owner, ms).await
    }

    async fn release(&self, of: InstanceId, name: &str, owner: u128) {
        self.call(name.len()).await;
        self.board.release(of, name, owner).await;
    }

    async fn announce(&self, of: InstanceId, id: &str, note: Bytes, ms: u64) {
        self.call(note.len()).await;
        self.board.announce(of, id, note, ms).await;
    }

    async fn announced(&self, of: InstanceId) -> Vec<(String, Bytes)> {
        self.call(0).await;
        let notes = self.board.announced(of).await;
        self.carry(notes.iter().map(|(_, note)| note.len()).sum());
        notes
    }

    async fn offer_slot(&self, of: InstanceId, n: Position, slot: Bytes) {
        self.call(slot.len()).await;
        self.board.offer_slot(of, n, slot).await;
    }

    async fn slot(&self, of: InstanceId, n: Position) -> Option<Bytes> {
        self.call(0).await;
        let slot = self.board.slot(of, n).await;
        self.carry(slot.as_ref().map_or(0, Bytes::len));
        slot
    }
}
