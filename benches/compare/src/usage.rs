//! What a process has used: memory, processor, disc.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

/// The largest resident size of this process so far, in megabytes.
pub fn peak_mb() -> f64 {
    status_mb("VmHWM:")
}

/// The resident size of this process, in megabytes.
pub fn resident_mb() -> f64 {
    status_mb("VmRSS:")
}

/// Makes the size of this moment the largest so far. Where the system does not let it, the peak stays
/// what it was.
pub fn forget_peak() {
    // Only Linux has it, and it has had it for long; without it a peak is at worst too high.
    fs::write("/proc/self/clear_refs", "5").unwrap_or(());
}

/// The largest resident size so far of another process, in megabytes; 0 of one that is not there.
pub fn peak_mb_of(process: u32) -> f64 {
    status_mb_of(&process.to_string(), "VmHWM:")
}

/// Seconds of processor time that another process has taken until now, and its children that have ended.
pub fn cpu_seconds_of(process: u32) -> f64 {
    /// What Linux tells times of processes in, whatever the kernel's own clock is.
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let fields = after_name.split_whitespace().skip(11).take(4);
    let ticks: u64 = fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    #[allow(clippy::cast_precision_loss, reason = "ticks of one measurement")]
    let ticks = ticks as f64;
    ticks / TICKS_A_SECOND
}

fn status_mb(field: &str) -> f64 {
    status_mb_of("self", field)
}

#[allow(clippy::cast_precision_loss, reason = "megabytes for people")]
fn status_mb_of(process: &str, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let kilobytes = status.lines().find_map(|line| {
        line.strip_prefix(field)?
            .trim()
            .strip_suffix(" kB")?
            .trim()
            .parse::<u64>()
            .ok()
    });
    kilobytes.unwrap_or(0) as f64 / 1024.0
}

/// Bytes that the files below `folder` take on the disc: blocks that they have, not their lengths.
///
/// # Errors
/// What the system refuses.
pub fn disc_len(folder: &Path) -> io::Result<u64> {
    /// `stat` counts in these, whatever the file system's own are.
    const BLOCK_LEN: u64 = 512;
    let mut len = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            len += disc_len(&entry.path())?;
        } else {
            len += metadata.blocks() * BLOCK_LEN;
        }
    }
    Ok(len)
}

/// Wall time and processor time since a moment.
pub(crate) struct Stopwatch {
    start: Instant,
    cpu: f64,
}

/// What a stopwatch has measured.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    /// Seconds that went by.
    pub(crate) seconds: f64,
    /// Seconds of processor time of the whole process, background threads included.
    pub(crate) cpu_seconds: f64,
    /// The largest resident size until then, in megabytes.
    pub(crate) peak_mb: f64,
}

impl Stopwatch {
    pub(crate) fn start() -> Stopwatch {
        Stopwatch {
            start: Instant::now(),
            cpu: cpu_seconds(),
        }
    }

    pub(crate) fn stop(&self) -> Spent {
        Spent {
            seconds: self.start.elapsed().as_secs_f64(),
            cpu_seconds: cpu_seconds() - self.cpu,
            peak_mb: peak_mb(),
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "seconds of one process")]
fn cpu_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_what_was_reached_since_it_was_forgotten() {
        const LEN: usize = 32 * 1024 * 1024;
        let held = vec![1_u8; LEN];
        assert!(held.iter().all(|byte| *byte == 1));
        let high = peak_mb();
        drop(held);
        forget_peak();
        assert!(peak_mb() < high, "{} of {high}", peak_mb());
        assert!(resident_mb() > 0.0);
    }

    #[test]
    fn a_hole_takes_no_disc() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        let file = fs::File::create(folder.path().join("inner/file")).unwrap();
        file.set_len(1 << 30).unwrap();
        fs::write(folder.path().join("full"), vec![7; 100_000]).unwrap();
        let len = disc_len(folder.path()).unwrap();
        assert!((100_000..(1 << 29)).contains(&len), "{len}");
    }

    #[test]
    fn work_costs_processor_time() {
        let watch = Stopwatch::start();
        let mut sum = 0_u64;
        while watch.stop().cpu_seconds == 0.0 {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(watch.stop().seconds > 0.0);
    }
}
