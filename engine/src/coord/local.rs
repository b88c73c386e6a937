//! The coordinator of one process: a queue, and a token that whoever waits longest gets.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Answer, Coordinator, Intent, Lease, NextStep, Origin, Token};
use crate::base::sync::Mutex;
use crate::base::{InstanceId, Position, TxId};

/// Hands intents from task to task within one process.
///
/// Flat combining (Hendler, Incze, Shavit, Tzafrir, SPAA 2010): whoever finds nobody combining does
/// it for everyone who waits, then passes the turn to one whose intent came too late.
#[derive(Clone, Default)]
pub struct LocalCoordinator {
    state: Arc<Mutex<LocalState>>,
}

#[derive(Default)]
struct LocalState {
    queue: VecDeque<Arc<Intent>>,
    waiting: HashMap<TxId, oneshot::Sender<NextStep>>,
    /// Published and not forgotten: answers to others are not kept.
    open: HashSet<TxId>,
    /// Answers that came before their submitter asked.
    settled: HashMap<TxId, Answer>,
    combining: bool,
    leased: HashSet<String>,
}

impl LocalCoordinator {
    /// A coordinator that nobody uses yet.
    pub fn new() -> LocalCoordinator {
        LocalCoordinator::default()
    }

    fn token(&self) -> Token {
        let state = Arc::clone(&self.state);
        Token::new(move || pass_on(&state))
    }
}

/// Gives the token to the first in the queue who still waits.
fn pass_on(state: &Arc<Mutex<LocalState>>) {
    let heir = {
        let mut guard = state.lock();
        let first = guard
            .queue
            .iter()
            .map(|intent| intent.txid)
            .collect::<Vec<_>>();
        assert!(
            guard.combining,
            "the turn is passed on by nobody who had it"
        );
        let heir = first
            .into_iter()
            .find_map(|txid| guard.waiting.remove(&txid));
        guard.combining = heir.is_some();
        heir
    };
    if let Some(heir) = heir {
        let again = Arc::clone(state);
        // If the heir has gone away, the token dropped with the message passes itself on.
        let unsent = heir.send(NextStep::Combine(Token::new(move || pass_on(&again))));
        #[cfg(feature = "shuttle")]
        if crate::base::sync::broken(crate::base::sync::Break::TurnLost) {
            return std::mem::forget(unsent);
        }
        drop(unsent);
    }
}

#[async_trait]
impl Coordinator for LocalCoordinator {
    fn attach(&self, _of: InstanceId) {}

    fn origin(&self) -> Origin {
        Origin::Alone
    }

    async fn publish(&self, intent: &Arc<Intent>) {
        let mut state = self.state.lock();
        state.open.insert(intent.txid);
        state.queue.push_back(Arc::clone(intent));
    }

    async fn turn(&self, txid: TxId) -> NextStep {
        let receiver = {
            let mut state = self.state.lock();
            if let Some(answer) = state.settled.remove(&txid) {
                return NextStep::Settled(answer);
            }
            if !state.combining {
                state.combining = true;
                drop(state);
                return NextStep::Combine(self.token());
            }
            assert!(
                state.settled.len() <= state.open.len(),
                "{} answers for {} who may ask",
                state.settled.len(),
                state.open.len()
            );
            let (sender, receiver) = oneshot::channel();
            state.waiting.insert(txid, sender);
            receiver
        };
        match receiver.await {
            Ok(turn) => turn,
            // Forgotten: to combine oneself is always allowed.
            Err(_) => NextStep::Combine(Token::new(|| {})),
        }
    }

    async fn take(&self, records_max: usize, len_max: usize) -> Vec<Arc<Intent>> {
        let mut state = self.state.lock();
        let mut taken: Vec<Arc<Intent>> = Vec::new();
        let mut len = 0;
        while let Some(next) = state.queue.front() {
            len += next.len;
            if !taken.is_empty() && (taken.len() >= records_max || len > len_max) {
                break;
            }
            taken.extend(state.queue.pop_front());
        }
        assert!(
            taken.len() <= records_max.max(1),
            "{} intents were taken, {records_max} are allowed",
            taken.len()
        );
        taken
    }

    async fn answer(&self, answers: Vec<(TxId, Answer)>) {
        let mut state = self.state.lock();
        for (txid, answer) in answers {
            match state.waiting.remove(&txid) {
                // A submitter that has gone away does not want to know.
                Some(waiting) => drop(waiting.send(NextStep::Settled(answer))),
                None if state.open.contains(&txid) => drop(state.settled.insert(txid, answer)),
                None => {}
            }
        }
        assert!(
            state.settled.len() <= state.open.len(),
            "{} answers for {} who may ask",
            state.settled.len(),
            state.open.len()
        );
    }

    fn forget(&self, txid: TxId) {
        let mut state = self.state.lock();
        let waiting = state.waiting.remove(&txid);
        state.settled.remove(&txid);
        state.open.remove(&txid);
        assert!(
            state.settled.len() <= state.open.len(),
            "{} answers for {} who may ask",
            state.settled.len(),
            state.open.len()
        );
        drop(state);
        // Outside the lock: a token in it passes itself on.
        drop(waiting);
    }

