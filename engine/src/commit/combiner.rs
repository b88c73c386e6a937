//! Writes what was accepted as one slot and applies it.

use std::sync::Arc;

use super::judge::{Verdict, judge};
use super::window::Window;
use crate::base::clock::Clock;
use crate::base::entropy::Entropy;
use crate::base::{Error, Generation, InstanceId, Position, Result, TxId, metric};
use crate::coord::{Answer, Intent, Writes};
use crate::fold::{FoldPoint, Folder, LogPlace, RunLayer, ViewCell};
use crate::log::{AppendError, Body, LogWriter, Record};

/// The one writer of this process: the end of the log, the window, and the view that follows them.
pub struct Combiner {
    writer: LogWriter,
    window: Window,
    view: Arc<ViewCell>,
    folder: Folder,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// A slot was being written when its combiner was dropped: what the log says is not known here.
    in_flight: bool,
}

type Answers = Vec<(TxId, Answer)>;

impl Combiner {
    /// A combiner at the end of the log, where `view` stands.
    pub fn new(
        writer: LogWriter,
        view: Arc<ViewCell>,
        folder: Folder,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Combiner {
        let active = Arc::clone(view.load().active());
        assert_eq!(
            active.applied(),
            writer.last().0,
            "the view stands where the log ends"
        );
        let window = Window::new(active.applied(), active);
        Combiner {
            writer,
            window,
            view,
            folder,
            clock,
            entropy,
            in_flight: false,
        }
    }

    /// Settles a batch: judges it, makes what is accepted durable, applies it, and only then answers.
    pub async fn combine(&mut self, mut intents: Vec<Arc<Intent>>) -> Answers {
        intents.sort_by_key(|intent| (intent.read_at, intent.txid));
        let mut answers = Answers::with_capacity(intents.len());
        // A bulk record is alone in its slot, so that a run has one place among the layers.
        let is_bulk = |intent: &Arc<Intent>| matches!(intent.writes, Writes::Bulk(_));
        for batch in intents.chunk_by(|a, b| !is_bulk(a) && !is_bulk(b)) {
            self.settle(batch, &mut answers).await;
        }
        answers
    }

    async fn settle(&mut self, batch: &[Arc<Intent>], answers: &mut Answers) {
        let applied = self.writer.last().0;
        let mut accepted = Vec::new();
        for (intent, verdict) in batch.iter().zip(judge(&self.window, applied, batch)) {
            match verdict {
                Verdict::Accept => accepted.push(Arc::clone(intent)),
                Verdict::Settled(n) => answers.push((intent.txid, Answer::Committed(n))),
                Verdict::Reject(error) => {
                    metric::count_abort(&error);
                    answers.push((intent.txid, Answer::Rejected(error)));
                }
                Verdict::Later => {
                    let detail = format!("it read {}, the log ends at {applied}", intent.read_at);
                    answers.push((intent.txid, Answer::Rejected(Error::Invalid(detail))));
                }
            }
        }
        if accepted.is_empty() {
            return;
        }
        let result = self.commit(&accepted).await;
        answers.extend(accepted.iter().map(|intent| {
            let answer = match &result {
                Ok(n) => Answer::Committed(*n),
                Err(AppendError::NotWritten(error)) => Answer::Rejected(error.clone()),
                Err(AppendError::Unknown(error)) => Answer::Rejected(Error::CommitUnknown {
                    txid: intent.txid,
                    cause: error.to_string(),
                }),
            };
            (intent.txid, answer)
        }));
    }

    async fn commit(&mut self, accepted: &[Arc<Intent>]) -> Result<Position, AppendError> {
        if self.in_flight {
            let cause = "a slot was left in the middle of its write".to_owned();
            return Err(AppendError::NotWritten(Error::Halted { cause }));
        }
        let n = self.writer.last().0.next();
        let runs = self
            .open_runs(accepted, n)
            .await
            .map_err(AppendError::NotWritten)?;
        let records: Vec<Record> = accepted.iter().map(|intent| record(intent)).collect();
        self.in_flight = true;
        let appended = self.append(&records).await;
        self.in_flight = false;
        let written = appended?;
        assert_eq!(n, written, "slots have no gaps");
        self.apply(n, &records, runs);
        Ok(n)
    }

    async fn append(&mut self, records: &[Record]) -> Result<Position, AppendError> {
        let start = self.clock.monotonic_ns();
        let time_ms = self.clock.wall_ms();
        let appended = self
            .writer
            .append(records, self.entropy.next_u128(), time_ms)
            .await;
        let ns = self.clock.monotonic_ns().saturating_sub(start);
        if let Ok(n) = &appended {
            metric::count_slot(*n, records.len(), ns);
        }
        appended
    }

    /// Opens the runs of a bulk record before its slot is written: a record that cannot be applied
    /// must not be committed.
    async fn open_runs(&self, accepted: &[Arc<Intent>], n: Position) -> Result<Vec<Arc<RunLayer>>> {
        let mut layers = Vec::new();
        for intent in accepted {
            if let Writes::Bulk(runs) = &intent.writes {
                for run in runs {
                    layers.push(self.folder.open_run(run.clone(), n).await?);
                }
            }
        }
        Ok(layers)
    }

    fn apply(&mut self, n: Position, records: &[Record], runs: Vec<Arc<RunLayer>>) {
        for record in records {
            self.window.record(n, record.txid);
            if let Body::Bulk(runs) = &record.body {
                self.window.record_bulk(n, runs);
            }
        }
        apply(&self.view, n, records, runs);
        self.window.push(self.view.load().active());
    }

    /// Commits that the database goes on under another generation and name: a copy becomes a
    /// database of its own before it writes anything else.
    ///
    /// # Errors
    /// What the storage refuses.
    pub async fn begin_generation(
        &mut self,
        generation: Generation,
        instance: InstanceId,
    ) -> Result<Position> {
        let txid = TxId(self.entropy.next_u128());
        let body = Body::Generation {
            generation,
            instance,
        };
        let record = Record {
            txid,
            read_at: self.writer.last().0,
            body,
        };
        match self.append(std::slice::from_ref(&record)).await {
            Ok(n) => {
                self.apply(n, &[record], Vec::new());
                Ok(n)
            }
            Err(AppendError::NotWritten(error) | AppendError::Unknown(error)) => Err(error),
        }
    }

    /// Freezes the tail so that it can be folded, and says where it ends.
    pub fn freeze(&mut self) -> FoldPoint {
        self.view.freeze();
        self.window.push(self.view.load().active());
        let (at, hash) = self.writer.last();
        let place = self.writer.place();
        let place = place.map(|(generation, first, offset)| LogPlace {
            generation,
            first,
            offset,
        });
        FoldPoint {
            at,
            hash,
            generation: self.writer.generation(),
            place,
        }
    }

    /// The newest durable slot, with its hash.
    pub fn last(&self) -> (Position, u128) {
        self.writer.last()
    }

    /// Ends writing in good order.
    ///
    /// # Errors
    /// What the storage refuses; every committed slot is durable all the same.
    pub async fn close(&mut self) -> Result<()> {
        self.writer.close().await
    }
}

fn record(intent: &Intent) -> Record {
    let body = match &intent.writes {
        Writes::Small(writes) => Body::Writes(writes.clone()),
        Writes::Bulk(runs) => Body::Bulk(runs.clone()),
    };
    Record {
        txid: intent.txid,
        read_at: intent.read_at,
        body,
    }
}

/// Applies slot `n` to a view. Readers that begin afterwards see all of it, others nothing of it.
pub fn apply(view: &ViewCell, n: Position, records: &[Record], runs: Vec<Arc<RunLayer>>) {
    if !runs.is_empty() {
        assert_eq!(
            records.len(),
            1,
            "slot {n}: a bulk record is alone in its slot"
        );
        view.stack(n, runs);
        return;
    }
    let current = view.load();
    let table = current.active();
    for record in records {
        if let Body::Writes(writes) = &record.body {
            for (key, op) in writes {
                table.insert(n, key, op);
            }
        }
    }
    table.publish(n);
}
