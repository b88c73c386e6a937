//! The licenses of everything that is linked into the program, from the sources of its packages.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::stage::LICENSE;
use super::{at, text};
use crate::steps::{Failed, workspace};

/// How the names of license texts begin, in lower case.
const NAMES: [&str; 7] = [
    "license",
    "licence",
    "copying",
    "copyright",
    "notice",
    "patents",
    "unlicense",
];
/// Endings of files that are code or data, whatever their name begins with.
const CODE: [&str; 8] = ["rs", "c", "h", "py", "sh", "toml", "json", "yml"];
/// Folders of a package whose files are not linked.
const NOT_LINKED: [&str; 5] = ["tests", "benches", "examples", "assets", "docs"];
/// The license whose text is that of the project, too.
const APACHE: &str = "Apache-2.0";

/// A line between two texts.
const RULE: &str =
    "--------------------------------------------------------------------------------";

/// A package that is linked into the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    /// An SPDX expression.
    pub(super) license: String,
    /// Its home page; packages of one repository have the same one.
    pub(super) repository: String,
}

impl Package {
    /// Its name among all package managers.
    pub(super) fn purl(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version)
    }
}

/// A list of the packages with their licenses, and then each license text once.
///
/// # Errors
/// Cargo fails, sources cannot be read, or a package has no license text.
pub(super) fn list(target: &str, version: &str) -> Result<String, Failed> {
    let packages = packages(target)?;
    assert!(packages.len() > 10, "packages in the program: {packages:?}");
    let folders = folders(target)?;
    let mut own = Vec::new();
    for package in &packages {
        let key = (package.name.clone(), package.version.clone());
        let folder = folders.get(&key).ok_or_else(|| {
            Failed(format!(
                "cargo does not say where the sources of {} {} are",
                key.0, key.1
            ))
        })?;
        own.push(texts(folder, false)?);
    }
    let path = workspace().join(LICENSE);
    let apache = fs::read_to_string(&path).map_err(|cause| at(&path, &cause))?;
    let apache = tidied(&apache);

    let mut entries = vec![(library()?, vec![apache.clone()])];
    for (index, package) in packages.iter().enumerate() {
        let texts = found(&packages, &own, index, &apache).ok_or_else(|| {
            let Package { name, version, license, .. } = package;
            Failed(format!(
                "the sources of {name} {version} ({license}) have no license text, nor has another package of its repository"
            ))
        })?;
        entries.push((package.clone(), texts));
    }
    Ok(render(version, &entries))
}

/// The texts of a package: its own, or else those of another package of its repository, or else the Apache license, if the package is
/// under that.
fn found(
    packages: &[Package],
    own: &[Vec<String>],
    index: usize,
    apache: &str,
) -> Option<Vec<String>> {
    let package = &packages[index];
    if !own[index].is_empty() {
        return Some(own[index].clone());
    }
    let others = packages.iter().zip(own);
    let mut siblings = others.filter(|(other, texts)| {
        !package.repository.is_empty()
            && other.repository == package.repository
            && other.license == package.license
            && !texts.is_empty()
    });
    if let Some((_, texts)) = siblings.next() {
        return Some(texts.clone());
    }
    let mut alternatives = package.license.split(" OR ");
    alternatives
        .any(|license| license == APACHE)
        .then(|| vec![apache.to_owned()])
}

/// Rust's standard library, which is linked, too, and which cargo does not list.
fn library() -> Result<Package, Failed> {
    let told = text(Command::new("rustc").arg("--version"))?;
    let version = told.split_whitespace().nth(1).unwrap_or_default();
    Ok(Package {
        name: "the standard library of Rust".to_owned(),
        version: version.to_owned(),
        license: "MIT OR Apache-2.0".to_owned(),
        repository: "https://github.com/rust-lang/rust".to_owned(),
    })
}

