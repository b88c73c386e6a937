//! Tar archives in the form `ustar`, which every tar reads.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Bytes of a block; headers and contents begin at a multiple of it.
const BLOCK_BYTES: usize = 512;
/// Bytes that a name may have.
const NAME_BYTES_MAX: usize = 100;
/// The field of the checksum, which counts as spaces while the checksum is computed.
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// A writer of one archive.
pub(super) struct Tar<W: Write> {
    out: W,
    /// Time of every file, in seconds since 1970.
    seconds: u64,
}

impl<W: Write> Tar<W> {
    /// Begins an archive in which every file has this time.
    pub(super) fn new(out: W, seconds: u64) -> Self {
        Self { out, seconds }
    }

    /// Adds a file of owner 0.
    ///
    /// # Errors
    /// The name is too long, or the file cannot be read or written.
    pub(super) fn add(&mut self, name: &str, mode: u32, path: &Path) -> io::Result<()> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        self.out
            .write_all(&header(name, mode, size, self.seconds)?)?;
        let copied = io::copy(&mut file, &mut self.out)?;
        if copied != size {
            let changed = format!("{}: {copied} of {size} bytes were read", path.display());
            return Err(io::Error::other(changed));
        }
        let block = BLOCK_BYTES as u64;
        let padding = size.next_multiple_of(block) - size;
        io::copy(&mut io::Read::take(io::repeat(0), padding), &mut self.out)?;
        Ok(())
    }

    /// Ends the archive, by two empty blocks.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.out.write_all(&[0; 2 * BLOCK_BYTES])?;
        self.out.flush()
    }
}

fn header(name: &str, mode: u32, size: u64, seconds: u64) -> io::Result<[u8; BLOCK_BYTES]> {
    if name.len() > NAME_BYTES_MAX {
        let told = format!("{name}: longer than {NAME_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, told));
    }
    let mut block = [0; BLOCK_BYTES];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, format!("{mode:07o}").as_bytes());
    // Owner and group.
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{size:011o}").as_bytes());
    put(136, format!("{seconds:011o}").as_bytes());
    put(CHECKSUM.start, b"        ");
    // A regular file.
    put(156, b"0");
    put(257, b"ustar\x0000");
    // Numbers of a device, which this is not.
    put(329, b"0000000");
    put(337, b"0000000");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    block[CHECKSUM].copy_from_slice(sum.as_bytes());
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_sums_up_and_bounds_its_name() {
        let block = header("a/b", 0o755, 5, 1_000_000_000).unwrap();
        let told = std::str::from_utf8(&block[CHECKSUM][..6]).unwrap();
        let told = u32::from_str_radix(told, 8).unwrap();
        let mut without = block;
        without[CHECKSUM].fill(b' ');
        let sum: u32 = without.iter().map(|&byte| u32::from(byte)).sum();
        assert_eq!(told, sum);
        assert_eq!(&block[136..147], b"07346545000");
        assert!(header(&"n".repeat(NAME_BYTES_MAX), 0, 0, 0).is_ok());
        assert!(header(&"n".repeat(NAME_BYTES_MAX + 1), 0, 0, 0).is_err());
    }
}
