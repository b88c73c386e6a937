//! Formats whose records are lines of text, or some lines each: what they have in common.

use std::ops::Range;

use arrow::datatypes::SchemaRef;
use eciton_proto::v1::task_spec::Read;
use eciton_proto::v1::{Compression, OnError, SourceFile, SourceSpec, TextRange};

use super::super::content::{self, Hashed, Promise};
use super::super::cut::cut_text;
use super::super::dialect::Dialect;
use super::super::error::SourceError;
use super::super::format::{About, Places, Recognized, ShardRows, SourceFormat};
use super::super::found::probe;
use super::super::head::{compression, text_start};
use super::super::input::Codec;
use super::super::mend::{Mending, Piece};
use super::super::peek::Peek;
use super::super::plan::{Shard, Source};
use super::super::schema::{FileFacts, Surveyed, Writings};
use super::super::text::{RecordDecoder, TextShard};
use crate::spec::{JobFile, Section, SpecError};

/// A format of text.
pub(super) trait TextFormat: Sync {
    /// Its facts.
    fn about(&self) -> &'static About;

    /// As [`SourceFormat::read_keys`].
    ///
    /// # Errors
    /// [`SpecError`] at the key to blame.
    fn read_keys(&self, section: &Section<'_>, spec: &mut SourceSpec) -> Result<(), SpecError>;

    /// How records and fields are separated.
    fn dialect(&self, spec: &SourceSpec) -> Dialect;

    /// As [`SourceFormat::recognize`].
    fn recognize(&self, text: &Peek, named: bool, shown: &str, bare: &str) -> Recognized;

    /// Finds the columns of some files by their first records.
    ///
    /// # Errors
    /// [`SpecError`] at the key to blame.
    fn survey(
        &self,
        job: &JobFile,
        spec: &SourceSpec,
        files: &[SourceFile],
    ) -> Result<(Surveyed, Writings), SpecError>;

    /// Makes what turns records into batches of the columns wanted.
    fn decoder(
        &self,
        source: &Source,
        columns: &[usize],
        schema: &SchemaRef,
    ) -> Box<dyn RecordDecoder>;
}

/// A format of text as a format of sources.
pub(super) struct TextSource<T>(pub(super) T);

impl<T: TextFormat> TextSource<T> {
    fn shard(
        &self,
        source: &Source,
        shard: Shard,
        columns: &[usize],
        schema: &SchemaRef,
    ) -> Result<TextShard, SourceError> {
        TextShard::open(
            source.file(shard)?,
            shard.start,
            shard.len,
            self.0.dialect(source.spec()),
            self.0.decoder(source, columns, schema),
            source.spec().on_error() == OnError::Skip,
        )
    }
}

impl<T: TextFormat> SourceFormat for TextSource<T> {
    fn about(&self) -> &'static About {
        self.0.about()
    }

    fn read_keys(&self, section: &Section<'_>, spec: &mut SourceSpec) -> Result<(), SpecError> {
        self.0.read_keys(section, spec)
    }

    fn dialect(&self, spec: &SourceSpec) -> Option<Dialect> {
        Some(self.0.dialect(spec))
    }

    fn recognize(&self, text: &Peek, named: bool, shown: &str, bare: &str) -> Recognized {
        self.0.recognize(text, named, shown, bare)
    }

    fn survey(
        &self,
        job: &JobFile,
        spec: &SourceSpec,
        files: &[SourceFile],
    ) -> Result<(Surveyed, Writings), SpecError> {
        self.0.survey(job, spec, files)
    }

    fn cut(
        &self,
        spec: &SourceSpec,
        file: &SourceFile,
        facts: &FileFacts,
    ) -> Result<Vec<Range<u64>>, SourceError> {
        match facts {
            FileFacts::Text { start } => {
                cut_text(file, *start, spec.shard_size, self.0.dialect(spec))
            }
            FileFacts::Groups { .. } => Err(SourceError::Plan("text with groups".to_owned())),
        }
    }

    fn open(
        &self,
        source: &Source,
        shard: Shard,
        columns: &[usize],
        schema: &SchemaRef,
    ) -> Result<Box<dyn ShardRows>, SourceError> {
        Ok(Box::new(self.shard(source, shard, columns, schema)?))
    }

    fn place_of_rows(
        &self,
        source: &Source,
        shard: Shard,
        columns: &[usize],
        rows: &Range<u64>,
    ) -> Result<Option<Places>, SourceError> {
        let schema = source.schema().project(columns);
        let schema = schema.map_err(|error| SourceError::Plan(error.to_string()))?;
        let text = self.shard(source, shard, columns, &schema.into())?;
        let lines = text.lines_of(rows)?;
        Ok(lines.map(|(first, last)| Places {
            what: "line",
            first: first.into(),
            last: last.into(),
        }))
    }

    /// A record has a byte, and there may be one without a line's end.
    fn rows_max(&self, source: &Source, shard: Shard) -> Result<Option<u64>, SourceError> {
        let is_plain = Codec::of(&source.file(shard)?.path) == Codec::Plain;
        Ok(is_plain.then(|| shard.len.saturating_add(1)))
    }

    fn task(&self, source: &Source, shard: Shard) -> Result<Read, SourceError> {
        let file = source.file(shard)?;
        let compression = compression(&file.path);
        let start = match shard.start {
            0 => text_start(source, shard)?,
            start => {
                probe(file)?;
                start
            }
        };
        let to_end = compression != Compression::Unspecified;
        let end = shard.start.saturating_add(shard.len);
        Ok(Read::Text(TextRange {
            file: Some(file.clone()),
            start,
            end: if to_end { 0 } else { end },
            to_end,
            compression: compression.into(),
        }))
    }

    fn hash(&self, file: &SourceFile, ranges: &[Range<u64>]) -> Result<Hashed, SourceError> {
        content::hash_text(file, ranges)
    }

    fn is_kept(&self, promise: &Promise<'_>) -> Result<bool, SourceError> {
        promise.is_text_kept()
    }

    fn shown_place(&self, file: &SourceFile, range: &Range<u64>) -> String {
        match Codec::of(&file.path) {
            Codec::Plain => format!("bytes {} to {}", range.start, range.end),
            Codec::Gzip | Codec::Zstd | Codec::Bzip2 | Codec::Xz => "it".to_owned(),
        }
    }

    fn places_now(
        &self,
        mending: &Mending<'_>,
        pieces: &[Piece],
    ) -> Result<Vec<Range<u64>>, SourceError> {
        mending.text_ranges(pieces, self.0.dialect(mending.spec()))
    }
}
