//! Spans: what a trace shows of a job. One a job and process, one an attempt at a shard, one a commit.
//!
//! They are of level `debug`. Where nothing listens, each costs a comparison. Their fields are names, numbers and errors,
//! which logs have, too: nothing of a specification, an address or a record.

use eciton_engine::Transaction;
use eciton_proto::v1::JobState;
use tracing::field::Empty;
use tracing::{Level, Span, debug_span};

use super::error::JobError;
use super::ledger::Ledger;

/// The name of the span of a job.
const JOB: &str = "job";

/// The span of a job, by its record: the one that is entered, where it is one. `number` and `submitted_ms` tell it from
/// another job of its name, in another database or at another time.
pub(crate) fn of_job(name: &str, state: &JobState) -> Span {
    let current = Span::current();
    if is_job(&current) {
        return current;
    }
    debug_span!(
        parent: None,
        "job",
        job = name,
        number = state.number,
        submitted_ms = state.submitted_ms,
        state = Empty,
        error = Empty
    )
}

fn is_job(span: &Span) -> bool {
    span.metadata().is_some_and(|metadata| {
        metadata.name() == JOB && metadata.module_path() == Some(module_path!())
    })
}

/// The span of a job that is about to be opened; none where nothing listens, or the job is gone.
pub(crate) async fn opening(ledger: &Ledger, name: &str) -> Result<Span, JobError> {
    if !tracing::span_enabled!(Level::DEBUG) {
        return Ok(Span::none());
    }
    let state = ledger.state_now(name).await?;
    Ok(state.map_or_else(Span::none, |state| of_job(name, &state)))
}

/// The span of an attempt at a shard, below the entered one.
pub(crate) fn of_shard(number: u64) -> Span {
    debug_span!("shard", shard = number, rows = Empty, error = Empty)
}

/// The span of a commit of so many shards, below the entered one: a shard that stands for itself, or its job.
pub(crate) fn of_commit(tx: &Transaction, shards: usize, conflicts: u32) -> Span {
    debug_span!(
        "commit",
        transaction = %tx.txid(),
        shards,
        conflicts,
        position = Empty,
        error = Empty
    )
}

/// How the work on a job has ended in this process.
pub(crate) fn end(span: &Span, state: &str) {
    span.record("state", state);
    if state == "failed" {
        fail(
            span,
            "some of its shards failed, or its results could not be made",
        );
    }
}

/// What a span is about has failed.
pub(crate) fn fail(span: &Span, error: &str) {
    span.record("error", error);
}
