//! What the machine itself can do: no engine that syncs commits one by one is faster.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

use rustix::fs::{FallocateFlags, OFlags, fallocate, statfs};
use serde_json::{Map, Value, json};

use crate::engine::{Result, text};
use crate::report::median;

/// Bytes of one small write.
const BLOCK_LEN: usize = 4096;
/// Small writes of one measurement.
const WRITES: u64 = 200;
/// Bytes of the long sequential write.
const SEQUENTIAL_LEN: usize = 256 * 1024 * 1024;
/// Bytes that it writes at a time.
const SEQUENTIAL_BLOCK_LEN: usize = 1024 * 1024;
/// How the kernel names a file system in memory.
const TMPFS: i64 = 0x0102_1994;

/// One measurement of the floor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Floor {
    /// Appending 4 KiB and `fdatasync`, the median in microseconds.
    pub(crate) append_us: f64,
    /// Overwriting 4 KiB of a file that has its length, and `fdatasync`, the median in microseconds.
    pub(crate) overwrite_us: f64,
    /// The same with `O_DSYNC`, the median in microseconds.
    pub(crate) dsync_us: f64,
    /// Megabytes a second of one long write with one `fdatasync`.
    pub(crate) sequential_mb_s: f64,
}

impl Floor {
    /// Measures in `folder`.
    ///
    /// # Errors
    /// What the system refuses.
    pub(crate) fn measure(folder: &Path) -> Result<Floor> {
        let path = folder.join("floor");
        let floor = Floor {
            append_us: writes(&path, false, OFlags::empty())?,
            overwrite_us: writes(&path, true, OFlags::empty())?,
            dsync_us: writes(&path, true, OFlags::DSYNC)?,
            sequential_mb_s: sequential(&path)?,
        };
        std::fs::remove_file(&path).map_err(text)?;
        Ok(floor)
    }

    /// The medians of several.
    pub(crate) fn median(floors: &[Floor]) -> Floor {
        let of = |field: fn(&Floor) -> f64| median(floors.iter().map(field).collect());
        Floor {
            append_us: of(|floor| floor.append_us),
            overwrite_us: of(|floor| floor.overwrite_us),
            dsync_us: of(|floor| floor.dsync_us),
            sequential_mb_s: of(|floor| floor.sequential_mb_s),
        }
    }

    /// Commits a second that nothing exceeds which makes each durable by itself.
    pub(crate) fn commits(&self) -> f64 {
        1e6 / self.append_us.min(self.overwrite_us).min(self.dsync_us)
    }

    /// By name, for people and for JSON.
    pub(crate) fn named(&self) -> [(&'static str, f64); 4] {
        [
            ("append_4k_fdatasync_us", self.append_us),
            ("overwrite_4k_fdatasync_us", self.overwrite_us),
            ("overwrite_4k_dsync_us", self.dsync_us),
            ("sequential_write_mb_s", self.sequential_mb_s),
        ]
    }

    pub(crate) fn json(&self) -> Value {
        let fields = self.named().into_iter();
        let fields: Map<String, Value> = fields
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        fields.into()
    }
}

/// Whether syncing means nothing here, since the folder lies in memory.
pub(crate) fn is_in_memory(folder: &Path) -> bool {
    statfs(folder).is_ok_and(|stats| stats.f_type == TMPFS)
}

/// The median of one small write until it is durable, in microseconds.
fn writes(path: &Path, allocated: bool, flags: OFlags) -> Result<f64> {
    let mut file = create(path)?;
    if allocated {
        let len = WRITES * BLOCK_LEN as u64;
        fallocate(&file, FallocateFlags::empty(), 0, len).map_err(text)?;
        // Written once: a first write into allocated space changes more than the data.
        for _ in 0..WRITES {
            file.write_all(&[1; BLOCK_LEN]).map_err(text)?;
        }
    }
    file.sync_all().map_err(text)?;
    let mut file = OpenOptions::new()
        .write(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(text)?;
    file.seek(SeekFrom::Start(0)).map_err(text)?;
    let mut times = Vec::new();
    for _ in 0..WRITES {
        let start = Instant::now();
        file.write_all(&[2; BLOCK_LEN]).map_err(text)?;
        if !flags.contains(OFlags::DSYNC) {
            file.sync_data().map_err(text)?;
        }
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(median(times))
}

#[allow(clippy::cast_precision_loss, reason = "megabytes of one file")]
fn sequential(path: &Path) -> Result<f64> {
    let block = vec![3; SEQUENTIAL_BLOCK_LEN];
    let mut file = create(path)?;
    let start = Instant::now();
    for _ in 0..SEQUENTIAL_LEN / SEQUENTIAL_BLOCK_LEN {
        file.write_all(&block).map_err(text)?;
    }
    file.sync_data().map_err(text)?;
    Ok(SEQUENTIAL_LEN as f64 / 1e6 / start.elapsed().as_secs_f64())
}

fn create(path: &Path) -> Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .map_err(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_has_every_figure() {
        let folder = tempfile::tempdir().unwrap();
        let floor = Floor::measure(folder.path()).unwrap();
        for (name, value) in floor.named() {
            assert!(value > 0.0, "{name}: {value}");
        }
        assert!(floor.commits() >= 1e6 / floor.append_us, "{floor:?}");
        assert!(!folder.path().join("floor").exists());
        assert!(!is_in_memory(Path::new("/proc")));
    }
}
