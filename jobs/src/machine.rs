//! Which machine, which clock and which process this is, so that others can tell whose word means what to them.

use std::sync::LazyLock;

use xxhash_rust::xxh3::xxh3_64;

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// Seconds by which two looks at one clock may differ: it is set a little, and both numbers are rounded.
const CLOCK_SLACK: u32 = 5;

/// Names this boot of this machine; empty where the system does not say.
static BOOT: LazyLock<String> = LazyLock::new(|| {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    boot.unwrap_or_default().trim().to_owned()
});

/// Names the boot and the space of process numbers that this process lives in; 0 where the system does not say.
pub(crate) fn place() -> u64 {
    static PLACE: LazyLock<u64> = LazyLock::new(|| match std::fs::read_link("/proc/self/ns/pid") {
        Ok(space) if !BOOT.is_empty() => {
            xxh3_64(format!("{} {}", *BOOT, space.display()).as_bytes()).max(1)
        }
        _ => 0,
    });
    *PLACE
}

/// Names this boot of this machine; 0 where the system does not say.
pub(crate) fn boot() -> u64 {
    match BOOT.is_empty() {
        true => 0,
        false => xxh3_64(BOOT.as_bytes()).max(1),
    }
}

/// The clock of this process, as `JobState.started_clock` has it; 0 where the system does not say when it was booted.
pub(crate) fn clock() -> u64 {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let up: Option<f64> = uptime.split(' ').next().and_then(|word| word.parse().ok());
    let (Some(up), false) = (up, BOOT.is_empty()) else {
        return 0;
    };
    #[allow(clippy::cast_possible_truncation, reason = "seconds since a boot")]
    let booted = now_ms() / 1000 - up as i64;
    let hash = xxh3_64(BOOT.as_bytes()) >> 32;
    // The seconds of some decades, around: they are only compared.
    (hash << 32) | (booted.cast_unsigned() & u64::from(u32::MAX))
}

/// Whether two clocks are one.
pub(crate) fn is_same(one: u64, other: u64) -> bool {
    #[allow(clippy::cast_possible_truncation, reason = "the lower half")]
    let booted = |clock: u64| clock as u32;
    let apart = booted(one).wrapping_sub(booted(other));
    one != 0 && one >> 32 == other >> 32 && apart.min(apart.wrapping_neg()) <= CLOCK_SLACK
}

/// When a process of this machine began, in ticks since the boot; `None` if it is not there any more.
pub(crate) fn began(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, which may hold anything, ends at the last parenthesis.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    match fields.next()? {
        // It has ended, and nobody has asked how.
        "Z" | "X" => None,
        _ => fields.nth(18)?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_itself_and_no_other() {
        let one = clock();
        assert!(is_same(one, clock()));
        let other =
            |seconds: i64| (one & !0xffff_ffff) | (one.wrapping_add_signed(seconds) & 0xffff_ffff);
        assert!(is_same(one, other(3)) && is_same(other(-3), one));
        assert!(!is_same(one, other(3600)) && !is_same(one, other(-93_600)));
        assert!(!is_same(one, one ^ 1 << 40), "another machine's");
        assert!(!is_same(0, 0), "unknown ones");
    }

    #[test]
    fn this_process_is_there_and_one_that_has_ended_is_not() {
        assert!(place() != 0);
        let mine = began(std::process::id());
        assert!(mine.is_some() && mine == began(std::process::id()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert_eq!(began(child.id()), None);
    }
}
