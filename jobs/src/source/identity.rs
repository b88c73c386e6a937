//! Which file was recorded, and whether what lies under its path is still that one.
//!
//! A file is known by its length, the time of its last modification in nanoseconds, and, where the system can tell, by
//! which file it is: its number and the time of its creation. Numbers mean nothing on another machine, after a restart,
//! or on file systems that draw them anew; so they are compared only where the recorded device, which is a hash that
//! includes the running system, is the one of now. There the time of the last change of anything about the file is compared,
//! too, which nobody can set: whoever edits a file and sets its time of modification again is found by it. Where mode,
//! owner or number of names changed, that is taken for the reason. Under `verify = "content"` a file is known by its bytes instead: see
//! [`content`](super::content).
//!
//! A modification within one tick of the file system's clock after another leaves the time as it was. A file is
//! therefore recorded only once its time lies further back than that ([`settle`]): whoever writes to it afterwards gives
//! it another one.

use std::fs::{File, Metadata};
use std::io;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use eciton_engine::json::timestamp;
use eciton_proto::v1::SourceFile;
use xxhash_rust::xxh3::Xxh3;

use super::error::SourceError;
use super::handle::FileHandle;
use super::input::{OPENING, io_error};
use super::reach;
use super::remote::{self, is_remote, is_same_tag};

/// A tick of a file system's clock, with room to spare: 10 ms at most on Linux, and finer elsewhere.
const TICK: Duration = Duration::from_millis(25);
/// The same where times are whole seconds: FAT counts every second one.
const TICK_COARSE: Duration = Duration::from_secs(2);
/// How long files that are being written are waited for.
const SETTLE_MAX: Duration = Duration::from_secs(8);

/// What the system says about an open file. Its path and what messages call it are those of `file`.
pub(super) fn described(file: &SourceFile, handle: &File) -> io::Result<SourceFile> {
    let metadata = handle.metadata()?;
    let mtime_ns = nanos(metadata.modified().ok());
    let mut now = SourceFile {
        path: file.path.clone(),
        display: file.display.clone(),
        len: metadata.len(),
        mtime_ms: mtime_ns / 1_000_000,
        mtime_ns,
        ..SourceFile::default()
    };
    let (number, device) = number(&metadata);
    if device != 0 && has_lasting_numbers(handle) {
        now.inode = number;
        now.device = device;
        now.birth_ns = nanos(metadata.created().ok());
        (now.ctime_ns, now.attributes_hash) = change(&metadata);
    }
    Ok(now)
}

/// Opens files and describes each as it is now, in place. Waits, for less than a tick as a rule, until whatever is written
/// to one of them from now on gives it another time.
///
/// # Errors
/// [`SourceError::Io`]; [`SourceError::Columns`] for a file that is being written all the time.
pub(super) fn settle(files: &mut [SourceFile]) -> Result<(), SourceError> {
    let begun = Instant::now();
    let mut fresh: Vec<(usize, Instant)> = Vec::new();
    let mut wait = Duration::ZERO;
    for (index, file) in files.iter_mut().enumerate() {
        // Its listing has told it already, and no store has two versions under one tag.
        if is_remote(&file.path) && !file.etag.is_empty() {
            continue;
        }
        *file = described_at_path(file)?;
        let left = unsettled(file, Duration::ZERO);
        if !left.is_zero() {
            fresh.push((index, Instant::now()));
            wait = wait.max(left);
        }
    }
    while !fresh.is_empty() {
        if begun.elapsed() > SETTLE_MAX {
            let (index, _) = fresh[0];
            let file = &files[index].display;
            return Err(SourceError::Columns(format!(
                "`{file}`: somebody is writing to the file; expected files that nobody writes to"
            )));
        }
        sleep(wait);
        wait = Duration::ZERO;
        let mut still = Vec::new();
        for (index, since) in fresh {
            let now = described_at_path(&files[index])?;
            let since = match now == files[index] {
                true => since,
                false => Instant::now(),
            };
            files[index] = now;
            let left = unsettled(&files[index], since.elapsed());
            if !left.is_zero() {
                still.push((index, since));
                wait = wait.max(left);
            }
        }
        fresh = still;
    }
    Ok(())
}

