//! Rows of a shard as files, which nobody sees before the shard is committed.
//!
//! A file is written into the staging folder of its job, under a name that no other attempt has, and synced. The
//! transaction that marks the shard as done records the file; only then is it renamed to the name that readers see. An
//! attempt that is not committed leaves files in the staging folder, which goes when the job is done.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array, new_empty_array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use eciton_engine::entropy::{Entropy as _, SystemEntropy};
use eciton_proto::v1::{ExportFormat, ExportPlan, ExportSpec, ExportedFile};
use parking_lot::Mutex;
use xxhash_rust::xxh3::Xxh3;

use super::error::AttemptError;
use crate::names;
use crate::stores::{Format as WriterFormat, QueryError, Writer, texts};

/// Folders that the rows of one shard go to.
const PARTITIONS_MAX: usize = 256;
/// Bytes of rows that wait for the end of their row groups, in all files of a shard.
const HELD_LEN_MAX: usize = 64 << 20;
/// The name of a folder whose column is NULL, as Hive has it.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";
/// What a partition folder of a file that has none is called.
const WHOLE: &str = "";

/// How rows become files, planned once.
#[derive(Clone, Debug)]
pub(crate) struct Export {
    format: WriterFormat,
    /// Columns that become folders, by name and place.
    partition: Vec<(String, usize)>,
    /// Places of the others.
    kept: Vec<usize>,
    schema: SchemaRef,
    /// Where files go; `None` while the job is only checked.
    place: Option<Place>,
}

/// The folders of a job's files.
#[derive(Clone, Debug)]
struct Place {
    folder: PathBuf,
    staging: PathBuf,
    job: String,
}

impl Export {
    /// Finds the columns of `spec` among those of the rows.
    ///
    /// # Errors
    /// The key of the job file to blame, and what was expected.
    pub(crate) fn plan(spec: &ExportSpec, rows: &Schema) -> Result<Export, (&'static str, String)> {
        const BY: &str = "export.partition_by";
        let mut partition = Vec::new();
        for name in &spec.partition_by {
            let found = rows.fields().iter().position(|field| field.name() == name);
            let Some(at) = found else {
                let all: Vec<String> = rows.fields().iter().map(|f| f.name().clone()).collect();
                let message = format!("no column `{name}`: {}", names::candidates(name, &all));
                return Err((BY, message));
            };
            let data_type = rows.field(at).data_type();
            if !is_folder_name(data_type) {
                let message = format!(
                    "column `{name}` of type {data_type} cannot name a folder: expected bool, integer, string or date"
                );
                return Err((BY, message));
            }
            partition.push((name.clone(), at));
        }
        let is_kept = |at: &usize| !partition.iter().any(|(_, folder)| folder == at);
        let kept: Vec<usize> = (0..rows.fields().len()).filter(is_kept).collect();
        if kept.is_empty() {
            return Err((
                BY,
                "expected a column that is left for the files, found none".to_owned(),
            ));
        }
        let schema = rows
            .project(&kept)
            .map_err(|error| (BY, error.to_string()))?;
        let format = match spec.format() {
            ExportFormat::Csv => WriterFormat::Csv,
            _ => WriterFormat::Parquet,
        };
        let schema = Arc::new(schema);
        check_writable(format, &schema).map_err(|message| ("export.format", message))?;
        Ok(Export {
            format,
            partition,
            kept,
            schema,
            place: None,
        })
    }

    /// Takes the folders that were recorded with the job.
    pub(crate) fn set_place(&mut self, job: &str, plan: &ExportPlan) {
        let folder = PathBuf::from(&plan.folder);
        self.place = Some(Place {
            staging: folder.join(&plan.staging),
            folder,
            job: job.to_owned(),
        });
    }

    /// Begins a shard. Creates nothing before there are rows.
    pub(crate) fn start(&self, shard: u64) -> ExportWriter {
        ExportWriter {
            plan: self.clone(),
            shard,
            attempt: SystemEntropy.next_u128() >> 64,
            parts: Vec::new(),
            known: HashMap::new(),
        }
    }

    /// The end of the names of its files.
    pub(crate) fn extension(&self) -> &'static str {
        match self.format {
            WriterFormat::Csv => "csv",
            _ => "parquet",
        }
    }
}

/// Whether values of a type name folders that readers understand.
fn is_folder_name(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Boolean
                | DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Utf8View
                | DataType::Date32
        )
}

