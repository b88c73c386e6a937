//! The frame of a page: what stands before its body in the file.
//!
//! ```text
//! 0  u64 checksum   XXH3-64 of the stored bytes from 8 on, exclusive-or the page's offset
//! 8  u32 body_len   bytes of the body, decompressed
//! 12 u8  compression, 13 u8[3] zero
//! 16 the body, compressed or plain
//! ```

use super::compress::{Compression, Compressor};
use super::decoded::Decoded;
use crate::base::checksum::checksum64;

/// Bytes of a frame.
pub(super) const FRAME_LEN: usize = 16;
/// Bytes of a body: offsets inside it, its end included, are 16 bits wide.
pub(super) const BODY_LEN_MAX: usize = u16::MAX as usize;

/// Where a page stands in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PagePtr {
    /// Of its frame.
    pub(super) offset: u64,
    /// Bytes stored, the frame included.
    pub(super) len: u32,
}

impl PagePtr {
    pub(super) const ENCODED_LEN: usize = 12;

    pub(super) fn encode(self) -> [u8; PagePtr::ENCODED_LEN] {
        let mut bytes = [0; PagePtr::ENCODED_LEN];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; PagePtr::ENCODED_LEN]) -> PagePtr {
        let (mut offset, mut len) = ([0; 8], [0; 4]);
        offset.copy_from_slice(&bytes[..8]);
        len.copy_from_slice(&bytes[8..]);
        PagePtr {
            offset: u64::from_le_bytes(offset),
            len: u32::from_le_bytes(len),
        }
    }

    /// The first byte after the page, if the page lies within the first `limit` bytes and is as long
    /// as a page can be.
    pub(super) fn end_within(self, limit: u64) -> Option<u64> {
        let len = usize::try_from(self.len).ok()?;
        let end = self.offset.checked_add(u64::from(self.len))?;
        ((FRAME_LEN..=FRAME_LEN + BODY_LEN_MAX).contains(&len) && end <= limit).then_some(end)
    }
}

/// Appends the page with `body` to `out`, as it stands in a file but for [`place`].
pub(super) fn frame(body: &[u8], compressor: &mut Compressor, out: &mut Vec<u8>) {
    assert!(
        body.len() <= BODY_LEN_MAX,
        "a page body of {} bytes",
        body.len()
    );
    let start = out.len();
    let (compression, stored) = compressor.pack(body);
    out.reserve(FRAME_LEN + stored.len());
    out.extend_from_slice(&[0; FRAME_LEN]);
    out.extend_from_slice(stored);
    let page = &mut out[start..];
    let body_len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    page[8..12].copy_from_slice(&body_len.to_le_bytes());
    page[12] = compression.code();
    let checksum = checksum64(&page[8..]);
    page[..8].copy_from_slice(&checksum.to_le_bytes());
}

/// Ties a page that [`frame`] wrote to the offset at which it stands, and to no other.
pub(super) fn place(page: &mut [u8], offset: u64) {
    for (byte, of_offset) in page.iter_mut().zip(offset.to_le_bytes()) {
        *byte ^= of_offset;
    }
}

/// A page as it is stored, whose checksum holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    /// How its body is compressed.
    pub(super) compression: Compression,
    /// Bytes of the body, decompressed.
    pub(super) body_len: usize,
    /// The body, compressed.
    pub(super) packed: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Takes apart what stands at `offset` of the file, up to the body.
    pub(super) fn check(stored: &'a [u8], offset: u64) -> Decoded<Frame<'a>> {
        let Some((frame, packed)) = stored.split_first_chunk::<FRAME_LEN>() else {
            return Err(format!("{} bytes are too few for a page", stored.len()));
        };
        let (sum, fields) = frame.split_at(8);
        let found = checksum64(&stored[8..]) ^ offset;
        if found.to_le_bytes() != sum {
            return Err(format!(
                "checksum does not match the {} bytes there",
                stored.len()
            ));
        }
        let [a, b, c, d, code, 0, 0, 0] = *fields else {
            return Err("reserved bytes of the frame are not zero".to_owned());
        };
        let body_len = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if body_len > BODY_LEN_MAX {
            return Err(format!(
                "a body of {body_len} bytes, the limit is {BODY_LEN_MAX}"
            ));
        }
        Ok(Frame {
            compression: Compression::from_code(code)?,
            body_len,
            packed,
        })
    }

    /// Decompresses the body into `body`, which is as long.
    pub(super) fn unpack(&self, body: &mut [u8]) -> Decoded<()> {
        self.compression.unpack(self.packed, body)
    }
}
