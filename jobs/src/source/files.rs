//! The files that the globs of a job file match.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use eciton_proto::v1::SourceFile;
use glob::{MatchOptions, Pattern};

use super::identity::settle;
use super::plan::NAMED_MAX;
use super::reach::Reach;
use super::remote::{self, is_remote};
use crate::spec::limits::FILES_MAX;
use crate::spec::{JobFile, SpecError};

/// Compressions that exist and are not read. Their bytes would be taken for text.
const REFUSED_EXTENSIONS: [&str; 6] = ["lz4", "lzma", "br", "zip", "7z", "z"];

/// Files with files in them.
const ARCHIVES: [&str; 6] = ["tar", "tgz", "tzst", "txz", "tbz", "tbz2"];

/// Names beginning with a dot are matched only by a dot, as in a shell: editors leave such files behind.
pub(super) const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// The key that findings about files are blamed on.
pub(super) const PATHS: &str = "source.paths";

/// The files that the globs of `job` match, sorted by the names that messages show, each once whatever links lead to it; and
/// what is to be known of them.
pub(super) fn resolve(
    job: &JobFile,
    patterns: &[String],
) -> Result<(Vec<SourceFile>, Option<String>), SpecError> {
    let dir = job.dir();
    let reach = Reach::current();
    let mut found: BTreeMap<PathBuf, String> = BTreeMap::new();
    let mut remote: BTreeMap<String, SourceFile> = BTreeMap::new();
    for pattern in patterns {
        let mut matched = 0;
        if is_remote(pattern) {
            let objects = remote::matched(pattern, &reach);
            let objects = objects.map_err(|told| job.error(PATHS, told))?;
            if objects.is_empty() {
                let message = format!("`{pattern}` matches no object; expected at least one");
                return Err(job.error(PATHS, message));
            }
            remote.extend(objects.into_iter().map(|file| (file.path.clone(), file)));
            check_files(job, found.len() + remote.len())?;
            continue;
        }
        for path in matches(job, dir, pattern)? {
            let shown = path.strip_prefix(dir).unwrap_or(&path).to_path_buf();
            let full = path.canonicalize();
            if !reach.holds(&full) {
                continue;
            }
            let full = full.map_err(|e| unreadable(job, &shown, &e))?;
            if full.is_dir() {
                continue;
            }
            // Opening a pipe would wait for whoever writes it; a device has no end.
            if !full.is_file() {
                let shown = shown.display();
                return Err(job.error(PATHS, format!("`{shown}`: expected a regular file")));
            }
            matched += 1;
            let shown = utf8(job, &shown)?;
            // One name, whatever the order of the globs.
            let name = found.entry(full).or_insert_with(|| shown.clone());
            if shown < *name {
                *name = shown;
            }
            check_files(job, found.len() + remote.len())?;
        }
        if matched == 0 {
            let looked = dir.join(pattern);
            return Err(job.error(
                PATHS,
                format!(
                    "`{pattern}` matches no file; expected at least one (looked for `{}`{})",
                    looked.display(),
                    if reach.is_bounded() {
                        ", below --data-root only"
                    } else {
                        ""
                    }
                ),
            ));
        }
    }
    let one_file = one_file(&found);
    let mut files = Vec::with_capacity(found.len());
    for (path, display) in found {
        files.push(describe(job, &path, display)?);
    }
    for (path, file) in remote {
        check_name(job, Path::new(&path), &file.display)?;
        files.push(file);
    }
    files.sort_by(|a, b| a.display.cmp(&b.display));
    settle(&mut files).map_err(|error| job.error(PATHS, error))?;
    Ok((files, one_file))
}

fn check_files(job: &JobFile, count: usize) -> Result<(), SpecError> {
    match count > FILES_MAX {
        true => Err(job.error(PATHS, format!("at most {FILES_MAX} files, found more"))),
        false => Ok(()),
    }
}

/// What is said of files that are one file under several names, none of which is a link to another: whoever made them
/// may mean each.
#[cfg(unix)]
fn one_file(found: &BTreeMap<PathBuf, String>) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let mut names: BTreeMap<(u64, u64), Vec<&str>> = BTreeMap::new();
    for (path, name) in found {
        if let Some(metadata) = path.metadata().ok().filter(|metadata| metadata.nlink() > 1) {
            let file = names.entry((metadata.dev(), metadata.ino())).or_default();
            file.push(name);
        }
    }
    let mut same: Vec<Vec<&str>> = names
        .into_values()
        .filter(|names| names.len() > 1)
        .collect();
    for names in &mut same {
        names.sort_unstable();
    }
    same.sort_unstable();
    let first = same.first()?;
    let shown: Vec<String> = first
        .iter()
        .take(NAMED_MAX)
        .map(|name| format!("`{name}`"))
        .collect();
    let others = match same.len() {
        1 => String::new(),
        count => format!(", and so are those of {} other files", count - 1),
    };
    Some(format!(
        "{} are {} names of one file (hard links){others}: its rows count once for each name",
        shown.join(", "),
        first.len(),
    ))
}

