//! No bus at all: what is left when nothing carries hints.

use async_trait::async_trait;
use bytes::Bytes;

use super::bus::{Answered, Bus, Mailbox, OfferId, Offered};
use crate::base::{InstanceId, Position, TxId};

/// A bus that carries nothing. Every process commits its own transactions over the shared storage alone:
/// one slot a process and race, slower, and just as safe.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silence;

#[async_trait]
impl Bus for Silence {
    async fn publish(&self, _of: InstanceId, _by: Mailbox, _id: OfferId, _intents: Bytes) {}

    async fn intents(
        &self,
        _of: InstanceId,
        _but: Mailbox,
        _count_max: usize,
        _len_max: usize,
    ) -> Vec<Offered> {
        Vec::new()
    }

    async fn settle(&self, _of: InstanceId, _settled: Vec<OfferId>, _answers: Vec<Answered>) {}

    async fn answers(&self, _of: InstanceId, _to: Mailbox, _ms_max: u64) -> Vec<(TxId, Bytes)> {
        Vec::new()
    }

    async fn claim(&self, _of: InstanceId, _name: &str, _owner: u128, _ms: u64) -> bool {
        true
    }

    async fn release(&self, _of: InstanceId, _name: &str, _owner: u128) {}

    async fn offer_slot(&self, _of: InstanceId, _n: Position, _slot: Bytes) {}

    async fn slot(&self, _of: InstanceId, _n: Position) -> Option<Bytes> {
        None
    }
}
