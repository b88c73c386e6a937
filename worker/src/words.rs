//! Numbers as sentences have them.

/// `1 shard`, `12,345 shards`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    let plural = match (count, what) {
        (1, _) => "",
        (_, what) if what.ends_with("ch") || what.ends_with('s') => "es",
        _ => "s",
    };
    format!("{} {what}{plural}", grouped(count))
}

/// `12,345`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_read_well() {
        assert_eq!(counted(0, "shard"), "0 shards");
        assert_eq!(counted(1, "shard"), "1 shard");
        assert_eq!(counted(2930, "shard"), "2,930 shards");
        assert_eq!(counted(2, "batch"), "2 batches");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
