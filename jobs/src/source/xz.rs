//! xz as its own program reads it: several streams with padding between and after them, checks included.

use std::io::{self, BufRead, Read};

use liblzma::stream::{Action, Error, Status, Stream};

use super::decompress::{Packed, StreamRefusal, stray};
use super::limits::XZ_MEMORY_LEN_MAX;

/// What a stream begins with.
const MAGIC: &[u8] = b"\xfd7zXZ\x00";
/// Padding between streams comes in units of so many NULs.
const PADDING_UNIT: u64 = 4;

/// The text of an xz file: of all its streams.
pub(super) struct Xz {
    packed: Packed,
    /// The stream that is being read.
    stream: Option<Stream>,
    streams: u64,
}

impl Xz {
    pub(super) fn new(packed: Packed) -> Self {
        Self {
            packed,
            stream: None,
            streams: 0,
        }
    }

    /// Goes on to the next stream; false at the end of the file.
    fn begin(&mut self) -> io::Result<bool> {
        if self.streams > 0 {
            let before = self.packed.offset();
            self.packed.skip_zeros()?;
            let padding = self.packed.offset() - before;
            if !padding.is_multiple_of(PADDING_UNIT) {
                return Err(StreamRefusal::Damaged(format!(
                    "{padding} bytes of padding from byte {before} of the file on, expected a multiple of \
                     {PADDING_UNIT}"
                ))
                .into());
            }
        }
        let head = self.packed.peek(MAGIC.len())?;
        if head.is_empty() && self.streams > 0 {
            return Ok(false);
        }
        if !head.is_empty() && head.len() < MAGIC.len() && MAGIC.starts_with(head) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if head != MAGIC {
            return Err(stray("xz", &mut self.packed, self.streams == 0));
        }
        // A check that the library does not know is refused rather than skipped.
        let flags = liblzma::stream::TELL_UNSUPPORTED_CHECK;
        let stream = Stream::new_stream_decoder(XZ_MEMORY_LEN_MAX, flags);
        self.stream = Some(stream.map_err(named)?);
        Ok(true)
    }
}

impl Read for Xz {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.stream.is_none() && !self.begin()? {
                return Ok(0);
            }
            let Some(stream) = self.stream.as_mut() else {
                return Ok(0);
            };
            let packed = self.packed.fill_buf()?;
            let is_end = packed.is_empty();
            let (read_before, written_before) = (stream.total_in(), stream.total_out());
            let action = if is_end { Action::Finish } else { Action::Run };
            let status = stream.process(packed, buffer, action);
            let read = usize::try_from(stream.total_in() - read_before).unwrap_or(0);
            let written = usize::try_from(stream.total_out() - written_before).unwrap_or(0);
            debug_assert!(
                written <= buffer.len(),
                "{written} bytes in {}",
                buffer.len()
            );
            self.packed.consume(read);
            match status.map_err(named)? {
                Status::StreamEnd => {
                    self.stream = None;
                    self.streams += 1;
                }
                Status::MemNeeded => return Err(io::ErrorKind::UnexpectedEof.into()),
                Status::Ok | Status::GetCheck => {}
            }
            if written > 0 {
                return Ok(written);
            }
            if is_end && self.stream.is_some() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The library's errors, told apart.
fn named(error: Error) -> io::Error {
    let unsupported = |what: String| StreamRefusal::Unsupported(what).into();
    match error {
        Error::MemLimit => unsupported(format!(
            "an xz dictionary that takes more than the {} MiB of memory allowed; compress it with `xz -9` or less",
            XZ_MEMORY_LEN_MAX >> 20
        )),
        Error::Options | Error::UnsupportedCheck => {
            unsupported("xz with filters or checks of a later version".to_owned())
        }
        Error::Mem => io::Error::new(io::ErrorKind::OutOfMemory, "not enough memory"),
        other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
    }
}
