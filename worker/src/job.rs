//! How the state of a job is told.

use eciton_engine::json::timestamp;
use eciton_jobs::run::{JobStatus, ShardCounts, ShardFailure, Work};
use serde_json::{Value, json};

use crate::words::{counted, grouped};

/// Failed shards that are told one by one; `job show --json` has more.
const FAILURES_TOLD_MAX: usize = 10;

/// The line of `job show --json`.
pub(crate) fn json(job: &JobStatus) -> Value {
    json!({
        "id": job.id,
        "name": job.name,
        "state": job.state,
        "store": job.store,
        "export_to": job.export_to,
        "shards": job.shards,
        "rows_read": job.rows_read,
        "rows_skipped": job.rows_skipped,
        "values_ignored": job.values_ignored,
        "records_merged": job.records_merged,
        "attempts": job.attempts,
        "conflicts": job.conflicts,
        "retries": job.retries,
        "submitted_at": moment(job.submitted_at),
        "started_at": job.started_at.map(moment),
        "finished_at": job.finished_at.map(moment),
        "reason": job.reason,
        "note": job.note,
        "wall_seconds": job.wall_seconds,
        "failures": job.failures,
    })
}

/// How a job stands, in words: what happens, and how far it is. `work` says who works on it, where that is known.
pub(crate) fn standing(job: &JobStatus, work: Option<Work>) -> String {
    let ShardCounts {
        total,
        done,
        failed,
        running,
        ..
    } = job.shards;
    let all = counted(total, "shard");
    let far = format!("{} of {all}", grouped(done));
    match job.state {
        "pending" => format!("pending, none of {all} begun"),
        "running" if running > 0 => {
            format!("running, {far} done, {} at work", grouped(running))
        }
        "running" if work == Some(Work::Nobody) => format!("interrupted at {far}"),
        "running" => format!("running, {far} done"),
        "done" => format!("done, {all}"),
        "failed" if failed > 0 => format!("failed, {} of {all} failed", grouped(failed)),
        "cancelled" => format!("cancelled at {far}"),
        state => state.to_owned(),
    }
}

/// The word for how a job stands, for a column beside its counts.
pub(crate) fn state(job: &JobStatus, work: Option<Work>) -> &'static str {
    match job.state {
        "running" if job.shards.running == 0 && work == Some(Work::Nobody) => "interrupted",
        state => state,
    }
}

/// The same for people, a line a fact.
pub(crate) fn text(job: &JobStatus, work: Option<Work>) -> Vec<String> {
    let mut lines = vec![format!("{}: {}", job.name, standing(job, work))];
    let mut fact = |name: &str, text: String| lines.push(format!("  {name:<9} {text}"));
    if !job.reason.is_empty() {
        fact("reason", job.reason.clone());
    }
    if !job.note.is_empty() {
        fact("note", job.note.clone());
    }
    fact("shards", shards(&job.shards));
    let skipped = match job.rows_skipped {
        0 => String::new(),
        1 => ", 1 malformed one skipped".to_owned(),
        n => format!(", {n} malformed ones skipped"),
    };
    fact("rows", format!("{} read{skipped}", job.rows_read));
    if job.values_ignored > 0 {
        let values = counted(job.values_ignored, "value");
        fact(
            "ignored",
            format!("{values} of members that are no columns of the job"),
        );
    }
    if !job.store.is_empty() {
        fact(
            "records",
            format!("{} merged into store `{}`", job.records_merged, job.store),
        );
    }
    if !job.export_to.is_empty() {
        let listed = match job.state {
            "done" => ", listed in _manifest.json",
            _ => "",
        };
        fact("files", format!("in {}{listed}", job.export_to));
    }
    fact(
        "attempts",
        format!("{}, {}", job.attempts, counted(job.conflicts, "conflict")),
    );
    if let Some(started) = job.started_at {
        let finished = job.finished_at.map_or_else(|| "now".to_owned(), moment);
        let seconds = job.wall_seconds;
        fact(
            "time",
            format!("{} to {finished}, {seconds:.3} s", moment(started)),
        );
    }
    lines.extend(failures(job).into_iter().map(|line| format!("  {line}")));
    lines
}

