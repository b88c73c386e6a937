//! Reading the rows of a shard.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use eciton_proto::v1::{Format, OnError, OnNewColumns};
use xxhash_rust::xxh3::xxh3_128;

use super::csv::{CsvDecoder, CsvFormat};
use super::dialect::Dialect;
use super::error::SourceError;
use super::jsonl::{JsonDecoder, JsonFormat, Names};
use super::parquet::{ParquetShard, Request};
use super::plan::{Shard, Source};
use super::range::RangeShard;
use super::reach::Reach;
use super::text::{TextDecoder, TextShard};
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
    let schema = Arc::new(schema);
    let reach = source.reach().clone();
    let (watch, kind) = reach.during(|| {
        let watch = Watch::open(source, shard)?;
        let kind = open_kind(source, shard, columns, &schema);
        let kind = kind.map_err(|error| match &watch {
            Some(watch) => watch.reason(error),
            None => error,
        })?;
        Ok::<_, SourceError>((watch, kind))
    })?;
    Ok(ShardReader {
        schema,
        kind,
        reach,
        watch,
        rows_read: 0,
        state: State::Reading,
    })
}

fn open_kind(
    source: &Source,
    shard: Shard,
    columns: &[usize],
    schema: &SchemaRef,
) -> Result<Kind, SourceError> {
    Ok(match source.spec().format() {
        Format::Csv | Format::Tsv | Format::Jsonl => {
            Kind::Text(Box::new(open_text(source, shard, columns, schema)?))
        }
        Format::Parquet => {
            let file = source.file(shard)?;
            let request = Request {
                schema: source.schema(),
                columns,
                declared: &source.spec().schema,
            };
            let opened = ParquetShard::open(file, shard.start, shard.len, request)?;
            Kind::Parquet(Box::new(opened))
        }
        Format::Range => open_range(source, shard, schema)?,
        Format::Unspecified | Format::Store => {
            return Err(SourceError::Plan("an unknown format".to_owned()));
        }
    })
}

pub(super) fn open_text(
    source: &Source,
    shard: Shard,
    columns: &[usize],
    schema: &SchemaRef,
) -> Result<TextShard, SourceError> {
    let spec = source.spec();
    let plan = |message: &str| SourceError::Plan(message.to_owned());
    let dialect = Dialect::of(spec).ok_or_else(|| plan("not a text format"))?;
    let readings = source.readings();
    let schema = Arc::clone(schema);
    let decoder = if spec.format() == Format::Jsonl {
        let names = readings.iter().map(|reading| reading.name.as_str());
        // A job that names the columns it reads misses nothing of a new one.
        let reads_all = columns.len() == readings.len();
        let format = JsonFormat {
            schema,
            readings: columns.iter().map(|at| readings[*at].clone()).collect(),
            names: Arc::new(Names::new(names, columns)),
            refuses_new: reads_all && spec.on_new_columns() != OnNewColumns::Ignore,
        };
        TextDecoder::Json(Box::new(JsonDecoder::new(format)))
    } else {
        let format = CsvFormat {
            dialect,
            readings: Arc::clone(readings),
            schema,
            columns: columns.to_vec(),
            nulls: spec.null_values.clone(),
        };
        TextDecoder::Csv(Box::new(CsvDecoder::new(format)))
    };
    let skip = spec.on_error() == OnError::Skip;
    TextShard::open(
        source.file(shard)?,
        shard.start,
        shard.len,
        dialect,
        decoder,
        skip,
    )
}

fn open_range(source: &Source, shard: Shard, schema: &SchemaRef) -> Result<Kind, SourceError> {
    let spec = source.spec();
    let value = |offset: u64| {
        let value = i128::from(spec.from) + i128::from(offset);
        i64::try_from(value).ok().filter(|value| *value <= spec.to)
    };
    let bounds = value(shard.start).zip(value(shard.start.saturating_add(shard.len)));
    let (start, end) =
        bounds.ok_or_else(|| SourceError::Plan("a shard beyond the range".to_owned()))?;
    let bytes = [start.to_le_bytes(), end.to_le_bytes()].concat();
    let digest = xxh3_128(&bytes);
    Ok(Kind::Range {
        shard: RangeShard::new(schema.clone(), start, end),
        digest,
    })
}

enum Kind {
    Text(Box<TextShard>),
    Parquet(Box<ParquetShard>),
    Range { shard: RangeShard, digest: u128 },
}

/// The rows of a shard, in their order, as batches of at most
/// [`BATCH_ROWS_MAX`](super::limits::BATCH_ROWS_MAX) rows. After an error there is nothing more.
///
/// Holds one block of text or one batch of a row group at a time, however long the file is.
pub struct ShardReader {
    schema: SchemaRef,
    kind: Kind,
    /// A file may be opened again to tell where something malformed is.
    reach: Reach,
    watch: Option<Watch>,
    rows_read: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
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
        match &self.kind {
            Kind::Text(shard) => shard.rows_skipped(),
            Kind::Parquet(_) | Kind::Range { .. } => 0,
        }
    }

    /// Values of members of JSON objects that are no columns, which were left out so far.
    pub fn values_ignored(&self) -> u64 {
        match &self.kind {
            Kind::Text(shard) => shard.values_ignored(),
            Kind::Parquet(_) | Kind::Range { .. } => 0,
        }
    }

    /// Bytes read so far: of decompressed text; of a Parquet file, all that the shard covers.
    pub fn bytes_read(&self) -> u64 {
        match &self.kind {
            Kind::Text(shard) => shard.bytes_read(),
            Kind::Parquet(shard) => shard.bytes_read(),
            Kind::Range { .. } => 0,
        }
    }

    /// XXH3-128 of the bytes that the shard covers, once all its rows were read, from the file that was recorded.
    pub fn bytes_hash(&self) -> Option<u128> {
        (self.state == State::Complete).then(|| self.digest())
    }

    fn digest(&self) -> u128 {
        match &self.kind {
            Kind::Text(shard) => shard.digest(),
            Kind::Parquet(shard) => shard.digest(),
            Kind::Range { digest, .. } => *digest,
        }
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
            Ok(None) => watch.check(self.digest()).map(|()| None),
            Err(error) => Err(watch.reason(error)),
            batch => batch,
        }
    }
}

impl Iterator for ShardReader {
    type Item = Result<RecordBatch, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state != State::Reading {
            return None;
        }
        let kind = &mut self.kind;
        let reach = self.reach.clone();
        let next = reach.during(|| match kind {
            Kind::Text(shard) => shard.next(),
            Kind::Parquet(shard) => shard.next(),
            Kind::Range { shard, .. } => Ok(shard.next()),
        });
        let next = reach.during(|| self.watched(next));
        match &next {
            Ok(Some(batch)) => self.rows_read += batch.num_rows() as u64,
            Ok(None) => self.state = State::Complete,
            Err(_) => self.state = State::Broken,
        }
        next.transpose()
    }
}
