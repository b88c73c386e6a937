//! Every command and flag, with its help.

#![allow(clippy::doc_markdown, reason = "help is printed as it stands")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::command_flags::{Commands, Scratch};
use crate::data_flags::{
    COMPLETIONS_EXAMPLES, INIT_EXAMPLES, MAN_EXAMPLES, QUERY_EXAMPLES, SCAN_EXAMPLES,
};
pub(crate) use crate::data_flags::{Completions, Format, Init, Man, Query, Scan};
use crate::db_flags::DB_EXAMPLES;
pub(crate) use crate::db_flags::Db;
use crate::export_flags::EXPORT_EXAMPLES;
pub(crate) use crate::export_flags::Export;
use crate::failure::Failure;
use crate::flags::interval;
pub(crate) use crate::flags::{Listening, Peers};
use crate::job_flags::JOB_EXAMPLES;
pub(crate) use crate::job_flags::{Job, Retry, Rm};
use crate::ops_flags::HEALTH_EXAMPLES;
pub(crate) use crate::ops_flags::{Health, Logging};
pub(crate) use crate::shared_flags::{Compressed, Get, Workers, compression};
use crate::stream_flags::STREAM_EXAMPLES;
pub(crate) use crate::stream_flags::{Place, Stream, StreamPart, StreamWrite};
pub(crate) use crate::swarm_flags::{Supervised, Top, Up};
use crate::swarm_flags::{TOP_EXAMPLES, UP_EXAMPLES};
use crate::trace_flags::Tracing;

const EXAMPLES: &str = "\
Examples:
  eciton run jobs/examples/delay-by-carrier.toml --db ./db
  eciton scan delay_by_carrier --prefix AA --db ./db
  eciton job show delay-by-carrier --db ./db --json