#[cfg(not(unix))]
fn one_file(_found: &BTreeMap<PathBuf, String>) -> Option<String> {
    None
}

/// The regular files that the globs of `job` match now and that can be found, by their paths, with what messages call
/// them. Never an error: what cannot be read is not there.
pub(super) fn matched(job: &JobFile, patterns: &[String]) -> BTreeMap<PathBuf, String> {
    let dir = job.dir();
    let reach = Reach::current();
    let mut found = BTreeMap::new();
    let (remote, local): (Vec<&String>, Vec<&String>) =
        patterns.iter().partition(|pattern| is_remote(pattern));
    for file in remote
        .into_iter()
        .filter_map(|pattern| remote::matched(pattern, &reach).ok())
        .flatten()
    {
        found.insert(PathBuf::from(file.path), file.display);
    }
    for path in local
        .into_iter()
        .filter_map(|pattern| matches(job, dir, pattern).ok())
        .flatten()
    {
        let shown = path
            .strip_prefix(dir)
            .unwrap_or(&path)
            .display()
            .to_string();
        let full = path.canonicalize();
        // Where a link leads that leaves the roots is not told.
        if !reach.holds(&full) {
            continue;
        }
        if let Some(full) = full.ok().filter(|full| full.is_file()) {
            let name = found.entry(full).or_insert_with(|| shown.clone());
            if shown < *name {
                *name = shown;
            }
        }
    }
    found
}

fn matches(job: &JobFile, dir: &Path, pattern: &str) -> Result<Vec<PathBuf>, SpecError> {
    // The directory's own name is no pattern, whatever is in it.
    let full = if Path::new(pattern).is_absolute() {
        pattern.to_owned()
    } else {
        format!("{}/{pattern}", Pattern::escape(&utf8(job, dir)?))
    };
    let reach = Reach::current();
    let full = reach.pattern(&full);
    let full = full.map_err(|refused| job.error(PATHS, refused))?;
    let paths = glob::glob_with(&full, OPTIONS).map_err(|e| {
        job.error(
            PATHS,
            format!("expected a glob, found `{pattern}`: {}", e.msg),
        )
    })?;
    paths
        // A folder that cannot be listed is told only where it may be read.
        .filter(|path| match path {
            Ok(_) => true,
            Err(error) => reach.holds(&error.path().canonicalize()),
        })
        .map(|path| {
            path.map_err(|e| {
                job.error(
                    PATHS,
                    format!("`{}` cannot be read: {}", e.path().display(), e.error()),
                )
            })
        })
        .collect()
}

fn describe(job: &JobFile, path: &Path, display: String) -> Result<SourceFile, SpecError> {
    check_name(job, path, &display)?;
    Ok(SourceFile {
        path: utf8(job, path)?,
        display,
        ..SourceFile::default()
    })
}

/// Refuses what is not read by its name.
fn check_name(job: &JobFile, path: &Path, display: &str) -> Result<(), SpecError> {
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    let extension = extension.to_ascii_lowercase();
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let is_archive = stem.is_some_and(|stem| stem.to_ascii_lowercase().ends_with(".tar"));
    if is_archive || ARCHIVES.contains(&extension.as_str()) {
        return Err(job.error(
            PATHS,
            format!("`{display}`: archives are not read; unpack it"),
        ));
    }
    if REFUSED_EXTENSIONS.contains(&extension.as_str()) {
        return Err(job.error(
            PATHS,
            format!("`{display}`: compression `.{extension}` is not read; expected `.gz`, `.zst`, `.bz2`, `.xz` or none"),
        ));
    }
    Ok(())
}

fn unreadable(job: &JobFile, path: &Path, error: &std::io::Error) -> SpecError {
    job.error(
        PATHS,
        format!("`{}` cannot be read: {error}", path.display()),
    )
}

fn utf8(job: &JobFile, path: &Path) -> Result<String, SpecError> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        job.error(
            PATHS,
            format!("expected a path in UTF-8, found `{}`", path.display()),
        )
    })
}
