//! Reading tokens and certificates again: on SIGHUP at once, and else when their files have changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::failure::Failure;
use crate::signals::Hangups;

/// Time between two looks at the files.
const LOOKS_APART: Duration = Duration::from_secs(1);

/// Something that is made of files, and can be made of them anew while it is in use.
pub(crate) trait Reload: Send + Sync + 'static {
    /// The files.
    fn files(&self) -> Vec<PathBuf>;

    /// Reads the files again and uses what they say from now on; gives what that is, for people.
    ///
    /// # Errors
    /// What is wrong with them, by file and line: all goes on as it was.
    fn reload(&self) -> Result<String, Failure>;
}

/// What tells a file from the one that was there before.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    inode: u64,
}

/// The present state of a file; `None` where it is not there. Links are followed: Kubernetes swaps them.
fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let inode = 0;
    Some(Stamp {
        modified: metadata.modified().ok(),
        len: metadata.len(),
        inode,
    })
}

/// One of the things that are looked after.
struct Watched {
    what: Arc<dyn Reload>,
    /// The files when they were read last, whatever came of it.
    read: Vec<Option<Stamp>>,
    /// The files at the last look.
    seen: Vec<Option<Stamp>>,
}

impl Watched {
    fn new(what: Arc<dyn Reload>) -> Watched {
        let now = stamps(&*what);
        Watched {
            what,
            read: now.clone(),
            seen: now,
        }
    }

    /// Whether the files have changed since they were read and are as they were a moment ago: certificate and key are
    /// seldom replaced at the same time.
    fn is_due(&mut self) -> bool {
        let now = stamps(&*self.what);
        let is_settled = now == self.seen;
        self.seen = now;
        is_settled && self.seen != self.read
    }

    fn read(&mut self) {
        self.read = stamps(&*self.what);
        match self.what.reload() {
            Ok(what) => tracing::info!("read again: {what}"),
            Err(error) => tracing::warn!("{error}; what was read before stays in use"),
        }
    }
}

fn stamps(what: &dyn Reload) -> Vec<Option<Stamp>> {
    what.files().iter().map(|path| stamp(path)).collect()
}

/// Keeps what is made of files up to date, as long as the process lives.
pub(crate) fn watch(all: Vec<Arc<dyn Reload>>, mut hangups: Hangups) {
    tokio::spawn(async move {
        let mut all: Vec<Watched> = all.into_iter().map(Watched::new).collect();
        loop {
            tokio::select! {
                () = hangups.next() => {
                    if all.is_empty() {
                        tracing::info!("SIGHUP: there are no tokens and no certificates to be read again");
                    }
                    all.iter_mut().for_each(Watched::read);
                }
                () = tokio::time::sleep(LOOKS_APART), if !all.is_empty() => {
                    for watched in all.iter_mut().filter_map(|w| w.is_due().then_some(w)) {
                        watched.read();
                    }
                }
            }
        }
    });
}
