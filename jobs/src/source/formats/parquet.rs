//! `parquet`: row groups of Apache Parquet.

use std::ops::Range;

use arrow::datatypes::DataType;
use eciton_proto::v1::task_spec::Read;
use eciton_proto::v1::{Format, RowGroups, SourceFile};

use super::super::error::SourceError;
use super::super::format::{About, Magic, ShardRows, Types};
use super::super::parquet::{Footer, ParquetShard, unreadable};
use super::grouped::{FileOutline, GroupedFormat, ReadRequest};

static ABOUT: About = About {
    name: "parquet",
    number: Format::Parquet as i32,
    title: "Parquet",
    extensions: &["parquet", "pq"],
    magic: Some(Magic {
        begins: &[b"PAR1"],
        // The first thing in nearly every file is the header of a page, which begins so.
        never_text: &[b"PAR1\x15"],
    }),
    keys: &["paths", "shard_size", "verify", "schema"],
    types: Types::Files,
    unit: "row groups",
};

/// The format `parquet`.
pub(super) struct Parquet;

impl GroupedFormat for Parquet {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn outline(&self, file: &SourceFile) -> Result<Box<dyn FileOutline>, SourceError> {
        Ok(Box::new(Footer::read(file)?))
    }

    fn open(
        &self,
        file: &SourceFile,
        groups: Range<u64>,
        request: ReadRequest<'_>,
    ) -> Result<Box<dyn ShardRows>, SourceError> {
        let len = groups.end - groups.start;
        Ok(Box::new(ParquetShard::open(
            file,
            groups.start,
            len,
            request,
        )?))
    }

    fn unreadable(&self, data_type: &DataType) -> Option<&'static str> {
        unreadable(data_type)
    }

    fn task(&self, groups: RowGroups) -> Read {
        Read::RowGroups(groups)
    }
}
