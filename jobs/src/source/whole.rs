//! A file that only one shard of one job reads, and that nobody records: what a program has written.

use eciton_proto::v1::{FileChunk, Plan, SchemaField, SourceFile, SourceSpec};

use super::error::SourceError;
use super::format::Types;
use super::formats;
use super::plan::{Shard, Source};
use super::schema::FileFacts;
use crate::spec::JobFile;

/// A file as a source with these columns, and its parts, in order. Blocks the thread.
///
/// # Errors
/// [`SourceError`] where the file cannot be read, or is not of the format.
pub(crate) fn whole(
    job: &JobFile,
    spec: &SourceSpec,
    columns: &[SchemaField],
    file: SourceFile,
) -> Result<(Source, Vec<Shard>), SourceError> {
    let format = formats::of(spec)?;
    let plan = Plan {
        schema: columns.to_vec(),
        files: 1,
        shards: 1,
        dates: true,
        ..Plan::default()
    };
    let facts = match format.about().types {
        Types::Files => {
            let surveyed = format.survey(job, spec, std::slice::from_ref(&file));
            let (surveyed, _) =
                surveyed.map_err(|error| SourceError::Plan(error.message().to_owned()))?;
            surveyed.files.into_iter().next()
        }
        // All of it is one part.
        Types::Text | Types::Json | Types::Fixed => None,
    };
    let ranges = match &facts {
        Some(facts @ FileFacts::Groups { .. }) => format.cut(spec, &file, facts)?,
        _ => std::iter::once(0..file.len)
            .filter(|all| !all.is_empty())
            .collect(),
    };
    let shards = (0..).zip(ranges).map(|(number, range)| Shard {
        number,
        file: 0,
        start: range.start,
        len: range.end - range.start,
        content_hash: 0,
    });
    let shards = shards.collect();
    let chunk = FileChunk {
        first: 0,
        files: vec![file],
    };
    Ok((Source::new(spec.clone(), &plan, vec![chunk])?, shards))
}
