//! Submitting, looking at and changing jobs.

use std::fs;
use std::path::{Path, absolute};

use eciton_jobs::run::{JobStatus, Removal, Removed};
use eciton_jobs::spec::{ProgramFile, SpecError};
use eciton_proto::limits::{JOB_FILE_LEN_MAX, JOBS_PAGE_MAX, WORKERS_PAGE_MAX};
use eciton_proto::v1::{
    self, CancelJobRequest, GetJobRequest, JobFile, JobFileContent, JobPhase, JobView,
    ListJobsRequest, ListWorkersRequest, RemoveJobRequest, ReplaceJobRequest, RetryJobRequest,
    SubmitJobRequest, SubmitJobResponse, Worker,
};

use super::connect::Remote;
use super::status::status;
use crate::failure::Failure;

impl Remote {
    /// Records a job by its file; the peer checks it, and looks for its data under the folder that the file lies in.
    /// Gives what the peer answers.
    ///
    /// # Errors
    /// [`Failure::JobFile`] where the file cannot be read; [`Failure::Peer`].
    pub(crate) async fn submit(&mut self, path: &Path) -> Result<SubmitJobResponse, Failure> {
        let file = Some(job_file(path)?);
        let request = SubmitJobRequest {
            file,
            check_only: false,
        };
        let call = self.call(request, async |client, request| {
            client.submit_job(request).await
        });
        call.await
    }

    /// Records a job by its file in the place of the one of its name. Gives its name.
    ///
    /// # Errors
    /// As [`Remote::submit`].
    pub(crate) async fn replace(&mut self, path: &Path) -> Result<String, Failure> {
        let file = Some(job_file(path)?);
        let call = self.call(ReplaceJobRequest { file }, async |client, request| {
            client.replace_job(request).await
        });
        Ok(call.await?.name)
    }

    /// Removes a job.
    ///
    /// # Errors
    /// [`Failure::Peer`].
    pub(crate) async fn remove(&mut self, name: &str, of: Removal) -> Result<Removed, Failure> {
        let request = RemoveJobRequest {
            name: name.to_owned(),
            with_results: of.with_results,
            force: of.force,
        };
        let call = self.call(request, async |client, request| {
            client.remove_job(request).await
        });
        let removed = call.await?;
        Ok(Removed {
            name: removed.name,
            number: removed.number,
            store: removed.store,
            results_dropped: removed.results_dropped,
        })
    }

    /// How one job stands, with its first failures.
    ///
    /// # Errors
    /// [`Failure::Peer`].
    pub(crate) async fn job(&mut self, name: &str) -> Result<JobStatus, Failure> {
        let view = JobView::Failures.into();
        let request = GetJobRequest {
            name: name.to_owned(),
            view,
        };
        let call = self.call(request, async |client, request| {
            client.get_job(request).await
        });
        Ok(status(call.await?.job.unwrap_or_default()))
    }

    /// How one job stands, without its failures.
    ///
    /// # Errors
    /// [`Failure::Peer`].
    pub(crate) async fn counts(&mut self, name: &str) -> Result<v1::JobStatus, Failure> {
        let request = GetJobRequest {
            name: name.to_owned(),
            view: JobView::Counts.into(),
        };
        let call = self.call(request, async |client, request| {
            client.get_job(request).await
        });
        Ok(call.await?.job.unwrap_or_default())
    }

    /// How all jobs stand, by name, without their failures.
    ///
    /// # Errors
    /// [`Failure::Peer`].
    pub(crate) async fn jobs(&mut self) -> Result<Vec<JobStatus>, Failure> {
        let jobs = self.jobs_in(&[], JobView::Counts).await?;
        Ok(jobs.into_iter().map(status).collect())
    }

