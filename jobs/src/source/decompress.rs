//! gzip and zstd as their own programs read them: several members or frames, padding, skippable frames.
//!
//! Everything streams. What a decoder needs beyond that, the window of zstd, is bounded for a stream and for the
//! process. Whatever is refused is told apart: damage, a part of the format that is not read, and no such format.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;
use parking_lot::{Condvar, Mutex};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::handle::FileHandle;
use super::limits::{WINDOW_LEN_FREE, WINDOW_LEN_MAX};
use super::sniff::{HEAD_LEN, sniff};

/// Bytes read from a compressed file at once.
const READ_LEN: usize = 128 * 1024;
/// What a zstd frame begins with.
const FRAME_MAGIC: &[u8] = b"\x28\xb5\x2f\xfd";
/// The longest header of a zstd frame.
const FRAME_HEADER_LEN_MAX: usize = 18;

/// Why a stream cannot be decompressed; the error within an [`io::Error`].
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamRefusal {
    /// It is right, and not read here.
    #[error("{0}")]
    Unsupported(String),
    /// It is something else.
    #[error("{0}")]
    Content(String),
    /// It is damaged.
    #[error("{0}")]
    Damaged(String),
}

impl From<StreamRefusal> for io::Error {
    fn from(refusal: StreamRefusal) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, refusal)
    }
}

/// A file that can be looked ahead into.
#[derive(Debug)]
pub(super) struct Packed {
    file: FileHandle,
    room: Box<[u8]>,
    start: usize,
    end: usize,
    /// Byte of the file at `start`.
    offset: u64,
}

impl Packed {
    /// A file from where it is now, which is its start.
    pub(super) fn new(file: FileHandle) -> Self {
        Self {
            file,
            room: vec![0; READ_LEN].into_boxed_slice(),
            start: 0,
            end: 0,
            offset: 0,
        }
    }

    /// Byte of the file that comes next.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next bytes without taking them: `len`, or all that are left.
    pub(super) fn peek(&mut self, len: usize) -> io::Result<&[u8]> {
        debug_assert!(len <= self.room.len(), "{len} bytes to look ahead");
        if self.end - self.start < len {
            self.room.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        while self.end - self.start < len {
            match self.file.read(&mut self.room[self.end..]) {
                Ok(0) => break,
                Ok(read) => self.end += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let end = self.end.min(self.start + len);
        Ok(&self.room[self.start..end])
    }

    /// Passes over NULs.
    pub(super) fn skip_zeros(&mut self) -> io::Result<()> {
        loop {
            let bytes = self.fill_buf()?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let more = zeros == bytes.len() && zeros > 0;
            self.consume(zeros);
            if !more {
                return Ok(());
            }
        }
    }

    /// Passes over some bytes, all of which must be there.
    fn skip(&mut self, mut len: u64) -> io::Result<()> {
        while len > 0 {
            let held = self.fill_buf()?.len();
            if held == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let step = held.min(usize::try_from(len).unwrap_or(usize::MAX));
            self.consume(step);
            len -= step as u64;
        }
        Ok(())
    }
}

impl BufRead for Packed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.peek(1)?;
        }
        Ok(&self.room[self.start..self.end])
    }

    fn consume(&mut self, len: usize) {
        debug_assert!(len <= self.end - self.start, "{len} bytes consumed");
        self.start += len;
        self.offset += len as u64;
    }
}

impl Read for Packed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let held = self.fill_buf()?;
        let len = held.len().min(buffer.len());
        buffer[..len].copy_from_slice(&held[..len]);
        self.consume(len);
        Ok(len)
    }
}

/// What stands where a member or a frame should begin, as an error.
pub(super) fn stray(format: &str, packed: &mut Packed, is_first: bool) -> io::Error {
    let at = packed.offset;
    let head = match packed.peek(HEAD_LEN) {
        Ok(head) => head,
        Err(error) => return error,
    };
    if !is_first {
        return StreamRefusal::Damaged(format!(
            "trailing garbage from byte {at} of the file on; cut the file off there"
        ))
        .into();
    }
    let found = match sniff(head) {
        _ if head.is_empty() => "an empty file".to_owned(),
        Some(content) => content.to_string(),
        None if is_text(head) => "plain text".to_owned(),
        None => "something else".to_owned(),
    };
    StreamRefusal::Content(format!(
        "expected {format} data by the file's name, found {found}; name the file by what it is"
    ))
    .into()
}

fn is_text(head: &[u8]) -> bool {
    let printable = |byte: &u8| *byte >= b' ' || matches!(byte, b'\t' | b'\r' | b'\n');
    head.iter().all(printable)
}

// --- gzip ------------------------------------------------------------------------------------

/// The text of a gzip file: of all its members, which may have NULs between and after them.
#[derive(Debug)]
pub(super) struct Gzip {
    state: GzipState,
    members: u64,
}

