//! A job that is there already: whether it reads what its job file means now.

use crate::run::records::error::JobError;
use crate::run::records::job::Job;
use crate::run::records::ledger::Ledger;
use crate::run::records::status::phase_name;
use crate::source::{FilesNow, Reach, files_now};
use crate::spec::JobFile;

/// Files that a warning names.
const NAMED_MAX: usize = 10;

/// What is to be said about the files of a recorded job that is submitted again.
///
/// # Errors
/// [`JobError::OtherFiles`] if none of its files is one that the globs of the job file match now.
pub(crate) async fn warnings(
    ledger: &Ledger,
    file: &JobFile,
    job: &Job,
    reach: &Reach,
) -> Result<Vec<String>, JobError> {
    if job.plan.files == 0 {
        return Ok(Vec::new());
    }
    let recorded = ledger.source(&job.spec.name, job).await?;
    let (owned, reach) = (file.clone(), reach.clone());
    let looked = move || reach.during(|| files_now(&owned, recorded.files()));
    let now = tokio::task::spawn_blocking(looked)
        .await
        .map_err(|error| JobError::Worker(error.to_string()))?;
    let (files, changed) = (job.plan.files as usize, now.changed.len());
    assert!(
        changed + now.missing.len() <= files,
        "{changed} of {files} files changed"
    );
    assert!(
        now.others.is_none() || now.missing.len() == files,
        "{} of {files} files are missing",
        now.missing.len()
    );
    if let Some((recorded, found)) = now.others {
        return Err(JobError::OtherFiles {
            name: job.spec.name.clone(),
            recorded,
            found,
        });
    }
    Ok(told(&now, phase_name(job.state.phase())))
}

fn told(now: &FilesNow, state: &str) -> Vec<String> {
    let mut told = Vec::new();
    let anew = "submit it under another name or with --replace";
    if let Some((count, names)) = named(&now.added) {
        let (verb, are) = plural(now.added.len(), "matches", "match", "it is", "they are");
        told.push(format!(
            "{count} {verb} now that the job does not have: {names}; {are} not read: {anew}"
        ));
    }
    if let Some((count, names)) = named(&now.missing) {
        let (verb, _) = plural(now.missing.len(), "is", "are", "", "");
        told.push(format!(
            "{count} of the job {verb} not matched any more: {names}"
        ));
    }
    if let Some((count, names)) = named(&now.changed) {
        let then = match state {
            "done" => format!("the results are of what was recorded: {anew}"),
            _ => format!("what is not done yet fails: restore it, or {anew}"),
        };
        told.push(format!(
            "{count} changed since the job was recorded: {names}; {then}"
        ));
    }
    told
}

/// How many files there are, and the first of them by name; `None` if there are none.
fn named(files: &[String]) -> Option<(String, String)> {
    let count = match files.len() {
        0 => return None,
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    };
    let shown: Vec<String> = files
        .iter()
        .take(NAMED_MAX)
        .map(|file| format!("`{file}`"))
        .collect();
    let more = match files.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some((count, format!("{}{more}", shown.join(", "))))
}

fn plural<'t>(
    count: usize,
    one: &'t str,
    many: &'t str,
    it: &'t str,
    they: &'t str,
) -> (&'t str, &'t str) {
    match count {
        1 => (one, it),
        _ => (many, they),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_name_some_files_and_count_the_others() {
        let files = |count: usize| (0..count).map(|n| format!("{n}.csv")).collect();
        let now = FilesNow {
            added: files(12),
            missing: files(1),
            ..FilesNow::default()
        };
        let told = told(&now, "done");
        assert!(
            told[0].starts_with("12 files match now that the job does not have: `0.csv`, "),
            "{}",
            told[0]
        );
        assert!(
            told[0].contains("`9.csv` and 2 more; they are not read"),
            "{}",
            told[0]
        );
        assert_eq!(
            told[1],
            "1 file of the job is not matched any more: `0.csv`"
        );
        assert_eq!(
            super::told(&FilesNow::default(), "done"),
            Vec::<String>::new()
        );
    }
}
