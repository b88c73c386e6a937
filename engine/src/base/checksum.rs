//! Checksums and hashes. Both find accidents, not forgers.
//!
//! XXH3 by Yann Collet (<https://github.com/Cyan4973/xxHash>): one algorithm for both widths.

use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128};

/// The checksum of one contiguous block.
pub fn checksum64(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// The checksum of one block that lies in pieces.
pub fn checksum64_of(pieces: &[&[u8]]) -> u64 {
    let mut hasher = Xxh3::new();
    for piece in pieces {
        hasher.update(piece);
    }
    hasher.digest()
}

/// The identity of an object's content: what the hash chain links with.
pub fn hash128(bytes: &[u8]) -> u128 {
    xxh3_128(bytes)
}

/// [`hash128`] of content that arrives in pieces.
#[derive(Default)]
pub struct Hasher128(Xxh3);

impl Hasher128 {
    /// Adds the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of everything added so far.
    pub fn digest(&self) -> u128 {
        self.0.digest128()
    }
}
