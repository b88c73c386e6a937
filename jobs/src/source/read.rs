//! Reading the rows of a shard.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::error::SourceError;
use super::format::ShardRows;
use super::hive::{FolderColumns, FolderRows};
use super::plan::{Shard, Source};
use super::reach::Reach;
use super::watch::Watch;

/// Opens a shard to read its rows. `columns` are indices into [`Source::schema`], in the order wanted; only
/// these are parsed, so a value that is not of its column's type is malformed only in one of these. An empty
/// list gives batches without columns that still count rows.
///
/// Blocks the thread, here and in the iterator: call it where blocking is allowed.
///
/// # Errors
/// [`SourceError`] if the file cannot be opened, is not the recorded one, or is damaged where reading begins.
pub fn open_shard(
    source: &Source,
    shard: Shard,
    columns: &[usize],
) -> Result<ShardReader, SourceError> {
    let schema = source
        .schema()
        .project(columns)
        .map_err(|e| SourceError::Plan(e.to_string()))?;
    let schema = SchemaRef::new(schema);
    let reach = source.reach().clone();
    let (watch, rows) = reach.during(|| {
        let watch = Watch::open(source, shard)?;
        let rows = open_rows(source, shard, columns, &schema);
        let rows = rows.map_err(|error| match &watch {
            Some(watch) => watch.reason(error),
            None => error,
        })?;
        Ok::<_, SourceError>((watch, rows))
    })?;
    Ok(ShardReader {
        schema,
        rows,
        reach,
        watch,
        rows_read: 0,
        state: ReaderState::Reading,
    })
}

/// The rows of a shard, with the columns that are folders.
fn open_rows(
    source: &Source,
    shard: Shard,
    columns: &[usize],
    schema: &SchemaRef,
) -> Result<Box<dyn ShardRows>, SourceError> {
    let format = source.format()?;
    if source.folders() == 0 {
        return format.open(source, shard, columns, schema);
    }
    let wanted = FolderColumns::of(source, shard, columns, schema)?;
    let of_files = source.of_files();
    let of_file = of_files.schema().project(&wanted.of_file);
    let of_file = SchemaRef::new(of_file.map_err(|e| SourceError::Plan(e.to_string()))?);
    let rows = format.open(&of_files, shard, &wanted.of_file, &of_file)?;
    Ok(Box::new(FolderRows {
        rows,
        wanted,
        schema: schema.clone(),
    }))
}

/// The rows of a shard, in their order, as batches of at most
/// [`BATCH_ROWS_MAX`](super::limits::BATCH_ROWS_MAX) rows. After an error there is nothing more.
///
/// Holds one block of text or one batch of a row group at a time, however long the file is.
pub struct ShardReader {
    schema: SchemaRef,
    rows: Box<dyn ShardRows>,
    /// A file may be opened again to tell where something malformed is.
    reach: Reach,
    watch: Option<Watch>,
    rows_read: u64,
    state: ReaderState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReaderState {
    Reading,
    Complete,
    Broken,
}

impl ShardReader {
    /// The columns of the batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows given out so far.
    pub fn rows_read(&self) -> u64 {
        self.rows_read
    }

    /// Malformed records left out so far, under `on_error = "skip"`.
    pub fn rows_skipped(&self) -> u64 {
        self.rows.rows_skipped()
    }

    /// Values of members of JSON objects that are no columns, which were left out so far.
    pub fn values_ignored(&self) -> u64 {
        self.rows.values_ignored()
    }

    /// Bytes read so far: of decompressed text; of a file of groups of rows, all that the shard covers.
    pub fn bytes_read(&self) -> u64 {
        self.rows.bytes_read()
    }

    /// XXH3-128 of the bytes that the shard covers, once all its rows were read, from the file that was recorded.
    pub fn bytes_hash(&self) -> Option<u128> {
        (self.state == ReaderState::Complete).then(|| self.rows.digest())
    }

    /// What comes next, or, at the end and after an error, whether it was of the recorded file.
    fn watched(
        &self,
        next: Result<Option<RecordBatch>, SourceError>,
    ) -> Result<Option<RecordBatch>, SourceError> {
        let Some(watch) = &self.watch else {
            return next;
        };
        match next {
            Ok(None) => watch.check(self.rows.digest()).map(|()| None),
            Err(error) => Err(watch.reason(error)),
            batch => batch,
        }
    }
}

impl Iterator for ShardReader {
    type Item = Result<RecordBatch, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state != ReaderState::Reading {
            return None;
        }
        let rows = &mut self.rows;
        let reach = self.reach.clone();
        let next = reach.during(|| rows.next());
        let next = reach.during(|| self.watched(next));
        match &next {
            Ok(Some(batch)) => self.rows_read += batch.num_rows() as u64,
            Ok(None) => self.state = ReaderState::Complete,
            Err(_) => self.state = ReaderState::Broken,
        }
        next.transpose()
    }
}
