//! `job ls|show|cancel|retry|rm|graph`, here or over a peer.

use eciton_engine::Db;
use eciton_jobs::run::{self as jobs, JobStatus, Removal, Removed, Work};
use serde_json::json;

use super::found::{find, remote, seen, sole};
use super::graph::graph;
use super::job_logs::logs;
use super::run::{Ending, among, to_the_end, word};
use super::watch::watch;
use crate::cli::{Global, Job, Peers, Retry, Rm};
use crate::database::{self, Absent};
use crate::failure::Failure;
use crate::output::Output;
use crate::presence::Presence;
use crate::table::{Cell, Table};
use crate::{job, settings};

/// Does a `job` command.
///
/// # Errors
/// [`JobError::NotFound`](jobs::JobError::NotFound); what the engine refuses; for `retry` those of a run.
pub(super) async fn job(global: &Global, args: Job) -> Result<(), Failure> {
    match args {
        Job::Ls { peers } => list(global, &peers).await,
        Job::Show { job, peers } => show(global, job.as_deref(), &peers).await,
        Job::Watch { job, peers } => watch(global, job.as_deref(), &peers).await,
        Job::Cancel { job, peers } => cancel(global, &job, &peers).await,
        Job::Retry(args) => retry(global, &args).await,
        Job::Graph(args) => graph(global, &args).await,
        Job::Logs(args) => logs(global, &args).await,
        Job::Rm(args) => remove(global, &args).await,
    }
}

async fn list(global: &Global, peers: &Peers) -> Result<(), Failure> {
    let listed = match remote(global, peers)? {
        Some(mut remote) => {
            let listed = remote.jobs().await?.into_iter();
            listed.map(|job| (job, None)).collect::<Vec<_>>()
        }
        None => {
            let presence = Presence::new(global)?;
            database::reading(global, async |db: &Db| {
                let mut listed = jobs::list(db).await?;
                presence.count_in(db, &mut listed).await;
                let mut with_work = Vec::with_capacity(listed.len());
                for job in listed {
                    let work = work_on(db, &job).await?;
                    with_work.push((job, work));
                }
                Ok(with_work)
            })
            .await?
        }
    };
    let mut output = Output::new(global);
    if output.is_json() {
        for (job, _) in &listed {
            output.line(&job::json(job).to_string())?;
        }
    } else {
        let names = ["job", "state", "shards", "done", "failed", "rows", "store"];
        let mut table = Table::new(&mut output, names.map(str::to_owned).into());
        for (job, work) in &listed {
            table.row(vec![
                Cell::text(&job.name),
                Cell::text(job::state(job, *work)),
                Cell::number(job.shards.total),
                Cell::number(job.shards.done),
                Cell::number(job.shards.failed),
                Cell::number(job.rows_read),
                Cell::text(&job.store),
            ])?;
        }
        table.finish()?;
        let jobs = listed.iter().map(|(job, _)| job);
        for job in jobs.filter(|job| !job.note.is_empty()) {
            output.line(&format!("{}: {}", job.name, job.note))?;
        }
    }
    Ok(output.finish()?)
}

async fn show(global: &Global, name: Option<&str>, peers: &Peers) -> Result<(), Failure> {
    let (status, work) = match (remote(global, peers)?, name) {
        (Some(mut remote), Some(name)) => (remote.job(name).await?, None),
        (Some(mut remote), None) => {
            let name = sole(remote.jobs().await?)?.name;
            (remote.job(&name).await?, None)
        }
        (None, name) => {
            let presence = Presence::new(global)?;
            database::reading(global, async |db: &Db| {
                let job = seen(db, name, &presence).await?;
                let work = work_on(db, &job).await?;
                Ok((job, work))
            })
            .await?
        }
    };
    print_with(global, &status, work)
}

async fn cancel(global: &Global, name: &str, peers: &Peers) -> Result<(), Failure> {
    if let Some(mut remote) = remote(global, peers)? {
        remote.cancel(name).await?;
        return print(global, &remote.job(name).await?);
    }
    let status = database::writing(global, Absent::Refuse, async |db: Db| {
        Ok(jobs::cancel(&db, name).await?)
    })
    .await?;
    print(global, &status)
}

async fn retry(global: &Global, args: &Retry) -> Result<(), Failure> {
    let name = args.job.as_str();
    if let Some(mut remote) = remote(global, &args.peers)? {
        remote.retry(name).await?;
        return print(global, &remote.job(name).await?);
    }
    let workers = settings::worker_settings(&args.workers)?;
    let db_word = word(&settings::database(global)?);
    let among = among(global);
    // What came over the network is for workers.
    let commands = settings::command_host(&args.scratch, false)?;
    let again = format!("eciton job retry {name} --db {db_word}{among}");
    database::writing(global, Absent::Refuse, async |db: Db| {
        jobs::retry(&db, name).await?;
        if args.record_only {
            return print(global, &find(&db, name).await?);
        }
        let ending = Ending {
            workers,
            commands,
            warnings: &[],
            show: false,
            again: &again,
            db: &db_word,
        };
        to_the_end(global, &db, name, &ending).await
    })
    .await
}

async fn remove(global: &Global, args: &Rm) -> Result<(), Failure> {
    let (name, of) = (
        args.job.as_str(),
        Removal {
            with_results: args.with_results,
            force: args.force,
        },
    );
    let removed = match remote(global, &args.peers)? {
        Some(mut remote) => remote.remove(name, of).await?,
        None => {
            database::writing(global, Absent::Refuse, async |db: Db| {
                Ok(jobs::remove(&db, name, of).await?)
            })
            .await?
        }
    };
    let Removed {
        name,
        number,
        store,
        results_dropped,
    } = removed;
    let text = match results_dropped {
        true => format!("job `{name}` is removed, and store `{store}` with its results"),
        false if of.with_results => format!("job `{name}` is removed; it had no results"),
        false => format!("job `{name}` is removed; its results stay in store `{store}`"),
    };
    let json = json!({"name": name, "number": number, "removed": true, "store": store,
                      "results_dropped": results_dropped});
    let mut output = Output::new(global);
    output.either(&json, &text)?;
    Ok(output.finish()?)
}

fn print(global: &Global, status: &JobStatus) -> Result<(), Failure> {
    print_with(global, status, None)
}

fn print_with(global: &Global, status: &JobStatus, work: Option<Work>) -> Result<(), Failure> {
    let mut output = Output::new(global);
    output.either(&job::json(status), &job::text(status, work).join("\n"))?;
    Ok(output.finish()?)
}

/// Who works on a job that is running; nobody is asked about others.
async fn work_on(db: &Db, job: &JobStatus) -> Result<Option<Work>, Failure> {
    match job.state {
        "running" => Ok(Some(jobs::work(db, &job.name).await?)),
        _ => Ok(None),
    }
}
