//! Formats whose files are groups of rows and tell their columns: what they have in common.
//!
//! A shard is some groups of a file, one after the other: row groups of Parquet. Where the groups are, and how many bytes
//! each takes, is known from a part of the file alone, its outline.

use std::ops::Range;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use eciton_proto::v1::task_spec::Read;
use eciton_proto::v1::{RowGroups, SchemaField, SourceFile, SourceSpec};

use super::super::columns::survey_typed;
use super::super::content::{self, Hashed, Promise};
use super::super::cut::cut_groups;
use super::super::error::SourceError;
use super::super::format::{About, Places, ShardRows, SourceFormat};
use super::super::found::probe;
use super::super::mend::{Mending, Piece};
use super::super::plan::{Shard, Source};
use super::super::schema::{FileFacts, Surveyed, Writings};
use crate::spec::{JobFile, Section, SpecError};

/// A format of groups of rows.
pub(in crate::source) trait GroupedFormat: Sync {
    /// Its facts.
    fn about(&self) -> &'static About;

    /// Reads what a file says of itself.
    ///
    /// # Errors
    /// [`SourceError`] for a file of another format, or a damaged one; those of reading it.
    fn outline(&self, file: &SourceFile) -> Result<Box<dyn FileOutline>, SourceError>;

    /// Opens some groups of a file.
    ///
    /// # Errors
    /// As [`SourceFormat::open`].
    fn open(
        &self,
        file: &SourceFile,
        groups: Range<u64>,
        request: ReadRequest<'_>,
    ) -> Result<Box<dyn ShardRows>, SourceError>;

    /// As [`SourceFormat::unreadable`].
    fn unreadable(&self, data_type: &DataType) -> Option<&'static str>;

    /// As [`SourceFormat::task`], of groups of a file.
    fn task(&self, groups: RowGroups) -> Read;
}

/// What a file says of itself.
pub(in crate::source) trait FileOutline {
    /// The columns, without metadata and all of them nullable, so that files compare by what matters.
    fn schema(&self) -> &Schema;

    /// Bytes of each group, as stored.
    fn lens(&self) -> Vec<u64>;

    /// Rows of the file before a group.
    ///
    /// # Errors
    /// Those of reading the file.
    fn rows_before(&self, group: u64) -> Result<u64, SourceError>;

    /// XXH3-128 of the bytes of some groups.
    ///
    /// # Errors
    /// Those of reading the file.
    fn digest(&self, groups: &Range<u64>) -> Result<u128, SourceError>;

    /// XXH3-64 of what else tells the rows: indices, dictionaries, the footer.
    ///
    /// # Errors
    /// Those of reading the file.
    fn rest_hash(&self) -> Result<u64, SourceError>;
}

/// What to read of a file.
#[derive(Clone, Copy)]
pub(in crate::source) struct ReadRequest<'a> {
    /// The columns of the source.
    pub(in crate::source) schema: &'a SchemaRef,
    /// Those wanted, in the order wanted.
    pub(in crate::source) columns: &'a [usize],
    /// Those that a file need not have.
    pub(in crate::source) declared: &'a [SchemaField],
}

/// A format of groups as a format of sources.
pub(super) struct Grouped<G>(pub(super) G);

impl<G: GroupedFormat> SourceFormat for Grouped<G> {
    fn about(&self) -> &'static About {
        self.0.about()
    }

    fn read_keys(&self, _: &Section<'_>, _: &mut SourceSpec) -> Result<(), SpecError> {
        Ok(())
    }

    fn survey(
        &self,
        job: &JobFile,
        spec: &SourceSpec,
        files: &[SourceFile],
    ) -> Result<(Surveyed, Writings), SpecError> {
        let surveyed = survey_typed(&self.0, job, spec, files)?;
        Ok((surveyed, Writings::default()))
    }

    fn cut(
        &self,
        spec: &SourceSpec,
        _: &SourceFile,
        facts: &FileFacts,
    ) -> Result<Vec<Range<u64>>, SourceError> {
        match facts {
            FileFacts::Groups { lens } => Ok(cut_groups(lens, spec.shard_size)),
            FileFacts::Text { .. } => Err(SourceError::Plan("groups of text".to_owned())),
        }
    }

    fn unreadable(&self, data_type: &DataType) -> Option<&'static str> {
        self.0.unreadable(data_type)
    }

    fn open(
        &self,
        source: &Source,
        shard: Shard,
        columns: &[usize],
        _: &SchemaRef,
    ) -> Result<Box<dyn ShardRows>, SourceError> {
        let request = ReadRequest {
            schema: source.schema(),
            columns,
            declared: &source.spec().schema,
        };
        let groups = shard.start..shard.start.saturating_add(shard.len);
        self.0.open(source.file(shard)?, groups, request)
    }

    fn place_of_rows(
        &self,
        source: &Source,
        shard: Shard,
        _: &[usize],
        rows: &Range<u64>,
    ) -> Result<Option<Places>, SourceError> {
        let outline = self.0.outline(source.file(shard)?)?;
        let before = i128::from(outline.rows_before(shard.start)?);
        Ok(Some(Places {
            what: "row",
            first: before + i128::from(rows.start) + 1,
            last: before + i128::from(rows.end),
        }))
    }

    fn rows_max(&self, _: &Source, _: Shard) -> Result<Option<u64>, SourceError> {
        Ok(None)
    }

    fn task(&self, source: &Source, shard: Shard) -> Result<Read, SourceError> {
        let file = source.file(shard)?;
        probe(file)?;
        Ok(self.0.task(RowGroups {
            file: Some(file.clone()),
            start: shard.start,
            end: shard.start.saturating_add(shard.len),
        }))
    }

    fn hash(&self, file: &SourceFile, ranges: &[Range<u64>]) -> Result<Hashed, SourceError> {
        content::hash_groups(file, ranges, || self.0.outline(file))
    }

    fn is_kept(&self, promise: &Promise<'_>) -> Result<bool, SourceError> {
        promise.are_groups_kept(|file| self.0.outline(file))
    }

    /// Its rows are read over a handle of their own, by what the file says elsewhere.
    fn reads_beside_shard(&self) -> bool {
        true
    }

    fn shown_place(&self, _: &SourceFile, range: &Range<u64>) -> String {
        format!("{} {} to {}", self.0.about().unit, range.start, range.end)
    }

    fn places_now(
        &self,
        mending: &Mending<'_>,
        pieces: &[Piece],
    ) -> Result<Vec<Range<u64>>, SourceError> {
        let outline = self.0.outline(mending.file_now())?;
        mending.group_ranges(pieces, outline.as_ref(), self.0.about().unit)
    }
}
