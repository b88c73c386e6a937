//! `run` and `submit`: from a job file to its results.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eciton_engine::{Db, Error, ScanRange};
use eciton_jobs::command::CommandHost;
use eciton_jobs::draft::looks_like_data;
use eciton_jobs::run::{
    self as jobs, CancellationToken, Checked, End, JobReport, Leases, Resources, RunOptions,
    Submitted, Work, permit_trials,
};
use eciton_jobs::source::Reach;
use eciton_jobs::spec::JobFile;
use serde_json::Value;

use super::found;
use super::scan;
use crate::cli::{Global, Run, Submit};
use crate::database::{self, Absent};
use crate::failure::Failure;
use crate::job;
use crate::output::Output;
use crate::peer::{Activity, Peer};
use crate::progress::{self, Meter, Tracker, per_second};
use crate::quiet::is_quiet;
use crate::settings::{self, WorkerSettings};
use crate::signals::{self, Signals};
use crate::words::{counted, grouped};

/// How long shards at work may take to finish after the first signal; then they break off, and the next run has them.
const SHARD_GRACE: Duration = Duration::from_millis(500);

/// Runs a job to its end, goes on with it, or says that it is done.
///
/// # Errors
/// Exit code 2 before anything is written for a job file that cannot be; 1 with the failed shards; 130
/// after a signal, with the command that goes on.
pub(super) async fn run(global: &Global, args: &Run) -> Result<(), Failure> {
    let workers = settings::worker_settings(&args.workers)?;
    let db_word = word(&settings::database(global)?);
    let file = job_file(&args.file)?;
    let among = among(global);
    let commands = settings::command_host(&args.scratch, true)?;
    permit_trials(commands.clone());
    let again = format!("eciton run {} --db {db_word}{among}", word(&args.file));
    let checked = check(global, &file).await?;
    database::writing(global, Absent::Create, async |db: Db| {
        let recording = record(&db, &file, checked, args.replace);
        let submitted = Meter::spinner("planning").during(|| {}, recording).await?;
        warn(&submitted.warnings);
        let ending = Ending {
            workers,
            commands,
            warnings: &submitted.warnings,
            show: args.show,
            again: &again,
            db: &db_word,
        };
        to_the_end(global, &db, &submitted.name, &ending).await
    })
    .await
}

/// Records a job.
///
/// # Errors
/// As [`run`], before the work.
pub(super) async fn submit(global: &Global, args: &Submit) -> Result<(), Failure> {
    if let Some(mut remote) = found::remote(global, &args.peers)? {
        let (name, warnings) = match args.replace {
            true => (remote.replace(&args.file).await?, Vec::new()),
            false => {
                let submitted = remote.submit(&args.file).await?;
                (submitted.name, submitted.warnings)
            }
        };
        warn(&warnings);
        let mut output = Output::new(global);
        match output.is_json() {
            true => {
                let status = job::json(&remote.job(&name).await?);
                output.line(&with_warnings(status, &warnings).to_string())?;
            }
            false => output.line(&name)?,
        }
        return Ok(output.finish()?);
    }
    permit_trials(settings::command_host(&args.scratch, true)?);
    let file = job_file(&args.file)?;
    let checked = check(global, &file).await?;
    let status = database::writing(global, Absent::Create, async |db: Db| {
        let recording = record(&db, &file, checked, args.replace);
        let submitted = Meter::spinner("planning").during(|| {}, recording).await?;
        warn(&submitted.warnings);
        let status = jobs::status(&db, &submitted.name).await?;
        Ok(status.map(|status| (status, submitted.warnings)))
    })
    .await?;
    let mut output = Output::new(global);
    match status {
        Some((status, warnings)) => {
            output.either(&with_warnings(job::json(&status), &warnings), &status.id)?;
        }
        None => {
            return Err(Failure::Work(
                "the job was recorded and is not there".to_owned(),
            ));
        }
    }
    Ok(output.finish()?)
}

/// The job file at this path. What is data instead is told so, with what to do.
///
/// # Errors
/// Exit code 2 for a file that is no job.
pub(super) fn job_file(path: &Path) -> Result<JobFile, Failure> {
    let is_named_toml = path
        .extension()
        .is_some_and(|extension| extension == "toml");
    JobFile::load(path).map_err(|error| match !is_named_toml && looks_like_data(path) {
        true => Failure::Usage(format!(
            "{} is data, not a job file; run `eciton init {}`, which writes a job file for it",
            path.display(),
            word(path)
        )),
        false => error.into(),
    })
}