Each setting is taken from its flag, else from the environment (ECITON_DB, ECITON_REDIS, ECITON_CACHE, ECITON_WORKERS,
ECITON_COMPRESSION), else from `eciton.toml` in the working directory (db = \"...\", workers = 4).

Exit codes: 0 done; 1 the work failed, the database is broken or the record does not exist; 2 the call was
wrong; 3 another process has the database open; 130 interrupted by a signal after draining.";

const RUN_EXAMPLES: &str = "\
Examples:
  eciton run job.toml --db ./db
  eciton run job.toml --db ./db --workers 8 --show
  eciton run job.toml --db ./db --json
  eciton run job.toml --db /mnt/shared/db --redis redis://redis.local:6379

With --redis, any number of processes on any machines that can read and write the folder run the same job together. They share
its shards, and each process exits when the job has ended. Redis only speeds things up; it can be flushed or unavailable.

After an interruption, a crash or a full disk, run the same command again. The job resumes where it stopped, and
shards that are done are not repeated. For a finished job, the command says so and changes nothing.

--replace removes a job of the same name, with its results, before it runs this one, if that job failed, was cancelled,
or has another specification or other files. Any other job of that name is resumed, so the same command also
continues an interrupted run.

With --json, stdout has one line with the fields of `job show --json`. With --show, the records of the
result follow, one per line.";

const WORKER_EXAMPLES: &str = "\
Examples:
  eciton worker --db /mnt/shared/db --redis redis://redis.local:6379
  eciton worker --db s3://bucket/prefix --slots 4 --metrics 127.0.0.1:9100
  eciton worker --db s3://bucket/prefix --metrics 0.0.0.0:9100 --metrics-token-file scrape.token
  eciton worker --db s3://bucket/prefix --listen 0.0.0.0:7711 --tls-cert cert.pem --tls-key key.pem --tokens tokens
  eciton worker --db ./db --listen 127.0.0.1:7711 --data-root /srv/data
  eciton worker --db s3://bucket/prefix --listen 0.0.0.0:7711 --advertise worker-1.swarm:7711 --insecure
  eciton submit job.toml --db /mnt/shared/db --redis redis://redis.local:6379

The database must exist: create it with `eciton db init`, `submit` or `run`, or pass --create.

Any number of workers, on any machines that can reach the database, share the shards of all its jobs. No worker is the
head. Any worker can be killed at any time: other workers take over its shards.

With --listen, a worker serves gRPC for the whole database (eciton.v1.Swarm, health, reflection). An address that other
machines can reach requires TLS, and tokens or client certificates. A line of the token file is `read,submit TOKEN`.
Jobs that arrive over gRPC can only read files below the folders of --data-root, and objects below the addresses of
--allow-remote. The worker reads tokens and
certificates again when their files change, and at once on SIGHUP.

On SIGTERM or SIGINT, a worker claims no new shards, finishes and commits the shards in progress, and exits: with code 0
after SIGTERM, with 130 after SIGINT.";

const SUBMIT_EXAMPLES: &str = "\
Examples:
  eciton submit job.toml --db ./db
  eciton submit job.toml --peer http://node-1:7711,http://node-2:7711

Checks files, columns and SQL, and cuts the shards. `eciton run job.toml` or workers then process them. With --peer, the
text of the job file and the path of its folder are sent: the peer must have the data under the same path.";

const GET_EXAMPLES: &str = "\
Examples:
  eciton get delay_by_carrier '[\"AA\",1]' --db ./db
  eciton get airlines AA --db ./db

KEY is JSON: a scalar, or an array for a compound key. A word that is not JSON is a string, so AA
means \"AA\"; write '\"1\"' for the string 1. If there is no such record, the exit code is 1.";

const PLAN_EXAMPLES: &str = "\
Examples:
  eciton plan job.toml
  eciton plan job.toml --json

Needs no database. For each column, the plan says whether the job file declares its type, or how many rows it was inferred from.";

const PUT_EXAMPLES: &str = "\
Examples:
  eciton put airlines AA '{\"name\":\"American Airlines\"}' --db ./db
  eciton put airlines AA --db ./db < record.json
  eciton put airlines AA '{\"name\":\"American Airlines\"}' --create --db ./db

VALUE is JSON: a string needs its quotes. Without VALUE, standard input is read.
A store that a job merges into accepts values from jobs only.";

const DEL_EXAMPLES: &str = "\
Examples:
  eciton del airlines AA --db ./db

Deleting a key that does not exist is not an error; --json says whether it existed. Only jobs can change a store that a
job merges into.";

const STORE_EXAMPLES: &str = "\
Examples:
  eciton store ls --db ./db
  eciton store create airlines --key carrier --db ./db
  eciton store stats flights --db ./db
  eciton store drop airlines --db ./db";

/// Run ETL and scientific jobs over files, exactly once, and keep their results in an ordered,
/// transactional database that is a folder
#[derive(Debug, Parser)]
#[command(name = "eciton", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Call {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        help = "The database: a folder, or a bucket and a prefix as in s3://bucket/prefix [env: ECITON_DB]"
    )]
    pub(crate) db: Option<PathBuf>,
    /// The second storage path of a mirrored database, which every command needs; the first is --db [env: ECITON_STANDBY]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) standby: Option<PathBuf>,
    #[arg(
        long,
        global = true,
        value_name = "URL",
        help = "Share the database with all processes that use this Redis. For a cluster, several addresses separated by commas \
                [env: ECITON_REDIS]"
    )]
    pub(crate) redis: Option<String>,
    /// Cache data of a database in a bucket in this folder on a local disk [env: ECITON_CACHE]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// Print machine-readable lines on stdout, and nothing else
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print results, warnings and errors only: no progress and no hints
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a job to completion in this process, resuming it if it was interrupted
    #[command(after_help = RUN_EXAMPLES)]
    Run(Run),
    /// Look at data files and write a job file that runs
    #[command(after_help = INIT_EXAMPLES)]
    Init(Init),
    /// Join the swarm: process shards of all open jobs until SIGTERM
    #[command(after_help = WORKER_EXAMPLES)]
    Worker(Worker),
    /// Start a swarm on this machine: worker processes that coordinate over Redis
    #[command(after_help = UP_EXAMPLES)]
    Up(Up),
    /// Show the swarm live: jobs, workers, throughput and remaining time
    #[command(after_help = TOP_EXAMPLES)]
    Top(Top),
    /// Ask a worker on this machine whether it is ready
    #[command(after_help = HEALTH_EXAMPLES)]
    Health(Health),
    /// Record a job without running it, and print its id
    #[command(after_help = SUBMIT_EXAMPLES)]
    Submit(Submit),
    /// Show what a job would do: files, shards, columns and their types, query and target; writes nothing
    #[command(after_help = PLAN_EXAMPLES)]
    Plan(Plan),
    /// List, show, watch, cancel, retry and remove jobs
    #[command(subcommand, after_help = JOB_EXAMPLES)]
    Job(Job),
    /// Print the value of a key
    #[command(after_help = GET_EXAMPLES)]
    Get(Get),
    /// Store a value under a key
    #[command(after_help = PUT_EXAMPLES)]
    Put(Put),
    /// Delete a key
    #[command(after_help = DEL_EXAMPLES)]
    Del(Get),
    /// Print records in key order
    #[command(after_help = SCAN_EXAMPLES)]
    Scan(Scan),
    /// Query the stores of a database with SQL
    #[command(after_help = QUERY_EXAMPLES)]
    Query(Query),
    /// Write the records of a store to files: CSV, JSON lines, Parquet or Arrow
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(Export),
    /// Read and write values of any length, by byte range
    #[command(subcommand, after_help = STREAM_EXAMPLES)]
    Stream(Stream),
    /// List, create, drop and measure stores
    #[command(subcommand, after_help = STORE_EXAMPLES)]
    Store(Store),
    /// Create, describe, verify, compact, back up and publish a database
    #[command(subcommand, after_help = DB_EXAMPLES)]
    Db(Db),
    /// Print the completion script of a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(Completions),
    /// Print or write the manual pages
    #[command(after_help = MAN_EXAMPLES)]
    Man(Man),
    /// Print version, format version and features
    #[command(after_help = "Examples:\n  eciton version --json")]
    Version,
    /// Run a program and kill it when the parent process exits
    #[command(
        hide = true,
        after_help = "Examples:\n  eciton tied --parent $$ redis-server"
    )]
    #[command(name = "tied")]
    Supervised(Supervised),
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The job file
    #[arg(value_name = "JOB.toml")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) workers: Workers,
    #[command(flatten)]
    pub(crate) scratch: Scratch,
    /// Print the records of the result at the end
    #[arg(long)]
    pub(crate) show: bool,
    /// First remove the job of this name, with its results, if it failed or its specification or files differ
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) tracing: Tracing,
}

