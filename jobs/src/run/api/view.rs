//! How jobs stand, as messages: no more of it than was asked for.

use eciton_engine::Db;
use eciton_proto::limits::{ERROR_LEN_MAX, FAILURES_SHOWN_MAX, PATH_LEN_MAX};
use eciton_proto::v1::{
    JobCounts, JobPhase, JobState, JobStatus, JobView, ShardFailure, ShardUnit,
};

use crate::run::records::clock::now_ms;
use crate::run::records::error::JobError;
use crate::run::records::inputs;
use crate::run::records::ledger::Ledger;
use crate::run::records::status::failures;
use crate::run::records::tally::{Tally, count};

/// Jobs that are looked at for one page, however few of them are in the phases that are wanted.
const LOOKS_MAX: usize = 10_000;

/// How a job stands, as much of it as the view has: [`JobView::Basic`] reads one record, [`JobView::Counts`] one
/// more, [`JobView::Failures`] those of shards until it has enough failed ones, and [`JobView::Spec`] the specification.
/// [`JobView::Unspecified`] is [`JobView::Failures`].
///
/// `running` of the counts is left at 0: who is at work is not in the database.
///
/// # Errors
/// [`JobError::NotFound`]; [`JobError::Damaged`] and [`JobError::Engine`].
pub async fn view(db: &Db, name: &str, view: JobView) -> Result<JobStatus, JobError> {
    let Some(ledger) = Ledger::find(db).await? else {
        return Err(JobError::NotFound {
            name: name.to_owned(),
            known: Vec::new(),
        });
    };
    let Some(state) = ledger.state_now(name).await? else {
        return Err(JobError::NotFound {
            name: name.to_owned(),
            known: ledger.names().await?,
        });
    };
    of_state(&ledger, name, &state, view).await
}

/// Which jobs a page has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageOf<'a> {
    /// Only those whose names come after this one, byte by byte; the last of the page before. Empty: from the first.
    pub after: &'a str,
    /// Only those whose names begin so.
    pub prefix: &'a str,
    /// Only those in one of these phases. Empty: all.
    pub phases: &'a [JobPhase],
    /// At most so many; at least 1.
    pub limit: usize,
    /// With their counts, which reads one more record a job.
    pub counts: bool,
}

/// A page of jobs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobPage {
    /// In the order of their names, byte by byte.
    pub jobs: Vec<JobStatus>,
    /// What [`PageOf::after`] of the next page is; `None`: this is the last one. It need not be the name of a job of
    /// this page, which may even be empty.
    pub next: Option<String>,
}

/// A page of jobs, in the order of their names. Reads one record a job, and looks at a bounded number of jobs.
///
/// # Errors
/// As [`view`], without [`JobError::NotFound`].
pub async fn page(db: &Db, of: &PageOf<'_>) -> Result<JobPage, JobError> {
    assert!(of.limit > 0, "a page of no jobs has no next one");
    let Some(ledger) = Ledger::find(db).await? else {
        return Ok(JobPage::default());
    };
    let is_wanted = |state: &JobState| of.phases.is_empty() || of.phases.contains(&phase_of(state));
    let mut found = Vec::new();
    let (mut looks, mut last, mut is_last) = (0, None, true);
    ledger
        .each_state(of.after, of.prefix, |name, state| {
            is_last = looks < LOOKS_MAX && found.len() < of.limit;
            if is_last {
                looks += 1;
                last = Some(name.clone());
                if is_wanted(&state) {
                    found.push((name, state));
                }
            }
            is_last
        })
        .await?;
    let mut page = JobPage {
        jobs: Vec::with_capacity(found.len()),
        next: last.filter(|_| !is_last),
    };
    let view = if of.counts {
        JobView::Counts
    } else {
        JobView::Basic
    };
    for (name, state) in found {
        page.jobs
            .push(of_state(&ledger, &name, &state, view).await?);
    }
    Ok(page)
}

async fn of_state(
    ledger: &Ledger,
    name: &str,
    state: &JobState,
    view: JobView,
) -> Result<JobStatus, JobError> {
    let mut status = JobStatus {
        name: name.to_owned(),
        number: state.number,
        phase: phase_of(state).into(),
        store: state.store.clone(),
        shards: state.shards,
        retries: state.retries,
        submitted_ms: state.submitted_ms,
        started_ms: state.started_ms,
        finished_ms: state.finished_ms,
        reason: state.reason.clone(),
        ..JobStatus::default()
    };
    let shows_failures = matches!(view, JobView::Unspecified | JobView::Failures);
    if shows_failures || view == JobView::Counts {
        let snapshot = ledger.db.snapshot();
        let tally = ledger.tallies.seen(&snapshot, name, state.number).await?;
        status.counts = Some(counts(&tally));
        status.note = inputs::note(ledger, state).await?;
        if status.note.is_empty() {
            tally.note().clone_into(&mut status.note);
        }
        if shows_failures && tally.failed > 0 {
            let (_, job) = Ledger::with_job(&ledger.db, name).await?;
            let failures = failures(ledger, name, &job).await?;
            status.failures = failures.into_iter().map(failure).collect();
        }
    }
    if view == JobView::Spec {
        let (_, job) = Ledger::with_job(&ledger.db, name).await?;
        status.spec = Some(job.spec);
    }
    // Never before what has happened, by whichever clock that was written.
    status.as_of_ms = now_ms()
        .max(state.submitted_ms)
        .max(state.started_ms)
        .max(state.finished_ms);
    Ok(status)
}

/// A job that is recorded is in some phase.
fn phase_of(state: &JobState) -> JobPhase {
    match state.phase() {
        JobPhase::Unspecified => JobPhase::Pending,
        phase => phase,
    }
}

fn counts(tally: &Tally) -> JobCounts {
    JobCounts {
        done: count(tally.done),
        failed: count(tally.failed),
        running: 0,
        rows_read: count(tally.rows_read),
        rows_skipped: count(tally.rows_skipped),
        values_ignored: count(tally.values_ignored),
        records_merged: count(tally.records_merged),
        attempts: count(tally.attempts),
        conflicts: count(tally.conflicts),
    }
}

fn failure(failure: crate::run::records::status::ShardFailure) -> ShardFailure {
    let unit = match failure.unit {
        "bytes" => ShardUnit::Bytes,
        "row groups" => ShardUnit::RowGroups,
        "record batches" => ShardUnit::RecordBatches,
        _ => ShardUnit::Values,
    };
    ShardFailure {
        shard: failure.shard,
        file: end(failure.file, PATH_LEN_MAX),
        start: failure.start,
        end: failure.end,
        unit: unit.into(),
        attempts: failure.attempts,
        error: beginning(failure.error, ERROR_LEN_MAX),
    }
}

/// At most so many bytes from the beginning of a text, in whole characters.
fn beginning(mut text: String, len_max: usize) -> String {
    text.truncate(text.floor_char_boundary(len_max));
    text
}

/// At most so many bytes from the end of a text, in whole characters.
fn end(mut text: String, len_max: usize) -> String {
    let from = text.ceil_char_boundary(text.len().saturating_sub(len_max));
    text.split_off(from)
}

// Both say how many failures are described.
const _: () = assert!(FAILURES_SHOWN_MAX == crate::run::records::status::FAILURES_SHOWN_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(beginning("aä".to_owned(), 3), "aä");
        assert_eq!(beginning("aä".to_owned(), 2), "a");
        assert_eq!(end("äa".to_owned(), 3), "äa");
        assert_eq!(end("äa".to_owned(), 2), "a");
        assert_eq!(end("äa".to_owned(), 0), "");
    }
}
