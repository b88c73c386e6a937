//! `init`: a job file from data.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use eciton_jobs::draft::{self, Draft, DraftError, DraftRequest, job_name};
use serde_json::{Value, json};

use super::run::{warn, word};
use crate::cli::{Global, Init};
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Meter;
use crate::quiet::is_quiet;

/// A job file of this name would be taken for the settings of the program.
const SETTINGS: &str = "eciton";

/// Looks at data and writes a job file for it.
///
/// # Errors
/// Exit code 2 for data that no job reads, and where the job file exists; 1 where it cannot be written.
pub(super) async fn init(global: &Global, args: &Init) -> Result<(), Failure> {
    let is_printed = args.stdout || args.out.as_deref() == Some(Path::new("-"));
    let given = args.out.clone().filter(|_| !is_printed);
    if let Some(file) = &given {
        check_out(file, args.force)?;
    }
    let request = DraftRequest {
        data: args.data.clone(),
        dir: PathBuf::new(),
        // Without a name of its own it lies in the working directory.
        file: given.clone().unwrap_or_else(|| PathBuf::from("job.toml")),
        name: args.name.clone(),
        full: args.full,
    };
    let meter = Meter::new("reading");
    let drafting = {
        let (request, meter) = (request.clone(), meter.clone());
        move || draft::draft(&request, &|done, total| meter.bytes(done, total))
    };
    let drafted = tokio::task::spawn_blocking(drafting)
        .await
        .map_err(|error| Failure::Work(error.to_string()))?;
    meter.finish();
    let mut drafted = drafted.map_err(told)?;
    let file = match given {
        Some(file) => file,
        None => {
            let name = match drafted.name.as_str() {
                SETTINGS => "eciton-job",
                name => name,
            };
            PathBuf::from(format!("{name}.toml"))
        }
    };
    let placeholder = request.file.display().to_string();
    if placeholder != file.display().to_string() {
        // The comments name the file as it is called.
        let is_comment = |line: &str| line.starts_with("#   eciton ");
        let shown = word(&file);
        let lines = drafted.text.lines().map(|line| match is_comment(line) {
            true => line.replace(&placeholder, &shown),
            false => line.to_owned(),
        });
        drafted.text = lines.map(|line| line + "\n").collect();
    }
    drafted.check(&file).await.map_err(told)?;
    warn(&drafted.warnings);
    if is_printed {
        let mut output = Output::new(global);
        match output.is_json() {
            true => output.line(&described(&drafted, None).to_string())?,
            false => output.bytes(drafted.text.as_bytes())?,
        }
        return Ok(output.finish()?);
    }
    write(&file, &drafted.text, args.force)?;
    let mut output = Output::new(global);
    match output.is_json() {
        true => output.line(&described(&drafted, Some(&file)).to_string())?,
        false => {
            for line in lines(&drafted, &file) {
                output.line(&line)?;
            }
        }
    }
    Ok(output.finish()?)
}

fn told(error: DraftError) -> Failure {
    match error {
        DraftError::Data(message) => Failure::Usage(message),
        DraftError::Job(error) => error.into(),
        other => Failure::Usage(other.to_string()),
    }
}

/// Refuses a place before the data is read.
fn check_out(file: &Path, force: bool) -> Result<(), Failure> {
    let shown = file.display();
    if file.is_dir() {
        let name = job_name("job");
        return Err(Failure::Usage(format!(
            "{shown} is a folder; name the job file, as `--out {}`",
            file.join(name).with_extension("toml").display()
        )));
    }
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return Err(Failure::Usage(format!(
            "{}: there is no such folder",
            folder.display()
        )));
    }
    match file.exists() && !force {
        true => Err(exists(file)),
        false => Ok(()),
    }
}

fn exists(file: &Path) -> Failure {
    let shown = file.display();
    Failure::Usage(format!(
        "{shown} exists and stays as it is; `--force` overwrites it, `--out FILE` writes another one"
    ))
}

fn write(file: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true);
    match force {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    let written = options
        .open(file)
        .and_then(|mut opened| opened.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => exists(file),
        _ => Failure::Work(format!("{}: {error}", file.display())),
    })
}

fn described(draft: &Draft, file: Option<&Path>) -> Value {
    let mut told = json!({
        "name": draft.name, "format": draft.format, "files": draft.files, "columns": draft.columns,
        "rows": draft.rows, "whole": draft.is_whole, "warnings": draft.warnings,
    });
    match file {
        Some(file) => told["file"] = json!(file.display().to_string()),
        None => told["text"] = json!(draft.text),
    }
    told
}

fn lines(draft: &Draft, file: &Path) -> Vec<String> {
    let read = match draft.is_whole {
        true => "",
        false => " looked at",
    };
    let counted = crate::words::counted;
    let mut lines = vec![format!(
        "wrote {}: {}, {}, {}, {}{read}",
        file.display(),
        draft.format,
        counted(draft.files, "file"),
        counted(draft.columns, "column"),
        counted(draft.rows, "row"),
    )];
    if !is_quiet() {
        lines.push(format!("  run it    eciton run {} --db ./db", word(file)));
    }
    lines
}
