//! Whether and where a process runs programs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::scratch::Scratch;

/// The permission to run the programs of jobs, and where they work. Cheap to clone.
#[derive(Clone)]
pub struct CommandHost(Arc<HostState>);

struct HostState {
    scratch: PathBuf,
    /// Whether programs of jobs are run that came over gRPC.
    over_network: bool,
    /// Opened for the first program, as long as anybody uses it: a process that runs none leaves no trace.
    opened: Mutex<Weak<Scratch>>,
}

impl CommandHost {
    /// Programs work below `scratch`, a folder of this machine. Those of jobs that came over gRPC are run where
    /// `over_network` says so.
    #[must_use]
    pub fn new(scratch: PathBuf, over_network: bool) -> CommandHost {
        CommandHost(Arc::new(HostState {
            scratch,
            over_network,
            opened: Mutex::default(),
        }))
    }

    /// The scratch folder where nobody names another: below the system's folder for temporary files.
    #[must_use]
    pub fn default_scratch() -> PathBuf {
        let user = rustix::process::geteuid().as_raw();
        std::env::temp_dir().join(format!("eciton-scratch-{user}"))
    }

    /// Whether programs of jobs are run that came over gRPC.
    #[must_use]
    pub fn is_for_network(&self) -> bool {
        self.0.over_network
    }

    /// Where programs work.
    #[must_use]
    pub fn scratch_root(&self) -> &Path {
        &self.0.scratch
    }

    /// The folders of this process, which are removed with the last one who holds this.
    ///
    /// # Errors
    /// What the system refuses.
    pub(crate) fn scratch(&self) -> io::Result<Arc<Scratch>> {
        let mut opened = self.0.opened.lock();
        if let Some(scratch) = opened.upgrade() {
            return Ok(scratch);
        }
        let scratch = Arc::new(Scratch::open(&self.0.scratch)?);
        *opened = Arc::downgrade(&scratch);
        Ok(scratch)
    }
}

impl std::fmt::Debug for CommandHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let HostState {
            scratch,
            over_network,
            ..
        } = &*self.0;
        f.debug_struct("CommandHost")
            .field("scratch", scratch)
            .field("over_network", over_network)
            .finish()
    }
}