/// How long it takes until another write is sure to give the file another time; it has had this one for `seen` at least.
fn unsettled(file: &SourceFile, seen: Duration) -> Duration {
    let now_ns = nanos(Some(SystemTime::now()));
    let left = |time_ns: i64| {
        let tick = match time_ns % 1_000_000_000 {
            0 => TICK_COARSE,
            _ => TICK,
        };
        // One that lies in the future is of another clock: what was seen of it counts.
        let age = u64::try_from(now_ns.saturating_sub(time_ns));
        tick.saturating_sub(age.map_or(seen, Duration::from_nanos).max(seen))
    };
    match file.ctime_ns {
        0 => left(file.mtime_ns),
        ctime_ns => left(file.mtime_ns).max(left(ctime_ns)),
    }
}

/// Whether two descriptions are of one file with one content, as far as they tell.
pub(crate) fn is_same(file: &SourceFile, now: &SourceFile) -> bool {
    let bare = |file: &SourceFile| SourceFile {
        ctime_ns: 0,
        attributes_hash: 0,
        ..file.clone()
    };
    bare(file) == bare(now) && !is_changed_unseen(file, (now.ctime_ns, now.attributes_hash))
}

/// Whether something of a file changed that its mode, its owner and its names do not explain.
fn is_changed_unseen(file: &SourceFile, (ctime_ns, attributes_hash): (i64, u64)) -> bool {
    let is_known = file.ctime_ns != 0 && ctime_ns != 0;
    is_known && ctime_ns != file.ctime_ns && attributes_hash == file.attributes_hash
}

/// A recorded file as it is now under its path.
fn described_at_path(file: &SourceFile) -> Result<SourceFile, SourceError> {
    let failed = |source| io_error(file, OPENING, source);
    if is_remote(&file.path) {
        let now = remote::look(&file.path).map_err(failed)?;
        let display = file.display.clone();
        return Ok(SourceFile { display, ..now });
    }
    match reach::open(file).map_err(failed)? {
        FileHandle::Local(handle) => described(file, &handle).map_err(failed),
        FileHandle::Remote(_) => Ok(file.clone()),
    }
}

/// Holds an open file against what was recorded of it.
///
/// # Errors
/// [`SourceError::Stale`] if it is another one by now.
pub(super) fn check(file: &SourceFile, handle: &FileHandle) -> Result<(), SourceError> {
    let handle = match handle {
        FileHandle::Local(handle) => handle,
        // Whatever is read of it is of the recorded version.
        FileHandle::Remote(_) => return Ok(()),
    };
    let failed = |source| io_error(file, OPENING, source);
    let metadata = handle.metadata().map_err(failed)?;
    stale(file, difference(file, &metadata))
}

/// An error of what was recorded and what is there, where they differ.
fn stale(file: &SourceFile, difference: Option<(String, String)>) -> Result<(), SourceError> {
    match difference {
        None => Ok(()),
        Some((expected, found)) => Err(SourceError::Stale {
            file: file.display.clone(),
            expected,
            found,
        }),
    }
}

/// What was recorded of an object and what is there, if they differ.
fn remote_difference(file: &SourceFile, now: &SourceFile) -> Option<(String, String)> {
    if now.len != file.len {
        return Some((format!("{} bytes", file.len), format!("{}", now.len)));
    }
    if is_by_content(file) {
        return None;
    }
    if file.etag.is_empty() {
        let modified = |ns| format!("one last modified at {}", moment(ns));
        let is_other = file.mtime_ns != now.mtime_ns;
        return is_other.then(|| (modified(file.mtime_ns), modified(now.mtime_ns)));
    }
    let tagged = |etag: &str| format!("the object of ETag {}", etag.trim_matches('"'));
    let is_other = !is_same_tag(&file.etag, &now.etag);
    is_other.then(|| (tagged(&file.etag), tagged(&now.etag)))
}

