//! Files that a job carries with it for its program.

use std::fs;
use std::io;
use std::path::Path;

use bytes::Bytes;
use eciton_proto::v1::CommandFile;
use xxhash_rust::xxh3::xxh3_128;

use super::limits::COMMAND_FILE_LEN_MAX;

/// A file that a program finds in its working folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramFile {
    /// Its path in the working folder, with `/` between its parts.
    pub name: String,
    /// Its bytes.
    pub content: Bytes,
    /// Whether it is a program.
    pub executable: bool,
}

impl ProgramFile {
    /// What a specification says of it.
    #[must_use]
    pub fn recorded(&self) -> CommandFile {
        CommandFile {
            name: self.name.clone(),
            len: self.content.len() as u64,
            hash: xxh3_128(&self.content).to_be_bytes().to_vec(),
            executable: self.executable,
        }
    }

    /// Whether it is the file that a specification names.
    #[must_use]
    pub fn is(&self, recorded: &CommandFile) -> bool {
        self.recorded() == *recorded
    }

    /// Reads the file `name` of the folder `dir`.
    ///
    /// # Errors
    /// The system's; `InvalidInput` for what is no regular file, or longer than [`COMMAND_FILE_LEN_MAX`].
    pub fn read(dir: &Path, name: &str) -> io::Result<ProgramFile> {
        let path = dir.join(name);
        let metadata = fs::metadata(&path)?;
        let unfit = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
        if !metadata.is_file() {
            return Err(unfit("expected a regular file".to_owned()));
        }
        let len = metadata.len();
        if len > COMMAND_FILE_LEN_MAX {
            return Err(unfit(format!(
                "expected at most {COMMAND_FILE_LEN_MAX} bytes, found {len}"
            )));
        }
        Ok(ProgramFile {
            name: name.to_owned(),
            content: fs::read(&path)?.into(),
            executable: is_executable(&metadata),
        })
    }
}

#[cfg(unix)]
fn is_executable(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 != 0
}

#[cfg(not(unix))]
fn is_executable(_: &fs::Metadata) -> bool {
    true
}

/// Where the contents of a job's files come from.
#[derive(Debug, Clone, Copy)]
pub enum FileContents<'c> {
    /// From the folder of the job file.
    Folder,
    /// They came with the job file, which somebody else has read.
    Given(&'c [ProgramFile]),
}