/// Whether columns have a form in a format.
fn check_writable(format: WriterFormat, schema: &SchemaRef) -> Result<(), String> {
    for field in schema.fields() {
        let (name, data_type) = (field.name(), field.data_type());
        if format == WriterFormat::Csv && data_type.is_nested() {
            return Err(format!(
                "column `{name}` of type {data_type} has no form in CSV; leave it out, or write Parquet"
            ));
        }
    }
    let columns = schema
        .fields()
        .iter()
        .map(|field| new_empty_array(field.data_type()));
    let none = RecordBatch::try_new(Arc::clone(schema), columns.collect());
    let none = none.map_err(|error| error.to_string())?;
    let written = Writer::new(format, schema, io::sink()).and_then(|mut writer| {
        writer.write(&none)?;
        writer.finish()
    });
    written.map_err(|error| error.to_string())
}

/// The files of one shard. Dropped before its [end](ExportWriter::end), it removes them.
pub(crate) struct ExportWriter {
    plan: Export,
    shard: u64,
    /// What tells its files from those of other attempts.
    attempt: u128,
    parts: Vec<ExportPart>,
    /// Places in `parts` by the folders of partitions.
    known: HashMap<String, usize>,
}

/// One file that is being written.
struct ExportPart {
    folder: String,
    /// Its name in the staging folder.
    staged: String,
    path: PathBuf,
    writer: Option<Writer<Summed>>,
    sum: Arc<Mutex<Sum>>,
    rows: u64,
}

/// What is known of the bytes of a file.
struct Sum {
    len: u64,
    hash: Xxh3,
}