/// The packages of other projects that are linked, sorted. Macros and build scripts only run at build time.
///
/// # Errors
/// Cargo fails.
pub(super) fn packages(target: &str) -> Result<Vec<Package>, Failed> {
    let told = text(cargo("tree").args([
        "--package",
        "eciton-worker",
        "--edges=normal,no-proc-macro",
        "--prefix=none",
        "--format={p}|{l}|{r}",
        "--target",
        target,
    ]))?;
    let mut packages: Vec<Package> = told.lines().filter_map(package).collect();
    packages.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    packages.dedup();
    Ok(packages)
}

/// A package of a line of `cargo tree`; `None` for those of the workspace, which stand there with their path.
fn package(line: &str) -> Option<Package> {
    let line = line.trim_end_matches(" (*)");
    let mut fields = line.split('|');
    let (package, license) = (fields.next()?, fields.next()?);
    let mut words = package.split(' ');
    let (name, version) = (words.next()?, words.next()?);
    if words.next().is_some_and(|place| place.starts_with("(/")) {
        return None;
    }
    // The old form of a choice.
    let choices: Vec<&str> = license.split('/').map(str::trim).collect();
    let repository = fields.next().unwrap_or_default();
    let repository = repository.trim_end_matches('/').trim_end_matches(".git");
    Some(Package {
        name: name.to_owned(),
        version: version.trim_start_matches('v').to_owned(),
        license: choices.join(" OR "),
        repository: repository
            .split("/tree/")
            .next()
            .unwrap_or_default()
            .to_owned(),
    })
}

/// Where the sources of each package are, by name and version.
fn folders(target: &str) -> Result<BTreeMap<(String, String), PathBuf>, Failed> {
    let told = text(cargo("metadata").args(["--format-version=1", "--filter-platform", target]))?;
    let paths = told.split("\"manifest_path\":\"").skip(1);
    let paths = paths.filter_map(|rest| rest.split('"').next());
    let mut folders = BTreeMap::new();
    for path in paths.map(Path::new) {
        let manifest = fs::read_to_string(path).map_err(|cause| at(path, &cause))?;
        if let (Some(key), Some(folder)) = (name_and_version(&manifest), path.parent()) {
            folders.insert(key, folder.to_path_buf());
        }
    }
    Ok(folders)
}

/// Of a manifest in the form that registries give out. `None` for those that take the version from a workspace.
fn name_and_version(manifest: &str) -> Option<(String, String)> {
    let (_, package) = manifest.split_once("[package]\n")?;
    let lines = || package.lines().take_while(|line| !line.starts_with('['));
    let value = |key: &str| {
        let mut fields = lines().filter_map(|line| line.split_once('='));
        let (_, value) = fields.find(|(name, _)| name.trim() == key)?;
        Some(value.trim().trim_matches('"').to_owned())
    };
    Some((value("name")?, value("version")?))
}

/// The license texts of a package, with those of sources that it took over, in the order of their paths.
fn texts(folder: &Path, all: bool) -> Result<Vec<String>, Failed> {
    let entries = fs::read_dir(folder).map_err(|cause| at(folder, &cause))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|cause| at(folder, &cause))?.path());
    }
    paths.sort();
    let mut found: Vec<String> = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_lowercase();
        let is_named = NAMES.iter().any(|begin| name.starts_with(begin));
        if path.is_dir() {
            if !name.starts_with('.') && !NOT_LINKED.contains(&name.as_str()) {
                found.extend(texts(&path, is_named)?);
            }
        } else if (is_named || all) && !is_code(&path) {
            let bytes = fs::read(&path).map_err(|cause| at(&path, &cause))?;
            found.push(tidied(&String::from_utf8_lossy(&bytes)));
        }
    }
    found.retain(|text| !text.is_empty());
    Ok(found)
}

fn is_code(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| CODE.contains(&extension))
}

/// A text without what differs for no reader, so that equal licenses are listed once.
fn tidied(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let text = lines.join("\n");
    text.trim_start_matches(['\n', '\u{feff}'])
        .trim_end()
        .to_owned()
}