#[derive(Debug, Args)]
pub(crate) struct Worker {
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(0..=1024),
        help = "Shards that this worker processes at the same time, 0 to 1024. 0: leave all shards to other workers [env: ECITON_WORKERS] [default: the number of cores]"
    )]
    pub(crate) slots: Option<u16>,
    #[arg(
        long,
        value_name = "ADDR",
        help = "Serve metrics for Prometheus at this address, such as 127.0.0.1:9100. An address that other machines can reach \
                requires --metrics-token-file, --tokens or --insecure [env: ECITON_METRICS]"
    )]
    pub(crate) metrics: Option<std::net::SocketAddr>,
    #[arg(
        long,
        value_name = "FILE",
        help = "Serve metrics only to clients that send a token of this file, which has one token per line. It is read again when \
                it changes [env: ECITON_METRICS_TOKEN_FILE]"
    )]
    pub(crate) metrics_token_file: Option<PathBuf>,
    #[arg(
        long,
        value_name = "TIME",
        value_parser = interval,
        help = "How long to serve the metrics of a job after it has ended [default: 1h]"
    )]
    pub(crate) metrics_keep: Option<Duration>,
    #[command(flatten)]
    pub(crate) logging: Logging,
    #[command(flatten)]
    pub(crate) tracing: Tracing,
    #[command(flatten)]
    pub(crate) listening: Listening,
    #[command(flatten)]
    pub(crate) commands: Commands,
    #[arg(
        long,
        value_name = "TIME",
        value_parser = interval,
        default_value = "30s",
        help = "Time limit for shards in progress to finish after a signal. Shards that take longer are given up, and other \
                workers compute them again"
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
    /// Create the database if it does not exist
    #[arg(long)]
    pub(crate) create: bool,
    /// Exit at once when this process, the parent, exits; set by `up`
    #[arg(long, value_name = "PID", hide = true)]
    pub(crate) parent: Option<u32>,
    /// Serve no gRPC, regardless of the settings; set by `up` for all workers but the first
    #[arg(long, hide = true, conflicts_with = "listen")]
    pub(crate) unheard: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Submit {
    /// The job file
    #[arg(value_name = "JOB.toml")]
    pub(crate) file: PathBuf,
    /// First remove the job of this name, with its results, if it failed or its specification or files differ
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) scratch: Scratch,
    #[command(flatten)]
    pub(crate) peers: Peers,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// The job file
    #[arg(value_name = "JOB.toml")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) scratch: Scratch,
}