#[derive(Debug)]
enum GzipState {
    Between(Packed),
    Member(Box<GzDecoder<Packed>>),
    /// At the end, or after an error.
    End,
}

impl Gzip {
    pub(super) fn new(packed: Packed) -> Self {
        Self {
            state: GzipState::Between(packed),
            members: 0,
        }
    }

    fn begin(&self, mut packed: Packed) -> io::Result<GzipState> {
        if self.members > 0 {
            packed.skip_zeros()?;
        }
        let head = packed.peek(4)?;
        match *head {
            [] if self.members > 0 => return Ok(GzipState::End),
            [0x1f, 0x8b] | [0x1f, 0x8b, _] => return Err(io::ErrorKind::UnexpectedEof.into()),
            [0x1f, 0x8b, 8, flags] if flags & 0xe0 == 0 => {}
            [0x1f, 0x8b, method, flags] => {
                let what = format!("gzip with method {method} and flags {flags:#04x}");
                return Err(StreamRefusal::Unsupported(what).into());
            }
            _ => return Err(stray("gzip", &mut packed, self.members == 0)),
        }
        Ok(GzipState::Member(Box::new(GzDecoder::new(packed))))
    }
}

impl Read for Gzip {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(&mut self.state, GzipState::End) {
                GzipState::End => return Ok(0),
                GzipState::Between(packed) => self.state = self.begin(packed)?,
                GzipState::Member(mut member) => match member.read(buffer) {
                    Ok(0) => {
                        self.members += 1;
                        self.state = GzipState::Between(member.into_inner());
                    }
                    Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
                    read => {
                        self.state = GzipState::Member(member);
                        return read;
                    }
                },
            }
        }
    }
}

// --- zstd ------------------------------------------------------------------------------------

/// The text of a zstd file: of all its frames, skippable ones left out.
pub(super) struct Zstd {
    packed: Packed,
    decoder: Decoder<'static>,
    /// The window of the frame that is being read.
    frame: Option<Window>,
    frames: u64,
}

impl Zstd {
    pub(super) fn new(packed: Packed) -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LEN_MAX.ilog2()))?;
        Ok(Self {
            packed,
            decoder,
            frame: None,
            frames: 0,
        })
    }

    /// Goes on to the next frame; false at the end of the file.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            let head = self.packed.peek(FRAME_HEADER_LEN_MAX)?;
            if head.is_empty() && self.frames > 0 {
                return Ok(false);
            }
            if !head.is_empty() && FRAME_MAGIC.starts_with(head) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let magic = head
                .first_chunk::<4>()
                .map(|magic| u32::from_le_bytes(*magic));
            match magic {
                Some(0x184d_2a50..=0x184d_2a5f) => {
                    let Some(len) = head[4..].first_chunk::<4>() else {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    };
                    let len = u64::from(u32::from_le_bytes(*len));
                    self.packed.skip(8 + len)?;
                    self.frames += 1;
                }
                Some(0xfd2f_b528) => {
                    let len = FrameHeader::read(&head[4..])?.check()?;
                    self.decoder.reinit()?;
                    self.frame = Some(Window::take(len));
                    return Ok(true);
                }
                Some(0xfd2f_b522..=0xfd2f_b527) => {
                    let what = "zstd of a version before 0.8".to_owned();
                    return Err(StreamRefusal::Unsupported(what).into());
                }
                _ => return Err(stray("zstd", &mut self.packed, self.frames == 0)),
            }
        }
    }
}

impl Read for Zstd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.frame.is_none() && !self.begin()? {
                return Ok(0);
            }
            let packed = self.packed.fill_buf()?;
            let is_end = packed.is_empty();
            let mut input = InBuffer::around(packed);
            let mut output = OutBuffer::around(&mut *buffer);
            let hint = self.decoder.run(&mut input, &mut output).map_err(named)?;
            let (read, written) = (input.pos(), output.pos());
            self.packed.consume(read);
            if hint == 0 {
                self.frame = None;
                self.frames += 1;
            }
            if written > 0 {
                return Ok(written);
            }
            if hint != 0 && is_end {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The library's errors have names only.
fn named(error: io::Error) -> io::Error {
    let text = error.to_string();
    if text.contains("not enough memory") {
        return io::Error::new(io::ErrorKind::OutOfMemory, text);
    }
    if text.contains("ictionary") {
        return StreamRefusal::Unsupported("zstd with a dictionary".to_owned()).into();
    }
    error
}

/// What the header of a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FrameHeader {
    reserved: bool,
    dictionary: u32,
    window: u64,
    /// Bytes of text, where that is known.
    content: Option<u64>,
}

