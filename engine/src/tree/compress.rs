//! How the bytes of pages and of values apart are compressed.

use std::cell::RefCell;

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use zstd::bulk;
use zstd::zstd_safe::compress_bound;

use super::decoded::Decoded;
use super::lz4::Lz4Front;

/// The level of zstd: its own default. Lower ones save little time on blocks as short as pages.
const ZSTD_LEVEL: i32 = 3;

/// How the pages and long values of a run are compressed. Every block says for itself what it is, so that runs
/// written with different settings are read side by side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// LZ4 blocks, each kept only where it saves at least an eighth.
    Lz4,
    /// Zstandard frames, each kept only where it saves at least an eighth: smaller than LZ4, and several times
    /// slower to write and to read from the disc. What lies in the page cache is as fast to read as ever.
    Zstd,
}

impl Compression {
    /// All of them.
    pub const ALL: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Zstd];

    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    pub(super) fn code(self) -> u8 {
        match self {
            Compression::None => 0,
            Compression::Lz4 => 1,
            Compression::Zstd => 2,
        }
    }

    pub(super) fn from_code(code: u8) -> Decoded<Compression> {
        let of_code = |compression: &Compression| compression.code() == code;
        let found = Compression::ALL.into_iter().find(of_code);
        found.ok_or_else(|| format!("compression {code} is unknown"))
    }

    /// Checks that `stored` can be `plain.len()` bytes as this says, and writes them to `plain`.
    pub(super) fn unpack(self, stored: &[u8], plain: &mut [u8]) -> Decoded<()> {
        let len = plain.len();
        let unpacked = match self {
            Compression::None if stored.len() == len => {
                plain.copy_from_slice(stored);
                Ok(len)
            }
            Compression::None => {
                return Err(format!("{} bytes are stored, expected {len}", stored.len()));
            }
            Compression::Lz4 => return Lz4Front::new(stored, plain).finish(),
            Compression::Zstd => unzstd(stored, plain),
        };
        match unpacked {
            Ok(got) if got == len => Ok(()),
            Ok(got) => Err(format!("decompresses to {got} bytes, expected {len}")),
            Err(error) => Err(format!("does not decompress: {error}")),
        }
    }
}

thread_local! {
    /// Working memory of some 100 KiB, which to allocate for every page would take longer than the page.
    static ZSTD: RefCell<Option<bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

fn unzstd(stored: &[u8], plain: &mut [u8]) -> Decoded<usize> {
    let told = |error: std::io::Error| error.to_string();
    ZSTD.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            None => kept.insert(bulk::Decompressor::new().map_err(told)?),
        };
        decompressor
            .decompress_to_buffer(stored, plain)
            .map_err(told)
    })
}

/// The working memory of each way.
enum Codec {
    None,
    Lz4(CompressTable),
    /// `None` where the system had no memory for it.
    Zstd(Option<bulk::Compressor<'static>>),
}

/// Compresses one block after the other with the same working memory.
pub(super) struct Compressor {
    compression: Compression,
    codec: Codec,
    output: Vec<u8>,
}

impl Compressor {
    pub(super) fn new(compression: Compression) -> Compressor {
        let codec = match compression {
            Compression::None => Codec::None,
            Compression::Lz4 => Codec::Lz4(CompressTable::small()),
            Compression::Zstd => Codec::Zstd(bulk::Compressor::new(ZSTD_LEVEL).ok()),
        };
        Compressor {
            compression,
            codec,
            output: Vec::new(),
        }
    }

    /// What to store for `plain`: a compressed form that saves at least an eighth, or itself.
    pub(super) fn pack<'a>(&'a mut self, plain: &'a [u8]) -> (Compression, &'a [u8]) {
        let room = match &self.codec {
            Codec::None | Codec::Zstd(None) => return (Compression::None, plain),
            Codec::Lz4(_) => get_maximum_output_size(plain.len()),
            Codec::Zstd(Some(_)) => compress_bound(plain.len()),
        };
        if self.output.len() < room {
            self.output.resize(room, 0);
        }
        let output = self.output.as_mut_slice();
        let packed = match &mut self.codec {
            Codec::Lz4(table) => compress_into_with_table(plain, output, table).ok(),
            Codec::Zstd(Some(compressor)) => compressor.compress_to_buffer(plain, output).ok(),
            Codec::None | Codec::Zstd(None) => None,
        };
        match packed {
            Some(len) if len <= plain.len() - plain.len() / 8 => {
                (self.compression, &self.output[..len])
            }
            _ => (Compression::None, plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back_and_nothing_else_does() {
        let plain: Vec<u8> = (0..40_000_u32)
            .map(|i| ((i * i) >> 9).to_le_bytes()[0] % 8)
            .collect();
        for compression in Compression::ALL {
            let mut compressor = Compressor::new(compression);
            for len in [0, 1, 100, 8192, plain.len()] {
                let plain = &plain[..len];
                let (found, stored) = compressor.pack(plain);
                let stored = stored.to_vec();
                if len >= 8192 {
                    assert_eq!(found, compression, "{len} bytes");
                }
                let mut back = vec![7; len];
                assert_eq!(found.unpack(&stored, &mut back), Ok(()));
                assert_eq!(back, plain);
                for other in [len + 1, len.saturating_sub(1)] {
                    let mut back = vec![0; other];
                    assert!(other == len || found.unpack(&stored, &mut back).is_err());
                }
                let cut = &stored[..stored.len() / 2];
                assert!(cut.len() == stored.len() || found.unpack(cut, &mut back).is_err());
            }
            assert_eq!(Compression::from_code(compression.code()), Ok(compression));
        }
        assert!(Compression::from_code(3).is_err());
    }

    #[test]
    fn zstd_is_the_smaller_and_what_does_not_shrink_stays() {
        let text: Vec<u8> = (0..500_u32)
            .flat_map(|i| {
                format!("{{\"carrier\":{},\"delay\":{}}}", i % 16, i * i % 997).into_bytes()
            })
            .collect();
        let len = |compression| Compressor::new(compression).pack(&text).1.len();
        assert!(len(Compression::Zstd) < len(Compression::Lz4));
        let mut random = 1_u64;
        let noise: Vec<u8> = (0..8192)
            .map(|_| {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (random >> 56) as u8
            })
            .collect();
        for compression in Compression::ALL {
            let mut compressor = Compressor::new(compression);
            assert_eq!(compressor.pack(&noise), (Compression::None, &noise[..]));
        }
    }
}
