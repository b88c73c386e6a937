//! Where the records of a shard of text begin, for whoever reads it without this crate.

use eciton_proto::v1::Compression;

use super::block::Blocks;
use super::dialect::Dialect;
use super::error::SourceError;
use super::input::{Codec, TextInput};
use super::plan::{Shard, Source};

/// How a file of this path is compressed as a whole.
pub(super) fn compression(path: &str) -> Compression {
    match Codec::of(path) {
        Codec::Plain => Compression::Unspecified,
        Codec::Gzip => Compression::Gzip,
        Codec::Zstd => Compression::Zstd,
        Codec::Bzip2 => Compression::Bzip2,
        Codec::Xz => Compression::Xz,
    }
}

/// The byte of text at which a shard's first record begins. A shard that begins with its file has a byte order mark
/// and the names of the columns before it, which only the file tells. Blocks.
///
/// # Errors
/// What opening and reading the file gives.
pub(super) fn text_start(source: &Source, shard: Shard) -> Result<u64, SourceError> {
    let Some(dialect) = Dialect::of(source.spec()).filter(|_| shard.start == 0) else {
        return Ok(shard.start);
    };
    let file = source.file(shard)?;
    source.reach().during(|| {
        let input = TextInput::open(file)?;
        let mut blocks = Blocks::new(input, file.display.clone(), dialect);
        blocks.skip_head()?;
        Ok(blocks.head_end())
    })
}
