//! A Python wheel that installs the program, its manual pages and its completions.
//!
//! Assembled here and not by maturin, which cannot pack a program that is already built: it compiles the program's crate again. A wheel of a
//! program is a zip archive with three texts. `docs/packaging.md` has the reasons.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::project::{FOLDER, Project};
use super::stage::{COMPLETIONS, LICENSE, MAN, Stage, THIRD_PARTY};
use super::zip::{self, Member};
use super::{at, elf, gzip, sums};
use crate::steps::{Failed, workspace};

/// Completions that systems look for, and where, below the folder that pip installs to.
const SHARED: [(&str, &str); 3] = [
    ("eciton.bash", "bash-completion/completions/eciton"),
    ("eciton.fish", "fish/vendor_completions.d/eciton.fish"),
    ("_eciton", "zsh/site-functions/_eciton"),
];

/// A file of the wheel.
#[derive(Debug)]
struct Part {
    name: String,
    path: PathBuf,
    mode: u32,
}

/// A wheel to be written.
#[derive(Debug)]
pub(super) struct Wheel {
    /// The file name, without its ending.
    stem: String,
    parts: Vec<Part>,
}

impl Wheel {
    /// Collects the files of a wheel, and writes the texts that describe it to the stage's folder.
    ///
    /// # Errors
    /// There is no platform tag, `pyproject.toml` lacks a field, or a file cannot be read or written.
    pub(super) fn new(stage: &Stage, target: &str, version: &str) -> Result<Self, Failed> {
        let project = Project::read()?;
        let version = python_version(version)?;
        let package = format!("{}-{version}", project.name);
        let tag = format!("py3-none-{}", elf::platform(&stage.program(), target)?);
        let info = format!("{package}.dist-info");

        let mut parts = Vec::new();
        for file in stage.files() {
            if let Some(name) = place(&package, &file.name) {
                let mode = if file.is_program { 0o755 } else { 0o644 };
                let path = file.path.clone();
                parts.push(Part { name, path, mode });
            }
        }
        let readme = workspace().join(FOLDER).join("README.md");
        let readme = fs::read_to_string(&readme).map_err(|cause| at(&readme, &cause))?;
        let about = [
            ("METADATA", metadata(&project, &version, &readme)),
            (
                "WHEEL",
                format!(
                    "Wheel-Version: 1.0\nGenerator: eciton xtask ({version})\nRoot-Is-Purelib: false\nTag: {tag}\n"
                ),
            ),
        ];
        let mut add = |name: &str, text: &str| -> Result<(), Failed> {
            let path = stage.write(name, text.as_bytes())?;
            let name = format!("{info}/{name}");
            parts.push(Part {
                name,
                path,
                mode: 0o644,
            });
            Ok(())
        };
        for (name, text) in &about {
            add(name, text)?;
        }
        parts.sort_by(|a, b| a.name.cmp(&b.name));
        // Last, as the format recommends; it lists itself without a hash.
        let name = format!("{info}/RECORD");
        let record = format!("{}{name},,\n", record(&parts)?);
        let path = stage.write("RECORD", record.as_bytes())?;
        parts.push(Part {
            name,
            path,
            mode: 0o644,
        });
        let stem = format!("{package}-{tag}");
        Ok(Self { stem, parts })
    }

    /// The file name.
    pub(super) fn name(&self) -> String {
        format!("{}.whl", self.stem)
    }

    /// Writes the wheel, with one time for all files, in seconds since 1970.
    ///
    /// # Errors
    /// A file cannot be read, or the wheel cannot be written.
    pub(super) fn write(&self, seconds: u64, level: u8, to: &Path) -> Result<(), Failed> {
        let mut members = Vec::new();
        for part in &self.parts {
            members.push(Member {
                name: part.name.clone(),
                mode: part.mode,
                content: gzip::deflated(level, &part.path)?,
            });
        }
        let mut out = File::create(to).map_err(|cause| at(to, &cause))?;
        zip::write(&mut out, &members, seconds).map_err(|cause| at(to, &cause))
    }
}

/// Where the wheel has a file of the tarball; `None` if it is not in the wheel.
fn place(package: &str, name: &str) -> Option<String> {
    let data = format!("{package}.data");
    if [LICENSE, THIRD_PARTY].contains(&name) {
        return Some(format!("{package}.dist-info/licenses/{name}"));
    }
    let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
    match folder {
        "" if file == "eciton" => Some(format!("{data}/scripts/{file}")),
        COMPLETIONS => {
            let (_, shared) = SHARED.iter().find(|(name, _)| *name == file)?;
            Some(format!("{data}/data/share/{shared}"))
        }
        MAN => Some(format!("{data}/data/share/{name}")),
        _ => None,
    }
}

/// A version of cargo as Python writes it: `0.2.0-rc.1` is `0.2.0rc1`.
fn python_version(version: &str) -> Result<String, Failed> {
    let Some((release, stage)) = version.split_once('-') else {
        return Ok(version.to_owned());
    };
    let known = [("alpha.", "a"), ("beta.", "b"), ("rc.", "rc")];
    let python = known.iter().find_map(|(cargo, python)| {
        let number = stage.strip_prefix(cargo)?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| format!("{release}{python}{number}"))
    });
    python.ok_or_else(|| {
        Failed(format!(
            "Python has no form of version {version}; use -alpha.N, -beta.N or -rc.N"
        ))
    })
}

fn metadata(project: &Project, version: &str, readme: &str) -> String {
    let Project {
        name,
        description,
        license,
        ..
    } = project;
    let classifiers = project.classifiers.iter();
    let classifiers: Vec<String> = classifiers
        .map(|line| format!("Classifier: {line}\n"))
        .collect();
    format!(
        "Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nSummary: {description}\nKeywords: {}\n{}\
         License-Expression: {license}\nLicense-File: {LICENSE}\nLicense-File: {THIRD_PARTY}\nRequires-Python: {}\n\
         Description-Content-Type: text/markdown\n\n{readme}",
        project.keywords.join(","),
        classifiers.concat(),
        project.requires_python,
    )
}

/// A line for each file, with its hash and its bytes.
fn record(parts: &[Part]) -> Result<String, Failed> {
    let paths: Vec<PathBuf> = parts.iter().map(|part| part.path.clone()).collect();
    let mut lines = Vec::new();
    for (part, sum) in parts.iter().zip(sums::sha256(&paths)?) {
        let bytes = super::size(&part.path)?;
        let sum = sums::base64(&sum)?;
        lines.push(format!("{},sha256={sum},{bytes}\n", part.name));
    }
    Ok(lines.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_written_as_python_does() {
        assert_eq!(python_version("0.1.0").unwrap(), "0.1.0");
        assert_eq!(python_version("0.2.0-rc.1").unwrap(), "0.2.0rc1");
        assert!(python_version("0.2.0-rc.x").is_err());
        assert!(python_version("0.2.0-dev").is_err());
    }

    #[test]
    fn files_go_where_systems_look_for_them() {
        let place = |name| place("eciton-1", name);
        assert_eq!(place("eciton").unwrap(), "eciton-1.data/scripts/eciton");
        let zsh = "eciton-1.data/data/share/zsh/site-functions/_eciton";
        assert_eq!(place("completions/_eciton").unwrap(), zsh);
        let page = "eciton-1.data/data/share/man/man1/eciton-run.1";
        assert_eq!(place("man/man1/eciton-run.1").unwrap(), page);
        let license = "eciton-1.dist-info/licenses/LICENSE";
        assert_eq!(place("LICENSE").unwrap(), license);
        assert_eq!(place("README.md"), None);
    }
}
