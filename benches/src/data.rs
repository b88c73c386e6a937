//! Data that a seed repeats.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// `SplitMix64`.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Writes `rows` rows over `groups` groups, some 75 bytes each: an id, the group, an integer, a float
/// with a missing value here and there, and a text.
pub(crate) fn csv(path: &Path, rows: u64, groups: u64) -> std::io::Result<()> {
    let mut random = Random(7);
    let mut out = BufWriter::new(File::create(path)?);
    writeln!(out, "id,customer,quantity,price,comment")?;
    for id in 0..rows {
        let (group, quantity) = (random.next() % groups, random.next() % 1000);
        let (price, comment) = (random.next() % 1_000_000, random.next());
        let cents = format!("{}.{:02}", price / 100, price % 100);
        let price = if price % 50 == 0 {
            String::new()
        } else {
            cents
        };
        writeln!(
            out,
            "{id},customer-{group:06},{quantity},{price},a comment {comment:016x} of some length"
        )?;
    }
    out.flush()
}
