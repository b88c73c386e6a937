//! The coordinator, as those who submit and those who combine see it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::intent::{Intent, Origin};
use crate::base::{Error, InstanceId, Position, TxId};

/// The outcome of an intent. The combiner sends it only after the slot is durable and applied.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It stands in this slot.
    Committed(Position),
    /// It was not committed, and why; or, with [`Error::CommitUnknown`], nobody can tell yet.
    Rejected(Error),
}

/// The next step of a submitter.
pub enum NextStep {
    /// Its intent has been settled.
    Settled(Answer),
    /// Nobody combines: it should, with every intent it sees.
    Combine(Token),
}

/// The right to combine. Dropping it passes the right to the submitter that has waited longest.
pub struct Token {
    pass: Option<Box<dyn FnOnce() + Send>>,
}

impl Token {
    /// A token that does `pass` when it is dropped.
    pub fn new(pass: impl FnOnce() + Send + 'static) -> Token {
        Token {
            pass: Some(Box::new(pass)),
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            pass();
        }
    }
}

/// A claim on a piece of work that others respect for a while; it saves work and proves nothing.
pub trait Lease: Send + Sync {}

/// Carries hints between those who submit and those who combine.
#[async_trait]
pub trait Coordinator: Send + Sync + 'static {
    /// Says which database this is about, before anything else is called.
    fn attach(&self, of: InstanceId);

    /// Says at which slot this process found the log's end when it opened the database. Only what it read after
    /// that slot shows others that it has the same storage, so nothing else is offered to them (S14). Nothing is
    /// before this is called.
    fn share_after(&self, _opened: Position) {}

    /// Who may combine what this process publishes: `Origin::Alone`, or `Origin::Own` where other
    /// processes may too.
    fn origin(&self) -> Origin;

    /// Offers an intent to whoever combines next.
    async fn publish(&self, intent: &Arc<Intent>);

    /// Waits until `txid`, published before, has been settled, or until the caller should combine.
    async fn turn(&self, txid: TxId) -> NextStep;

    /// Takes the intents that are visible now, oldest first, up to `records_max` records and
    /// `len_max` bytes, but at least one if there is any.
    async fn take(&self, records_max: usize, len_max: usize) -> Vec<Arc<Intent>>;

    /// Hands out answers.
    async fn answer(&self, answers: Vec<(TxId, Answer)>);

    /// Forgets `txid`: its submitter has gone away or knows its outcome.
    fn forget(&self, txid: TxId);

    /// Takes back an intent of this process that no other one can have seen, as if it had never been published;
    /// `false` where another one may commit it. The caller keeps its own process from taking it meanwhile.
    fn withdraw(&self, _txid: TxId) -> bool {
        false
    }

    /// Offers the bytes of slot `n`, which is durable, to those who follow the log.
    async fn offer_slot(&self, n: Position, slot: Bytes);

    /// The bytes that somebody offered as slot `n`, if they are at hand. They may feed memory once they
    /// prove to continue the chain; what is written next never rests on them.
    async fn slot(&self, n: Position) -> Option<Bytes>;

    /// Claims `name` for `ms` milliseconds, or until the lease is dropped; `None` where someone else
    /// has it.
    async fn lease(&self, name: &str, ms: u64) -> Option<Box<dyn Lease>>;

    /// Waits until the hints that were given so far are on their way, for a moment at most.
    async fn flush(&self) {}

    /// Lets go of a claim of other processes on `name`, if this process has it and it does not end with its lease.
    async fn release(&self, _name: &str) {}

    /// Shows a note to other processes for `ms` milliseconds; 0 takes it away.
    async fn announce(&self, _id: &str, _note: Bytes, _ms: u64) {}

    /// What is shown now, by its names, as far as it is known of.
    async fn announced(&self) -> Vec<(String, Bytes)> {
        Vec::new()
    }
}
