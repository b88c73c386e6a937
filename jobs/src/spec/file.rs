//! The job file and its sections.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use eciton_proto::v1::{
    AnswerSpec, DeleteSpec, JobSpec, MergeSpec, RunSpec, Scope, TransformSpec, UpsertSpec,
    job_spec::{Sink, Step},
};
use toml::de::DeTable;

use super::after;
use super::command;
use super::error::SpecError;
use super::export;
use super::failures;
use super::limits::{
    ATTEMPTS_DEFAULT, ATTEMPTS_MAX, JOB_FILE_LEN_MAX, KEY_COLUMNS_MAX, LEASE_MS_DEFAULT,
    LEASE_MS_MAX, LEASE_MS_MIN, LIMIT_MS_MAX, LIMIT_MS_MIN, PRIORITY_MAX, SQL_LEN_MAX, VALUES_MAX,
};
use super::lines::Lines;
use super::mode;
use super::names::{check_column, check_job, check_store};
use super::operator;
use super::program_file::{FileContents, ProgramFile};
use super::section::{Document, Section};
use super::source;
use super::units::{parse_duration_ms, show_duration_ms};

const TOP_KEYS: [&str; 10] = [
    "name",
    "source",
    "transform",
    "merge",
    "upsert",
    "export",
    "delete",
    "result",
    "command",
    "run",
];

/// A checked job file: the spec, and where each key of it stands, so that later findings (a column that
/// is not there, SQL that does not parse) can name file, line and key.
#[derive(Debug, Clone)]
pub struct JobFile {
    path: PathBuf,
    /// What globs are relative to, where that is not the folder of `path`.
    dir: Option<PathBuf>,
    lines: Lines,
    spec: JobSpec,
    /// The files that the spec names for its program, with their contents, in its order.
    program_files: Vec<ProgramFile>,
}

impl JobFile {
    /// Reads and checks the job file at `path`.
    ///
    /// # Errors
    /// [`SpecError`] if it cannot be read, is not TOML, or says anything that is unknown, wrong,
    /// contradictory or not supported.
    pub fn load(path: &Path) -> Result<Self, SpecError> {
        let unreadable = |e: std::io::Error| SpecError::whole(path, format!("cannot be read: {e}"));
        let len = fs::metadata(path).map_err(unreadable)?.len();
        if len > JOB_FILE_LEN_MAX {
            return Err(SpecError::whole(
                path,
                format!("a job file is at most {JOB_FILE_LEN_MAX} bytes long, found {len}"),
            ));
        }
        let bytes = fs::read(path).map_err(unreadable)?;
        match String::from_utf8(bytes) {
            Ok(text) => Self::parse(path, &text),
            Err(e) => {
                let valid = &e.as_bytes()[..e.utf8_error().valid_up_to()];
                let line = memchr::memchr_iter(b'\n', valid).count() + 1;
                Err(SpecError::at(path, line, None, "expected UTF-8"))
            }
        }
    }

    /// Checks the text of a job file; `path` is what messages name and what globs are relative to.
    ///
    /// # Errors
    /// [`SpecError`] if it is not TOML, or says anything that is unknown, wrong, contradictory or not
    /// supported.
    pub fn parse(path: &Path, text: &str) -> Result<Self, SpecError> {
        Self::parse_with(path, text, FileContents::Folder)
    }

    /// [`JobFile::parse`], with the files that `command.files` names from `contents`.
    ///
    /// # Errors
    /// As [`JobFile::parse`].
    pub fn parse_with(
        path: &Path,
        text: &str,
        contents: FileContents<'_>,
    ) -> Result<Self, SpecError> {
        let mut lines = Lines::of(text);
        let table = DeTable::parse(text).map_err(|e| {
            let line = lines.line(e.span().map_or(0, |span| span.start));
            let message = e.message().trim_end().replace('\n', ", ");
            SpecError::at(path, line, None, format!("not valid TOML: {message}"))
        })?;
        lines.record("", table.get_ref());
        let dir = path.parent().unwrap_or(Path::new(""));
        let (spec, program_files) = {
            let document = Document {
                path,
                lines: &lines,
            };
            let top = Section::new(&document, "", 0..0, table.get_ref(), &TOP_KEYS)?;
            read_spec(&top, dir, contents)?
        };
        Ok(Self {
            path: path.to_owned(),
            dir: None,
            lines,
            spec,
            program_files,
        })
    }

