//! `store`: the records of a store of the database.

use std::ops::Range;

use arrow::datatypes::SchemaRef;
use eciton_proto::v1::task_spec::Read;
use eciton_proto::v1::{Format, SourceFile, SourceSpec};

use super::super::content::{Hashed, Promise};
use super::super::error::SourceError;
use super::super::format::{About, Places, ShardRows, SourceFormat, Types};
use super::super::mend::{Mending, Piece};
use super::super::plan::{Shard, Source};
use super::super::schema::{FileFacts, Surveyed, Writings};
use super::super::stored::StoredRows;
use crate::spec::{JobFile, Section, SpecError, read_store_name};

static ABOUT: About = About {
    name: "store",
    number: Format::Store as i32,
    title: "store",
    extensions: &[],
    magic: None,
    keys: &["store", "shard_size"],
    types: Types::Fixed,
    unit: "records",
};

/// The format `store`. It is planned by [`plan_stored`](super::super::plan_stored), which has the database.
pub(super) struct StoreFormat;

/// Of files, which there are none of.
fn no_file() -> SourceError {
    SourceError::Plan("a file of a store".to_owned())
}

impl SourceFormat for StoreFormat {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn read_keys(&self, section: &Section<'_>, spec: &mut SourceSpec) -> Result<(), SpecError> {
        spec.store = read_store_name(section)?;
        Ok(())
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
        columns: &[usize],
        _: &SchemaRef,
    ) -> Result<Box<dyn ShardRows>, SourceError> {
        Ok(Box::new(StoredRows::open(source, shard, columns)?))
    }

    fn place_of_rows(
        &self,
        _: &Source,
        shard: Shard,
        _: &[usize],
        rows: &Range<u64>,
    ) -> Result<Option<Places>, SourceError> {
        let before = i128::from(shard.start);
        Ok(Some(Places {
            what: "record",
            first: before + i128::from(rows.start) + 1,
            last: before + i128::from(rows.end),
        }))
    }

    fn rows_max(&self, _: &Source, shard: Shard) -> Result<Option<u64>, SourceError> {
        Ok(Some(shard.len))
    }

    fn task(&self, _: &Source, _: Shard) -> Result<Read, SourceError> {
        let what = "only processes that have the database read the records of a store";
        Err(SourceError::Plan(what.to_owned()))
    }

    fn hash(&self, _: &SourceFile, _: &[Range<u64>]) -> Result<Hashed, SourceError> {
        Err(no_file())
    }

    fn is_kept(&self, _: &Promise<'_>) -> Result<bool, SourceError> {
        Err(no_file())
    }

    fn shown_place(&self, _: &SourceFile, range: &Range<u64>) -> String {
        format!("records {} to {}", range.start, range.end)
    }

    fn places_now(&self, _: &Mending<'_>, _: &[Piece]) -> Result<Vec<Range<u64>>, SourceError> {
        Err(no_file())
    }
}
