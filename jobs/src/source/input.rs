//! The text of a file: opened, checked against the plan, decompressed.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use eciton_proto::v1::SourceFile;

use super::bzip2::Bzip2;
use super::decompress::{Gzip, Packed, StreamRefusal, Zstd};
use super::error::SourceError;
use super::handle::FileHandle;
use super::sniff::{HEAD_LEN, sniff};
use super::xz::Xz;
use super::{identity, reach};

/// What was being done when a file could not be opened.
pub(super) const OPENING: &str = "cannot be opened";

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Plain,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Codec {
    /// Told by the name's extension, as the programs of these formats do.
    pub(super) fn of(path: &str) -> Self {
        let extension = Path::new(path)
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "gz" | "gzip" => Self::Gzip,
            "zst" | "zstd" => Self::Zstd,
            "bz2" | "bzip2" => Self::Bzip2,
            "xz" => Self::Xz,
            _ => Self::Plain,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        }
    }
}

/// The decompressed text of a file, or of a part of a plain one.
pub(super) struct TextInput {
    reader: Box<dyn Read + Send>,
    codec: Codec,
    file: String,
    /// Bytes of text before the next one to be read.
    offset: u64,
    /// Where the text ends; unknown for a compressed file.
    end: Option<u64>,
}

impl TextInput {
    /// Opens the whole text of a file.
    pub(super) fn open(file: &SourceFile) -> Result<Self, SourceError> {
        Self::open_range(file, 0, file.len)
    }

    /// Opens `len` bytes from `start`; of a compressed file, the whole text.
    pub(super) fn open_range(file: &SourceFile, start: u64, len: u64) -> Result<Self, SourceError> {
        let mut handle = open(file)?;
        let codec = Codec::of(&file.path);
        let failed = |source| io_error(file, "cannot be read", source);
        let (reader, end): (Box<dyn Read + Send>, _) = match codec {
            Codec::Plain => {
                let end = start
                    .checked_add(len)
                    .filter(|end| *end <= file.len)
                    .ok_or_else(|| {
                        SourceError::Plan(format!("a shard beyond the end of `{}`", file.display))
                    })?;
                if start == 0 {
                    check_text(file, &mut handle)?;
                }
                handle.seek(SeekFrom::Start(start)).map_err(failed)?;
                (Box::new(handle.take(len)), Some(end))
            }
            Codec::Gzip => (Box::new(Gzip::new(Packed::new(handle))), None),
            Codec::Bzip2 => (Box::new(Bzip2::new(Packed::new(handle))), None),
            Codec::Xz => (Box::new(Xz::new(Packed::new(handle))), None),
            Codec::Zstd => {
                let decoder = Zstd::new(Packed::new(handle));
                (Box::new(decoder.map_err(failed)?), None)
            }
        };
        let offset = if codec == Codec::Plain { start } else { 0 };
        Ok(Self {
            reader,
            codec,
            file: file.display.clone(),
            offset,
            end,
        })
    }

    /// Bytes of text before the next one to be read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads some bytes; 0 only at the end of the text, checked to be where it should be.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        debug_assert!(
            !buffer.is_empty(),
            "an empty buffer would look like the end"
        );
        let read = loop {
            match self.reader.read(buffer) {
                Ok(read) => break read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.failed(source)),
            }
        };
        self.offset += read as u64;
        match self.end {
            Some(end) if read == 0 && self.offset != end => Err(SourceError::Stale {
                file: self.file.clone(),
                expected: format!("text up to byte {end}"),
                found: format!("the end at byte {}", self.offset),
            }),
            _ => Ok(read),
        }
    }

    fn failed(&self, source: io::Error) -> SourceError {
        let damage = matches!(
            source.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
        );
        let inner = source.get_ref();
        match inner.and_then(|inner| inner.downcast_ref::<StreamRefusal>()) {
            Some(StreamRefusal::Unsupported(what)) => {
                return SourceError::Unsupported {
                    file: self.file.clone(),
                    what: what.clone(),
                };
            }
            Some(StreamRefusal::Content(message)) => {
                return SourceError::Content {
                    file: self.file.clone(),
                    message: message.clone(),
                };
            }
            Some(StreamRefusal::Damaged(_)) | None => {}
        }
        // zstd reports damage as `Other`; what the system says has a code of its own.
        let is_other = source.kind() == io::ErrorKind::Other && source.raw_os_error().is_none();
        if self.codec != Codec::Plain && (damage || is_other) {
            let (file, codec) = (self.file.clone(), self.codec.name());
            return SourceError::Compressed {
                file,
                offset: self.offset,
                codec,
                source,
            };
        }
        SourceError::Io {
            file: self.file.clone(),
            what: "cannot be read",
            source,
        }
    }
}

/// A file that is read as text may be something else that is known by its beginning.
fn check_text(file: &SourceFile, handle: &mut FileHandle) -> Result<(), SourceError> {
    let mut head = Vec::with_capacity(HEAD_LEN);
    let read = (&*handle).take(HEAD_LEN as u64).read_to_end(&mut head);
    read.map_err(|source| io_error(file, "cannot be read", source))?;
    let Some(content) = sniff(&head) else {
        return Ok(());
    };
    Err(SourceError::Content {
        file: file.display.clone(),
        message: format!("expected text, found {content}{}", content.hint()),
    })
}

/// Opens a file and checks that it is the one that was recorded.
pub(super) fn open(file: &SourceFile) -> Result<FileHandle, SourceError> {
    let handle = reach::open(file).map_err(|source| io_error(file, OPENING, source))?;
    identity::check(file, &handle)?;
    Ok(handle)
}

/// The error of a file that the system refused.
pub(super) fn io_error(file: &SourceFile, what: &'static str, source: io::Error) -> SourceError {
    SourceError::Io {
        file: file.display.clone(),
        what,
        source,
    }
}