#[derive(Debug, Args)]
pub(crate) struct Put {
    #[command(flatten)]
    pub(crate) at: Get,
    /// The value, as JSON [default: read from standard input]
    #[arg(allow_negative_numbers = true)]
    pub(crate) value: Option<String>,
    /// Create the store and the database if they do not exist
    #[arg(long)]
    pub(crate) create: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Store {
    /// List the stores
    #[command(after_help = "Examples:\n  eciton store ls --db ./db --json")]
    Ls {
        /// Include the system's own stores
        #[arg(long)]
        all: bool,
    },
    /// Create a store, and the database if it does not exist
    #[command(after_help = "Examples:\n  eciton store create airlines --key carrier --db ./db")]
    Create {
        /// The store
        store: String,
        /// Names of the fields of the key, as in `--key year,month`
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        key: Vec<String>,
        /// The encoding of values
        #[arg(long, value_enum, default_value_t = ValueEncoding::Json)]
        encoding: ValueEncoding,
    },
    /// Drop a store with all its records
    #[command(
        after_help = "To remove the store of a job together with the job, use `eciton job rm JOB --with-results`.\n\n\
                      Examples:\n  eciton store drop airlines --db ./db"
    )]
    Drop {
        /// The store
        store: String,
        /// Drop it even if jobs wrote to it; those jobs become failed, and say why
        #[arg(long)]
        force: bool,
    },
    /// Count the records and bytes of stores by reading them
    #[command(
        after_help = "Examples:\n  eciton store stats flights --db ./db\n  eciton store stats --db ./db"
    )]
    Stats {
        /// The store [default: every store]
        store: Option<String>,
    },
}

/// How the values of a new store are encoded.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ValueEncoding {
    /// JSON text
    Json,
    /// Raw bytes
    Raw,
}

/// Reads the command line. Help and versions are printed here; a wrong call is told in one line, with
/// the way to the help, and as JSON where `--json` was among the arguments.
///
/// # Errors
/// The exit code to end with at once.
pub(crate) fn parse() -> Result<Call, ExitCode> {
    let error = match Call::try_parse() {
        Ok(call) => return Ok(call),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader that went away has seen enough.
            error.print().ok();
            Err(ExitCode::SUCCESS)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            error.print().ok();
            Err(ExitCode::from(2))
        }
        _ => {
            let json = std::env::args_os().any(|arg| arg == "--json");
            Err(Failure::Usage(one_line(&error)).conclude(json))
        }
    }
}

/// Clap's message without its colours, its paragraphs and its usage block.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let parts = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:"));
    let parts: Vec<&str> = parts.filter(|line| !line.is_empty()).collect();
    let message = parts.join(" ");
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    let message = message.replace(" For more information, try '--help'.", "");
    format!("{message}; see `eciton --help`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Call::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        fn walk(command: &clap::Command) {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                help.contains("Examples:\n  eciton "),
                "no examples: {}",
                command.get_name()
            );
            command.get_subcommands().for_each(walk);
        }
        walk(&Call::command());
    }

    #[test]
    fn keys_may_begin_with_a_hyphen() {
        let call = Call::try_parse_from(["eciton", "scan", "s", "--from", "-5", "--to", "-1"]);
        let Command::Scan(scan) = call.unwrap().command else {
            panic!("not a scan")
        };
        assert_eq!(
            (scan.from.as_deref(), scan.to.as_deref()),
            (Some("-5"), Some("-1"))
        );
        let call = Call::try_parse_from(["eciton", "get", "s", "-5", "--json"]).unwrap();
        assert!(
            call.global.json,
            "a flag after a negative key is still a flag"
        );
        let Command::Get(get) = call.command else {
            panic!("not a get")
        };
        assert_eq!(get.key, "-5");
    }

    #[test]
    fn a_wrong_call_is_one_line() {
        let error = Call::try_parse_from(["eciton", "run", "job.toml", "--wrokers", "3"]);
        let line = one_line(&error.unwrap_err());
        assert!(!line.contains('\n'), "{line}");
        assert!(
            line.contains("--wrokers") && line.contains("--workers"),
            "{line}"
        );
    }
}