/// Holds what lies under a file's path now against what was recorded.
///
/// # Errors
/// As [`check`]; [`SourceError::Io`] if it cannot be opened.
pub(super) fn check_path(file: &SourceFile) -> Result<(), SourceError> {
    if is_remote(&file.path) {
        let now = described_at_path(file)?;
        return stale(file, remote_difference(file, &now));
    }
    // Opened and not only looked at: a network file system asks its server then.
    let handle = reach::open(file).map_err(|source| io_error(file, OPENING, source))?;
    check(file, &handle)
}

/// What was recorded and what is there, if they differ.
fn difference(file: &SourceFile, now: &Metadata) -> Option<(String, String)> {
    if now.len() != file.len {
        return Some((format!("{} bytes", file.len), format!("{}", now.len())));
    }
    if !is_recorded(file) || is_by_content(file) {
        return None;
    }
    let (inode, device) = number(now);
    if device == file.device && device != 0 && file.inode != 0 {
        if inode != file.inode {
            let (was, is) = (file.inode, inode);
            return Some((
                format!("the file of inode {was}"),
                format!("that of inode {is}"),
            ));
        }
        let birth_ns = nanos(now.created().ok());
        if birth_ns != file.birth_ns {
            let created = |ns| format!("one created at {}", moment(ns));
            return Some((created(file.birth_ns), created(birth_ns)));
        }
    }
    let mtime_ns = nanos(now.modified().ok());
    if mtime_ns != file.mtime_ns {
        let modified = |ns| format!("one last modified at {}", moment(ns));
        return Some((modified(file.mtime_ns), modified(mtime_ns)));
    }
    let is_here = device == file.device && device != 0;
    let changed = change(now);
    (is_here && is_changed_unseen(file, changed)).then(|| {
        let (was, is) = (moment(file.ctime_ns), moment(changed.0));
        (
            format!("one last changed at {was}"),
            format!(
                "that it changed at {is}, although its time of modification is the same: somebody may have written to it \
                 and set that time again (with `verify = \"content\"` files are known by their bytes)"
            ),
        )
    })
}

/// Whether more than the length of a file was recorded, which jobs of earlier versions have not.
pub(super) fn is_recorded(file: &SourceFile) -> bool {
    file.mtime_ns != 0 || file.inode != 0 || !file.etag.is_empty()
}

/// Whether a file is known by its bytes.
pub(super) fn is_by_content(file: &SourceFile) -> bool {
    !file.content_hash.is_empty()
}

/// Keeps a file open while a shard of it is read, so that it can be asked afterwards whether it was the recorded one all
/// the time.
#[derive(Debug)]
pub(super) struct Witness {
    file: SourceFile,
    handle: FileHandle,
}

impl Witness {
    /// Opens a file that must be the recorded one.
    ///
    /// # Errors
    /// As [`check_path`].
    pub(super) fn open(file: &SourceFile) -> Result<Witness, SourceError> {
        let handle = super::input::open(file)?;
        Ok(Witness {
            file: file.clone(),
            handle,
        })
    }

    /// Whether the file that was opened, and what lies under its path, are still the recorded one.
    ///
    /// # Errors
    /// As [`check_path`].
    pub(super) fn check(&self) -> Result<(), SourceError> {
        check(&self.file, &self.handle)?;
        check_path(&self.file)
    }
}

/// A time in nanoseconds since the epoch; 0 where there is none.
fn nanos(time: Option<SystemTime>) -> i64 {
    let Some(time) = time else { return 0 };
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    }
}

/// A time for people, to the nanosecond.
fn moment(ns: i64) -> String {
    let text = timestamp::format(ns.div_euclid(1000));
    match ns.rem_euclid(1000) {
        0 => text,
        rest => {
            let micros = ns.div_euclid(1000).rem_euclid(1_000_000);
            let seconds = timestamp::format(ns.div_euclid(1_000_000_000) * 1_000_000);
            format!("{}.{micros:06}{rest:03}Z", seconds.trim_end_matches('Z'))
        }
    }
}