/// Where there is no database yet, checks everything that can be wrong with the job before one is
/// created: a refused job leaves nothing behind.
async fn check(global: &Global, file: &JobFile) -> Result<Option<Checked>, Failure> {
    match database::read(global).await {
        Err(Failure::Engine(Error::NotADatabase { .. })) => {
            let checking = jobs::check(file);
            Ok(Some(
                Meter::spinner("planning").during(|| {}, checking).await?,
            ))
        }
        // Anything else is told by opening for writing, whose message fits better.
        _ => Ok(None),
    }
}

/// Records the job, by the plan of its check if there was one, in the place of the one of its name if that is asked for.
async fn record(
    db: &Db,
    file: &JobFile,
    checked: Option<Checked>,
    replace: bool,
) -> Result<Submitted, Failure> {
    if replace {
        let replaced = match checked {
            Some(checked) => checked.replace(db).await?,
            None => jobs::replace(db, file).await?,
        };
        if replaced.replaced.is_some() {
            let name = &replaced.submitted.name;
            tracing::info!(
                job = name,
                "replaces the one that was there, whose results are removed"
            );
        }
        return Ok(replaced.submitted);
    }
    Ok(match checked {
        Some(checked) => checked.submit(db).await?,
        None => jobs::submit(db, file).await?,
    })
}

/// How a run is to end.
pub(super) struct Ending<'a> {
    /// How it is worked.
    pub(super) workers: WorkerSettings,
    /// Where its program works, if it has one.
    pub(super) commands: CommandHost,
    /// What was said about the job's files.
    pub(super) warnings: &'a [String],
    /// Whether to print the result's records.
    pub(super) show: bool,
    /// The command that goes on after an interruption.
    pub(super) again: &'a str,
    /// The database, as a word for a shell.
    pub(super) db: &'a str,
}

/// Works on a recorded job until it ends or a signal comes, and tells how it ended.
///
/// # Errors
/// As [`run`].
pub(super) async fn to_the_end(
    global: &Global,
    db: &Db,
    name: &str,
    ending: &Ending<'_>,
) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    signals::listen(stop.clone(), Signals::taken()?);
    let tracker = Arc::new(Tracker::default());
    let activity = Arc::new(Activity::default());
    let (workers, commit_interval) = (ending.workers.workers, ending.workers.commit_interval);
    // Others at this database, if there may be any, are told who works here.
    let announcing = db.is_shared().then(|| {
        let (activity, leases) = (Arc::clone(&activity), Leases::new());
        let reach = Reach::anywhere();
        Peer::new(db, None, workers, activity, leases, reach, stop.clone()).appear()
    });
    let options = RunOptions {
        workers,
        commit_interval,
        observer: activity.of(name, tracker.clone()),
        stop,
        commands: Some(ending.commands.clone()),
        resources: Some(Resources::unlimited(workers)),
        grace: Some(SHARD_GRACE),
        ..RunOptions::default()
    };
    run_inputs(db, name, &options).await?;
    let started = Instant::now();
    let report = progress::show(name, &tracker, jobs::run(db, name, options)).await;
    if let Some(announcing) = announcing {
        announcing.end().await;
    }
    let report = report?;
    let elapsed = started.elapsed();

    let mut output = Output::new(global);
    if output.is_json() {
        let told = with_warnings(job::json(&report.status), ending.warnings);
        output.line(&told.to_string())?;
    } else {
        let work = (report.end == End::Stopped).then_some(Work::Nobody);
        // Others may go on with it.
        let work = work.filter(|_| !db.is_shared());
        let mut lines = job::text(&report.status, work);
        if report.had_ended {
            lines.insert(0, format!("job `{name}` has ended before: nothing changed"));
        } else {
            let (rows, seconds) = (tracker.rows(), elapsed.as_secs_f64());
            let speed = per_second(rows, elapsed);
            lines.push(format!(
                "  this run  {} in {seconds:.3} s, {speed} rows/s",
                counted(rows, "row")
            ));
        }
        summary(&mut output, lines, &report, ending)?;
    }
    if ending.show && report.end == End::Done && !report.status.store.is_empty() {
        let store = database::store(db, &report.status.store).await?;
        let printed = scan::print(&mut output, db, &store, &ScanRange::all()).await;
        output.finish()?;
        printed?;
        return verdict(&report, ending);
    }
    output.finish()?;
    verdict(&report, ending)
}

