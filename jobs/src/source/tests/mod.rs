//! Sources from the outside: a job file and data in a folder, then what comes out of the shards.

mod compressed;
mod csv;
mod fuzzed;
mod hive;
mod identity;
mod ipc;
mod jsonl;
mod malformed;
mod mending;
mod others;
mod parquet;
mod planning;
mod remote;

use std::fs;
use std::io::Write;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tempfile::TempDir;

use super::{Planned, Shard, Source, SourceError, open_shard, plan};
use crate::spec::JobFile;

/// A folder with a job file `job.toml` and the data it reads.
struct Folder {
    dir: TempDir,
    source: String,
}

impl Folder {
    /// `source` is the body of `[source]`.
    fn new(source: &str) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            source: source.to_owned(),
        }
    }

    fn with(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    /// Changes a file in place, and leaves its time of modification as it was and another mode to explain its time of change:
    /// damage, and not an edit that is seen before it is read.
    fn damage(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, bytes).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        let times = fs::FileTimes::new().set_modified(modified);
        file.set_times(times).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mut mode = file.metadata().unwrap().permissions();
            mode.set_mode(mode.mode() | 0o001);
            file.set_permissions(mode).unwrap();
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn job(&self) -> JobFile {
        let text = format!(
            "name = \"j\"\n[source]\n{}\n[upsert]\nstore = \"s\"\nkey = [\"a\"]\n",
            self.source
        );
        JobFile::parse(&self.path("job.toml"), &text).unwrap()
    }

    fn plan(&self) -> Planned {
        plan(&self.job()).unwrap()
    }

    /// The message of a refused plan, without the folder's own path.
    fn refusal(&self) -> String {
        let job = self.job();
        let message = match plan(&job) {
            // As a job is told that reads all columns.
            Ok(planned) => {
                let all: Vec<usize> = (0..planned.plan.schema.len()).collect();
                let unlike = planned.check_alike(&all).unwrap_err();
                job.error("source.paths", unlike).to_string()
            }
            Err(error) => error.to_string(),
        };
        message.replace(&format!("{}/", self.dir.path().display()), "")
    }

    fn open(&self) -> (Source, Vec<Shard>) {
        let planned = self.plan();
        let shards = planned.shards().unwrap();
        (
            planned
                .source(self.job().into_spec().source.unwrap())
                .unwrap(),
            shards,
        )
    }

    /// What came out of every shard.
    fn read(&self) -> Output {
        let (source, shards) = self.open();
        read(&source, &shards).unwrap()
    }

    /// What came out of every shard, or why nothing did, while planning or reading.
    fn try_read(&self) -> Result<Output, String> {
        let planned = plan(&self.job()).map_err(|error| error.to_string())?;
        let shards = planned.shards().unwrap();
        let spec = self.job().into_spec().source.unwrap();
        let source = planned.source(spec).unwrap();
        read(&source, &shards).map_err(|error| error.to_string())
    }

    /// The message of the first shard that fails.
    fn failure(&self) -> String {
        let (source, shards) = self.open();
        read(&source, &shards).unwrap_err().to_string()
    }
}

/// What came out of some shards.
#[derive(Debug)]
struct Output {
    /// Values as text, NULL as `∅`.
    rows: Vec<Vec<String>>,
    skipped: u64,
    hashes: Vec<u128>,
}

fn read(source: &Source, shards: &[Shard]) -> Result<Output, SourceError> {
    let columns: Vec<usize> = (0..source.schema().fields().len()).collect();
    let mut all = Output {
        rows: vec![],
        skipped: 0,
        hashes: vec![],
    };
    for shard in shards {
        let mut reader = open_shard(source, *shard, &columns)?;
        let batches = reader.by_ref().collect::<Result<Vec<_>, _>>()?;
        let whole = concat_batches(reader.schema(), &batches).unwrap();
        assert_eq!(whole.num_rows() as u64, reader.rows_read());
        all.rows.extend(shown(&whole));
        all.skipped += reader.rows_skipped();
        all.hashes
            .push(reader.bytes_hash().expect("the shard was read to its end"));
    }
    Ok(all)
}

fn shown(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("∅");
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
        .collect();
    let cell = |row: usize| {
        columns
            .iter()
            .map(move |column| column.value(row).to_string())
    };
    (0..batch.num_rows())
        .map(|row| cell(row).collect())
        .collect()
}

/// Names and types of the columns, as recorded.
fn columns(planned: &Planned) -> Vec<(String, String)> {
    planned
        .plan
        .schema
        .iter()
        .map(|f| (f.name.clone(), f.r#type.clone()))
        .collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(vec![], bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(vec![], 6);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}
