//! Every command and flag, with its help.

use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use eciton_engine::Compression;

use crate::data_flags::{
    COMPLETIONS_EXAMPLES, INIT_EXAMPLES, MAN_EXAMPLES, QUERY_EXAMPLES, SCAN_EXAMPLES,
};
pub(crate) use crate::data_flags::{Completions, Format, Init, Man, Query, Scan};
use crate::export_flags::EXPORT_EXAMPLES;
pub(crate) use crate::export_flags::Export;
use crate::failure::Failure;
use crate::flags::interval;
pub(crate) use crate::flags::{Listening, Peers};
pub(crate) use crate::swarm_flags::{Supervised, Top, Up};
use crate::swarm_flags::{TOP_EXAMPLES, UP_EXAMPLES};

const EXAMPLES: &str = "\
Examples:
  eciton run jobs/examples/delay-by-carrier.toml --db ./db
  eciton scan delay_by_carrier --prefix AA --db ./db
  eciton job show delay-by-carrier --db ./db --json

Settings come from flags, then the environment (ECITON_DB, ECITON_REDIS, ECITON_CACHE, ECITON_WORKERS, ECITON_COMPRESSION), then `eciton.toml` in the
working directory (db = \"...\", workers = 4).

Exit codes: 0 done; 1 the work failed, the database is broken or the record is absent; 2 the call was
wrong; 3 another process has the database open; 130 ended by a signal after draining.";

const RUN_EXAMPLES: &str = "\
Examples:
  eciton run job.toml --db ./db
  eciton run job.toml --db ./db --workers 8 --show
  eciton run job.toml --db ./db --json
  eciton run job.toml --db /mnt/shared/db --redis redis://redis.local:6379

With --redis any number of processes, on any machines that see the folder, may run the same job at once: they share
its shards, and each ends when the job has. Redis only makes it quicker: it may be flushed or away.

Run it again after an interruption, a crash or a full disk: it goes on where it stopped, and what was
done stays done exactly once. On a finished job it says so and changes nothing.

With --replace a job of the same name that has another specification or other files, or that failed or was cancelled,
is removed first, with its results. Any other one is gone on with, so the same command goes on after an interruption.

With --json, stdout has one line with the fields of `job show --json`; with --show, the records of the
result follow, one a line.";

const WORKER_EXAMPLES: &str = "\
Examples:
  eciton worker --db /mnt/shared/db --redis redis://redis.local:6379
  eciton worker --db s3://bucket/prefix --slots 4 --metrics 127.0.0.1:9100
  eciton worker --db s3://bucket/prefix --metrics 0.0.0.0:9100 --metrics-token-file scrape.token
  eciton worker --db s3://bucket/prefix --listen 0.0.0.0:7711 --tls-cert cert.pem --tls-key key.pem --tokens tokens
  eciton worker --db ./db --listen 127.0.0.1:7711 --data-root /srv/data
  eciton worker --db s3://bucket/prefix --listen 0.0.0.0:7711 --advertise worker-1.swarm:7711 --insecure
  eciton submit job.toml --db /mnt/shared/db --redis redis://redis.local:6379

The database has to be there: `eciton db init`, `submit` and `run` create one, and so does --create.

Any number of workers, on any machines that see the database, share the shards of all jobs that are submitted to it; there
is no head among them. Any may be killed at any time: others take over what it was at.

With --listen a worker answers for the whole database over gRPC (eciton.v1.Swarm, health, reflection). Beyond this
machine that takes TLS, and tokens or client certificates; a line of the file of tokens is `read,submit TOKEN`.
Jobs that come over gRPC read files below the folders of --data-root only. Tokens and certificates are read again when
their files change, and at once on SIGHUP.

On SIGTERM or SIGINT a worker takes no new shard, finishes and commits those it is at, and ends: with exit code 0 after
SIGTERM, with 130 after SIGINT.";

const SUBMIT_EXAMPLES: &str = "\
Examples:
  eciton submit job.toml --db ./db
  eciton submit job.toml --peer http://node-1:7711,http://node-2:7711

Files, columns and SQL are checked and the shards are cut now; `eciton run job.toml`, or workers, do the work. Over a
peer the file's text is sent, and its folder: the data must lie there under the same path.";

const GET_EXAMPLES: &str = "\
Examples:
  eciton get delay_by_carrier '[\"AA\",1]' --db ./db
  eciton get airlines AA --db ./db

KEY is JSON: a scalar, or an array for a compound key. A word that is not JSON is taken as a string,
so AA means \"AA\"; write '\"1\"' for the string 1. An absent record is exit code 1.";

const PLAN_EXAMPLES: &str = "\
Examples:
  eciton plan job.toml
  eciton plan job.toml --json

Needs no database. For each column it says whether the job file declares its type, or from how many rows it was inferred.";

const PUT_EXAMPLES: &str = "\
Examples:
  eciton put airlines AA '{\"name\":\"American Airlines\"}' --db ./db
  eciton put airlines AA --db ./db < record.json
  eciton put airlines AA '{\"name\":\"American Airlines\"}' --create --db ./db

VALUE is JSON, exactly: a string needs its quotes. Without VALUE it is read from standard input.
A store that a job merges into takes no values by hand.";

const DEL_EXAMPLES: &str = "\
Examples:
  eciton del airlines AA --db ./db

Deleting what is not there is no error; --json says which it was. A store that a job merges into is changed by jobs
alone.";

const STORE_EXAMPLES: &str = "\
Examples:
  eciton store ls --db ./db
  eciton store create airlines --key carrier --db ./db
  eciton store stats flights --db ./db
  eciton store drop airlines --db ./db";

const STREAM_EXAMPLES: &str = "\
Examples:
  eciton stream write films garden film.mp4 --create --db ./db
  eciton stream read films garden --from 1000000 --len 4096 --db ./db > part
  eciton stream write films garden chapter.mp4 --replace 1000000..2000000 --db ./db
  eciton stream cut films garden 0..4096 --db ./db
  eciton stream ls films --db ./db

A stream lies beside the record of its key; a change rewrites what it touches and not the rest, and
takes effect whole or not at all.";

const JOB_EXAMPLES: &str = "\
Examples:
  eciton job ls --db ./db
  eciton job show delay-by-carrier --db ./db --json
  eciton job watch delay-by-carrier --peer http://node-1:7711
  eciton job retry delay-by-carrier --db ./db

`running` are the shards that somebody is at, as workers say over Redis every two seconds; who was killed counts for ten
seconds more. It takes --redis, or --peer, which also knows of itself what it is at just now; with --db alone it is 0.";

const RETRY_EXAMPLES: &str = "\
Examples:
  eciton job retry delay-by-carrier --db ./db
  eciton job retry delay-by-carrier --db ./db --record-only
  eciton job retry delay-by-carrier --peer http://node-1:7711

Mend the file that failed a shard first: changes are accepted inside failed shards only. The shards
then run in this process, since a database that one process has open has no other workers. Over a
peer they are only marked: the swarm does the work.";

const RM_EXAMPLES: &str = "\
Examples:
  eciton job rm delay-by-carrier --db ./db
  eciton job rm delay-by-carrier --with-results --db ./db
  eciton job rm delay-by-carrier --peer http://node-1:7711

Without --with-results the store keeps its records: another job writes there only with `into_existing = true`. A running
job is cancelled first, or removed with --force. If it is interrupted, call it again: the job is listed as cancelled
meanwhile.";

const DB_EXAMPLES: &str = "\
Examples:
  eciton db init --db ./db
  eciton db info --db ./db
  eciton db verify --db ./db

A database in a bucket takes its key and address from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_ENDPOINT_URL, and AWS_ALLOW_HTTP=true for an address that begins with http://. The machine's metadata service is asked
for a key only with ECITON_INSTANCE_CREDENTIALS=true.";

/// Runs ETL and scientific jobs over files, exactly once, and keeps their results in an ordered,
/// transactional database that is a folder.
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
        help = "The database: a folder, or a bucket and a prefix as s3://bucket/prefix [env: ECITON_DB]"
    )]
    pub(crate) db: Option<PathBuf>,
    #[arg(
        long,
        global = true,
        value_name = "URL",
        help = "Shares the database with other processes that name this Redis; of a cluster several addresses, with \
                commas [env: ECITON_REDIS]"
    )]
    pub(crate) redis: Option<String>,
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        help = "Keeps what was read of a database in a bucket in this folder of a local disk [env: ECITON_CACHE]"
    )]
    pub(crate) cache: Option<PathBuf>,
    /// Prints machine-readable lines on stdout and nothing else there
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print results, warnings and errors only: no progress and no hints
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a job to its end in this process, or goes on with it
    #[command(after_help = RUN_EXAMPLES)]
    Run(Run),
    /// Look at data files and write a job file that runs
    #[command(after_help = INIT_EXAMPLES)]
    Init(Init),
    /// Joins the swarm: works on the shards of every open job until it gets a signal
    #[command(after_help = WORKER_EXAMPLES)]
    Worker(Worker),
    /// Starts a swarm on this machine: worker processes, with Redis between them
    #[command(after_help = UP_EXAMPLES)]
    Up(Up),
    /// Shows the swarm as it works: jobs, workers, speeds, what is left
    #[command(after_help = TOP_EXAMPLES)]
    Top(Top),
    /// Records a job without running it, and prints its id
    #[command(after_help = SUBMIT_EXAMPLES)]
    Submit(Submit),
    /// Show what a job would do: files, shards, columns and their types, query and target; writes nothing
    #[command(after_help = PLAN_EXAMPLES)]
    Plan(Plan),
    /// Shows, watches, cancels, retries and removes jobs
    #[command(subcommand, after_help = JOB_EXAMPLES)]
    Job(Job),
    /// Prints the value of a key
    #[command(after_help = GET_EXAMPLES)]
    Get(Get),
    /// Stores a value under a key
    #[command(after_help = PUT_EXAMPLES)]
    Put(Put),
    /// Deletes a key
    #[command(after_help = DEL_EXAMPLES)]
    Del(Get),
    /// Prints records in key order
    #[command(after_help = SCAN_EXAMPLES)]
    Scan(Scan),
    /// Ask the stores of a database in SQL
    #[command(after_help = QUERY_EXAMPLES)]
    Query(Query),
    /// Write the records of a store to files: CSV, JSON lines, Parquet or Arrow
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(Export),
    /// Reads and writes values of any length, by range
    #[command(subcommand, after_help = STREAM_EXAMPLES)]
    Stream(Stream),
    /// Lists, creates, drops and measures stores
    #[command(subcommand, after_help = STORE_EXAMPLES)]
    Store(Store),
    /// Creates, describes and verifies a database
    #[command(subcommand, after_help = DB_EXAMPLES)]
    Db(Db),
    /// Print the completions of a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(Completions),
    /// Print or write the manual pages
    #[command(after_help = MAN_EXAMPLES)]
    Man(Man),
    /// Prints versions and features
    #[command(after_help = "Examples:\n  eciton version --json")]
    Version,
    /// Becomes another program, which ends with the process that started it
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
    /// Prints the records of the result at the end
    #[arg(long)]
    pub(crate) show: bool,
    /// Removes the job of this name first, with its results, if its specification or files differ or it failed
    #[arg(long)]
    pub(crate) replace: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Workers {
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=1024),
        help = "Worker tasks, 1 to 1024 [env: ECITON_WORKERS] [default: the number of cores]"
    )]
    pub(crate) workers: Option<u16>,
    #[arg(
        long,
        value_name = "TIME",
        value_parser = interval,
        help = "How long computed shards wait to be committed together, which is what a kill may cost; \
                0s: each by itself [env: ECITON_COMMIT_INTERVAL] [default: 500ms]"
    )]
    pub(crate) commit_interval: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Worker {
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(0..=1024),
        help = "Shards at work here at the same time, 0 to 1024; 0: others do the work [env: ECITON_WORKERS] [default: the number of cores]"
    )]
    pub(crate) slots: Option<u16>,
    #[arg(
        long,
        value_name = "ADDR",
        help = "Serves metrics for Prometheus at this address, as 127.0.0.1:9100; beyond this machine with \
                --metrics-token-file, --tokens or --insecure [env: ECITON_METRICS]"
    )]
    pub(crate) metrics: Option<std::net::SocketAddr>,
    #[arg(
        long,
        value_name = "FILE",
        help = "Tells metrics only to those who bring a token of this file, a token a line; read again when it changes \
                [env: ECITON_METRICS_TOKEN_FILE]"
    )]
    pub(crate) metrics_token_file: Option<PathBuf>,
    #[arg(
        long,
        value_name = "TIME",
        value_parser = interval,
        help = "How long the metrics of a job are told after it has ended here [default: 1h]"
    )]
    pub(crate) metrics_keep: Option<Duration>,
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
    /// Creates the database where there is none
    #[arg(long)]
    pub(crate) create: bool,
    /// Ends, at once, with this process, which started it: what `up` says
    #[arg(long, value_name = "PID", hide = true)]
    pub(crate) parent: Option<u32>,
    /// Serves no gRPC, whatever the settings say: what `up` says to all but the first
    #[arg(long, hide = true, conflicts_with = "listen")]
    pub(crate) unheard: bool,
}

