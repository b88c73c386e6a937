//! Sizes and durations as a job file writes them.

/// Bytes of `8MiB`, `64KiB`, `10MB`, `4096B` or `4096`; `None` if it is none of these or over 64 bits.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let scale: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    number.checked_mul(scale)
}

/// Milliseconds of `30s`, `500ms`, `5m`, `2h`; `None` if it is none of these or over 64 bits.
pub fn parse_duration_ms(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let scale: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(scale)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}

/// A size for messages: `8MiB`, or plain bytes where no unit divides it.
pub(super) fn show_size(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units
        .iter()
        .find(|(scale, _)| bytes >= *scale && bytes.is_multiple_of(*scale));
    match unit {
        Some((scale, unit)) => format!("{}{unit}", bytes / scale),
        None => format!("{bytes}B"),
    }
}

/// A duration for messages: `30s`, `500ms`.
pub fn show_duration_ms(ms: u64) -> String {
    let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let unit = units
        .iter()
        .find(|(scale, _)| ms >= *scale && ms.is_multiple_of(*scale));
    match unit {
        Some((scale, unit)) => format!("{}{unit}", ms / scale),
        None => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("8MiB", Some(8 << 20)),
            ("64KiB", Some(64 << 10)),
            ("64 KiB", Some(64 << 10)),
            ("1GiB", Some(1 << 30)),
            ("10MB", Some(10_000_000)),
            ("4096", Some(4096)),
            ("4096B", Some(4096)),
            ("", None),
            ("MiB", None),
            ("-1", None),
            ("1.5MiB", None),
            ("8mib", None),
            ("99999999999999999999", None),
            ("18446744073709551615TiB", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text:?}");
        }
    }

    #[test]
    fn durations() {
        for (text, ms) in [
            ("30s", Some(30_000)),
            ("500ms", Some(500)),
            ("5m", Some(300_000)),
            ("2h", Some(7_200_000)),
            ("30", None),
            ("", None),
            ("1.5s", None),
            ("18446744073709551615h", None),
        ] {
            assert_eq!(parse_duration_ms(text), ms, "{text:?}");
        }
    }

    #[test]
    fn shown_values_read_back() {
        for bytes in [1, 1023, 1024, 8 << 20, 3 << 30, (1 << 20) + 1] {
            assert_eq!(parse_size(&show_size(bytes)), Some(bytes));
        }
        for ms in [1, 999, 1000, 30_000, 90_000, 3_600_000] {
            assert_eq!(parse_duration_ms(&show_duration_ms(ms)), Some(ms));
        }
    }
}
