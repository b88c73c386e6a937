//! Flags of `export`.

use clap::{Args, ValueEnum};
use eciton_jobs::stores;

use crate::data_flags::Inferring;

pub(crate) const EXPORT_EXAMPLES: &str = "\
Examples:
  eciton export delay_by_carrier --to delays.parquet --db ./db
  eciton export flights --to s3://bucket/out/flights.parquet --db ./db
  eciton export flights --to flights/ --format parquet --rows-per-file 1000000 --db ./db
  eciton export flights --prefix '[2013,2]' --format csv --db ./db > february.csv

Each field of the key and each member of the value becomes a column with its own type. Columns are inferred as for
`eciton query`; if a later record does not fit them, the export starts over and looks at every record first.

An export shows one state of the database, beside running writers. A file or folder appears when it is complete: if the
export fails or is killed, what was there before stays as it was. In a bucket an existing object is never replaced.";

/// Flags of `export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The store
    pub(crate) store: String,
    /// The format [default: by the extension of the target, else csv]
    #[arg(long, value_enum)]
    pub(crate) format: Option<FileFormat>,
    #[arg(
        long,
        value_name = "PATH|URL|-",
        default_value = "-",
        help = "Where to: a file, a folder (ends with `/`), an object as s3://bucket/name (or gs://, az://), or `-`, which is standard output"
    )]
    pub(crate) to: String,
    /// Only keys that begin with this
    #[arg(long, value_name = "KEY", allow_negative_numbers = true)]
    pub(crate) prefix: Option<String>,
    /// Rows of each file in a folder, at most
    #[arg(long, value_name = "N", default_value_t = ROWS_PER_FILE, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rows_per_file: u64,
    #[command(flatten)]
    pub(crate) inferring: Inferring,
}

const ROWS_PER_FILE: u64 = 5_000_000;

/// A format of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileFormat {
    /// Comma-separated values under a header
    Csv,
    /// A JSON object a line
    Jsonl,
    /// Parquet
    Parquet,
    /// Arrow IPC: the file format, or a stream on standard output
    Arrow,
}

impl FileFormat {
    /// The format that an extension stands for.
    pub(crate) fn by_extension(extension: &str) -> Option<FileFormat> {
        match extension.to_ascii_lowercase().as_str() {
            "csv" => Some(FileFormat::Csv),
            "jsonl" | "ndjson" => Some(FileFormat::Jsonl),
            "parquet" | "pq" => Some(FileFormat::Parquet),
            "arrow" | "feather" | "ipc" => Some(FileFormat::Arrow),
            _ => None,
        }
    }

    /// The extension of its files.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            FileFormat::Csv => "csv",
            FileFormat::Jsonl => "jsonl",
            FileFormat::Parquet => "parquet",
            FileFormat::Arrow => "arrow",
        }
    }

    /// How it is written to a file, or to a pipe.
    pub(crate) fn written(self, to_file: bool) -> stores::Format {
        match self {
            FileFormat::Csv => stores::Format::Csv,
            FileFormat::Jsonl => stores::Format::Jsonl,
            FileFormat::Parquet => stores::Format::Parquet,
            FileFormat::Arrow if to_file => stores::Format::ArrowFile,
            FileFormat::Arrow => stores::Format::Arrow,
        }
    }
}
