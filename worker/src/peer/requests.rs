//! What a request may ask for, checked before any work.

use std::path::Path;

use eciton_jobs::spec::limits::{COMMAND_FILES_LEN_MAX, COMMAND_FILES_MAX};
use eciton_jobs::spec::{FileContents, JobFile, ProgramFile};
use eciton_proto::limits::{
    JOB_FILE_LEN_MAX, JOB_NAME_LEN_MAX, PATH_LEN_MAX, WATCH_INTERVAL_MS_DEFAULT,
    WATCH_INTERVAL_MS_MAX, WATCH_INTERVAL_MS_MIN,
};
use eciton_proto::v1::{self, JobView};
use tonic::Status;

/// Bytes of the files that come with a job file, with their names.
const CONTENTS_LEN_MAX: usize = COMMAND_FILES_LEN_MAX + COMMAND_FILES_MAX * 1024;

use crate::statuses::{invalid, of_job};

/// What messages call a job file that has no name.
const UNNAMED: &str = "job";

/// The name of a job.
///
/// # Errors
/// `INVALID_ARGUMENT` for none, or for one that no job can have.
pub(super) fn name(name: &str) -> Result<(), Status> {
    if name.is_empty() {
        return Err(invalid("name: expected the name of a job, found nothing"));
    }
    at_most("name", name, JOB_NAME_LEN_MAX)
}

/// A text of a field.
///
/// # Errors
/// `INVALID_ARGUMENT` beyond so many bytes.
pub(super) fn at_most(field: &str, text: &str, len_max: usize) -> Result<(), Status> {
    match text.len() {
        len if len > len_max => Err(invalid(format!(
            "{field}: at most {len_max} bytes long, found {len}"
        ))),
        _ => Ok(()),
    }
}

/// How much is told: a number that is not known says nothing, and nothing said is `default`.
pub(super) fn view(number: i32, default: JobView) -> JobView {
    match JobView::try_from(number).unwrap_or_default() {
        JobView::Unspecified => default,
        view => view,
    }
}

/// How much is told, where only some will do.
///
/// # Errors
/// `INVALID_ARGUMENT` for another one.
pub(super) fn view_among(number: i32, legal: &[JobView]) -> Result<JobView, Status> {
    let view = view(number, legal[0]);
    if legal.contains(&view) {
        return Ok(view);
    }
    let names: Vec<&str> = legal.iter().map(JobView::as_str_name).collect();
    Err(invalid(format!(
        "view: expected {}, found {}",
        names.join(" or "),
        view.as_str_name()
    )))
}

/// The length of a page: `default` where nothing is said, `max` for anything above.
pub(super) fn page_size(said: u32, default: u32, max: u32) -> usize {
    let size = if said == 0 { default } else { said.min(max) };
    size as usize
}

/// Milliseconds between two messages of a watch.
pub(super) fn interval_ms(said: u32) -> u64 {
    let said = if said == 0 {
        WATCH_INTERVAL_MS_DEFAULT
    } else {
        said
    };
    u64::from(said.clamp(WATCH_INTERVAL_MS_MIN, WATCH_INTERVAL_MS_MAX))
}

/// A job file, its lengths and its folder.
///
/// # Errors
/// `INVALID_ARGUMENT` where it is missing or a field cannot be.
pub(super) fn job_file(file: Option<v1::JobFile>) -> Result<v1::JobFile, Status> {
    let mut file = file.ok_or_else(|| invalid("file: expected a job file, found nothing"))?;
    at_most("file.name", &file.name, PATH_LEN_MAX)?;
    at_most("file.directory", &file.directory, PATH_LEN_MAX)?;
    at_most("file.text", &file.text, JOB_FILE_LEN_MAX)?;
    let contents = file
        .contents
        .iter()
        .map(|file| file.name.len() + file.content.len());
    let len: usize = contents.sum();
    if len > CONTENTS_LEN_MAX {
        return Err(invalid(format!(
            "file.contents: expected at most {CONTENTS_LEN_MAX} bytes, found {len}"
        )));
    }
    if !file.directory.is_empty() && !Path::new(&file.directory).is_absolute() {
        return Err(invalid(format!(
            "file.directory: expected an absolute path, found `{}`",
            file.directory
        )));
    }
    if file.name.is_empty() {
        UNNAMED.clone_into(&mut file.name);
    }
    Ok(file)
}