/// Number and device of a file; 0 where they say nothing.
#[cfg(unix)]
fn number(metadata: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let Some(system) = running_system() else {
        return (0, 0);
    };
    let mut hash = Xxh3::new();
    hash.update(system.as_bytes());
    hash.update(&metadata.dev().to_le_bytes());
    (metadata.ino(), hash.digest().max(1))
}

/// When anything about a file last changed, and a hash of what changes without its content.
#[cfg(unix)]
fn change(metadata: &Metadata) -> (i64, u64) {
    use std::os::unix::fs::MetadataExt;
    let seconds = metadata.ctime().saturating_mul(1_000_000_000);
    let mut hash = Xxh3::new();
    for number in [metadata.mode(), metadata.uid(), metadata.gid()] {
        hash.update(&number.to_le_bytes());
    }
    hash.update(&metadata.nlink().to_le_bytes());
    (
        seconds.saturating_add(metadata.ctime_nsec()),
        hash.digest().max(1),
    )
}

#[cfg(not(unix))]
fn change(_metadata: &Metadata) -> (i64, u64) {
    (0, 0)
}

#[cfg(not(unix))]
fn number(_metadata: &Metadata) -> (u64, u64) {
    (0, 0)
}

/// Names the running kernel, differently after each start.
fn running_system() -> Option<&'static str> {
    static SYSTEM: OnceLock<Option<String>> = OnceLock::new();
    let system = SYSTEM.get_or_init(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        (!id.trim().is_empty()).then(|| id.trim().to_owned())
    });
    system.as_deref()
}

/// Whether the file system of a file keeps its number for as long as the file is there. Those in user space, of other
/// systems' servers, and without numbers of their own draw a new one whenever they have forgotten the last.
#[cfg(target_os = "linux")]
fn has_lasting_numbers(handle: &File) -> bool {
    /// FUSE, SMB, SMB 2, CIFS, 9p, FAT, exFAT, shared folders of `VirtualBox`, AFS.
    const DRAWN: [u64; 9] = [
        0x6573_5546,
        0x517B,
        0xFE53_4D42,
        0xFF53_4D42,
        0x0102_1997,
        0x4D44,
        0x2011_BAB0,
        0x786F_4256,
        0x5346_414F,
    ];
    let kind = rustix::fs::fstatfs(handle).map(|stat| stat.f_type);
    // The type's width differs between architectures; all of these fit 32 bits.
    #[allow(
        clippy::cast_sign_loss,
        clippy::unnecessary_cast,
        reason = "a pattern of bits"
    )]
    kind.is_ok_and(|kind| !DRAWN.contains(&(kind as u64 & 0xFFFF_FFFF)))
}

#[cfg(not(target_os = "linux"))]
fn has_lasting_numbers(_handle: &File) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_to_the_nanosecond() {
        let told = [0, 1_000, 1_000_000_001, -1].map(moment);
        let expected = [
            "1970-01-01T00:00:00Z",
            "1970-01-01T00:00:00.000001Z",
            "1970-01-01T00:00:01.000000001Z",
            "1969-12-31T23:59:59.999999999Z",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_file_is_settled_once_its_tick_has_passed() {
        let now = nanos(Some(SystemTime::now()));
        let of = |mtime_ns| SourceFile {
            mtime_ns,
            ..SourceFile::default()
        };
        let fine = of(now / 1_000_000_000 * 1_000_000_000 - 1);
        assert!(unsettled(&fine, Duration::ZERO) <= TICK);
        assert_eq!(
            unsettled(&of(now - 60_000_000_001), Duration::ZERO),
            Duration::ZERO
        );
        let future = of(now + 3_600_000_000_001);
        assert_eq!(unsettled(&future, Duration::ZERO), TICK);
        assert_eq!(unsettled(&future, TICK), Duration::ZERO);
        let coarse = of((now + 3_600_000_000_000) / 1_000_000_000 * 1_000_000_000);
        assert_eq!(unsettled(&coarse, Duration::ZERO), TICK_COARSE);
    }
}