#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct Compressed {
    #[arg(
        long,
        value_name = "none|lz4|zstd",
        value_parser = compression,
        help = "How pages are compressed: lz4 is fast, zstd is small \
                [env: ECITON_COMPRESSION] [default: lz4]"
    )]
    pub(crate) compression: Option<Compression>,
}

/// A compression by its name.
pub(crate) fn compression(text: &str) -> Result<Compression, String> {
    let named = |compression: &Compression| compression.name() == text;
    let found = Compression::ALL.into_iter().find(named);
    found.ok_or_else(|| "expected none, lz4 or zstd".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct Submit {
    /// The job file
    #[arg(value_name = "JOB.toml")]
    pub(crate) file: PathBuf,
    /// Removes the job of this name first, with its results, if its specification or files differ or it failed
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) peers: Peers,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// The job file
    #[arg(value_name = "JOB.toml")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Job {
    /// Lists the jobs
    #[command(
        after_help = "Examples:\n  eciton job ls --db ./db\n  eciton job ls --peer http://node-1:7711"
    )]
    Ls {
        #[command(flatten)]
        peers: Peers,
    },
    /// Shows a job: shards, rows, conflicts, failures
    #[command(
        after_help = "`running` are the shards that somebody is at, as workers say over Redis every two seconds: it takes --redis or\n\
                      --peer, and is 0 with --db alone.\n\nExamples:\n  eciton job show delay-by-carrier --db ./db --json\n  \
                      eciton job show delay-by-carrier --db ./db --redis redis://127.0.0.1:6379"
    )]
    Show {
        /// The job's name; may be left out where there is one job only
        job: Option<String>,
        #[command(flatten)]
        peers: Peers,
    },
    /// Tells how a job goes until it has ended: exit code 0 where it is done, 1 where it failed or was cancelled
    #[command(
        after_help = "With --json a line a change: the fields of `job show --json`, with rows_per_second and eta_seconds\n\
                      where they are known.\n\nExamples:\n  eciton job watch delay-by-carrier --db ./db\n  \
                      eciton job watch delay-by-carrier --peer http://node-1:7711,http://node-2:7711 --json"
    )]
    Watch {
        /// The job's name; may be left out where there is one job only
        job: Option<String>,
        #[command(flatten)]
        peers: Peers,
    },
    /// Cancels a job: what is done stays, nothing more is begun
    #[command(after_help = "Examples:\n  eciton job cancel delay-by-carrier --db ./db")]
    Cancel {
        /// The job's name
        job: String,
        #[command(flatten)]
        peers: Peers,
    },
    /// Takes up the failed shards of a job again and runs them
    #[command(after_help = RETRY_EXAMPLES)]
    Retry(Retry),
    /// Removes a job; its results stay unless they are to be removed, too
    #[command(after_help = RM_EXAMPLES)]
    Rm(Rm),
}

