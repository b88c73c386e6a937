//! Whose turn it is among the transactions of this process that have lost against others.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::draft::Draft;
use crate::base::sync::{AtomicU64, Mutex, Ordering};
use crate::base::{Error, Position, Result};
use crate::fold::View;

/// Of a thousand first tries so many have lost lately when the next ones wait for a turn at once.
const CONTENDED_PERMILLE: u64 = 500;
/// Of so many changes one is tried without a turn all the same, to see whether it still loses.
const PROBE_EVERY: u64 = 16;
/// The weight of what happened before against one more try.
const MEMORY: u64 = 16;

/// The transactions that wait for their turn, in the order in which they first lost.
///
/// Many that read and write one key would commit one a slot, and all others would run again. So they run one
/// after another, each on what those before it leave, and go into one slot together: one of those who wait leads
/// (see [`Committer::lead`](super::Committer)), as whoever combines does it for all.
#[derive(Clone, Default)]
pub(super) struct Turns {
    state: Arc<Mutex<TurnsState>>,
    /// How many of a thousand first tries have lost lately, and how many there were.
    lost_permille: Arc<AtomicU64>,
    tries: Arc<AtomicU64>,
}

#[derive(Default)]
struct TurnsState {
    /// Who waits, by the numbers they drew.
    waiting: BTreeMap<u64, oneshot::Sender<TurnOrLead>>,
    /// The next number.
    next: u64,
    /// Somebody leads, or is about to.
    is_led: bool,
}

/// What comes to one who waits.
pub(super) enum TurnOrLead {
    /// It is its turn.
    Turn(Turn),
    /// It is to lead the others.
    Lead(Lead),
}

/// A place among those who wait, kept until its change has committed.
#[derive(Debug)]
pub struct Ticket {
    number: u64,
    /// It has led others since it drew its number, and is not to lead again while somebody else can.
    has_led: bool,
}

impl Ticket {
    /// Takes note that it has led.
    pub(super) fn led(&mut self) {
        self.has_led = true;
    }
}

/// The state that a transaction in turn reads, and the way to the slot it will stand in.
pub struct Turn {
    view: Arc<View>,
    slot: Position,
    handing: oneshot::Sender<Handed>,
}

/// What a transaction hands over at the end of its turn.
pub(super) struct Handed {
    /// What it writes; nothing, if it only asks whether what it read has been committed.
    pub(super) draft: Option<Draft>,
    /// Where it waits for its outcome.
    pub(super) answer: oneshot::Sender<TurnOutcome>,
}

/// What became of a transaction that ran in turn.
#[derive(Debug)]
pub enum TurnOutcome {
    /// It stands in this slot, or what it read has been committed with it.
    Committed(Position),
    /// The slot is another process's, and nothing was written: it keeps its place.
    Again,
    /// It took so long that the others went on without it; nothing was written.
    Late,
    /// Nothing was written, or it is not known, as the error says.
    Rejected(Error),
}

impl Turns {
    /// A place behind all others.
    pub(super) fn ticket(&self) -> Ticket {
        let mut state = self.state.lock();
        state.next += 1;
        Ticket {
            number: state.next,
            has_led: false,
        }
    }

    /// Takes note of how a first try without a turn ended.
    pub(super) fn tried(&self, has_lost: bool) {
        let before = self.lost_permille.load(Ordering::Relaxed);
        let now = (before * (MEMORY - 1) + u64::from(has_lost) * 1000) / MEMORY;
        // Of two at a time one may be forgotten: it is an estimate.
        self.lost_permille.store(now, Ordering::Relaxed);
    }

    /// Whether most changes lose without a turn.
    pub(super) fn are_contended(&self) -> bool {
        if self.lost_permille.load(Ordering::Relaxed) < CONTENDED_PERMILLE {
            return false;
        }
        let number = self.tries.fetch_add(1, Ordering::Relaxed);
        number % PROBE_EVERY != PROBE_EVERY - 1
    }

