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

DATA is a file, a glob or a folder of CSV, TSV, JSON lines, Parquet or Arrow files; text files can also be .gz, .zst, .bz2 or .xz. The
job file runs unchanged: it has the format, the delimiter, the words that stand for NULL, the columns and their types as
comments, and a first query. Up to 256 MiB of the data are read, spread over all files; --full reads everything.

The next steps are `eciton plan JOB.toml` and `eciton run JOB.toml --db ./db`.";

pub(crate) const QUERY_EXAMPLES: &str = "\
Examples:
  eciton query 'SELECT carrier, flights FROM delays ORDER BY flights DESC LIMIT 5' --db ./db
  eciton query 'SELECT a.name, d.flights FROM delays d JOIN airlines a ON a.key = d.carrier' --db ./db
  eciton query \"SELECT * FROM flights WHERE year = 2013 AND month = 2\" --db ./db --format csv > february.csv
  eciton query --file report.sql --db ./db --out report.parquet
  eciton query \"SELECT * FROM flights WHERE year = 2013\" --db ./db --explain

The stores of the database are the tables. Their columns are the fields of the key, and the members or columns of the
value; `SELECT * FROM STORE LIMIT 1` shows them. A key without field names is the column `key`; a value that is not an
object is the column `value`. Quote names that are not plain words: FROM \"delay-by-carrier\".

A query reads one state of the database, beside a running writer, and changes nothing. Conditions on the first fields of a key
(=, <, <=, >, >=, BETWEEN, IN, LIKE 'AB%') become key ranges, and only those are read: see --explain and --stats.

Columns and their types are inferred from the first and the last 10,000 records of a store. If another record does not
fit, the query fails and names it; --infer all reads every record first.

The result is a table on a terminal, and CSV elsewhere. In JSON and CSV, timestamps are text such as 2013-01-01T10:00:00Z,
and bytes are base64.";

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
    /// Output format [default: table on a terminal, else csv; with --out, by the extension of the file]
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// Write the result to a file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Memory limit of the query, such as 512MiB; larger sorts use temporary files, other operators fail
    #[arg(long, value_name = "SIZE", value_parser = memory, default_value = "512MiB")]
    pub(crate) memory: usize,
    #[command(flatten)]
    pub(crate) inferring: Inferring,
    /// Print the query plan and the key ranges that it reads, instead of the result
    #[arg(long)]
    pub(crate) explain: bool,
    /// Print on stderr how many records of each store were read
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
        help = "How many records at each end of a store its columns are inferred from, or all [default: 10000]"
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
    /// Write a page for each command into this folder instead of printing the main page
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// Flags of `init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The data: files, globs or a folder
    #[arg(value_name = "DATA", required = true)]
    pub(crate) data: Vec<String>,
    /// The job file to write; `-` prints it [default: named after the data, such as flights.toml]
    #[arg(long, short, value_name = "JOB.toml")]
    pub(crate) out: Option<PathBuf>,
    /// Print the job file instead of writing it
    #[arg(long, conflicts_with = "out")]
    pub(crate) stdout: bool,
    /// The name of the job and of its store [default: derived from the name of the data]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Overwrite the job file if it exists
    #[arg(long)]
    pub(crate) force: bool,
    /// Read every row
    #[arg(long)]
    pub(crate) full: bool,
}

/// How records are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns with a header
    Table,
    /// Comma-separated values with a header
    Csv,
    /// One JSON object per line
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

--from is inclusive, --to is exclusive. On a terminal, records are printed as an aligned table, elsewhere as
tab-separated lines. --json prints one {\"key\":...,\"value\":...} per line.

With --format, each field of the key and each member of the value is a column with its own type.
Columns are inferred as for `eciton query`.";

/// Flags of `scan`.
#[derive(Debug, Args)]
pub(crate) struct Scan {
    /// The store
    pub(crate) store: String,
    /// First key (inclusive)
    #[arg(long, value_name = "KEY", allow_negative_numbers = true)]
    pub(crate) from: Option<String>,
    /// End key (exclusive)
    #[arg(long, value_name = "KEY", allow_negative_numbers = true)]
    pub(crate) to: Option<String>,
    /// Only keys that begin with these fields
    #[arg(long, value_name = "KEY", allow_negative_numbers = true)]
    pub(crate) prefix: Option<String>,
    /// Maximum number of records
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) limit: Option<u64>,
    /// Print from the last key to the first
    #[arg(long)]
    pub(crate) reverse: bool,
    /// Print keys without values
    #[arg(long)]
    pub(crate) keys_only: bool,
    /// Print each field as a column, in this format
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    #[command(flatten)]
    pub(crate) inferring: Inferring,
}
