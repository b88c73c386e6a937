//! bzip2 as its own program reads it: several streams, one after the other, as parallel compressors write them.

use std::io::{self, Read};

use bzip2::bufread::BzDecoder;

use super::decompress::{Packed, StreamRefusal, stray};

/// What a block of a stream begins with, and what ends a stream without one: the digits of pi, and of its square root.
const BLOCK_MAGIC: &[u8] = b"\x31\x41\x59\x26\x53\x59";
const END_MAGIC: &[u8] = b"\x17\x72\x45\x38\x50\x90";
/// Bytes of the header of a stream and of what follows it.
const HEADER_LEN: usize = 4 + BLOCK_MAGIC.len();

/// The text of a bzip2 file: of all its streams.
pub(super) struct Bzip2 {
    state: Bzip2State,
    streams: u64,
}

enum Bzip2State {
    Between(Packed),
    Stream(Box<BzDecoder<Packed>>),
    /// At the end, or after an error.
    End,
}

impl Bzip2 {
    pub(super) fn new(packed: Packed) -> Self {
        Self {
            state: Bzip2State::Between(packed),
            streams: 0,
        }
    }

    fn begin(&self, mut packed: Packed) -> io::Result<Bzip2State> {
        let head = packed.peek(HEADER_LEN)?;
        if head.is_empty() && self.streams > 0 {
            return Ok(Bzip2State::End);
        }
        if head.starts_with(b"BZ0") {
            let what = "the format of bzip version 1".to_owned();
            return Err(StreamRefusal::Unsupported(what).into());
        }
        let is_begun = |magic: &[u8]| {
            let known = [b"BZh", &head[head.len().min(3)..head.len().min(4)], magic].concat();
            let level = head
                .get(3)
                .is_none_or(|level| (b'1'..=b'9').contains(level));
            level && known.starts_with(head)
        };
        if head.is_empty() || !(is_begun(BLOCK_MAGIC) || is_begun(END_MAGIC)) {
            return Err(stray("bzip2", &mut packed, self.streams == 0));
        }
        if head.len() < HEADER_LEN {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Bzip2State::Stream(Box::new(BzDecoder::new(packed))))
    }
}

impl Read for Bzip2 {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(&mut self.state, Bzip2State::End) {
                Bzip2State::End => return Ok(0),
                Bzip2State::Between(packed) => self.state = self.begin(packed)?,
                Bzip2State::Stream(mut stream) => match stream.read(buffer) {
                    Ok(0) => {
                        self.streams += 1;
                        self.state = Bzip2State::Between(stream.into_inner());
                    }
                    Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
                    read => {
                        self.state = Bzip2State::Stream(stream);
                        return read;
                    }
                },
            }
        }
    }
}
