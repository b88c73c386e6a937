//! The ways in which a path fails.

use std::fmt;
use std::time::Duration;

use fuser::Errno;

use crate::disk::Trouble;

/// A way to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Every request fails with this error number.
    Fails(i32),
    /// Every change fails with this error number.
    Refuses(i32),
    /// No request is answered.
    Hangs,
    /// Every change takes much longer.
    Slow,
    /// A tmpfs has no room left.
    Full,
    /// An ext4 becomes read-only by a failure of its own.
    ReadOnly,
}

/// `EUCLEAN`, which the crate has no name for.
const EUCLEAN: i32 = 117;
/// Added to every change of a slow file system.
const SLOW: Duration = Duration::from_millis(50);

impl Kind {
    /// All of them.
    pub fn all() -> Vec<Kind> {
        let mut all = vec![Kind::Hangs, Kind::Slow, Kind::Full, Kind::ReadOnly];
        let errors = [
            Errno::EIO,
            Errno::EROFS,
            Errno::ENOSPC,
            Errno::from_i32(EUCLEAN),
            Errno::EDQUOT,
            Errno::ESTALE,
            Errno::ETIMEDOUT,
            Errno::ENXIO,
        ];
        all.extend(errors.map(|errno| Kind::Fails(errno.code())));
        all.extend(errors.map(|errno| Kind::Refuses(errno.code())));
        all
    }

    /// What the file system of the harness does; `None` where another one fails.
    pub fn trouble(self) -> Option<Trouble> {
        match self {
            Kind::Fails(errno) => Some(Trouble::Fails(Errno::from_i32(errno))),
            Kind::Refuses(errno) => Some(Trouble::Refuses(Errno::from_i32(errno))),
            Kind::Hangs => Some(Trouble::Hangs),
            Kind::Slow => Some(Trouble::Slow(SLOW)),
            Kind::Full | Kind::ReadOnly => None,
        }
    }

    /// Commits of each process after the fault: a full file system still takes a few where something was removed.
    pub fn commits_after(self) -> usize {
        match self {
            Kind::Full => 60,
            _ => 3,
        }
    }

    /// The watchdog's limit: as by default, and shorter where it is waited for.
    pub fn limit(self) -> Duration {
        match self {
            Kind::Hangs => Duration::from_secs(1),
            _ => Duration::from_secs(2),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Fails(errno) => write!(f, "fails({errno})"),
            Kind::Refuses(errno) => write!(f, "refuses({errno})"),
            Kind::Hangs => f.write_str("hangs"),
            Kind::Slow => f.write_str("slow"),
            Kind::Full => f.write_str("full"),
            Kind::ReadOnly => f.write_str("read-only"),
        }
    }
}