/// Runs the jobs that a job comes after and that have not ended. One that fails fails those that come after it.
///
/// # Errors
/// As [`run`], of one that cannot be run here: a program, for which its own job file has to be named.
async fn run_inputs(db: &Db, name: &str, options: &RunOptions) -> Result<(), Failure> {
    for input in jobs::open_inputs(db, name).await? {
        let tracker = Arc::new(Tracker::default());
        let options = RunOptions {
            observer: tracker.clone(),
            // The user has named one job file, and not what programs others have.
            commands: None,
            ..options.clone()
        };
        progress::show(&input, &tracker, jobs::run(db, &input, options)).await?;
    }
    Ok(())
}

/// The summary is what the command has to say, so it goes to stdout; with `--show` the records are,
/// and it goes to stderr.
fn summary(
    output: &mut Output,
    mut lines: Vec<String>,
    report: &JobReport,
    ending: &Ending<'_>,
) -> io::Result<()> {
    if ending.show {
        for line in &lines {
            say(line);
        }
        return Ok(());
    }
    if report.end == End::Done && !is_quiet() {
        let (store, db) = (&report.status.store, ending.db);
        let export_to = &report.status.export_to;
        let see = match store.is_empty() {
            true if !export_to.is_empty() => format!("ls {}", word(Path::new(export_to))),
            true => format!("eciton job logs {} --db {db}", report.status.name),
            false => format!("eciton scan {store} --db {db}"),
        };
        lines.push(format!("  see it    {see}"));
    }
    lines.iter().try_for_each(|line| output.line(line))
}

/// The end of a run as the exit code tells it.
fn verdict(report: &JobReport, ending: &Ending<'_>) -> Result<(), Failure> {
    let status = &report.status;
    let (name, shards, db) = (&status.name, &status.shards, ending.db);
    match report.end {
        End::Done if shards.failed > 0 => {
            let (failed, total) = (grouped(shards.failed), counted(shards.total, "shard"));
            let first = status
                .failures
                .first()
                .map_or("", |failure| failure.error.as_str());
            say(&format!(
                "warning: job `{name}`: {failed} of {total} failed, which `run.max_failed` allows; their results are \
                 missing: {first}"
            ));
            Ok(())
        }
        End::Done => Ok(()),
        End::Failed if !status.reason.is_empty() => Err(Failure::Work(format!(
            "job `{name}` has failed: {}; `eciton run JOB.toml --replace --db {db}` runs it anew",
            status.reason
        ))),
        End::Failed => {
            let first = status
                .failures
                .first()
                .map(|failure| failure.error.as_str());
            let first = first.unwrap_or("see `eciton job show`");
            let (failed, total) = (grouped(shards.failed), counted(shards.total, "shard"));
            Err(Failure::Work(format!(
                "job `{name}`: {failed} of {total} failed: {first}; mend the source, then \
                 `eciton job retry {name} --db {db}`"
            )))
        }
        End::Cancelled => Err(Failure::Work(format!(
            "job `{name}` is cancelled; `eciton job retry {name} --db {db}` takes it up again"
        ))),
        End::Stopped => {
            let (done, total) = (grouped(shards.done), counted(shards.total, "shard"));
            Err(Failure::Interrupted(format!(
                "interrupted at {done} of {total} of job `{name}`; go on with `{}`",
                ending.again
            )))
        }
    }
}

/// Says what is to be known about the files of a job.
pub(super) fn warn(warnings: &[String]) {
    for warning in warnings {
        say(&format!("warning: {warning}"));
    }
}

/// The same for programs.
fn with_warnings(mut status: Value, warnings: &[String]) -> Value {
    if !warnings.is_empty() {
        status["warnings"] = warnings.into();
    }
    status
}

/// A line on stderr. Nobody may be reading there: that must not end the work.
fn say(line: &str) {
    writeln!(io::stderr(), "{line}").ok();
}

/// How the present call says that it shares its database, for calls that go on with it; without a password.
pub(super) fn among(global: &Global) -> String {
    match &global.redis {
        Some(urls) if urls.contains('@') => " --redis ...".to_owned(),
        Some(urls) => format!(" --redis {}", word(Path::new(urls))),
        None => String::new(),
    }
}

/// A path as one word for a shell.
pub(super) fn word(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:=@%".contains(c);
    if !path.is_empty() && path.chars().all(plain) {
        path
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_words() {
        assert_eq!(word(Path::new("a/b.toml")), "a/b.toml");
        assert_eq!(word(Path::new("my job.toml")), "'my job.toml'");
        assert_eq!(word(Path::new("it's")), r"'it'\''s'");
    }
}
