//! What carries bytes between processes: Redis, or the simulator. It may do anything.

use async_trait::async_trait;
use bytes::Bytes;

use crate::base::{InstanceId, Position, TxId};

/// The claim of whoever combines, the one for which processes stand in line.
pub const COMBINING: &str = "combine";

/// Where answers to what a process has published go: a name that nobody else draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mailbox(pub u128);

/// Names what a process has published in one go: a name that nobody else draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OfferId(pub u128);

/// Intents as they lie on the bus, those of one process that were published in one go: a bus does a little for
/// each offer, however many intents are in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// Who published them, as far as the bus knows.
    pub by: Mailbox,
    /// What they are called together.
    pub id: OfferId,
    /// Their bytes.
    pub intents: Bytes,
}

/// What became of an intent, for who published it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Where it goes.
    pub to: Mailbox,
    /// Whose.
    pub txid: TxId,
    /// The answer.
    pub answer: Bytes,
}

/// What comes of standing in line for a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The claim is taken.
    Held,
    /// Somebody else has it, and so many others stood in line before.
    Behind(u64),
}

/// A medium for hints between the processes at one database. Everything in it is bytes with a
/// checksum of their own; nothing in it is ever the truth.
///
/// It may lose, repeat, delay, reorder, corrupt or forget anything, answer late, or be away. No call
/// fails: who asks gets less, or nothing. An implementation bounds its own waiting and its own size.
/// Calls that one task makes in turn reach it in that order, if they do.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Offers intents to every process, replacing an earlier offer of the same name. Answers go to `by`.
    async fn publish(&self, of: InstanceId, by: Mailbox, id: OfferId, intents: Bytes);

    /// Offers of others than `but` that are visible now, oldest first, at most so many of at most so
    /// many bytes. They stay visible until they are settled.
    async fn intents(
        &self,
        of: InstanceId,
        but: Mailbox,
        count_max: usize,
        len_max: usize,
    ) -> Vec<Offered>;

    /// Takes settled offers away and hands out answers. Who is answered leaves the
    /// line for [`COMBINING`].
    async fn settle(&self, of: InstanceId, settled: Vec<OfferId>, answers: Vec<Answered>);

    /// Takes out of `mailbox` what has come, once anything has; nothing after `ms_max` milliseconds, or
    /// earlier where waiting is in vain, or where a claim has passed to this mailbox's owner.
    async fn answers(&self, of: InstanceId, mailbox: Mailbox, ms_max: u64) -> Vec<(TxId, Bytes)>;

    /// Claims `name` for `owner` until `ms` milliseconds have gone by; `false` where somebody else
    /// has it. Claiming again by the same owner prolongs it.
    async fn claim(&self, of: InstanceId, name: &str, owner: u128, ms: u64) -> bool;

    /// Claims `name` as [`Bus::claim`] does; where somebody else has it, `owner` stands in line until it
    /// releases it. A claim that is let go of passes to whoever has stood there longest, which nudges the
    /// mailbox of the owner's name: claiming again then takes it. A bus without lines only claims.
    async fn stand(&self, of: InstanceId, name: &str, owner: u128, ms: u64) -> Claimed {
        match self.claim(of, name, owner, ms).await {
            true => Claimed::Held,
            false => Claimed::Behind(0),
        }
    }

    /// Lets go of a claim, if `owner` still has it, and of its place in line.
    async fn release(&self, of: InstanceId, name: &str, owner: u128);

    /// Shows a note to every process for `ms` milliseconds, in place of an earlier one of the same name; 0 takes it
    /// away. A bus without notes shows none.
    async fn announce(&self, _of: InstanceId, _id: &str, _note: Bytes, _ms: u64) {}

    /// The notes that are shown now, by their names, in any order.
    async fn announced(&self, _of: InstanceId) -> Vec<(String, Bytes)> {
        Vec::new()
    }

    /// Offers the bytes of a slot that is durable.
    async fn offer_slot(&self, of: InstanceId, n: Position, slot: Bytes);

    /// The bytes of slot `n`, if they are at hand.
    async fn slot(&self, of: InstanceId, n: Position) -> Option<Bytes>;

    /// Waits until what was told so far is on its way, for a moment at most: who goes away now would take it along. A
    /// bus that keeps nothing back has nothing to do.
    async fn flush(&self, _of: InstanceId) {}
}