    /// A job file that nobody has written: what messages call it, where its paths begin, and what it says.
    pub(crate) fn of_spec(path: &Path, dir: &Path, spec: JobSpec) -> Self {
        Self {
            path: path.to_owned(),
            dir: Some(dir.to_owned()),
            lines: Lines::default(),
            spec,
            program_files: Vec::new(),
        }
    }

    /// The same file with globs that are relative to this folder, wherever its text came from.
    #[must_use]
    pub fn in_dir(self, dir: &Path) -> Self {
        Self {
            dir: Some(dir.to_owned()),
            ..self
        }
    }

    /// The path, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that globs are relative to.
    pub fn dir(&self) -> &Path {
        match self.dir.as_deref().or_else(|| self.path.parent()) {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        }
    }

    /// What the file says, every default filled in.
    pub fn spec(&self) -> &JobSpec {
        &self.spec
    }

    /// The files that it carries for its program.
    pub fn program_files(&self) -> &[ProgramFile] {
        &self.program_files
    }

    /// What the file says, every default filled in.
    pub fn into_spec(self) -> JobSpec {
        self.spec
    }

    /// The line of a dotted key such as `merge.values.flights`, counted from 1; that of the nearest table
    /// around it where the key is absent.
    pub fn line(&self, key: &str) -> usize {
        self.lines.key_line(key)
    }

    /// A finding about a dotted key such as `transform.sql`. `message` says what was expected: lower case,
    /// no full stop.
    pub fn error(&self, key: &str, message: impl fmt::Display) -> SpecError {
        SpecError::at(&self.path, self.line(key), Some(key), message)
    }
}

fn read_spec(
    top: &Section<'_>,
    dir: &Path,
    contents: FileContents<'_>,
) -> Result<(JobSpec, Vec<ProgramFile>), SpecError> {
    let name = top.required_string("name", "a string, the job's name")?;
    let name = name.checked(|name| check_job(name))?;
    let source = source::read(top)?;
    let transform = read_transform(top)?;
    let has_sink = ["merge", "upsert", "export", "delete"]
        .iter()
        .any(|key| top.is_table(key));
    let command = command::read(top, dir, contents, has_sink)?;
    let (step, files) = match (transform, command) {
        (Some(_), Some(_)) => {
            return Err(top.error(
                "command",
                "a job has either `[transform]` or `[command]`, found both",
            ));
        }
        (transform, None) => (transform, Vec::new()),
        (None, Some((command, files))) => (Some(Step::Command(command)), files),
    };
    let sink = read_sink(top, &name, step.as_ref())?;
    source::check_apart(top, &source, sink.as_ref())?;
    let run = read_run(top, &name)?;
    let spec = JobSpec {
        name,
        source: Some(source),
        step,
        sink,
        run: Some(run),
    };
    mode::check(&spec).map_err(|message| top.error("run", message))?;
    Ok((spec, files))
}

fn read_transform(top: &Section<'_>) -> Result<Option<Step>, SpecError> {
    let Some(section) = top.table("transform", &["sql", "scope"])? else {
        return Ok(None);
    };
    let sql = section.required_string("sql", "a string, a SELECT over the table `source`")?;
    let sql = sql.checked(|sql| {
        if sql.trim().is_empty() {
            return Err("expected a SELECT over the table `source`, found nothing".to_owned());
        }
        if sql.len() > SQL_LEN_MAX {
            return Err(format!(
                "at most {SQL_LEN_MAX} bytes long, found {}",
                sql.len()
            ));
        }
        Ok(())
    })?;
    // The default is encoded as nothing: so a job that was recorded before there was a scope is the same job.
    let scope = match section.string("scope", SCOPES)? {
        None => Scope::Unspecified,
        Some(entry) => entry.parsed(|text| scope(text), SCOPES)?.value,
    };
    Ok(Some(Step::Transform(TransformSpec {
        sql,
        scope: scope.into(),
    })))
}

/// What `transform.scope` can be.
const SCOPES: &str =
    "\"source\", the query is about all rows, or \"shard\", it is about those of one shard";

fn scope(text: &str) -> Option<Scope> {
    match text {
        "source" => Some(Scope::Unspecified),
        "shard" => Some(Scope::Shard),
        _ => None,
    }
}

