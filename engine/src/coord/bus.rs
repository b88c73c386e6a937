//! What carries bytes between processes: Redis, or the simulator. It may do anything.

use async_trait::async_trait;
use bytes::Bytes;

use crate::base::{InstanceId, Position, TxId};

/// Where answers to what a process has published go: a name that nobody else draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mailbox(pub u128);

/// An intent as it lies on the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// Who published it, as far as the bus knows.
    pub by: Mailbox,
    /// Its bytes.
    pub intent: Bytes,
}

/// An intent that is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Whose.
    pub txid: TxId,
    /// The answer, and where it goes; `None` where who published it knows it already.
    pub answer: Option<(Mailbox, Bytes)>,
}

/// A medium for hints between the processes at one database. Everything in it is bytes with a
/// checksum of their own; nothing in it is ever the truth.
///
/// It may lose, repeat, delay, reorder, corrupt or forget anything, answer late, or be away. No call
/// fails: who asks gets less, or nothing. An implementation bounds its own waiting and its own size.
/// Calls that one task makes in turn reach it in that order, if they do.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Offers an intent to every process, replacing an earlier one of the same transaction. Its answer
    /// goes to `by`.
    async fn publish(&self, of: InstanceId, by: Mailbox, txid: TxId, intent: Bytes);

    /// Intents of others than `but` that are visible now, oldest first, at most so many of at most so
    /// many bytes. They stay visible until they are settled.
    async fn intents(
        &self,
        of: InstanceId,
        but: Mailbox,
        count_max: usize,
        len_max: usize,
    ) -> Vec<Offered>;

    /// Takes settled intents away and hands out their answers.
    async fn settle(&self, of: InstanceId, answered: Vec<Answered>);

    /// Takes out of `mailbox` what has come, once anything has; nothing after `ms_max` milliseconds, or
    /// earlier where waiting is in vain, or where a claim was let go of while an intent of this mailbox waits.
    async fn answers(&self, of: InstanceId, mailbox: Mailbox, ms_max: u64) -> Vec<(TxId, Bytes)>;

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
