//! A file that only its owner can read, as long as this process needs it.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use eciton_engine::entropy::{Entropy as _, SystemEntropy};

/// The file, which is removed where this is dropped.
pub(crate) struct Secret(PathBuf);

impl Secret {
    /// Writes a new file with this text and a newline, where programs of this user keep what lasts as long as they run.
    ///
    /// # Errors
    /// What the system refuses.
    pub(crate) fn write(name: &str, text: &str) -> io::Result<Secret> {
        let folder = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let folder = folder.filter(|folder| folder.is_dir());
        let folder = folder.unwrap_or_else(env::temp_dir);
        // Nobody else can have made it before, whoever may write to the folder.
        let path = folder.join(format!("{name}-{:032x}", SystemEntropy.next_u128()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path)?;
        let secret = Secret(path);
        writeln!(file, "{text}")?;
        Ok(secret)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        // What is left is the password of a server that has ended.
        fs::remove_file(&self.0).ok();
    }
}