/// The list, and then the texts, which it names by numbers in the order of their first use.
fn render(version: &str, entries: &[(Package, Vec<String>)]) -> String {
    let mut numbered: Vec<&str> = Vec::new();
    let mut list = Vec::new();
    for (package, texts) in entries {
        let mut numbers: Vec<usize> = Vec::new();
        for text in texts {
            let known = numbered.iter().position(|known| known == text);
            let number = known.unwrap_or_else(|| {
                numbered.push(text);
                numbered.len() - 1
            });
            numbers.push(number + 1);
        }
        numbers.sort_unstable();
        numbers.dedup();
        let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
        let Package {
            name,
            version,
            license,
            repository,
        } = package;
        let numbers = numbers.join(", ");
        list.push(format!(
            "{name} {version} | {license} | {repository} | {numbers}\n"
        ));
    }
    let texts = numbered.iter().zip(1..);
    let texts = texts.map(|(text, number)| format!("\n{RULE}\nText {number}\n\n{text}\n"));
    format!(
        "Third-party software in eciton {version}\n\n\
         The program contains the packages below. Each line has the name and version, the license as an SPDX expression,\n\
         the repository, and the numbers of the license texts that follow the list.\n\n{}{}",
        list.concat(),
        texts.collect::<String>()
    )
}

/// A call of the cargo that started xtask. It uses the network only for packages of this lock file that no build has downloaded, such as
/// those of tests.
fn cargo(command: &str) -> Command {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.args([command, "--locked"]).current_dir(workspace());
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, license: &str, repository: &str) -> Package {
        package(&format!("{name} v1.0.0|{license}|{repository}")).unwrap()
    }

    #[test]
    fn packages_of_others_are_read_from_a_line() {
        let read = package("ahash v0.8.12|MIT/Apache-2.0|https://h/ahash.git/ (*)").unwrap();
        assert_eq!(read.name, "ahash");
        assert_eq!(read.version, "0.8.12");
        assert_eq!(read.license, "MIT OR Apache-2.0");
        assert_eq!(package("eciton-jobs v0.1.0 (/p/jobs)|Apache-2.0|"), None);
    }

    #[test]
    fn a_package_without_a_text_takes_that_of_its_repository_or_is_refused() {
        let packages = [
            of("tonic", "MIT", "https://h/tonic"),
            of("tonic-prost", "MIT", "https://h/tonic"),
            of("apache", "Apache-2.0 OR ISC", ""),
            of("orphan", "MIT", ""),
        ];
        let mut own = vec![Vec::new(); packages.len()];
        own[0] = vec!["of tonic".to_owned()];
        let found = |index| found(&packages, &own, index, "apache's");
        assert_eq!(found(1), Some(vec!["of tonic".to_owned()]));
        assert_eq!(found(2), Some(vec!["apache's".to_owned()]));
        assert_eq!(found(3), None);
    }

    #[test]
    fn each_text_is_listed_once() {
        let texts = |texts: &[&str]| texts.iter().map(|text| tidied(text)).collect();
        let list = render(
            "0.1.0",
            &[
                (of("a", "MIT", "r"), texts(&["one\r\ntext \n", "two"])),
                (of("b", "MIT", "r"), texts(&["two\n\n", "one\ntext"])),
            ],
        );
        assert!(
            list.contains("\na 1.0.0 | MIT | r | 1, 2\nb 1.0.0 | MIT | r | 1, 2\n"),
            "{list}"
        );
        assert_eq!(list.matches("one\ntext").count(), 1, "{list}");
    }

    #[test]
    fn names_and_versions_are_those_of_the_package() {
        let manifest = "[package]\nname = \"a\"\nversion = \"1.0.0\"\n[lib]\nname = \"b\"\n";
        let expected = ("a".to_owned(), "1.0.0".to_owned());
        assert_eq!(name_and_version(manifest), Some(expected));
        assert_eq!(name_and_version("[package]\nname = \"a\"\n"), None);
    }
}
