//! The job that a command is about, and where it is asked for.

use eciton_engine::Db;
use eciton_jobs::run::{self as jobs, JobError, JobStatus};

use crate::cli::{Global, Peers};
use crate::failure::Failure;
use crate::presence::Presence;
use crate::remote::Remote;
use crate::{database, settings};

/// The job of that name.
pub(super) async fn find(db: &Db, name: &str) -> Result<JobStatus, Failure> {
    if let Some(status) = jobs::status(db, name).await? {
        return Ok(status);
    }
    let known = jobs::list(db)
        .await?
        .into_iter()
        .map(|job| job.name)
        .collect();
    Err(JobError::NotFound {
        name: name.to_owned(),
        known,
    }
    .into())
}

/// The job of that name, or the only one where none is given, with what workers say that they are at.
pub(super) async fn seen(
    db: &Db,
    name: Option<&str>,
    presence: &Presence,
) -> Result<JobStatus, Failure> {
    let mut job = match name {
        Some(name) => find(db, name).await?,
        None => sole(jobs::list(db).await?)?,
    };
    presence.count_in(db, std::slice::from_mut(&mut job)).await;
    Ok(job)
}

/// The only one of these jobs.
pub(super) fn sole(mut listed: Vec<JobStatus>) -> Result<JobStatus, Failure> {
    if listed.len() == 1 {
        return Ok(listed.remove(0));
    }
    let names = database::present("jobs", listed.iter().map(|job| job.name.as_str()));
    Err(Failure::Usage(format!("which job? {names}")))
}

/// The peers that are asked, where any are named.
pub(super) fn remote(global: &Global, peers: &Peers) -> Result<Option<Remote>, Failure> {
    let peers = settings::peers(global, peers)?;
    peers.as_ref().map(Remote::new).transpose()
}