#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// The job's name
    pub(crate) job: String,
    #[command(flatten)]
    pub(crate) workers: Workers,
    /// Only marks the shards; `run` with the job file does the work
    #[arg(long)]
    pub(crate) record_only: bool,
    #[command(flatten)]
    pub(crate) peers: Peers,
}

#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// The job's name
    pub(crate) job: String,
    /// Drops the store that it wrote to, too, unless that holds anything else
    #[arg(long)]
    pub(crate) with_results: bool,
    /// Removes it even while it is running: workers drop what they compute of it
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) peers: Peers,
}

/// A store and a key in it.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The store
    pub(crate) store: String,
    /// The key, JSON
    #[arg(allow_negative_numbers = true)]
    pub(crate) key: String,
}

#[derive(Debug, Args)]
pub(crate) struct Put {
    #[command(flatten)]
    pub(crate) at: Get,
    /// The value, JSON; from standard input if not given
    #[arg(allow_negative_numbers = true)]
    pub(crate) value: Option<String>,
    /// Creates the store, and the database, where absent
    #[arg(long)]
    pub(crate) create: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Stream {
    /// Lists the keys of a store that have a stream, and its bytes
    #[command(after_help = "Examples:\n  eciton stream ls films --db ./db --json")]
    Ls {
        /// The store
        store: String,
    },
    /// Prints a stream, or a part of it
    #[command(
        after_help = "Examples:\n  eciton stream read films garden --out film.mp4 --db ./db\n  \
                      eciton stream read films garden --from 10 --len 100 --db ./db"
    )]
    Read {
        #[command(flatten)]
        at: Get,
        #[command(flatten)]
        part: StreamPart,
        /// Writes to a file instead of standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Writes a file, or standard input, as the stream of a key
    #[command(
        after_help = "Without a place it replaces all that is there.\n\nExamples:\n  \
                      eciton stream write films garden film.mp4 --db ./db\n  \
                      tail -c 100 more | eciton stream write films garden --append --db ./db\n  \
                      eciton stream write films garden title.mp4 --insert 0 --db ./db"
    )]
    Write(StreamWrite),
    /// Takes the bytes of a range out; what follows moves up
    #[command(after_help = "Examples:\n  eciton stream cut films garden 100..200 --db ./db")]
    Cut {
        #[command(flatten)]
        at: Get,
        /// From the first byte to the one after the last
        #[arg(value_name = "FROM..TO", value_parser = span)]
        range: Span,
    },
    /// Deletes a stream; the record of its key stays
    #[command(after_help = "Examples:\n  eciton stream rm films garden --db ./db")]
    Rm {
        #[command(flatten)]
        at: Get,
    },
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct StreamPart {
    /// The first byte
    #[arg(long, value_name = "N")]
    pub(crate) from: Option<u64>,
    /// At most this many bytes
    #[arg(long, value_name = "N")]
    pub(crate) len: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct StreamWrite {
    #[command(flatten)]
    pub(crate) at: Get,
    /// The bytes; from standard input if not given
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Adds them at the end
    #[arg(long, group = "place")]
    append: bool,
    /// Writes them over what is there, from this byte on
    #[arg(long, value_name = "N", group = "place")]
    over: Option<u64>,
    /// Inserts them before this byte
    #[arg(long, value_name = "N", group = "place")]
    insert: Option<u64>,
    /// Puts them in the place of these bytes
    #[arg(long, value_name = "FROM..TO", value_parser = span, group = "place")]
    replace: Option<Span>,
    /// Creates the store, and the database, where absent
    #[arg(long)]
    pub(crate) create: bool,
}

/// Where in a stream bytes are written.
pub(crate) enum Place {
    /// In the place of all that is there.
    Whole,
    /// Behind it.
    End,
    /// Over what is there, from an offset on.
    Over(u64),
    /// Before the byte at an offset.
    Before(u64),
    /// In the place of a range.
    Instead(Range<u64>),
}

impl StreamWrite {
    /// The place that the flags name: one of them at the most.
    pub(crate) fn place(&self) -> Place {
        match (self.append, self.over, self.insert, self.replace) {
            (true, ..) => Place::End,
            (_, Some(at), ..) => Place::Over(at),
            (_, _, Some(at), _) => Place::Before(at),
            (_, _, _, Some(span)) => Place::Instead(span.into()),
            (false, None, None, None) => Place::Whole,
        }
    }
}

/// A range of bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    from: u64,
    to: u64,
}

