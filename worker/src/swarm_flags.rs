//! Flags of the commands that start a swarm on this machine and look at a swarm as it works.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use crate::command_flags::Commands;
use crate::flags::interval;
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

Shows open jobs, and jobs that ended within the last hour. Keys on a terminal: q quits; o, n, s, l, r and t sort the jobs.

It only reads the database, so another process may have it open. Workers are known through Redis,
or through a peer. Every two seconds, each worker reports how many shards of each job it computes:
`running` is the sum. A killed worker counts for ten more seconds.

With --json, each interval is a line: at_ms, workers (null if they are not known), jobs with the
fields of `job show --json` without their failures, with rows_per_second and eta_seconds if they
are known, and totals.";

pub(crate) const UP_EXAMPLES: &str = "\
Examples:
  eciton up --db ./db
  eciton up --workers 4 --db ./db --listen 127.0.0.1:7711 --data-root .
  eciton submit job.toml --peer 127.0.0.1:7711
  eciton top --peer 127.0.0.1:7711
  eciton up --workers 4 --db ./db --until-idle
  eciton up --workers 3 --db ./db --metrics 127.0.0.1:9101

Each worker is a process of its own. A worker that exits is restarted. If one exits five times,
each time within five seconds, all are stopped (exit code 1). The workers use the Redis of
--redis, or a private `redis-server` that is started if one is on the PATH. Without Redis, a
single worker gets all slots.

On SIGTERM or Ctrl-C, the workers finish and commit the shards that they have begun (--drain), and
exit. The exit code is 0 after SIGTERM, and 130 after Ctrl-C. A second signal stops everything at
once. No worker outlives this process. On SIGHUP without a terminal, the workers read tokens and
certificates again. Closing the terminal stops all.

A private Redis has a password. Its full address is in a file that only its owner can read; the
name of that file is printed.

With --json, each event is a line: event (redis_started, redis_listens, redis_ended,
worker_started, worker_ended, stopping), worker, pid, url (without the password), url_file, code,
signal, error, restart_in_ms.";

#[derive(Debug, Args)]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) peers: Peers,
    /// Print one view and exit; if jobs are open, wait one interval to measure rates
    #[arg(long)]
    pub(crate) once: bool,
    #[arg(
        long,
        value_name = "TIME",
        value_parser = pause,
        help = "Time between two views, at least 100ms [default: 1s; 2s without a terminal]"
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
        help = "Shards that each worker computes at the same time, 0 to 1024 [env: ECITON_WORKERS] [default: its share of the cores]"
    )]
    pub(crate) slots: Option<u16>,
    #[command(flatten)]
    pub(crate) listening: Listening,
    #[command(flatten)]
    pub(crate) commands: Commands,
    #[arg(
        long,
        value_name = "ADDR",
        help = "Serve metrics of the first worker at this address, such as 127.0.0.1:9101, and those of the others at the \
                ports after it"
    )]
    pub(crate) metrics: Option<SocketAddr>,
    #[arg(
        long,
        value_name = "TIME",
        value_parser = interval,
        default_value = "30s",
        help = "Time limit for shards in progress to finish after a signal"
    )]
    pub(crate) drain: Duration,
    #[arg(
        long,
        value_name = "TIME",
        value_parser = interval,
        help = "How long computed shards wait to be committed together. After a kill, at most this much work is repeated. 0s: commit each \
                shard by itself [env: ECITON_COMMIT_INTERVAL] [default: 500ms]"
    )]
    pub(crate) commit_interval: Option<Duration>,
    /// Exit once all jobs of the database have ended
    #[arg(long)]
    pub(crate) until_idle: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Supervised {
    /// Kill the program when this process, the parent, exits
    #[arg(long, value_name = "PID")]
    pub(crate) parent: u32,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) program: Vec<OsString>,
}