/// Where results go; `None` for those of a program whose output is not read.
fn read_sink(top: &Section<'_>, job: &str, step: Option<&Step>) -> Result<Option<Sink>, SpecError> {
    let has_query = matches!(step, Some(Step::Transform(_)));
    let merge = top.table("merge", &["store", "key", "values", "into_existing"])?;
    let upsert = top.table("upsert", &["store", "key", "into_existing", "version"])?;
    let result = top.table("result", &["store"])?;
    if let Some(section) = top.table("delete", &["store", "key", "version"])? {
        let others = ["merge", "upsert", "export", "result"];
        if let Some(other) = others.into_iter().find(|other| top.is_table(other)) {
            let message = format!("a job has one target, found `[delete]` and `[{other}]`");
            return Err(top.error("delete", message));
        }
        return Ok(Some(Sink::Delete(DeleteSpec {
            store: read_store(&section)?,
            key: read_key(&section)?,
            version: read_version(&section)?,
        })));
    }
    if let Some(section) = top.table("export", &export::KEYS)? {
        let others = ["merge", "upsert", "result"];
        if let Some(other) = others.into_iter().find(|other| top.is_table(other)) {
            let message = format!("a job has one target, found `[export]` and `[{other}]`");
            return Err(top.error("export", message));
        }
        return Ok(Some(Sink::Export(export::read(&section)?)));
    }
    if result.is_some() {
        if merge.is_some() || upsert.is_some() {
            return Err(top.error(
                "result",
                "a job has one of `[merge]`, `[upsert]` and `[result]`, found two",
            ));
        }
        if !has_query {
            return Err(top.error(
                "result",
                "expected a table `[transform]` with `sql`, the query whose result it is",
            ));
        }
    }
    match (merge, upsert) {
        (Some(section), None) => Ok(Some(Sink::Merge(MergeSpec {
            store: read_store(&section)?,
            key: read_key(&section)?,
            values: read_values(&section)?,
            into_existing: section.bool("into_existing")?.unwrap_or(false),
        }))),
        (None, Some(section)) => Ok(Some(Sink::Upsert(UpsertSpec {
            store: read_store(&section)?,
            key: read_key(&section)?,
            version: read_version(&section)?,
            into_existing: section.bool("into_existing")?.unwrap_or(false),
        }))),
        (Some(_), Some(_)) => Err(top.error(
            "upsert",
            "a job has either `[merge]` or `[upsert]`, found both",
        )),
        (None, None) if has_query => {
            read_answer(top, result.as_ref(), job).map(|answer| Some(Sink::Answer(answer)))
        }
        (None, None) if step.is_some() => Ok(None),
        (None, None) => Err(top.missing(
            "merge",
            "a table `[merge]` or `[upsert]`, or a `[transform]` whose `sql` groups rows",
        )),
    }
}

/// Where the answer of a query goes: into the store of the job's name unless it says otherwise.
fn read_answer(
    top: &Section<'_>,
    section: Option<&Section<'_>>,
    job: &str,
) -> Result<AnswerSpec, SpecError> {
    let named = match section {
        Some(section) => section.string("store", "a string, the name of a store")?,
        None => None,
    };
    let store = match named {
        Some(entry) => entry.checked(|name| check_store(name))?,
        None => {
            check_store(job).map_err(|message| {
                let advice = "or name another store in [result]";
                top.error(
                    "name",
                    format!("it names the store of the result: {message}, {advice}"),
                )
            })?;
            job.to_owned()
        }
    };
    Ok(AnswerSpec { store })
}

fn read_store(section: &Section<'_>) -> Result<String, SpecError> {
    let store = section.required_string("store", "a string, the name of a store")?;
    store.checked(|name| check_store(name))
}

fn read_key(section: &Section<'_>) -> Result<Vec<String>, SpecError> {
    let expected = "an array of column names such as [\"carrier\", \"month\"]";
    let Some(entries) = section.strings("key", expected)? else {
        return Err(section.missing("key", expected));
    };
    if entries.is_empty() {
        return Err(section.error(
            "key",
            "expected at least one column, found none; for a total over all rows, select a constant \
             column in `transform.sql`",
        ));
    }
    if entries.len() > KEY_COLUMNS_MAX {
        return Err(section.error(
            "key",
            format!(
                "a key has at most {KEY_COLUMNS_MAX} columns, found {}",
                entries.len()
            ),
        ));
    }
    let mut key: Vec<String> = Vec::with_capacity(entries.len());
    for entry in entries {
        if key.contains(&entry.value) {
            return Err(entry.error(format!("column `{}` is named twice", entry.value)));
        }
        key.push(entry.checked(|name| check_column(name))?);
    }
    Ok(key)
}

