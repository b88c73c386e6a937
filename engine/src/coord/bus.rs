//! What carries bytes between processes: Redis, or the simulator. It may do anything.

use async_trait::async_trait;
use bytes::Bytes;

use crate::base::{InstanceId, Position, TxId};

/// A medium for hints between the processes at one database. Everything in it is bytes with a
/// checksum of their own; nothing in it is ever the truth.
///
/// It may lose, repeat, delay, reorder, corrupt or forget anything, answer late, or be away. No call
/// fails: who asks gets less, or nothing. An implementation bounds its own waiting and its own size.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Offers an intent to every process, replacing an earlier one of the same transaction.
    async fn publish(&self, of: InstanceId, txid: TxId, intent: Bytes);

    /// Intents that are visible now, oldest first, at most so many of at most so many bytes. They
    /// stay visible until they are settled.
    async fn intents(&self, of: InstanceId, count_max: usize, len_max: usize) -> Vec<Bytes>;

    /// Takes settled intents away and hands out their answers.
    async fn settle(&self, of: InstanceId, answers: Vec<(TxId, Bytes)>);

    /// Waits up to `ms_max` milliseconds for the answer to a transaction.
    async fn answer(&self, of: InstanceId, txid: TxId, ms_max: u64) -> Option<Bytes>;

    /// Claims `name` for `owner` until `ms` milliseconds have gone by; `false` where somebody else
    /// has it. Claiming again by the same owner prolongs it.
    async fn claim(&self, of: InstanceId, name: &str, owner: u128, ms: u64) -> bool;

    /// Lets go of a claim, if `owner` still has it.
    async fn release(&self, of: InstanceId, name: &str, owner: u128);

    /// Offers the bytes of a slot that is durable.
    async fn offer_slot(&self, of: InstanceId, n: Position, slot: Bytes);

    /// The bytes of slot `n`, if they are at hand.
    async fn slot(&self, of: InstanceId, n: Position) -> Option<Bytes>;
}
