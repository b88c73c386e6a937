//! The coordinator of production, watched.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use eciton_engine::base::{InstanceId, Position, TxId};
use eciton_engine::coord::{
    Answer, Coordinator, Intent, Lease, LocalCoordinator, NextStep, Origin, Token,
};

/// Counts who holds the token, and how often each intent is taken and answered.
#[derive(Default)]
pub(crate) struct Watched {
    inner: LocalCoordinator,
    // Not a lock of the scheduler: looking on must not add interleavings.
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    holders: u64,
    taken: BTreeMap<TxId, u64>,
    answered: BTreeMap<TxId, u64>,
}

impl Watched {
    /// Every intent that was taken has been answered.
    pub(crate) fn assert_all_answered(&self) {
        let seen = self.seen.lock().unwrap();
        assert_eq!(seen.holders, 0, "somebody still holds the token");
        assert_eq!(
            seen.taken, seen.answered,
            "what was taken and what was answered differ"
        );
    }

    fn watch(&self, token: Token) -> Token {
        let holders = {
            let mut seen = self.seen.lock().unwrap();
            seen.holders += 1;
            seen.holders
        };
        assert_eq!(holders, 1, "two combine with the token");
        let seen = Arc::clone(&self.seen);
        Token::new(move || {
            seen.lock().unwrap().holders -= 1;
            drop(token);
        })
    }
}

#[async_trait]
impl Coordinator for Watched {
    fn attach(&self, of: InstanceId) {
        self.inner.attach(of);
    }

    fn origin(&self) -> Origin {
        self.inner.origin()
    }

    async fn offer_slot(&self, n: Position, slot: Bytes) {
        self.inner.offer_slot(n, slot).await;
    }

    async fn slot(&self, n: Position) -> Option<Bytes> {
        self.inner.slot(n).await
    }

    async fn publish(&self, intent: &Arc<Intent>) {
        self.inner.publish(intent).await;
    }

    async fn turn(&self, txid: TxId) -> NextStep {
        match self.inner.turn(txid).await {
            NextStep::Combine(token) => NextStep::Combine(self.watch(token)),
            settled @ NextStep::Settled(_) => settled,
        }
    }

    async fn take(&self, records_max: usize, len_max: usize) -> Vec<Arc<Intent>> {
        let taken = self.inner.take(records_max, len_max).await;
        for intent in &taken {
            let mut seen = self.seen.lock().unwrap();
            let times = seen.taken.entry(intent.txid).or_default();
            *times += 1;
            assert_eq!(*times, 1, "{} was taken twice", intent.txid);
        }
        taken
    }

    async fn answer(&self, answers: Vec<(TxId, Answer)>) {
        for (txid, _) in &answers {
            let mut seen = self.seen.lock().unwrap();
            let times = seen.answered.entry(*txid).or_default();
            *times += 1;
            assert_eq!(*times, 1, "{txid} was answered twice");
        }
        self.inner.answer(answers).await;
    }

    fn forget(&self, txid: TxId) {
        self.inner.forget(txid);
    }

    async fn lease(&self, name: &str, ms: u64) -> Option<Box<dyn Lease>> {
        self.inner.lease(name, ms).await
    }
}
