//! Data that a seed repeats.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use eciton_compare::random::Random;

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