impl From<Span> for Range<u64> {
    fn from(span: Span) -> Range<u64> {
        span.from..span.to
    }
}

fn span(text: &str) -> Result<Span, String> {
    let bounds = text.split_once("..").and_then(|(from, to)| {
        let (from, to) = (from.parse().ok()?, to.parse().ok()?);
        (from <= to).then_some(Span { from, to })
    });
    bounds.ok_or_else(|| "expected two numbers like 100..200".to_owned())
}

#[derive(Debug, Subcommand)]
pub(crate) enum Store {
    /// Lists the stores
    #[command(after_help = "Examples:\n  eciton store ls --db ./db --json")]
    Ls {
        /// The system's own stores too
        #[arg(long)]
        all: bool,
    },
    /// Creates a store; the database too, where absent
    #[command(after_help = "Examples:\n  eciton store create airlines --key carrier --db ./db")]
    Create {
        /// The store
        store: String,
        /// Names of the key's fields, for people: `--key year,month`
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        key: Vec<String>,
        /// How values are encoded
        #[arg(long, value_enum, default_value_t = ValueEncoding::Json)]
        encoding: ValueEncoding,
    },
    /// Drops a store with everything in it
    #[command(
        after_help = "A store that takes the results of a job is removed with it, by `eciton job rm JOB --with-results`.\n\n\
                      Examples:\n  eciton store drop airlines --db ./db"
    )]
    Drop {
        /// The store
        store: String,
        /// Drops it even if jobs wrote to it: they have failed then, and their state says so
        #[arg(long)]
        force: bool,
    },
    /// Counts records and bytes, by reading them
    #[command(
        after_help = "Examples:\n  eciton store stats flights --db ./db\n  eciton store stats --db ./db"
    )]
    Stats {
        /// The store; every store if not given
        store: Option<String>,
    },
}

