//! Pages of Parquet, decompressed within the length that they declare.

use std::io::{self, Read};

use parquet::basic::Compression;

use super::pages::PageDefect;

/// The codec's name, if its pages can be read.
pub(super) fn is_readable(codec: Compression) -> bool {
    matches!(
        codec,
        Compression::UNCOMPRESSED
            | Compression::SNAPPY
            | Compression::GZIP(_)
            | Compression::BROTLI(_)
            | Compression::LZ4
            | Compression::LZ4_RAW
            | Compression::ZSTD(_)
    )
}

/// Decompresses `compressed` behind what `out` holds: exactly `len` bytes, or a fault. Memory grows with what comes
/// out, never with what is only declared.
pub(super) fn decompress(
    codec: Compression,
    compressed: &[u8],
    len: usize,
    out: &mut Vec<u8>,
) -> Result<(), PageDefect> {
    let start = out.len();
    let damaged = |error: &dyn std::fmt::Display| {
        PageDefect::Damaged(format!("its {} data: {error}", name(codec)))
    };
    match codec {
        Compression::SNAPPY => {
            let declared = snap::raw::decompress_len(compressed).map_err(|e| damaged(&e))?;
            if declared != len {
                return Err(wrong_len(codec, declared, len));
            }
            // A copy of three bytes gives 64 at most.
            let room = room(compressed.len(), 64, len).ok_or_else(|| too_short(codec, len))?;
            out.resize(start + room, 0);
            let read = snap::raw::Decoder::new().decompress(compressed, &mut out[start..]);
            out.truncate(start + read.map_err(|e| damaged(&e))?);
        }
        Compression::LZ4_RAW => {
            lz4_block(compressed, len, out).map_err(|e| damaged(&e))?;
        }
        Compression::LZ4 => {
            lz4(compressed, len, out).map_err(|e| damaged(&e))?;
        }
        Compression::GZIP(_) => {
            let reader = flate2::bufread::MultiGzDecoder::new(compressed);
            read_exactly(reader, len, out).map_err(|e| damaged(&e))?;
        }
        Compression::BROTLI(_) => {
            let reader = brotli_decompressor::Decompressor::new(compressed, 16 * 1024);
            read_exactly(reader, len, out).map_err(|e| damaged(&e))?;
        }
        Compression::ZSTD(_) => {
            let reader = zstd::stream::read::Decoder::with_buffer(compressed);
            let reader = reader.map_err(|e| damaged(&e))?;
            read_exactly(reader, len, out).map_err(|e| damaged(&e))?;
        }
        other => {
            return Err(PageDefect::Unsupported(format!(
                "compression {}",
                name(other)
            )));
        }
    }
    match out.len() - start {
        found if found == len => Ok(()),
        found => Err(wrong_len(codec, found, len)),
    }
}

/// The codec's name without its level.
pub(super) fn name(codec: Compression) -> String {
    let text = codec.to_string();
    let text = text.split('(').next().unwrap_or_default();
    text.to_ascii_lowercase()
}

fn wrong_len(codec: Compression, found: usize, len: usize) -> PageDefect {
    let name = name(codec);
    PageDefect::Damaged(format!(
        "its {name} data are {found} bytes or more, its header says {len}"
    ))
}

fn too_short(codec: Compression, len: usize) -> PageDefect {
    let name = name(codec);
    PageDefect::Damaged(format!(
        "its {name} data are too short for {len} bytes, which its header says"
    ))
}

/// `len`, if so many compressed bytes can become as many.
fn room(compressed: usize, factor: usize, len: usize) -> Option<usize> {
    let most = compressed.saturating_mul(factor).saturating_add(64);
    (len <= most).then_some(len)
}

/// Reads to the end, and no more than a byte beyond `len`.
fn read_exactly(reader: impl Read, len: usize, out: &mut Vec<u8>) -> io::Result<()> {
    let most = (len as u64).saturating_add(1);
    reader.take(most).read_to_end(out).map(drop)
}

fn lz4_block(compressed: &[u8], len: usize, out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    let room = room(compressed.len(), 255, len)
        .ok_or_else(|| io::Error::other("too short for the declared length"))?;
    out.resize(start + room, 0);
    let read = lz4_flex::block::decompress_into(compressed, &mut out[start..]);
    match read {
        Ok(read) => out.truncate(start + read),
        Err(error) => {
            out.truncate(start);
            return Err(io::Error::other(error.to_string()));
        }
    }
    Ok(())
}

/// What is called LZ4 is one of three things, as its writers disagreed: blocks with Hadoop's lengths before each, LZ4
/// frames, or one bare block.
fn lz4(compressed: &[u8], len: usize, out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    if hadoop(compressed, len, out).is_ok() {
        return Ok(());
    }
    out.truncate(start);
    let frames = lz4_flex::frame::FrameDecoder::new(compressed);
    if read_exactly(frames, len, out).is_ok() && out.len() - start == len {
        return Ok(());
    }
    out.truncate(start);
    lz4_block(compressed, len, out)
}

fn hadoop(compressed: &[u8], len: usize, out: &mut Vec<u8>) -> io::Result<()> {
    let wrong = || io::Error::other("no blocks of Hadoop");
    let start = out.len();
    let mut rest = compressed;
    while !rest.is_empty() {
        let mut word = || -> io::Result<usize> {
            let (word, after) = rest.split_first_chunk::<4>().ok_or_else(wrong)?;
            rest = after;
            usize::try_from(u32::from_be_bytes(*word)).map_err(|_| wrong())
        };
        let (block, packed) = (word()?, word()?);
        if packed > rest.len() || block > len - (out.len() - start) {
            return Err(wrong());
        }
        let (bytes, after) = rest.split_at(packed);
        let before = out.len();
        lz4_block(bytes, block, out)?;
        if out.len() - before != block {
            return Err(wrong());
        }
        rest = after;
    }
    if out.len() - start == len {
        return Ok(());
    }
    Err(wrong())
}