    /// The jobs in these phases, by name; all where none are named.
    ///
    /// # Errors
    /// [`Failure::Peer`].
    pub(crate) async fn jobs_in(
        &mut self,
        phases: &[JobPhase],
        view: JobView,
    ) -> Result<Vec<v1::JobStatus>, Failure> {
        let mut jobs = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListJobsRequest {
                page_size: JOBS_PAGE_MAX,
                page_token,
                view: view.into(),
                phases: phases.iter().map(|phase| (*phase).into()).collect(),
                ..ListJobsRequest::default()
            };
            let call = self.call(request, async |client, request| {
                client.list_jobs(request).await
            });
            let page = call.await?;
            jobs.extend(page.jobs);
            if page.next_page_token.is_empty() {
                return Ok(jobs);
            }
            page_token = page.next_page_token;
        }
    }

    /// Whoever works on the database, as far as the peer has heard of them lately.
    ///
    /// # Errors
    /// [`Failure::Peer`].
    pub(crate) async fn workers(&mut self) -> Result<Vec<Worker>, Failure> {
        let mut workers = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListWorkersRequest {
                page_size: WORKERS_PAGE_MAX,
                page_token,
            };
            let call = self.call(request, async |client, request| {
                client.list_workers(request).await
            });
            let page = call.await?;
            workers.extend(page.workers);
            if page.next_page_token.is_empty() {
                return Ok(workers);
            }
            page_token = page.next_page_token;
        }
    }

    /// Ends a job early.
    ///
    /// # Errors
    /// [`Failure::Peer`].
    pub(crate) async fn cancel(&mut self, name: &str) -> Result<(), Failure> {
        let request = CancelJobRequest {
            name: name.to_owned(),
        };
        let call = self.call(request, async |client, request| {
            client.cancel_job(request).await
        });
        call.await.map(|_| ())
    }

    /// Gives the failed shards of a job another chance; the swarm takes it.
    ///
    /// # Errors
    /// [`Failure::Peer`].
    pub(crate) async fn retry(&mut self, name: &str) -> Result<(), Failure> {
        let request = RetryJobRequest {
            name: name.to_owned(),
        };
        let call = self.call(request, async |client, request| {
            client.retry_job(request).await
        });
        call.await.map(|_| ())
    }
}

/// The text of a job file, and where it lies. The peer checks the rest, whose version may know more.
fn job_file(path: &Path) -> Result<JobFile, SpecError> {
    let cannot = |error: &dyn std::fmt::Display| SpecError::whole(path, error);
    let unreadable = |error: std::io::Error| cannot(&format!("cannot be read: {error}"));
    let len = fs::metadata(path).map_err(unreadable)?.len();
    if len > JOB_FILE_LEN_MAX as u64 {
        return Err(cannot(&format!(
            "a job file is at most {JOB_FILE_LEN_MAX} bytes long, found {len}"
        )));
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|_| cannot(&"expected UTF-8"))?;
    let whole = absolute(path).map_err(unreadable)?;
    let directory = whole.parent().and_then(Path::to_str);
    let directory = directory.ok_or_else(|| cannot(&"expected a path in UTF-8"))?;
    let contents = contents(path, &whole, &text)?;
    Ok(JobFile {
        name: path.display().to_string(),
        text,
        directory: directory.to_owned(),
        contents,
    })
}

/// The files that a job file names for its program. What else is wrong with it the peer says.
fn contents(path: &Path, whole: &Path, text: &str) -> Result<Vec<JobFileContent>, SpecError> {
    let names = toml::from_str::<toml::Table>(text).ok().and_then(|table| {
        let files = table.get("command")?.get("files")?.as_array()?.clone();
        let names = files.iter().map(|name| name.as_str().map(str::to_owned));
        names.collect::<Option<Vec<String>>>()
    });
    let dir = whole.parent().unwrap_or(Path::new("/"));
    let mut contents = Vec::new();
    for name in names.unwrap_or_default() {
        let file = ProgramFile::read(dir, &name).map_err(|error| {
            SpecError::whole(
                path,
                format!("key `command.files`: `{name}` cannot be read: {error}"),
            )
        })?;
        contents.push(JobFileContent {
            name: file.name,
            content: file.content.into(),
            executable: file.executable,
        });
    }
    Ok(contents)
}
