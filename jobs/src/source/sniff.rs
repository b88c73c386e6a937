//! What bytes are by how they begin: for files whose names say something else.

use std::fmt;

use super::format::{About, SourceFormat};
use super::formats;

/// Bytes that [`sniff`] looks at.
pub(super) const HEAD_LEN: usize = 16;

/// A format that begins in a way of its own.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content {
    /// A source format that is no text.
    Source(&'static About),
    Gzip,
    Zstd,
    Bzip2,
    Xz,
    Lz4,
    Snappy,
    Compress,
    Zip,
    SevenZip,
    Avro,
    Orc,
    Sqlite,
}

impl Content {
    /// What to do with a file that is not read as text, as the end of a message.
    pub(super) fn hint(self) -> String {
        let hint = match self {
            Self::Source(About { name, .. }) => {
                return format!("; it is read with `format = \"{name}\"`");
            }
            Self::Gzip => "; name the file `.gz`",
            Self::Zstd => "; name the file `.zst`",
            Self::Bzip2 => "; name the file `.bz2`",
            Self::Xz => "; name the file `.xz`",
            Self::Lz4 | Self::Snappy | Self::Compress => {
                "; decompress it, or compress it with gzip or zstd"
            }
            Self::Zip | Self::SevenZip => "; unpack it",
            Self::Avro | Self::Orc | Self::Sqlite => "; convert it to CSV, JSON lines or Parquet",
        };
        hint.to_owned()
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source(About { title, .. }) => {
                return write!(f, "{} {title} file", article(title));
            }
            Self::Gzip => "gzip data",
            Self::Zstd => "zstd data",
            Self::Bzip2 => "bzip2 data",
            Self::Xz => "xz data",
            Self::Lz4 => "lz4 data",
            Self::Snappy => "snappy data",
            Self::Compress => "data of `compress`",
            Self::Zip => "a zip archive",
            Self::SevenZip => "a 7z archive",
            Self::Avro => "an Avro file",
            Self::Orc => "an ORC file",
            Self::Sqlite => "an SQLite database",
        })
    }
}

/// `a` or `an`, as a word takes it.
pub(crate) fn article(word: &str) -> &'static str {
    match word.starts_with(['A', 'E', 'I', 'O', 'U']) {
        true => "an",
        false => "a",
    }
}

/// What bytes with this beginning are, if that is known.
pub(super) fn sniff(head: &[u8]) -> Option<Content> {
    let known: [(&[u8], Content); 12] = [
        (b"\x1f\x8b", Content::Gzip),
        (b"\x28\xb5\x2f\xfd", Content::Zstd),
        (b"\xfd7zXZ\x00", Content::Xz),
        (b"\x04\x22\x4d\x18", Content::Lz4),
        (b"\xff\x06\x00\x00sNaPpY", Content::Snappy),
        (b"\x1f\x9d", Content::Compress),
        (b"PK\x03\x04", Content::Zip),
        (b"7z\xbc\xaf\x27\x1c", Content::SevenZip),
        (b"Obj\x01", Content::Avro),
        (b"ORC\x08", Content::Orc),
        (b"ORC\x0a", Content::Orc),
        (b"SQLite format 3\x00", Content::Sqlite),
    ];
    let source = formats::all().find_map(|format: &dyn SourceFormat| {
        let about = format.about();
        let magic = about.magic?;
        let mut begins = magic.never_text.iter();
        begins.any(|begin| head.starts_with(begin)).then_some(about)
    });
    if let Some(about) = source {
        return Some(Content::Source(about));
    }
    let found = known.iter().find(|(begin, _)| head.starts_with(begin));
    if let Some((_, content)) = found {
        return Some(*content);
    }
    // A digit for the size of its blocks, then pi.
    let is_bzip2 = head.starts_with(b"BZh") && head.get(4..10) == Some(b"\x31\x41\x59\x26\x53\x59");
    is_bzip2.then_some(Content::Bzip2)
}
