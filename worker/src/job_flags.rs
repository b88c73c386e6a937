//! Flags of the commands of `eciton job`.

#![allow(clippy::doc_markdown, reason = "help is printed as it stands")]

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::command_flags::{LOGS_EXAMPLES, Logs, Scratch};
use crate::flags::Peers;
use crate::shared_flags::Workers;

pub(crate) const JOB_EXAMPLES: &str = "\
Examples:
  eciton job ls --db ./db
  eciton job show delay-by-carrier --db ./db --json
  eciton job watch delay-by-carrier --peer http://node-1:7711
  eciton job retry delay-by-carrier --db ./db

`running` is the number of shards in progress. Workers report it over Redis every two seconds; the shards of a killed worker
count for ten more seconds. It is known with --redis or --peer, and a peer always knows its own shards. With --db alone, it is 0.";

const RETRY_EXAMPLES: &str = "\
Examples:
  eciton job retry delay-by-carrier --db ./db
  eciton job retry delay-by-carrier --db ./db --record-only
  eciton job retry delay-by-carrier --peer http://node-1:7711

Fix the file first. Only bytes inside failed shards may change. The shards then run in this process,
because no other worker can use a database that one process has open. With --peer, the shards are only
marked: the workers of the swarm process them.";

const RM_EXAMPLES: &str = "\
Examples:
  eciton job rm delay-by-carrier --db ./db
  eciton job rm delay-by-carrier --with-results --db ./db
  eciton job rm delay-by-carrier --peer http://node-1:7711

Without --with-results, the store keeps its records, and another job writes to it only with `into_existing = true`. Cancel a
running job first, or pass --force. If the command is interrupted, run it again: until then, the job is listed as
cancelled.";

#[derive(Debug, Subcommand)]
pub(crate) enum Job {
    /// List the jobs
    #[command(
        after_help = "Examples:\n  eciton job ls --db ./db\n  eciton job ls --peer http://node-1:7711"
    )]
    Ls {
        #[command(flatten)]
        peers: Peers,
    },
    /// Show a job: shards, rows, conflicts, failures
    #[command(
        after_help = "`running` is the number of shards in progress, which workers report over Redis every two seconds. It is known with\n\
                      --redis or --peer; with --db alone, it is 0.\n\nExamples:\n  eciton job show delay-by-carrier --db ./db --json\n  \
                      eciton job show delay-by-carrier --db ./db --redis redis://127.0.0.1:6379"
    )]
    Show {
        /// The name of the job; can be omitted if the database has only one
        job: Option<String>,
        #[command(flatten)]
        peers: Peers,
    },
    /// Print the progress of a job until it ends: exit code 0 if it is done, 1 if it failed or was cancelled
    #[command(
        after_help = "With --json, each change is a line: the fields of `job show --json`, with rows_per_second and eta_seconds\n\
                      if they are known.\n\nExamples:\n  eciton job watch delay-by-carrier --db ./db\n  \
                      eciton job watch delay-by-carrier --peer http://node-1:7711,http://node-2:7711 --json"
    )]
    Watch {
        /// The name of the job; can be omitted if the database has only one
        job: Option<String>,
        #[command(flatten)]
        peers: Peers,
    },
    /// Cancel a job: finished shards keep their results, and no more shards start
    #[command(after_help = "Examples:\n  eciton job cancel delay-by-carrier --db ./db")]
    Cancel {
        /// The name of the job
        job: String,
        #[command(flatten)]
        peers: Peers,
    },
    /// Run the failed shards of a job again
    #[command(after_help = RETRY_EXAMPLES)]
    Retry(Retry),
    /// Show which jobs start after which, as text and as a picture
    #[command(after_help = GRAPH_EXAMPLES)]
    Graph(Graph),
    /// Print what the programs of a job wrote to their standard error, and how they ended
    #[command(after_help = LOGS_EXAMPLES)]
    Logs(Logs),
    /// Remove a job; its results stay unless --with-results is given
    #[command(after_help = RM_EXAMPLES)]
    Rm(Rm),
}

const GRAPH_EXAMPLES: &str = "\
Examples:
  eciton job graph --db ./db
  eciton job graph report --db ./db --svg graph.svg

A job with `after = [...]` in [run] starts when the jobs that it names are done. Each job is a line, indented below the
jobs that it comes after. With a job, only the jobs that it depends on, and those that depend on it, are shown.

With --json, each job is a line: name, state, after (the jobs that it comes after) and depth. The state of a job
that was not submitted is `absent`.";

/// `job graph`.
#[derive(Debug, Args)]
pub(crate) struct Graph {
    /// The name of the job; all jobs if it is omitted
    pub(crate) job: Option<String>,
    /// Also draw the graph into this SVG file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// The name of the job
    pub(crate) job: String,
    #[command(flatten)]
    pub(crate) workers: Workers,
    #[command(flatten)]
    pub(crate) scratch: Scratch,
    /// Only mark the shards; `run` with the job file processes them
    #[arg(long)]
    pub(crate) record_only: bool,
    #[command(flatten)]
    pub(crate) peers: Peers,
}

#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// The name of the job
    pub(crate) job: String,
    /// Also drop the store that the job wrote to, unless the store holds other records
    #[arg(long)]
    pub(crate) with_results: bool,
    /// Remove the job even if it is running; workers discard its shards in progress
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) peers: Peers,
}
