//! Flags of the commands that start a swarm on this machine and look at a swarm as it works.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use crate::cli::interval;
use crate::flags::{Listening, Peers};

/// Two views faster than this would only cost time.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

pub(crate) const TOP_EXAMPLES: &str = "\
Examples:
  eciton top --db ./db
  eciton top --db ./db --redis redis://127.0.0.1:6379
  eciton top --peer http://node-1:7711,http://node-2:7711
  eciton top --db ./db --once
  eciton top --db ./db --json --interval 5s

Jobs are shown that are open, and those that ended within the last hour. Ctrl-C ends it.

A database is only read, so it may be looked at beside whoever has it open; workers are known through Redis, or
through a peer. Every two seconds workers say which jobs they have how many shards of: `running` adds that up. A worker
that was killed counts for ten seconds more.

With --json a line an interval: at_ms, workers (null where they are not known), jobs with the fields of
`job show --json` without their failures, with rows_per_second and eta_seconds where they are known, and totals.";

pub(crate) const UP_EXAMPLES: &str = "\
Examples:
  eciton up --db ./db
  eciton up --workers 4 --db ./db --listen 127.0.0.1:7711 --data-root .
  eciton submit job.toml --peer 127.0.0.1:7711
  eciton top --peer 127.0.0.1:7711
  eciton up --workers 4 --db ./db --until-idle

Workers are processes of their own. One that ends is started again; one that ends five times, each time within five
seconds, ends all (exit code 1). Between them is the Redis of --redis, else a `redis-server` that is found on the PATH
and started for them alone. Without any, one worker has the slots of all.

On SIGTERM or Ctrl-C the workers finish and commit the shards that they are at (--drain), and all ends: with exit code 0
after SIGTERM, with 130 after Ctrl-C. A second signal ends it at once. No worker outlives this process, however it ends.
On SIGHUP without a terminal the workers read tokens and certificates again; a terminal that is closed ends it.

The address of the Redis that is started has a password: it stands in a file that only its owner can read, whose name is
printed.

With --json a line for whatever happens: event (redis_started, redis_listens, redis_ended, worker_started, worker_ended, stopping),
worker, pid, url (without the password), url_file, code, signal, error, restart_in_ms.";

#[derive(Debug, Args)]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) peers: Peers,
    /// Shows it once and ends; where jobs are open, after one interval, so that speeds are known
    #[arg(long)]
    pub(crate) once: bool,
    #[arg(
        long,
        value_name = "TIME",
        value_parser = pause,
        help = "Time between two views, 100ms at least [default: 1s; 2s where it is no terminal]"
    )]
    pub(crate) interval: Option<Duration>,
}

fn pause(text: &str) -> Result<Duration, String> {
    match interval(text)? {
        short if short < INTERVAL_MIN => Err("expected 100ms or more".to_owned()),
        interval => Ok(interval),
    }
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=256),
        help = "Worker processes, 1 to 256 [default: the number of cores, 4 at most]"
    )]
    pub(crate) workers: Option<u16>,
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(0..=1024),
        help = "Shards at work in each worker at the same time, 0 to 1024 [env: ECITON_WORKERS] [default: its share of the cores]"
    )]
    pub(crate) slots: Option<u16>,
    #[command(flatten)]
    pub(crate) listening: Listening,
    #[arg(
        long,
        value_name = "TIME",
        value_parser = interval,
        default_value = "30s",
        help = "How long shards that are at work may take to end after a signal"
    )]
    pub(crate) drain: Duration,
    #[arg(
        long,
        value_name = "TIME",
        value_parser = interval,
        help = "How long computed shards wait to be committed together, which is what a kill may cost; \
                0s: each by itself [env: ECITON_COMMIT_INTERVAL] [default: 500ms]"
    )]
    pub(crate) commit_interval: Option<Duration>,
    /// Ends once every job of the database has ended
    #[arg(long)]
    pub(crate) until_idle: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Tied {
    /// Ends, at once, with this process, which started it
    #[arg(long, value_name = "PID")]
    pub(crate) parent: u32,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) program: Vec<OsString>,
}