impl FrameHeader {
    /// Reads what stands behind the magic number.
    fn read(bytes: &[u8]) -> io::Result<FrameHeader> {
        let mut rest = bytes;
        let mut number = |len: usize| -> io::Result<u64> {
            let (taken, after) = rest
                .split_at_checked(len)
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            rest = after;
            let digits = taken.iter().rev();
            Ok(digits.fold(0, |number, byte| number << 8 | u64::from(*byte)))
        };
        let flags = number(1)?;
        let is_single = flags & 0x20 != 0;
        let window = match is_single {
            true => None,
            false => {
                let descriptor = number(1)?;
                let base = 1_u64 << (10 + (descriptor >> 3));
                Some(base + base / 8 * (descriptor & 7))
            }
        };
        let dictionary = number([0, 1, 2, 4][usize::try_from(flags & 3).unwrap_or(0)])?;
        let content = match (flags >> 6, is_single) {
            (0, false) => None,
            (0, true) => Some(number(1)?),
            (1, _) => Some(number(2)? + 256),
            (2, _) => Some(number(4)?),
            _ => Some(number(8)?),
        };
        Ok(FrameHeader {
            reserved: flags & 0x08 != 0,
            dictionary: u32::try_from(dictionary).unwrap_or(u32::MAX),
            window: window.or(content).unwrap_or(0),
            content,
        })
    }

    /// Bytes of memory that decoding it takes.
    fn check(self) -> Result<u64, StreamRefusal> {
        if self.reserved {
            return Err(StreamRefusal::Unsupported(
                "zstd of a later version".to_owned(),
            ));
        }
        if self.dictionary != 0 {
            let number = self.dictionary;
            let what = format!("zstd with a dictionary (number {number})");
            return Err(StreamRefusal::Unsupported(what));
        }
        if self.window > WINDOW_LEN_MAX {
            let mib = |len: u64| len.div_ceil(1 << 20);
            let (found, most) = (mib(self.window), mib(WINDOW_LEN_MAX));
            return Err(StreamRefusal::Unsupported(format!(
                "a zstd window of {found} MiB, more than the {most} MiB allowed; compress it with \
                 `--long=31` or less"
            )));
        }
        Ok(self.window.min(self.content.unwrap_or(u64::MAX)))
    }
}

/// Bytes of large windows in this process.
static WINDOWS: Mutex<u64> = Mutex::new(0);
/// Told when one of them was given back.
static GIVEN_BACK: Condvar = Condvar::new();

/// Memory for the window of one frame. Large ones share what one of the largest takes: who comes when it is used up
/// waits until another frame was read.
#[derive(Debug)]
struct Window(u64);

impl Window {
    fn take(len: u64) -> Window {
        if len <= WINDOW_LEN_FREE {
            return Window(0);
        }
        let mut taken = WINDOWS.lock();
        while *taken > 0 && *taken + len > WINDOW_LEN_MAX {
            GIVEN_BACK.wait(&mut taken);
        }
        *taken += len;
        Window(len)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        if self.0 > 0 {
            *WINDOWS.lock() -= self.0;
            GIVEN_BACK.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_headers_tell_their_windows() {
        // 128 MiB + 3/8 of it, a dictionary of two bytes, no length.
        let header = FrameHeader::read(&[0x02, 17 << 3 | 3, 0x34, 0x12]).unwrap();
        let window = (128 << 20) + 3 * (16 << 20);
        assert_eq!((header.window, header.dictionary), (window, 0x1234));
        assert!(matches!(header.check(), Err(StreamRefusal::Unsupported(_))));
        // One segment of 256 + 5 bytes.
        let header = FrameHeader::read(&[0x60, 5, 0]).unwrap();
        assert_eq!((header.window, header.content), (261, Some(261)));
        assert_eq!(header.check().unwrap(), 261);
        // The largest window that is read, and the next.
        assert_eq!(WINDOW_LEN_MAX, 1 << 31);
        let check = |descriptor| FrameHeader::read(&[0, descriptor]).unwrap().check();
        assert_eq!(check(21 << 3).unwrap(), WINDOW_LEN_MAX);
        let refused = check(21 << 3 | 1).unwrap_err().to_string();
        assert!(
            refused.contains("2304 MiB, more than the 2048 MiB"),
            "{refused}"
        );
        let short = FrameHeader::read(&[0xe0, 1, 2]).unwrap_err();
        assert_eq!(short.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn large_windows_wait_for_each_other() {
        let first = Window::take(WINDOW_LEN_MAX);
        let (sender, receiver) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn(move || {
            sender.send("waits").unwrap();
            let second = Window::take(WINDOW_LEN_FREE + 1);
            sender.send("has it").unwrap();
            drop(second);
        });
        assert_eq!(receiver.recv(), Ok("waits"));
        assert!(receiver.try_recv().is_err(), "there is no room for both");
        drop(Window::take(WINDOW_LEN_FREE));
        drop(first);
        assert_eq!(receiver.recv(), Ok("has it"));
        waiting.join().unwrap();
    }
}