fn program_file(file: &v1::JobFileContent) -> ProgramFile {
    ProgramFile {
        name: file.name.clone(),
        content: file.content.clone().into(),
        executable: file.executable,
    }
}

/// Reads the text of a job file. Takes as long as the text is long.
///
/// # Errors
/// `INVALID_ARGUMENT` with what `eciton submit` would print.
pub(super) fn parsed(file: &v1::JobFile) -> Result<JobFile, Status> {
    let name = Path::new(&file.name);
    let refused = |error| of_job(&eciton_jobs::run::JobError::JobFile(error));
    let contents: Vec<ProgramFile> = file.contents.iter().map(program_file).collect();
    // Nothing is read of the peer's own disk.
    let contents = FileContents::Given(&contents);
    let job = JobFile::parse_with(name, &file.text, contents).map_err(refused)?;
    if file.directory.is_empty() {
        let source = job.spec().source.iter();
        let mut paths = source.flat_map(|source| &source.paths);
        if let Some(path) = paths.find(|path| !Path::new(path).is_absolute()) {
            let expected = "expected an absolute path, since no folder came with the job file";
            return Err(refused(
                job.error("source.paths", format!("{expected}, found `{path}`")),
            ));
        }
    }
    // An empty folder is the present one, which no path of this file needs.
    Ok(job.in_dir(Path::new(&file.directory)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_pages_are_held_to_their_edges() {
        assert!(name(&"x".repeat(JOB_NAME_LEN_MAX)).is_ok());
        let long = name(&"x".repeat(JOB_NAME_LEN_MAX + 1)).unwrap_err();
        assert_eq!(long.message(), "name: at most 128 bytes long, found 129");
        assert!(name("").is_err());
        assert_eq!(
            [0, 1, 500, 501, u32::MAX].map(|n| page_size(n, 50, 500)),
            [50, 1, 500, 500, 500]
        );
        let within = [0, 1, 100, 10_000, u32::MAX].map(interval_ms);
        assert_eq!(within, [1000, 100, 100, 10_000, 10_000]);
    }

    #[test]
    fn a_view_that_is_not_known_says_nothing() {
        assert_eq!(view(99, JobView::Failures), JobView::Failures);
        assert_eq!(view(1, JobView::Failures), JobView::Basic);
        let legal = [JobView::Basic, JobView::Counts];
        assert_eq!(view_among(0, &legal).unwrap(), JobView::Basic);
        let told = view_among(4, &legal).unwrap_err();
        let expected = "view: expected JOB_VIEW_BASIC or JOB_VIEW_COUNTS, found JOB_VIEW_SPEC";
        assert_eq!(told.message(), expected);
    }

    #[test]
    fn a_job_file_is_held_to_its_limits() {
        let file = |text: &str, directory: &str| v1::JobFile {
            name: String::new(),
            text: text.to_owned(),
            directory: directory.to_owned(),
            contents: Vec::new(),
        };
        assert_eq!(job_file(Some(file("", "/a"))).unwrap().name, "job");
        for (bad, words) in [
            (None, "file: expected"),
            (
                Some(file("", "a")),
                "file.directory: expected an absolute path",
            ),
            (
                Some(file("", &"/".repeat(PATH_LEN_MAX + 1))),
                "file.directory: at most 4096",
            ),
            (
                Some(file(&" ".repeat(JOB_FILE_LEN_MAX + 1), "")),
                "file.text: at most 4194304",
            ),
        ] {
            let told = job_file(bad).unwrap_err();
            assert!(told.message().starts_with(words), "{told}");
        }
        assert!(job_file(Some(file(&" ".repeat(JOB_FILE_LEN_MAX), ""))).is_ok());
    }
}
