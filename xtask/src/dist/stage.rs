//! The files to pack, in a folder of their own until they are packed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{VERSION, at, licenses, output, sbom};
use crate::steps::{Failed, workspace};

/// A shell, and the file name under which it looks for completions.
const SHELLS: [(&str, &str); 5] = [
    ("bash", "eciton.bash"),
    ("elvish", "eciton.elv"),
    ("fish", "eciton.fish"),
    ("powershell", "_eciton.ps1"),
    ("zsh", "_eciton"),
];
/// The program's name in the archives.
const PROGRAM: &str = "eciton";
/// The license of the project.
pub(super) const LICENSE: &str = "LICENSE";
/// The licenses of everything that is linked into the program.
pub(super) const THIRD_PARTY: &str = "THIRD-PARTY.txt";
/// What the program is made of, for scanners.
pub(super) const MATERIALS: &str = "SBOM.cdx.json";
/// The folder of the completions.
pub(super) const COMPLETIONS: &str = "completions";
/// The folder of the manual pages.
pub(super) const MAN: &str = "man/man1";

/// A file to pack.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    /// Its path in the tarball, below the top folder.
    pub(super) name: String,
    /// Its path on this machine.
    pub(super) path: PathBuf,
    /// Whether it is the program, and so executable.
    pub(super) is_program: bool,
}

/// A folder with the content of the tarball, which is deleted at the end.
#[derive(Debug)]
pub(super) struct Stage {
    folder: PathBuf,
    files: Vec<Packed>,
}

impl Stage {
    /// Creates the folder in `out`, strips the program, asks it for its completions and manual pages, and adds the texts.
    ///
    /// # Errors
    /// A tool fails, a license text is missing, or a file cannot be written.
    pub(super) fn fill(program: &Path, target: &str, out: &Path) -> Result<Self, Failed> {
        let folder = out.join(format!(".stage-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|cause| at(&folder, &cause))?;
        let mut stage = Self {
            folder,
            files: Vec::new(),
        };
        for name in [COMPLETIONS, MAN] {
            let folder = stage.folder.join(name);
            fs::create_dir_all(&folder).map_err(|cause| at(&folder, &cause))?;
        }
        let mut strip = Command::new("strip");
        output(strip.arg("-o").arg(stage.program()).arg(program))?;
        stage.ask(program)?;
        for name in [LICENSE, "README.md"] {
            let (from, to) = (workspace().join(name), stage.folder.join(name));
            fs::copy(&from, &to).map_err(|cause| at(&from, &cause))?;
        }
        let list = licenses::list(target, VERSION)?;
        stage.write(THIRD_PARTY, list.as_bytes())?;
        let materials = sbom::document(target, VERSION, &licenses::packages(target)?);
        stage.write(MATERIALS, materials.as_bytes())?;
        stage.files = files(&stage.folder, "")?;
        let programs = stage.files.iter().filter(|file| file.is_program).count();
        assert_eq!(
            programs,
            1,
            "programs to pack in {}",
            stage.folder.display()
        );
        Ok(stage)
    }

    /// Has the program write its completions and its manual pages. It gets no environment, so that no setting of the caller, such as
    /// `ECITON_DB`, can show in them.
    fn ask(&self, program: &Path) -> Result<(), Failed> {
        for (shell, name) in SHELLS {
            let mut command = Command::new(program);
            let script = output(command.args(["completions", shell]).env_clear())?;
            self.write(&format!("{COMPLETIONS}/{name}"), &script)?;
        }
        let mut command = Command::new(program);
        command.args(["man", "--out"]).arg(self.folder.join(MAN));
        output(command.env_clear())?;
        Ok(())
    }

    /// Writes a file of the stage.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf, Failed> {
        let path = self.path(name);
        fs::write(&path, content).map_err(|cause| at(&path, &cause))?;
        Ok(path)
    }

    /// The stripped program.
    pub(super) fn program(&self) -> PathBuf {
        self.path(PROGRAM)
    }

    /// The path of a file in the folder, whether it is packed or not.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The files of the tarball, sorted by name.
    pub(super) fn files(&self) -> &[Packed] {
        &self.files
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // The archives do not depend on it.
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Every file below `folder`, sorted by name.
fn files(folder: &Path, prefix: &str) -> Result<Vec<Packed>, Failed> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|cause| at(folder, &cause))? {
        let path = entry.map_err(|cause| at(folder, &cause))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            found.extend(files(&path, &format!("{name}/"))?);
        } else {
            let is_program = name == PROGRAM;
            found.push(Packed {
                name,
                path,
                is_program,
            });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}
