//! Lets transactions that wait for their turn run one after another, and commits them in one slot (S5).

use std::sync::Arc;

use futures::future::{Either, select};
use tokio::sync::oneshot;

use super::draft::Draft;
use super::submit::Committer;
use super::turns::{Handed, TurnOutcome};
use crate::base::limits::{SLOT_HEADER_ROOM_LEN, SLOT_LEN_MAX, SLOT_RECORDS_MAX, TURNS_MS_MAX};
use crate::base::{Error, Mutant, Position, Result};
use crate::coord::Writes;
use crate::fold::{Memtable, View};
use crate::log::AppendError;

/// The transactions that have had their turn and wait for the outcome of the slot.
#[derive(Default)]
struct FilledSlot {
    drafts: Vec<Draft>,
    /// Of those drafts, in their order.
    answers: Vec<oneshot::Sender<TurnOutcome>>,
    /// Of those that have only read.
    readers: Vec<oneshot::Sender<TurnOutcome>>,
    len: usize,
    /// It is being written: if the leader goes away now, nobody knows what became of it.
    is_writing: bool,
}

impl Committer {
    /// Lets those who wait run, each on the state that those before it leave, until nobody waits, the slot is full or
    /// [`TURNS_MS_MAX`] have gone by; and commits what they have written in one slot.
    ///
    /// By construction none of them conflicts: from the first read to the slot nobody else writes, unless another
    /// process does, and then the slot is that one's, and all of them run again.
    ///
    /// # Errors
    /// What the storage refuses, before anybody had a turn.
    pub(super) async fn lead_turns(&self) -> Result<()> {
        let mut combiner = self.combiner().await;
        let (view, slot) = combiner.ready().await?;
        let mut filled = self.fill(view, slot).await;
        if filled.drafts.is_empty() {
            // What they read has been committed before.
            filled.answer(|_| TurnOutcome::Committed(Position(slot.0.saturating_sub(1))));
            return Ok(());
        }
        filled.is_writing = true;
        let tried = combiner.combine_in_turn(slot, &filled.drafts).await;
        drop(combiner);
        match tried {
            Ok(Some(n)) => filled.answer(|_| TurnOutcome::Committed(n)),
            Ok(None) => filled.answer(|_| TurnOutcome::Again),
            Err(AppendError::NotWritten(error)) => {
                filled.answer(|_| TurnOutcome::Rejected(error.clone()));
            }
            Err(AppendError::Unknown(error)) => filled.answer(|draft| match draft {
                None => TurnOutcome::Again,
                Some(draft) => TurnOutcome::Rejected(Error::CommitUnknown {
                    txid: draft.txid,
                    cause: error.to_string(),
                }),
            }),
        }
        Ok(())
    }

    /// Gives one after another its turn.
    async fn fill(&self, view: Arc<View>, slot: Position) -> FilledSlot {
        let before = Position(slot.0.saturating_sub(1));
        let pending = Arc::new(Memtable::new(before));
        let view = Arc::new(view.under(Arc::clone(&pending)));
        let mut filled = FilledSlot::default();
        let mut end = self.clock().sleep_ms(TURNS_MS_MAX);
        while filled.drafts.len() < SLOT_RECORDS_MAX {
            let Some(handed) = self.turns().call(&view, slot) else {
                break;
            };
            let (handed, is_end) = match select(handed, &mut end).await {
                Either::Left((handed, _)) => (handed.ok(), false),
                Either::Right(((), mut handed)) => {
                    // From here on it is late; what came before that counts.
                    handed.close();
                    (handed.try_recv().ok(), true)
                }
            };
            // Whoever hands nothing over has dropped its transaction.
            if let Some(Handed { draft, answer }) = handed {
                match draft {
                    None if Mutant::TurnTold.on() => {
                        drop(answer.send(TurnOutcome::Committed(before)));
                    }
                    None => filled.readers.push(answer),
                    Some(draft) => {
                        let len = filled.len + draft.writes.len();
                        if len > SLOT_LEN_MAX - SLOT_HEADER_ROOM_LEN && !filled.drafts.is_empty() {
                            drop(answer.send(TurnOutcome::Again));
                            break;
                        }
                        filled.len = len;
                        pend(&pending, slot, &draft.writes);
                        filled.drafts.push(draft);
                        filled.answers.push(answer);
                    }
                }
            }
            if is_end {
                break;
            }
        }
        filled
    }
}

/// Shows what a transaction writes to those whose turn comes later.
fn pend(pending: &Memtable, slot: Position, writes: &Writes) {
    let Writes::Small(writes) = writes else {
        unreachable!("what is large has no turn")
    };
    if Mutant::TurnBlind.on() {
        return;
    }
    for (key, op) in writes {
        pending.insert(slot, key, op);
    }
}

impl FilledSlot {
    /// Tells everybody: those who have only read with no draft.
    fn answer(mut self, outcome: impl Fn(Option<&Draft>) -> TurnOutcome) {
        let drafts = std::mem::take(&mut self.drafts);
        let answers = std::mem::take(&mut self.answers);
        for (draft, answer) in drafts.iter().zip(answers) {
            // Who has gone away does not want to know.
            drop(answer.send(outcome(Some(draft))));
        }
        for reader in std::mem::take(&mut self.readers) {
            drop(reader.send(outcome(None)));
        }
    }
}

impl Drop for FilledSlot {
    fn drop(&mut self) {
        if self.is_writing {
            return;
        }
        let all = self.answers.drain(..).chain(self.readers.drain(..));
        for answer in all {
            drop(answer.send(TurnOutcome::Again));
        }
    }
}