/// The column of the version of a row; empty where there is none.
fn read_version(section: &Section<'_>) -> Result<String, SpecError> {
    match section.string("version", "a string, the name of a column")? {
        Some(entry) => entry.checked(|name| check_column(name)),
        None => Ok(String::new()),
    }
}

fn read_values(section: &Section<'_>) -> Result<Vec<eciton_proto::v1::MergeValue>, SpecError> {
    let expected = "a table `[merge.values]` of lines such as total = \"sum(x)\"";
    let Some(values) = section.table("values", &[])? else {
        return Err(section.missing("values", expected));
    };
    let entries = values.all_strings("an operator over a column such as \"sum(x)\"")?;
    if entries.is_empty() {
        return Err(section.error("values", format!("expected {expected}, found none")));
    }
    if entries.len() > VALUES_MAX {
        return Err(section.error(
            "values",
            format!(
                "a record has at most {VALUES_MAX} values, found {}",
                entries.len()
            ),
        ));
    }
    let mut parsed = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        check_column(&name).map_err(|message| entry.error(message))?;
        parsed.push(operator::parse(&name, &entry.value).map_err(|message| entry.error(message))?);
    }
    Ok(parsed)
}

fn read_run(top: &Section<'_>, job: &str) -> Result<RunSpec, SpecError> {
    let mut run = RunSpec {
        max_attempts: ATTEMPTS_DEFAULT,
        lease_ms: LEASE_MS_DEFAULT,
        ..RunSpec::default()
    };
    let keys = [
        "max_attempts",
        "lease",
        "timeout",
        "deadline",
        "priority",
        "after",
        "mode",
    ];
    let keys: Vec<&str> = keys.into_iter().chain(failures::KEYS).collect();
    let Some(section) = top.table("run", &keys)? else {
        return Ok(run);
    };
    let expected = format!("an integer from 1 to {ATTEMPTS_MAX}");
    if let Some(entry) = section.integer("max_attempts", &expected)? {
        let legal = |n: &i64| {
            u32::try_from(*n)
                .ok()
                .filter(|n| (1..=ATTEMPTS_MAX).contains(n))
        };
        run.max_attempts = entry.parsed(legal, expected)?.value;
    }
    let lease = (LEASE_MS_MIN, LEASE_MS_MAX);
    if let Some(ms) = read_duration(&section, "lease", lease)? {
        run.lease_ms = ms;
    }
    let limit = (LIMIT_MS_MIN, LIMIT_MS_MAX);
    if let Some(ms) = read_duration(&section, "timeout", limit)? {
        run.timeout_ms = ms;
    }
    if let Some(ms) = read_duration(&section, "deadline", limit)? {
        run.deadline_ms = ms;
    }
    let expected = format!("an integer from -{PRIORITY_MAX} to {PRIORITY_MAX}");
    if let Some(entry) = section.integer("priority", &expected)? {
        let legal = |n: &i64| {
            let number = i32::try_from(*n).ok();
            number.filter(|n| (-PRIORITY_MAX..=PRIORITY_MAX).contains(n))
        };
        run.priority = entry.parsed(legal, expected)?.value;
    }
    failures::read(&section, &mut run)?;
    run.after = after::read(&section, job)?;
    run.mode = mode::read(&section)?.into();
    Ok(run)
}

/// A duration within bounds, in milliseconds, if it is there.
fn read_duration(
    section: &Section<'_>,
    key: &str,
    (min, max): (u64, u64),
) -> Result<Option<u64>, SpecError> {
    let expected = "a duration such as \"30s\"";
    let Some(entry) = section.string(key, expected)? else {
        return Ok(None);
    };
    let entry = entry.parsed(|text| parse_duration_ms(text), expected)?;
    let ms = entry.checked(|ms| {
        if (min..=max).contains(ms) {
            return Ok(());
        }
        Err(format!(
            "expected a duration from {} to {}, found {}",
            show_duration_ms(min),
            show_duration_ms(max),
            show_duration_ms(*ms)
        ))
    })?;
    Ok(Some(ms))
}
