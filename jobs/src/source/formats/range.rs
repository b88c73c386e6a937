//! `range`: the integers from one to another.

use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use eciton_proto::v1::task_spec::Read;
use eciton_proto::v1::{Format, SourceFile, SourceSpec, ValueRange};
use xxhash_rust::xxh3::xxh3_128;

use super::super::content::{Hashed, Promise};
use super::super::error::SourceError;
use super::super::format::{About, ComputedSource, Places, ShardRows, SourceFormat, Types};
use super::super::mend::{Mending, Piece};
use super::super::plan::{Shard, Source};
use super::super::range::{RangeShard, schema};
use super::super::schema::{FileFacts, Surveyed, Writings};
use crate::spec::limits::SHARD_LEN_MAX;
use crate::spec::{Entry, JobFile, Section, SpecError};

static ABOUT: About = About {
    name: "range",
    number: Format::Range as i32,
    title: "range",
    extensions: &[],
    magic: None,
    keys: &["from", "to", "shard_len"],
    types: Types::Fixed,
    unit: "values",
};

/// The format `range`.
pub(super) struct RangeFormat;

/// The rows of a shard.
struct RangeRows {
    shard: RangeShard,
    digest: u128,
}

impl ShardRows for RangeRows {
    fn next(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        Ok(self.shard.next())
    }

    fn digest(&self) -> u128 {
        self.digest
    }
}

/// Of files, which there are none of.
fn no_file() -> SourceError {
    SourceError::Plan("a file of a range".to_owned())
}

impl SourceFormat for RangeFormat {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn read_keys(&self, section: &Section<'_>, spec: &mut SourceSpec) -> Result<(), SpecError> {
        let required = |key: &str| -> Result<Entry<'_, i64>, SpecError> {
            let found = section.integer(key, "an integer")?;
            found.ok_or_else(|| section.missing(key, "an integer"))
        };
        spec.from = required("from")?.value;
        let to = required("to")?;
        spec.to = to.value;
        if spec.to < spec.from {
            return Err(to.error(format!(
                "expected at least `source.from`, which is {}, found {}",
                spec.from, spec.to
            )));
        }
        let expected = format!("an integer from 1 to {SHARD_LEN_MAX}");
        let legal = |len: &i64| {
            let len = u64::try_from(*len).ok();
            len.filter(|len| (1..=SHARD_LEN_MAX).contains(len))
        };
        spec.shard_len = required("shard_len")?.parsed(legal, expected)?.value;
        Ok(())
    }

    fn computed(&self, spec: &SourceSpec) -> Option<ComputedSource> {
        let len = i128::from(spec.to) - i128::from(spec.from);
        Some(ComputedSource {
            schema: schema(),
            len: u64::try_from(len).unwrap_or(0),
            shard_len: spec.shard_len,
            key: "source.shard_len",
        })
    }

    fn survey(
        &self,
        job: &JobFile,
        _: &SourceSpec,
        _: &[SourceFile],
    ) -> Result<(Surveyed, Writings), SpecError> {
        Err(job.error("source.format", no_file()))
    }

    fn cut(
        &self,
        _: &SourceSpec,
        _: &SourceFile,
        _: &FileFacts,
    ) -> Result<Vec<Range<u64>>, SourceError> {
        Err(no_file())
    }

    fn open(
        &self,
        source: &Source,
        shard: Shard,
        _: &[usize],
        schema: &SchemaRef,
    ) -> Result<Box<dyn ShardRows>, SourceError> {
        let spec = source.spec();
        let value = |offset: u64| {
            let value = i128::from(spec.from) + i128::from(offset);
            i64::try_from(value).ok().filter(|value| *value <= spec.to)
        };
        let bounds = value(shard.start).zip(value(shard.start.saturating_add(shard.len)));
        let (start, end) =
            bounds.ok_or_else(|| SourceError::Plan("a shard beyond the range".to_owned()))?;
        let bytes = [start.to_le_bytes(), end.to_le_bytes()].concat();
        Ok(Box::new(RangeRows {
            shard: RangeShard::new(schema.clone(), start, end),
            digest: xxh3_128(&bytes),
        }))
    }

    fn place_of_rows(
        &self,
        source: &Source,
        shard: Shard,
        _: &[usize],
        rows: &Range<u64>,
    ) -> Result<Option<Places>, SourceError> {
        let first = i128::from(source.spec().from) + i128::from(shard.start);
        Ok(Some(Places {
            what: "value",
            first: first + i128::from(rows.start),
            last: first + i128::from(rows.end) - 1,
        }))
    }

    fn rows_max(&self, _: &Source, shard: Shard) -> Result<Option<u64>, SourceError> {
        Ok(Some(shard.len))
    }

    fn task(&self, source: &Source, shard: Shard) -> Result<Read, SourceError> {
        let from = source.spec().from;
        let value = |units: u64| from.saturating_add_unsigned(units);
        Ok(Read::Values(ValueRange {
            start: value(shard.start),
            end: value(shard.start.saturating_add(shard.len)),
        }))
    }

    fn hash(&self, _: &SourceFile, _: &[Range<u64>]) -> Result<Hashed, SourceError> {
        Err(no_file())
    }

    fn is_kept(&self, _: &Promise<'_>) -> Result<bool, SourceError> {
        Err(no_file())
    }

    fn shown_place(&self, _: &SourceFile, range: &Range<u64>) -> String {
        format!("values {} to {}", range.start, range.end)
    }

    fn places_now(&self, _: &Mending<'_>, _: &[Piece]) -> Result<Vec<Range<u64>>, SourceError> {
        Err(no_file())
    }
}