    /// Waits for what comes first: its turn, or that it is to lead.
    pub(super) async fn wait(&self, ticket: &Ticket) -> TurnOrLead {
        let receiver = {
            let mut state = self.state.lock();
            let (sender, receiver) = oneshot::channel();
            if state.is_led {
                state.waiting.insert(ticket.number, sender);
                receiver
            } else {
                state.is_led = true;
                // Whoever has led waits, if another can lead.
                let is_other = ticket.has_led && !state.waiting.is_empty();
                drop(state);
                let lead = self.lead();
                if !is_other {
                    return TurnOrLead::Lead(lead);
                }
                self.state.lock().waiting.insert(ticket.number, sender);
                lead.pass_on(Some(ticket.number));
                receiver
            }
        };
        match receiver.await {
            Ok(call) => call,
            // Forgotten: it may always lead.
            Err(_) => TurnOrLead::Lead(Lead(None)),
        }
    }

    fn lead(&self) -> Lead {
        Lead(Some(self.clone()))
    }

    /// Whether anybody waits.
    pub(super) fn has_waiting(&self) -> bool {
        let state = self.state.lock();
        state.waiting.values().any(|waiting| !waiting.is_closed())
    }

    /// Gives the turn to the first who waits, and returns where it hands over what it writes; `None` where nobody
    /// waits.
    pub(super) fn call(
        &self,
        view: &Arc<View>,
        slot: Position,
    ) -> Option<oneshot::Receiver<Handed>> {
        loop {
            let (_, first) = self.state.lock().waiting.pop_first()?;
            let (handing, handed) = oneshot::channel();
            let view = Arc::clone(view);
            let turn = Turn {
                view,
                slot,
                handing,
            };
            if first.send(TurnOrLead::Turn(turn)).is_ok() {
                return Some(handed);
            }
        }
    }
}

/// The right and duty to lead: dropped, it goes to the next who waits.
pub(super) struct Lead(Option<Turns>);

impl Lead {
    /// Gives it to the first who waits, other than `except` where there is one.
    fn pass_on(mut self, except: Option<u64>) {
        if let Some(turns) = self.0.take() {
            pass_on(&turns, except);
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            pass_on(&turns, None);
        }
    }
}

fn pass_on(turns: &Turns, except: Option<u64>) {
    loop {
        let heir = {
            let mut state = turns.state.lock();
            let other = state.waiting.keys().copied();
            let number = other.clone().find(|number| Some(*number) != except);
            let heir = number.or(except).and_then(|n| state.waiting.remove(&n));
            state.is_led = heir.is_some();
            heir
        };
        let Some(heir) = heir else { return };
        match heir.send(TurnOrLead::Lead(turns.lead())) {
            // One that has gone away meanwhile drops what came, and that passes itself on.
            Ok(()) => return,
            Err(TurnOrLead::Lead(mut lead)) => {
                lead.0 = None;
                #[cfg(feature = "shuttle")]
                if crate::base::sync::broken(crate::base::sync::Break::LeadLost) {
                    return;
                }
            }
            Err(TurnOrLead::Turn(_)) => {}
        }
    }
}

impl Turn {
    /// The state to read, at [`Turn::slot`].
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// The slot that is being filled: readers at this position see what those before have handed over for it.
    pub fn slot(&self) -> Position {
        self.slot
    }

    /// Ends the turn with what the transaction writes, and waits for its outcome; without a draft, for that of
    /// those whose writes it may have read.
    pub async fn hand_over(self, draft: Option<Draft>) -> TurnOutcome {
        let txid = draft.as_ref().map(|draft| draft.txid);
        let (answer, outcome) = oneshot::channel();
        if self.handing.send(Handed { draft, answer }).is_err() {
            return TurnOutcome::Late;
        }
        match (outcome.await, txid) {
            (Ok(outcome), _) => outcome,
            (Err(_), None) => TurnOutcome::Again,
            (Err(_), Some(txid)) => {
                let cause = "whoever wrote the slot went away".to_owned();
                TurnOutcome::Rejected(Error::CommitUnknown { txid, cause })
            }
        }
    }
}

impl TurnOutcome {
    /// As the outcome of a commit that read the state before `slot`.
    ///
    /// # Errors
    /// [`Error::Conflict`] where it is to run again; what it was rejected with.
    pub fn into_result(self, slot: Position) -> Result<Position> {
        let conflict = |what: String| Error::Conflict {
            what,
            read_at: Position(slot.0.saturating_sub(1)),
        };
        match self {
            TurnOutcome::Committed(n) => Ok(n),
            TurnOutcome::Again => Err(conflict(format!(
                "slot {slot}, which another process wrote"
            ))),
            TurnOutcome::Late => Err(conflict(format!("slot {slot}, which did not wait for it"))),
            TurnOutcome::Rejected(error) => Err(error),
        }
    }
}
