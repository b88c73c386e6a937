//! Compression by the system's `gzip`, without names and times.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{at, output};
use crate::steps::Failed;

/// Bytes before the compressed data: a fixed header, if no name and no comment follow.
const HEADER_BYTES: usize = 10;
/// Bytes after it: a checksum and the length, four bytes each.
const TRAILER_BYTES: usize = 8;
/// How the header begins: two magic bytes, the method deflate, no flags.
const MAGIC: [u8; 4] = [0x1f, 0x8b, 8, 0];

/// A compressed file, with what a zip archive says about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Deflated {
    /// The data, by deflate.
    pub(super) data: Vec<u8>,
    /// CRC-32 of the plain content.
    pub(super) crc: u32,
    /// Bytes of the plain content.
    pub(super) size: u32,
}

/// Compresses what `fill` writes into `out`.
///
/// # Errors
/// `gzip` is missing or fails, or `fill` fails.
pub(super) fn stream(
    level: u8,
    out: File,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Failed> {
    let mut command = gzip(level);
    command.stdin(Stdio::piped()).stdout(out);
    let mut child = command.spawn().map_err(|cause| not_started(&cause))?;
    let filled = feed(&mut child, fill);
    let status = child.wait().map_err(|cause| not_started(&cause))?;
    filled.map_err(|cause| Failed(format!("the archive cannot be written: {cause}")))?;
    match status.success() {
        true => Ok(()),
        false => Err(Failed(format!("gzip did not pass ({status})"))),
    }
}

fn feed(child: &mut Child, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    // Dropped at the end, which tells gzip that this is all.
    let mut stdin = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    fill(&mut stdin)?;
    stdin.flush()
}

/// Compresses a file.
///
/// # Errors
/// The file cannot be read, it has 4 GiB or more, or `gzip` is missing or fails.
pub(super) fn deflated(level: u8, path: &Path) -> Result<Deflated, Failed> {
    let file = File::open(path).map_err(|cause| at(path, &cause))?;
    let size = file.metadata().map_err(|cause| at(path, &cause))?.len();
    let size = u32::try_from(size).map_err(|_| {
        Failed(format!(
            "{}: {size} bytes are too long for a wheel",
            path.display()
        ))
    })?;
    let packed = output(gzip(level).stdin(file))?;
    let deflated = unwrapped(&packed)
        .ok_or_else(|| Failed("gzip printed what is not a plain gzip file".to_owned()))?;
    assert_eq!(
        deflated.size,
        size,
        "bytes that gzip read of {}",
        path.display()
    );
    Ok(deflated)
}

/// The parts of a gzip file of one member without optional fields.
fn unwrapped(packed: &[u8]) -> Option<Deflated> {
    let rest = packed
        .strip_prefix(&MAGIC)?
        .get(HEADER_BYTES - MAGIC.len()..)?;
    let (data, trailer) = rest.split_at_checked(rest.len().checked_sub(TRAILER_BYTES)?)?;
    let (crc, size) = trailer.split_first_chunk::<4>()?;
    Some(Deflated {
        data: data.to_vec(),
        crc: u32::from_le_bytes(*crc),
        size: u32::from_le_bytes(size.try_into().ok()?),
    })
}

fn gzip(level: u8) -> Command {
    assert!((1..=9).contains(&level), "level {level} of gzip");
    let mut command = Command::new("gzip");
    // The variable could add options.
    command
        .args(["-n", &format!("-{level}")])
        .env_remove("GZIP");
    command
}

fn not_started(cause: &io::Error) -> Failed {
    Failed(format!("gzip did not start: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_and_the_length_come_from_the_trailer() {
        let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
        packed.extend(b"data");
        packed.extend(0xCBF4_3926_u32.to_le_bytes());
        packed.extend(9_u32.to_le_bytes());
        let expected = Deflated {
            data: b"data".to_vec(),
            crc: 0xCBF4_3926,
            size: 9,
        };
        assert_eq!(unwrapped(&packed), Some(expected));
        // With a name in the header, the data would begin elsewhere.
        packed[3] = 8;
        assert_eq!(unwrapped(&packed), None);
        assert_eq!(unwrapped(&packed[..12]), None);
    }
}
