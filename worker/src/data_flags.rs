//! Flags of the commands that look at data: `init`, `query`, and how records are printed.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clap_complete::Shell;
use eciton_jobs::spec::parse_size;
use eciton_jobs::stores::INFERRED_MAX;

pub(crate) const INIT_EXAMPLES: &str = "\
Examples:
  eciton init flights.csv
  eciton init 'logs/*.jsonl.gz' --out logs.toml
  eciton init trips.parquet --stdout
  eciton init data/ --name trips --force

DATA is a file, a glob or a folder of CSV, TSV, JSON lines or Parquet files, plain or as .gz or .zst. The job file
runs as it is: it has the format, the delimiter, what stands for NULL, the columns with their types as comments, and a
query to begin with. Up to 256 MiB of the data are read, spread over its files; --full reads all of it.

The next steps are `eciton plan JOB.toml` and `eciton run JOB.toml --db ./db`.";

pub(crate) const QUERY_EXAMPLES: &str = "\
Examples:
  eciton query 'SELECT carrier, flights FROM delays ORDER BY flights DESC LIMIT 5' --db ./db
  eciton query 'SELECT a.name, d.flights FROM delays d JOIN airlines a ON a.key = d.carrier' --db ./db
  eciton query \"SELECT * FROM flights WHERE year = 2013 AND month = 2\" --db ./db --format csv > february.csv
  eciton query --file report.sql --db ./db --out report.parquet
  eciton query \"SELECT * FROM flights WHERE year = 2013\" --db ./db --explain

The stores of the database are the tables. Their columns are the fields of the key, and the members or columns of the
value; `SELECT * FROM STORE LIMIT 1` shows them. A key without names is `key`, a value that is no object is `value`.
Names that are no words have double quotes: FROM \"delay-by-carrier\".

A query only reads, in one state of the database, beside a running writer. Conditions on the first fields of a key
(=, <, <=, >, >=, BETWEEN, IN, LIKE 'AB%') become ranges of keys, and nothing else is read: see --explain and --stats.

Columns and their types are inferred from the first and the last 10,000 records of a store. A later record that does not
fit is an error that names it; --infer all reads every record first.

On a terminal the answer is a table, elsewhere CSV. In JSON and CSV, moments are text such as 2013-01-01T10:00:00Z and
bytes are base64.";

pub(crate) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  eciton completions bash > ~/.local/share/bash-completion/completions/eciton
  eciton completions zsh > ~/.zfunc/_eciton
  eciton completions fish > ~/.config/fish/completions/eciton.fish";

pub(crate) const MAN_EXAMPLES: &str = "\
Examples:
  eciton man | man -l -
  eciton man --out /usr/local/share/man/man1";

/// Flags of `query`.
#[derive(Debug, Args)]
pub(crate) struct Query {
    /// One SELECT over the stores; `-` reads it from standard input
    #[arg(value_name = "SQL", required_unless_present = "file")]
    pub(crate) sql: Option<String>,
    /// Read the query from a file
    #[arg(long, short, value_name = "FILE", conflicts_with = "sql")]
    pub(crate) file: Option<PathBuf>,
    /// How the answer is printed [default: table on a terminal, else csv; with --out by the file's extension]
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// Write the answer to a file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Memory that the query may use, as 512MiB; sorts beyond it go to temporary files, anything else fails
    #[arg(long, value_name = "SIZE", value_parser = memory, default_value = "512MiB")]
    pub(crate) memory: usize,
    #[command(flatten)]
    pub(crate) inferring: Inferring,
    /// Print the plan, with the ranges of keys that are read, instead of the answer
    #[arg(long)]
    pub(crate) explain: bool,
    /// Tell on stderr how many records of each store were read
    #[arg(long)]
    pub(crate) stats: bool,
}

/// From how many records the columns of a store are inferred.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Inferring {
    #[arg(
        long,
        value_name = "N|all",
        value_parser = inferred,
        help = "Records at the beginning and at the end of a store that its columns are inferred from, or all [default: 10000]"
    )]
    infer: Option<Inferred>,
}

