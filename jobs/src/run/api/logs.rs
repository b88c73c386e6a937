//! What the programs of a job wrote to their standard error, and how they ended.

use eciton_engine::Db;
use eciton_proto::v1::job_spec::Step;
use eciton_proto::v1::{Outcome, ProgramLog};

use crate::run::records::error::JobError;
use crate::run::records::ledger::Ledger;

/// How a run of a job's program over a shard went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardLog {
    /// The shard.
    pub shard: u64,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Milliseconds since 1970 when it started; `None` where nothing of it is kept but that it did well.
    pub started_at: Option<i64>,
    /// Milliseconds since 1970 when it ended; `None` as long as it runs, and where that is not kept.
    pub ended_at: Option<i64>,
    /// The exit code, if it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Why the attempt failed, if it did.
    pub error: Option<String>,
    /// The end of its standard error.
    pub stderr: Vec<u8>,
    /// Bytes of its standard error in total.
    pub stderr_len: u64,
    /// The machine and the process that ran it; empty where that is not kept.
    pub worker: String,
}

/// Whose logs are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogsOf {
    /// Of this shard alone.
    pub shard: Option<u64>,
    /// Of this attempt alone.
    pub attempt: Option<u32>,
}

impl From<ProgramLog> for ShardLog {
    fn from(log: ProgramLog) -> ShardLog {
        ShardLog {
            shard: log.shard,
            attempt: log.attempt,
            started_at: (log.started_ms != 0).then_some(log.started_ms),
            ended_at: (log.ended_ms != 0).then_some(log.ended_ms),
            exit_code: log.exit_code,
            signal: (log.signal != 0).then_some(log.signal),
            error: (!log.error.is_empty()).then_some(log.error),
            stderr: log.stderr,
            stderr_len: log.stderr_len,
            worker: log.worker,
        }
    }
}

/// Reads how the programs of a job went, by shard and attempt, while `visit` wants more. Of a shard that is done, and whose
/// program said nothing, it is known that it exited with 0.
///
/// # Errors
/// [`JobError::NotFound`], [`JobError::Damaged`] and [`JobError::Engine`]; [`JobError::State`] for a job without a program.
pub async fn logs(
    db: &Db,
    name: &str,
    of: LogsOf,
    mut visit: impl FnMut(ShardLog) -> bool,
) -> Result<(), JobError> {
    let (ledger, job) = Ledger::with_job(db, name).await?;
    if !matches!(job.spec.step, Some(Step::Command(_))) {
        return Err(JobError::State {
            name: name.to_owned(),
            state: "without a program",
            expected: "expected one with `[command]`, which has logs",
        });
    }
    let mut done = Vec::new();
    ledger
        .each_shard(name, |shard, state| {
            let is_asked = of.shard.is_none_or(|asked| asked == shard);
            let attempt = state.attempts.max(1);
            if is_asked
                && state.outcome() == Outcome::Done
                && of.attempt.is_none_or(|asked| asked == attempt)
            {
                done.push((shard, attempt));
            }
            of.shard.is_none_or(|asked| shard < asked)
        })
        .await?;
    let mut silent = done.into_iter().peekable();
    let well = |(shard, attempt)| ShardLog {
        shard,
        attempt,
        exit_code: Some(0),
        ..ShardLog::default()
    };
    let mut goes_on = true;
    ledger
        .each_log(name, of.shard, |log| {
            let at = (log.shard, log.attempt);
            if of.attempt.is_some_and(|asked| asked != log.attempt) {
                return true;
            }
            while goes_on && let Some(before) = silent.next_if(|silent| *silent < at) {
                goes_on = visit(well(before));
            }
            silent.next_if(|silent| *silent == at);
            goes_on = goes_on && visit(log.into());
            goes_on
        })
        .await?;
    for left in silent {
        if !goes_on {
            break;
        }
        goes_on = visit(well(left));
    }
    Ok(())
}
