//! `job logs`: what the programs of a job wrote to their standard error.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::time::Duration;

use eciton_engine::Db;
use eciton_jobs::run::{self as jobs, LogsOf, ShardLog};
use serde_json::{Value, json};

use super::found::find;
use crate::cli::Global;
use crate::command_flags::Logs;
use crate::database;
use crate::failure::Failure;
use crate::output::Output;

/// Time between two looks at the database.
const LOOKS_APART: Duration = Duration::from_millis(500);

/// Prints the logs of a job, with `--follow` until it has ended.
///
/// # Errors
/// [`JobError::NotFound`](jobs::JobError::NotFound); exit code 2 for a job without a program; what the engine refuses.
pub(super) async fn logs(global: &Global, args: &Logs) -> Result<(), Failure> {
    // Reading may begin anew: what was printed is not printed again.
    let told = RefCell::new((ToldLogs::default(), Output::new(global)));
    loop {
        let of = LogsOf {
            shard: args.shard,
            attempt: args.attempt,
        };
        // Read before the logs: what was written before the end is printed.
        let has_ended = database::reading(global, async |db: &Db| {
            let has_ended = find(db, &args.job).await?.finished_at.is_some();
            let mut printed = Ok(());
            jobs::logs(db, &args.job, of, |log| {
                let (told, output) = &mut *told.borrow_mut();
                printed = told.print(output, &log);
                printed.is_ok()
            })
            .await?;
            printed?;
            Ok(has_ended)
        })
        .await?;
        if !args.follow || has_ended {
            return Ok(told.into_inner().1.finish()?);
        }
        told.borrow_mut().1.flush()?;
        tokio::time::sleep(LOOKS_APART).await;
    }
}

/// What was printed of each attempt.
#[derive(Default)]
struct ToldLogs(HashMap<(u64, u32), (u64, bool)>);

impl ToldLogs {
    /// Prints what is new of an attempt.
    fn print(&mut self, output: &mut Output, log: &ShardLog) -> io::Result<()> {
        let (at, now) = ((log.shard, log.attempt), (log.stderr_len, has_ended(log)));
        let before = self.0.get(&at).copied();
        if before == Some(now) {
            return Ok(());
        }
        self.0.insert(at, now);
        if output.is_json() {
            return output.line(&as_json(log).to_string());
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        let Some((len, _)) = before else {
            output.line(&header(log))?;
            let left_out = log.stderr_len - log.stderr.len() as u64;
            if left_out > 0 {
                output.line(&format!("({left_out} bytes before this are not kept)"))?;
            }
            return print_text(output, &text(&log.stderr));
        };
        let new = usize::try_from(log.stderr_len.saturating_sub(len)).unwrap_or(usize::MAX);
        let from = log.stderr.len().saturating_sub(new);
        print_text(output, &text(&log.stderr[from..]))?;
        match has_ended(log) {
            true => output.line(&header(log)),
            false => Ok(()),
        }
    }
}

fn print_text(output: &mut Output, text: &str) -> io::Result<()> {
    match text.is_empty() {
        true => Ok(()),
        false => output.line(text),
    }
}

fn has_ended(log: &ShardLog) -> bool {
    log.ended_at.is_some() || log.exit_code.is_some() || log.signal.is_some()
}

fn header(log: &ShardLog) -> String {
    let ShardLog { shard, attempt, .. } = log;
    let how = match (log.exit_code, log.signal) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) if log.ended_at.is_some() => "was killed".to_owned(),
        (None, None) => "runs".to_owned(),
    };
    let at = match log.worker.is_empty() {
        true => String::new(),
        false => format!(" ({})", log.worker),
    };
    format!("== shard {shard}, attempt {attempt}: {how}{at}")
}

fn as_json(log: &ShardLog) -> Value {
    json!({
        "shard": log.shard,
        "attempt": log.attempt,
        "state": if has_ended(log) { "ended" } else { "running" },
        "started_at_ms": log.started_at,
        "ended_at_ms": log.ended_at,
        "exit_code": log.exit_code,
        "signal": log.signal,
        "error": log.error,
        "stderr": String::from_utf8_lossy(&log.stderr),
        "stderr_bytes": log.stderr_len,
        "worker": log.worker,
    })
}
