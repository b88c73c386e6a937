//! What is done with bytes that may be a file of a source, or a job file.
//!
//! Reading ends with rows or with an error, whatever the bytes are: never with a panic, without end, or with memory
//! that only a count in the file asks for. Text that is cut into other shards gives the same rows. A job file that is
//! read gives the same job again.

use std::fs;
use std::path::PathBuf;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use tempfile::TempDir;

use crate::source::{SourceError, open_shard, plan};
use crate::spec::{JobFile, fingerprint};

/// Rows after which reading ends: a few bytes of a column can stand for billions.
const ROWS_MAX: usize = 20_000;

/// What the first byte says the others are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Csv,
    Jsonl,
    Parquet,
    CsvGzip,
    CsvZstd,
    JsonlGzip,
    JobFile,
}

/// Every kind, in the order of their bytes.
pub(crate) const KINDS: [Kind; 7] = [
    Kind::Csv,
    Kind::Jsonl,
    Kind::Parquet,
    Kind::CsvGzip,
    Kind::CsvZstd,
    Kind::JsonlGzip,
    Kind::JobFile,
];

/// A folder for files.
pub(crate) struct Place(TempDir);

/// What came of reading a file.
#[derive(Debug, PartialEq)]
enum Outcome {
    Rows(Vec<String>),
    /// More than [`ROWS_MAX`].
    Many,
    Refused,
}

impl Place {
    pub(crate) fn new() -> Place {
        let memory = PathBuf::from("/dev/shm");
        let dir = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        #[allow(clippy::expect_used, reason = "without a folder there is no test")]
        Place(dir.expect("a folder for the files"))
    }

    /// Reads bytes as what the first two of them say.
    pub(crate) fn drive(&self, data: &[u8]) {
        let [kind, options, bytes @ ..] = data else {
            return;
        };
        let kind = KINDS[usize::from(*kind) % KINDS.len()];
        let (name, format) = match kind {
            Kind::Csv => ("x.csv", "csv"),
            Kind::Jsonl => ("x.jsonl", "jsonl"),
            Kind::Parquet => ("x.parquet", "parquet"),
            Kind::CsvGzip => ("x.csv.gz", "csv"),
            Kind::CsvZstd => ("x.csv.zst", "csv"),
            Kind::JsonlGzip => ("x.jsonl.gz", "jsonl"),
            Kind::JobFile => return job_file(bytes),
        };
        let path = self.0.path().join(name);
        #[allow(clippy::expect_used, reason = "without a file there is no test")]
        fs::write(&path, bytes).expect("a file in the folder");
        let whole = self.read(name, format, *options, "1GiB");
        if matches!(kind, Kind::Csv | Kind::Jsonl | Kind::Parquet) {
            let parts = self.read(name, format, *options, "1KiB");
            let told = match (&whole, &parts) {
                // A part is read only as far as it takes to know that it is much.
                (Outcome::Many, _) | (_, Outcome::Many) => true,
                (whole, parts) => whole == parts,
            };
            assert!(told, "cut: {parts:?}, whole: {whole:?}");
        }
    }

    fn read(&self, name: &str, format: &str, options: u8, shard_size: &str) -> Outcome {
        let mut source =
            format!("format = \"{format}\"\npaths = [\"{name}\"]\nshard_size = \"{shard_size}\"\n");
        let set = |bit: u8| options & (1 << bit) != 0;
        if set(0) {
            source.push_str("on_error = \"skip\"\n");
        }
        if format == "csv" && set(1) {
            source.push_str("header = false\n");
        }
        if format == "csv" && set(2) {
            source.push_str("newlines_in_values = true\n");
        }
        if set(3) {
            source.push_str("[source.schema]\nk = \"string\"\nv = \"int32\"\n");
        }
        let text =
            format!("name = \"j\"\n[source]\n{source}\n[upsert]\nstore = \"s\"\nkey = [\"k\"]\n");
        let job = JobFile::parse(&self.0.path().join("job.toml"), &text);
        #[allow(clippy::expect_used, reason = "the job file is ours")]
        let job = job.expect("a job file");
        let Ok(planned) = plan(&job) else {
            return Outcome::Refused;
        };
        let rows = (|| {
            let source = planned.source(job.into_spec().source.unwrap_or_default())?;
            let columns: Vec<usize> = (0..source.schema().fields().len()).collect();
            let mut rows = Some(vec![]);
            for shard in planned.shards()? {
                for batch in open_shard(&source, shard, &columns)? {
                    let batch = batch?;
                    let Some(found) = rows.as_mut() else { continue };
                    if found.len() + batch.num_rows() > ROWS_MAX {
                        return Ok(None);
                    }
                    found.extend(shown(&batch));
                }
            }
            Ok::<_, SourceError>(rows)
        })();
        match rows {
            Ok(Some(rows)) => Outcome::Rows(rows),
            Ok(None) => Outcome::Many,
            Err(error) => {
                assert!(
                    error.to_string().contains(&format!("`{name}`")),
                    "no file in: {error}"
                );
                Outcome::Refused
            }
        }
    }
}

fn shown(batch: &arrow::array::RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_display_error(true);
    let columns = batch.columns().iter();
    let columns: Vec<_> = columns
        .filter_map(|column| ArrayFormatter::try_new(column, &options).ok())
        .collect();
    let row = |row: usize| {
        let cells = columns.iter().map(|column| column.value(row).to_string());
        cells.collect::<Vec<_>>().join("|")
    };
    (0..batch.num_rows()).map(row).collect()
}

fn job_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let path = PathBuf::from("/nowhere/job.toml");
    match JobFile::parse(&path, text) {
        Ok(job) => {
            #[allow(clippy::expect_used, reason = "it was parsed before")]
            let again = JobFile::parse(&path, text).expect("the same text");
            assert_eq!(fingerprint(job.spec()), fingerprint(again.spec()));
        }
        Err(error) => assert!(
            error.to_string().starts_with("/nowhere/job.toml"),
            "{error}"
        ),
    }
}