/// A file whose bytes are summed up as they are written.
struct Summed {
    file: BufWriter<File>,
    sum: Arc<Mutex<Sum>>,
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.file.write(bytes)?;
        let mut sum = self.sum.lock();
        sum.len += len as u64;
        sum.hash.update(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl ExportWriter {
    /// Adds rows with the columns that the export was planned for. Blocks.
    ///
    /// # Errors
    /// [`AttemptError`]: another attempt may succeed where a disk failed or the folder is not here.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<(), AttemptError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let files = batch
            .project(&self.plan.kept)
            .map_err(AttemptError::lasting)?;
        if self.plan.partition.is_empty() {
            return self.write(WHOLE, &files);
        }
        for (folder, rows) in self.folders(batch)? {
            let rows = take_record_batch(&files, &UInt32Array::from(rows));
            self.write(&folder, &rows.map_err(AttemptError::lasting)?)?;
        }
        self.relieve()
    }

    /// The rows of a batch by their folders, in the order in which folders come.
    fn folders(&self, batch: &RecordBatch) -> Result<Vec<(String, Vec<u32>)>, AttemptError> {
        let places: Vec<usize> = self.plan.partition.iter().map(|(_, at)| *at).collect();
        let named = batch.project(&places).map_err(AttemptError::lasting)?;
        let values = texts(&named).map_err(AttemptError::lasting)?;
        assert_eq!(values.len(), batch.num_rows(), "a folder for each row");
        let mut found: Vec<(String, Vec<u32>)> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        for (row, values) in (0_u32..).zip(values) {
            let named = self
                .plan
                .partition
                .iter()
                .zip(&values)
                .map(|((name, _), value)| {
                    let value = value.text.as_deref();
                    format!(
                        "{}={}",
                        escaped(name),
                        value.map_or(NULL.to_owned(), escaped)
                    )
                });
            let folder = named.collect::<Vec<_>>().join("/");
            match known.get(&folder) {
                Some(at) => found[*at].1.push(row),
                None => {
                    known.insert(folder.clone(), found.len());
                    found.push((folder, vec![row]));
                }
            }
        }
        Ok(found)
    }

    fn write(&mut self, folder: &str, rows: &RecordBatch) -> Result<(), AttemptError> {
        let at = match self.known.get(folder) {
            Some(at) => *at,
            None => self.begin(folder)?,
        };
        let part = &mut self.parts[at];
        part.rows += rows.num_rows() as u64;
        match &mut part.writer {
            Some(writer) => writer
                .write(rows)
                .map_err(|error| failed(&part.path, error)),
            None => Ok(()),
        }
    }

    fn begin(&mut self, folder: &str) -> Result<usize, AttemptError> {
        let at = self.parts.len();
        if at >= PARTITIONS_MAX {
            return Err(AttemptError::lasting(format!(
                "its rows go to more than {PARTITIONS_MAX} folders of `export.partition_by`; expected columns with fewer \
                 values, or a smaller `source.shard_size`"
            )));
        }
        let Some(place) = &self.plan.place else {
            return Err(AttemptError::lasting(
                "the job was recorded without a folder",
            ));
        };
        let staged = format!("{}-{:016x}-{at}.tmp", self.shard, self.attempt);
        let path = place.staging.join(&staged);
        // The staging folder was created when the job was recorded. Where it is missing, this is another folder.
        let file = File::options().write(true).create_new(true).open(&path);
        let file = file.map_err(|error| AttemptError::Shard {
            message: match error.kind() {
                io::ErrorKind::NotFound => format!(
                    "`{}` is not the folder that the job was recorded with; expected a file system that all workers share",
                    place.folder.display()
                ),
                _ => format!("{}: {error}", path.display()),
            },
            transient: true,
        })?;
        let sum = Arc::new(Mutex::new(Sum {
            len: 0,
            hash: Xxh3::new(),
        }));
        let out = Summed {
            file: BufWriter::with_capacity(64 * 1024, file),
            sum: Arc::clone(&sum),
        };
        // Known from here on, so that it is removed with the others.
        self.parts.push(ExportPart {
            folder: folder.to_owned(),
            staged,
            path: path.clone(),
            writer: None,
            sum,
            rows: 0,
        });
        self.known.insert(folder.to_owned(), at);
        let writer = Writer::new(self.plan.format, &self.plan.schema, out);
        self.parts[at].writer = Some(writer.map_err(|error| failed(&path, error))?);
        Ok(at)
    }

    /// Ends row groups where too many rows wait for theirs.
    fn relieve(&mut self) -> Result<(), AttemptError> {
        let writers = self.parts.iter().filter_map(|part| part.writer.as_ref());
        if writers.map(Writer::held_len).sum::<usize>() <= HELD_LEN_MAX {
            return Ok(());
        }
        for part in &mut self.parts {
            if let Some(writer) = &mut part.writer {
                writer
                    .end_group()
                    .map_err(|error| failed(&part.path, error))?;
            }
        }
        Ok(())
    }

    /// The files, whole and synced, to be recorded with the shard; nobody else removes them from here on. Blocks.
    ///
    /// # Errors
    /// As [`ExportWriter::push`].
    pub(crate) fn end(mut self) -> Result<Vec<ExportedFile>, AttemptError> {
        let Some(place) = self.plan.place.clone() else {
            return Ok(Vec::new());
        };
        let mut files = Vec::with_capacity(self.parts.len());
        for part in &mut self.parts {
            if let Some(writer) = part.writer.take() {
                writer.finish().map_err(|error| failed(&part.path, error))?;
            }
            let synced = File::open(&part.path).and_then(|file| file.sync_all());
            synced.map_err(|error| failed(&part.path, error.into()))?;
            let name = format!("{}-{:05}.{}", place.job, self.shard, self.plan.extension());
            let sum = part.sum.lock();
            files.push(ExportedFile {
                path: match part.folder.as_str() {
                    WHOLE => name,
                    folder => format!("{folder}/{name}"),
                },
                staged: part.staged.clone(),
                rows: part.rows,
                len: sum.len,
                hash: sum.hash.digest(),
            });
        }
        if !files.is_empty() {
            let synced = File::open(&place.staging).and_then(|folder| folder.sync_all());
            synced.map_err(|error| failed(&place.staging, error.into()))?;
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        assert_eq!(files.len(), self.parts.len(), "a file for each folder");
        self.parts.clear();
        Ok(files)
    }
}

impl Drop for ExportWriter {
    fn drop(&mut self) {
        for part in &self.parts {
            // What stays is swept with the staging folder.
            fs::remove_file(&part.path).ok();
        }
    }
}

fn failed(path: &Path, error: QueryError) -> AttemptError {
    match error {
        QueryError::Io(error) => AttemptError::Shard {
            message: format!("{}: {error}", path.display()),
            transient: true,
        },
        error => AttemptError::lasting(error),
    }
}

/// A name or a value as part of the name of a folder, as Hive writes it.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_ascii_control() || "\"#%'*/:=?\\{}[]^".contains(c) {
            true => escaped.extend(format!("%{:02X}", u32::from(c)).chars()),
            false => escaped.push(c),
        }
    }
    // These two have a meaning of their own.
    match escaped.as_str() {
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        "" => NULL.to_owned(),
        _ => escaped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_as_hive_does() {
        for (value, name) in [
            ("2013", "2013"),
            ("a b-c.d", "a b-c.d"),
            ("a/b=c%", "a%2Fb%3Dc%25"),
            ("..", "%2E%2E"),
            ("x\u{1}", "x%01"),
            ("é", "é"),
        ] {
            assert_eq!(escaped(value), name);
        }
    }
}
