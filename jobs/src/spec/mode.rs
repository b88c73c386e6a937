//! The key `run.mode`: whether a job takes files that come later.

use eciton_proto::v1::{JobSpec, RunMode, job_spec::Sink};

use super::error::SpecError;
use super::names::suggest;
use super::section::Section;

/// The modes, by their names.
const MODES: [(&str, RunMode); 2] = [
    // The default is encoded as nothing.
    ("once", RunMode::Unspecified),
    ("incremental", RunMode::Incremental),
];

/// Reads the mode.
///
/// # Errors
/// [`SpecError`] for anything but a mode.
pub(super) fn read(section: &Section<'_>) -> Result<RunMode, SpecError> {
    let expected = "\"once\" or \"incremental\"";
    let Some(entry) = section.string("mode", expected)? else {
        return Ok(RunMode::Unspecified);
    };
    let names = MODES.map(|(name, _)| name);
    let hint = suggest(&entry.value, names);
    let found = MODES.iter().find(|(name, _)| *name == entry.value);
    found.map(|(_, mode)| *mode).ok_or_else(|| {
        let found = entry.value.escape_debug();
        entry.error(format!("expected {expected}, found `{found}`{hint}"))
    })
}

/// Whether a job takes files that come later.
#[must_use]
pub fn is_incremental(spec: &JobSpec) -> bool {
    spec.run
        .as_ref()
        .is_some_and(|run| run.mode() == RunMode::Incremental)
}

/// Checks that later files can be added to what a job has done.
///
/// # Errors
/// Why not.
pub(super) fn check(spec: &JobSpec) -> Result<(), &'static str> {
    if !is_incremental(spec) {
        return Ok(());
    }
    let has_files = spec
        .source
        .as_ref()
        .is_some_and(|source| !source.paths.is_empty());
    if !has_files {
        return Err(
            "an incremental job reads files that it has not seen; expected a source with `paths`",
        );
    }
    match spec.sink {
        Some(Sink::Answer(_)) => Err(
            "the answer of a query is over all files at once; expected [merge], [upsert] or [export], to which later files add",
        ),
        _ => Ok(()),
    }
}
