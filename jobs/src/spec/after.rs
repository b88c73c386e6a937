//! The key `run.after`: the jobs that have to be done before a job starts.

use super::error::SpecError;
use super::limits::INPUTS_MAX;
use super::names::check_job;
use super::section::Section;

/// Reads the names of the inputs of a job, sorted and each once.
///
/// # Errors
/// [`SpecError`] at the entry to blame: one that is no name of a job, or the name of this one.
pub(super) fn read(section: &Section<'_>, job: &str) -> Result<Vec<String>, SpecError> {
    let expected = "an array of names of jobs such as [\"clean\"]";
    let Some(entries) = section.strings("after", expected)? else {
        return Ok(Vec::new());
    };
    if entries.len() > INPUTS_MAX {
        let message = format!(
            "expected at most {INPUTS_MAX} jobs, found {}",
            entries.len()
        );
        return Err(section.error("after", message));
    }
    let mut names = Vec::with_capacity(entries.len());
    for entry in entries {
        if entry.value == job {
            return Err(entry.error(format!("job `{job}` cannot come after itself")));
        }
        names.push(entry.checked(|name| check_job(name))?);
    }
    // Their order means nothing.
    names.sort();
    names.dedup();
    Ok(names)
}