    async fn offer_slot(&self, _n: Position, _slot: Bytes) {}

    async fn slot(&self, _n: Position) -> Option<Bytes> {
        None
    }

    async fn lease(&self, name: &str, _ms: u64) -> Option<Box<dyn Lease>> {
        let fresh = self.state.lock().leased.insert(name.to_owned());
        fresh.then(|| -> Box<dyn Lease> {
            Box::new(LocalLease {
                name: name.to_owned(),
                state: Arc::clone(&self.state),
            })
        })
    }
}

/// Within one process a lease needs no end in time: it ends with its holder.
struct LocalLease {
    name: String,
    state: Arc<Mutex<LocalState>>,
}

impl Lease for LocalLease {}

impl Drop for LocalLease {
    fn drop(&mut self) {
        let was_leased = self.state.lock().leased.remove(&self.name);
        debug_assert!(was_leased, "{} was let go of before", self.name);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::executor::block_on;

    use super::super::{ReadSet, Writes};
    use super::*;
    use crate::base::Error;

    fn intent(id: u128) -> Arc<Intent> {
        Arc::new(Intent {
            txid: TxId(id),
            read_at: Position::ZERO,
            read_hash: 0,
            origin: Origin::Alone,
            reads: ReadSet::default(),
            writes: Writes::Small(Vec::new()),
            len: 10,
        })
    }

    #[test]
    fn the_turn_passes_to_one_who_waits_even_if_the_first_heir_went_away() {
        let coordinator = LocalCoordinator::new();
        block_on(async {
            for id in 1..=3 {
                coordinator.publish(&intent(id)).await;
            }
            let NextStep::Combine(token) = coordinator.turn(TxId(1)).await else {
                panic!("nobody combines, so the first must")
            };
            assert_eq!(coordinator.take(1, 1000).await.len(), 1);
            let mut gone = Box::pin(coordinator.turn(TxId(2)));
            let mut stays = Box::pin(coordinator.turn(TxId(3)));
            assert!(gone.as_mut().now_or_never().is_none());
            assert!(stays.as_mut().now_or_never().is_none());
            drop(gone);
            drop(token);
            assert!(matches!(stays.await, NextStep::Combine(_)));
        });
    }

    #[test]
    fn an_answer_reaches_its_submitter_before_or_after_it_asks() {
        let coordinator = LocalCoordinator::new();
        block_on(async {
            coordinator.publish(&intent(1)).await;
            coordinator.publish(&intent(2)).await;
            let NextStep::Combine(token) = coordinator.turn(TxId(1)).await else {
                panic!("first")
            };
            let mut waits = Box::pin(coordinator.turn(TxId(2)));
            assert!(waits.as_mut().now_or_never().is_none());
            assert_eq!(coordinator.take(10, 1000).await.len(), 2);
            let answers = vec![
                (TxId(1), Answer::Committed(Position(4))),
                (TxId(2), Answer::Rejected(Error::ReadOnly)),
            ];
            coordinator.answer(answers).await;
            drop(token);
            let first = coordinator.turn(TxId(1)).await;
            assert!(matches!(
                first,
                NextStep::Settled(Answer::Committed(Position(4)))
            ));
            assert!(matches!(
                waits.await,
                NextStep::Settled(Answer::Rejected(Error::ReadOnly))
            ));
        });
    }

    #[test]
    fn answers_to_those_who_went_away_are_not_kept() {
        let coordinator = LocalCoordinator::new();
        block_on(async {
            coordinator.publish(&intent(1)).await;
            assert_eq!(coordinator.take(10, 1000).await.len(), 1);
            coordinator.forget(TxId(1));
            let answer = Answer::Committed(Position(1));
            coordinator.answer(vec![(TxId(1), answer)]).await;
        });
        let state = coordinator.state.lock();
        assert!(state.settled.is_empty() && state.open.is_empty());
    }

    #[test]
    fn take_respects_bounds_but_always_takes_one() {
        let coordinator = LocalCoordinator::new();
        block_on(async {
            for id in 1..=5 {
                coordinator.publish(&intent(id)).await;
            }
            assert_eq!(coordinator.take(2, 1000).await.len(), 2);
            assert_eq!(coordinator.take(10, 15).await.len(), 1);
            assert_eq!(coordinator.take(10, 1).await.len(), 1);
            assert_eq!(coordinator.take(10, 1000).await.len(), 1);
            assert!(coordinator.take(10, 1000).await.is_empty());
        });
    }

    #[test]
    fn a_lease_excludes_until_it_is_dropped() {
        let coordinator = LocalCoordinator::new();
        block_on(async {
            let lease = coordinator.lease("shard", 1000).await;
            assert!(lease.is_some());
            assert!(coordinator.lease("shard", 1000).await.is_none());
            drop(lease);
            assert!(coordinator.lease("shard", 1000).await.is_some());
        });
    }
}