#[derive(Clone, Copy, Debug)]
struct Inferred(Option<u64>);

impl Inferring {
    /// The number of records; `None` for all.
    pub(crate) fn records(self) -> Option<u64> {
        self.infer.map_or(Some(INFERRED_MAX), |inferred| inferred.0)
    }
}

fn inferred(text: &str) -> Result<Inferred, String> {
    match text {
        "all" => Ok(Inferred(None)),
        text => match text.parse() {
            Ok(count) if count > 0 => Ok(Inferred(Some(count))),
            _ => Err("expected a number from 1, or `all`".to_owned()),
        },
    }
}

/// Memory that a query may be given, at least: below it nothing can be grouped.
const MEMORY_LEN_MIN: u64 = 1 << 20;

fn memory(text: &str) -> Result<usize, String> {
    let parsed = parse_size(text).filter(|len| *len >= MEMORY_LEN_MIN);
    let parsed = parsed.and_then(|len| usize::try_from(len).ok());
    parsed.ok_or_else(|| "expected a size from 1MiB, as 512MiB".to_owned())
}

/// Flags of `completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// Flags of `man`.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Write a page for each command into this folder, instead of printing that of eciton
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// Flags of `init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The data: files, globs or a folder
    #[arg(value_name = "DATA", required = true)]
    pub(crate) data: Vec<String>,
    /// The job file to write; `-` prints it [default: the name of the data, as in flights.toml]
    #[arg(long, short, value_name = "JOB.toml")]
    pub(crate) out: Option<PathBuf>,
    /// Print the job file instead of writing it
    #[arg(long, conflicts_with = "out")]
    pub(crate) stdout: bool,
    /// The name of the job and of its store [default: made from that of the data]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Overwrite the job file if it exists
    #[arg(long)]
    pub(crate) force: bool,
    /// Read every row, however many there are
    #[arg(long)]
    pub(crate) full: bool,
}

/// How records are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns aligned under their names
    Table,
    /// Comma-separated values under a header
    Csv,
    /// A JSON object a line
    Jsonl,
    /// One JSON array
    Json,
    /// A Parquet file
    Parquet,
    /// Arrow IPC: a stream, or with --out a file (also known as Feather; `.arrows` is a stream)
    Arrow,
}

pub(crate) const SCAN_EXAMPLES: &str = "\
Examples:
  eciton scan flights --db ./db --limit 10
  eciton scan flights --prefix '[2013,2,14]' --db ./db
  eciton scan flights --from '[2013,2]' --to '[2013,3]' --reverse --db ./db
  eciton scan delay_by_carrier --db ./db --json
  eciton scan delay_by_carrier --db ./db --format csv > delays.csv

--from is included, --to is not. On a terminal the records are an aligned table, elsewhere one line
each with tabs between the fields; --json prints {\"key\":...,\"value\":...} a line.

With --format each field of the key and each member of the value is a column of its own, with a header and its own type.
Columns are inferred as for `eciton query`.";

/// Flags of `scan`.
#[derive(Debug, Args)]
pub(crate) struct Scan {
    /// The store
    pub(crate) store: String,
    /// First key, included
    #[arg(long, value_name = "KEY", allow_negative_numbers = true)]
    pub(crate) from: Option<String>,
    /// Last key, not included
    #[arg(long, value_name = "KEY", allow_negative_numbers = true)]
    pub(crate) to: Option<String>,
    /// Only keys that begin with these fields
    #[arg(long, value_name = "KEY", allow_negative_numbers = true)]
    pub(crate) prefix: Option<String>,
    /// At most this many records
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) limit: Option<u64>,
    /// From the last key to the first
    #[arg(long)]
    pub(crate) reverse: bool,
    /// Keys without their values
    #[arg(long)]
    pub(crate) keys_only: bool,
    /// Print a column for each field, in this format
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    #[command(flatten)]
    pub(crate) inferring: Inferring,
}