fn shards(shards: &ShardCounts) -> String {
    let counts = [
        (shards.failed, "failed"),
        (shards.running, "running"),
        (shards.pending, "pending"),
    ];
    let mut parts = vec![format!("{} of {} done", shards.done, shards.total)];
    let more = counts.into_iter().filter(|(count, _)| *count > 0);
    parts.extend(more.map(|(count, what)| format!("{count} {what}")));
    parts.join(", ")
}

/// The first failed shards with their errors.
fn failures(job: &JobStatus) -> Vec<String> {
    let told = job.failures.iter().take(FAILURES_TOLD_MAX);
    let mut lines: Vec<String> = told.map(failure).collect();
    let told = lines.len() as u64;
    if job.shards.failed > told {
        let rest = job.shards.failed - told;
        lines.push(format!(
            "{rest} more failed: `eciton job show {} --json`",
            job.name
        ));
    }
    lines
}

fn failure(failure: &ShardFailure) -> String {
    let ShardFailure {
        shard,
        start,
        end,
        unit,
        attempts,
        ..
    } = failure;
    let place = match failure.file.as_str() {
        "" => format!("{unit} {start} to {end}"),
        file => format!("{file}, {unit} {start} to {end}"),
    };
    let attempts = counted(u64::from(*attempts), "attempt");
    format!(
        "shard {shard} ({place}) failed after {attempts}: {}",
        failure.error
    )
}

/// A moment as RFC 3339, UTC.
fn moment(ms: i64) -> String {
    timestamp::format(ms.saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> JobStatus {
        let shards = ShardCounts {
            total: 20,
            done: 7,
            failed: 12,
            running: 0,
            pending: 1,
        };
        let failure = ShardFailure {
            shard: 3,
            file: "a.csv".into(),
            start: 10,
            end: 20,
            unit: "bytes",
            attempts: 1,
            error: "malformed".into(),
        };
        JobStatus {
            id: "j".into(),
            name: "j".into(),
            number: 1,
            state: "failed",
            store: "s".into(),
            export_to: String::new(),
            shards,
            rows_read: 100,
            rows_skipped: 0,
            values_ignored: 0,
            records_merged: 9,
            attempts: 19,
            conflicts: 0,
            retries: 0,
            submitted_at: 0,
            started_at: Some(1000),
            finished_at: None,
            reason: String::new(),
            note: String::new(),
            wall_seconds: 1.5,
            failures: vec![failure; 12],
        }
    }

    #[test]
    fn json_has_the_fields_of_the_contract() {
        let json = json(&status());
        for name in [
            "id",
            "name",
            "state",
            "rows_read",
            "records_merged",
            "attempts",
            "conflicts",
            "started_at",
            "wall_seconds",
        ] {
            assert!(!json[name].is_null(), "{name} is not in {json}");
        }
        assert_eq!(json["finished_at"], Value::Null);
        assert_eq!(json["started_at"], "1970-01-01T00:00:01Z");
        let shards = json!({"total": 20, "done": 7, "failed": 12, "running": 0, "pending": 1});
        assert_eq!(json["shards"], shards);
    }

    #[test]
    fn states_say_what_happens() {
        let mut job = status();
        assert_eq!(standing(&job, None), "failed, 12 of 20 shards failed");
        job.state = "running";
        job.shards.total = 2930;
        assert_eq!(standing(&job, None), "running, 7 of 2,930 shards done");
        let nobody = Some(Work::Nobody);
        assert_eq!(standing(&job, nobody), "interrupted at 7 of 2,930 shards");
        assert_eq!(state(&job, nobody), "interrupted");
        assert_eq!(state(&job, Some(Work::Here)), "running");
        job.shards.running = 3;
        let told = "running, 7 of 2,930 shards done, 3 at work";
        assert_eq!(standing(&job, nobody), told);
        job.state = "done";
        job.shards.total = 1;
        assert_eq!(standing(&job, None), "done, 1 shard");
    }

    #[test]
    fn text_tells_the_first_failures() {
        let lines = text(&status(), None);
        assert_eq!(lines[1], "  shards    7 of 20 done, 12 failed, 1 pending");
        let told = "  shard 3 (a.csv, bytes 10 to 20) failed after 1 attempt: malformed";
        assert_eq!(
            lines.iter().filter(|line| *line == told).count(),
            FAILURES_TOLD_MAX
        );
        assert_eq!(
            lines.last().unwrap(),
            "  2 more failed: `eciton job show j --json`"
        );
    }
}