/// How the values of a new store are encoded.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ValueEncoding {
    /// JSON text
    Json,
    /// Bytes as they are
    Raw,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Db {
    /// Creates a database; one that exists is left as it is
    #[command(after_help = "Examples:\n  eciton db init --db ./db")]
    Init,
    /// Describes a database
    #[command(after_help = "Examples:\n  eciton db info --db ./db --json")]
    Info,
    /// Reads everything, checks every checksum, names what is broken (exit code 1)
    #[command(after_help = "Examples:\n  eciton db verify --db ./db --json\n  \
                      eciton db verify --backups ./backups")]
    Verify {
        /// Verifies a folder of backups instead of the database
        #[arg(long, value_name = "FOLDER")]
        backups: Option<PathBuf>,
    },
    /// Rewrites everything as one run, without what was deleted or dropped, and gives the space back
    #[command(after_help = "Examples:\n  eciton db compact --db ./db\n  \
                      eciton db compact --compression zstd --db ./db")]
    Compact {
        #[command(flatten)]
        compressed: Compressed,
    },
    /// Adds a backup to a folder of backups: what is there already is not copied again
    #[command(
        after_help = "Works beside a running writer. A backup that was interrupted is none; the next one \
                      goes on.\n\nA backup that is taken can be restored: the parts of the log that it relies on are \
                      read, runs of earlier backups are looked at, and what is damaged or missing is copied again or \
                      relied on no more. With --full every byte of every backup in the folder is read; what of earlier \
                      ones is damaged and gone from the database is named, with exit code 1.\n\nExamples:\n  eciton db backup ./backups --db ./db\n  \
                      eciton db backup ./backups --full --db ./db"
    )]
    Backup {
        /// The folder of backups; the first backup makes it
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
        /// Reads every byte of every backup in the folder, and copies again what is damaged or missing
        #[arg(long)]
        full: bool,
    },
    /// Makes a new database of a backup: the newest, or the state of a position
    #[command(
        after_help = "The database is new, and another one than the one that was backed up. A restore that was \
                      interrupted is begun again by the same command. Where the newest backup is damaged or missing \
                      none is taken in its place: the message says which position can be restored.\n\n\
                      Examples:\n  eciton db restore ./backups --db ./restored\n  \
                      eciton db restore ./backups --position 4711 --db ./restored"
    )]
    Restore {
        /// The folder of backups
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
        /// A position that the backups cover
        #[arg(long, value_name = "N")]
        position: Option<u64>,
    },
    /// Writes a compact copy for distribution, which opens for reading from any medium
    #[command(after_help = "Works beside a running writer.\n\nExamples:\n  \
                      eciton db publish ./published --db ./db\n  \
                      eciton db publish ./published --compression zstd --db ./db\n  \
                      eciton scan flights --db ./published")]
    Publish {
        /// The new folder
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
        #[command(flatten)]
        compressed: Compressed,
    },
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
