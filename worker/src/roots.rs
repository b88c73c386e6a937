//! Below which folders jobs are read that come over gRPC.

use std::env;
use std::path::{Path, PathBuf};

use eciton_jobs::source::Reach;
use serde::Deserialize;

use crate::failure::Failure;

/// `data_root` in `eciton.toml`: a folder, or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum DataRoots {
    One(PathBuf),
    Many(Vec<PathBuf>),
}

impl From<DataRoots> for Vec<PathBuf> {
    fn from(roots: DataRoots) -> Vec<PathBuf> {
        match roots {
            DataRoots::One(root) => vec![root],
            DataRoots::Many(roots) => roots,
        }
    }
}

/// How far jobs reach that come over gRPC: below the folders of the flags, else of the environment (with `:` between them,
/// on Windows `;`), else of the file. Where nothing is said they read no file at all.
///
/// # Errors
/// [`Failure::Usage`] where a path cannot be made absolute.
pub(crate) fn reach(given: &[PathBuf], in_file: Option<DataRoots>) -> Result<Reach, Failure> {
    let variable = || env::var_os("ECITON_DATA_ROOT").filter(|value| !value.is_empty());
    let roots = match (given, variable()) {
        ([], None) => in_file.map_or_else(Vec::new, Vec::from),
        ([], Some(value)) => env::split_paths(&value)
            .filter(|path| !path.as_os_str().is_empty())
            .collect(),
        (given, _) => given.to_vec(),
    };
    if let Some(empty) = roots.iter().find(|root| root.as_os_str().is_empty()) {
        let told = format!("--data-root `{}`: expected a folder", empty.display());
        return Err(Failure::Usage(told));
    }
    Reach::below(roots).map_err(|error| Failure::Usage(format!("--data-root: {error}")))
}

/// The same, and what lies below the addresses of the flags, else of the environment (with `,` between them), else of the file.
///
/// # Errors
/// [`Failure::Usage`] for what is no address.
pub(crate) fn with_remote(
    reach: Reach,
    given: &[String],
    in_file: Option<Vec<String>>,
) -> Result<Reach, Failure> {
    let variable = || {
        let value = env::var("ECITON_ALLOW_REMOTE").ok()?;
        (!value.is_empty()).then(|| value.split(',').map(str::to_owned).collect::<Vec<_>>())
    };
    let prefixes = match given {
        [] => variable().or(in_file).unwrap_or_default(),
        given => given.to_vec(),
    };
    let allowed = reach.with_remote(&prefixes);
    allowed.map_err(|told| Failure::Usage(format!("--allow-remote: {told}")))
}

/// Says which of the folders are not there yet: a slip in a path, or a file system that is not mounted.
pub(crate) fn warn_of_absent<'r>(roots: impl Iterator<Item = &'r Path>) {
    for root in roots.filter(|root| !root.is_dir()) {
        tracing::warn!(
            "--data-root {}: is no folder now; jobs that come over gRPC read below it once it is there",
            root.display()
        );
    }
}
