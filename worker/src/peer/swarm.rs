//! The calls of the service `Swarm`.

use eciton_jobs::run::{self as jobs, PageOf, Removal, Replaced};
use eciton_jobs::spec::JobFile;
use eciton_proto::limits::{
    FILES_SHOWN_MAX, JOB_NAME_LEN_MAX, JOBS_PAGE_DEFAULT, JOBS_PAGE_MAX, RESPONSE_LEN_MAX,
    WARNINGS_MAX,
};
use eciton_proto::prost::Message;
use eciton_proto::v1::job_spec::Step;
use eciton_proto::v1::swarm_server::Swarm;
use eciton_proto::v1::{
    CancelJobRequest, CancelJobResponse, GetJobRequest, GetJobResponse, JobPhase, JobStatus,
    JobView, ListJobsRequest, ListJobsResponse, ListWorkersRequest, ListWorkersResponse,
    RemoveJobRequest, RemoveJobResponse, ReplaceJobRequest, ReplaceJobResponse, RetryJobRequest,
    RetryJobResponse, SubmitJobRequest, SubmitJobResponse, WatchJobRequest,
};
use futures::FutureExt;
use tonic::{Code, Request, Response, Status};
use tracing::Instrument as _;

use super::guard::MayCommand;
use super::watch::JobUpdates;
use super::{Peer, callers, pages, requests};
use crate::statuses::status;

type SwarmAnswer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Swarm for Peer {
    async fn submit_job(
        &self,
        request: Request<SubmitJobRequest>,
    ) -> SwarmAnswer<SubmitJobResponse> {
        if self.is_draining() {
            return Err(Status::unavailable(
                "this peer is about to end: submit at another one",
            ));
        }
        let span = callers::submission(request.metadata());
        let may_command = may_command(&request);
        let SubmitJobRequest { file, check_only } = request.into_inner();
        let file = requests::job_file(file)?;
        let submitting = self.submit(file, check_only, may_command);
        let submitted = submitting.instrument(span.clone()).await;
        callers::note(&span, &submitted);
        answer(submitted?)
    }

    async fn replace_job(
        &self,
        request: Request<ReplaceJobRequest>,
    ) -> SwarmAnswer<ReplaceJobResponse> {
        if self.is_draining() {
            return Err(Status::unavailable(
                "this peer is about to end: submit at another one",
            ));
        }
        let may_command = may_command(&request);
        let file = requests::job_file(request.into_inner().file)?;
        answer(self.replace(file, may_command).await?)
    }

    async fn remove_job(
        &self,
        request: Request<RemoveJobRequest>,
    ) -> SwarmAnswer<RemoveJobResponse> {
        let RemoveJobRequest {
            name,
            with_results,
            force,
        } = request.into_inner();
        requests::name(&name)?;
        let of = Removal {
            with_results,
            force,
        };
        let peer = self.clone();
        let removed = self.change(async move {
            peer.refresh().await?;
            jobs::remove(&peer.0.db, &name, of).await
        });
        let removed = removed.await?;
        answer(RemoveJobResponse {
            name: removed.name,
            number: removed.number,
            store: removed.store,
            results_dropped: removed.results_dropped,
        })
    }

    async fn get_job(&self, request: Request<GetJobRequest>) -> SwarmAnswer<GetJobResponse> {
        let GetJobRequest { name, view } = request.into_inner();
        requests::name(&name)?;
        let view = requests::view(view, JobView::Failures);
        let job = Some(self.job(name, view).await?);
        answer(GetJobResponse { job })
    }

    async fn list_jobs(&self, request: Request<ListJobsRequest>) -> SwarmAnswer<ListJobsResponse> {
        answer(self.list(request.into_inner()).await?)
    }

    type WatchJobStream = JobUpdates;

    async fn watch_job(&self, request: Request<WatchJobRequest>) -> SwarmAnswer<JobUpdates> {
        Ok(Response::new(self.watch(request.into_inner()).await?))
    }

    async fn cancel_job(
        &self,
        request: Request<CancelJobRequest>,
    ) -> SwarmAnswer<CancelJobResponse> {
        let name = request.into_inner().name;
        requests::name(&name)?;
        let (peer, job) = (self.clone(), name.clone());
        self.change(async move {
            peer.refresh().await?;
            jobs::cancel(&peer.0.db, &job).await
        })
        .await?;
        let job = Some(self.job(name, JobView::Counts).await?);
        answer(CancelJobResponse { job })
    }

    async fn retry_job(&self, request: Request<RetryJobRequest>) -> SwarmAnswer<RetryJobResponse> {
        let name = request.into_inner().name;
        requests::name(&name)?;
        let (peer, job) = (self.clone(), name.clone());
        let retried = self
            .change(async move {
                peer.refresh().await?;
                jobs::retry_within(&peer.0.db, &job, &peer.0.reach).await
            })
            .await?;
        let files_changed = retried.files.len() as u64;
        let mut files = retried.files;
        files.truncate(FILES_SHOWN_MAX);
        answer(RetryJobResponse {
            job: Some(self.job(name, JobView::Counts).await?),
            shards: retried.shards,
            files,
            files_changed,
        })
    }

    async fn list_workers(
        &self,
        request: Request<ListWorkersRequest>,
    ) -> SwarmAnswer<ListWorkersResponse> {
        answer(self.workers(&request.into_inner()).await?)
    }
}

/// Whether the caller may submit jobs that run programs.
fn may_command<T>(request: &Request<T>) -> bool {
    request.extensions().get::<MayCommand>().is_some()
}

/// An answer that every library takes as it comes.
fn answer<T: Message>(message: T) -> SwarmAnswer<T> {
    let len = message.encoded_len();
    if len > RESPONSE_LEN_MAX {
        let told = format!("the answer has {len} bytes, the limit is {RESPONSE_LEN_MAX}");
        return Err(status(Code::ResourceExhausted, told));
    }
    Ok(Response::new(message))
}

impl Peer {
    /// How one job stands.
    pub(super) async fn job(&self, name: String, view: JobView) -> Result<JobStatus, Status> {
        let job = self.read(move |db| {
            let name = name.clone();
            async move { jobs::view(&db, &name, view).await }.boxed()
        });
        let mut job = job.await?;
        self.with_running(std::slice::from_mut(&mut job)).await;
        Ok(job)
    }

    async fn submit(
        &self,
        file: eciton_proto::v1::JobFile,
        check_only: bool,
        may_command: bool,
    ) -> Result<SubmitJobResponse, Status> {
        let permit = self.0.submits.acquire().await;
        let _permit = permit.map_err(|_| Status::unavailable("this peer is about to end"))?;
        let parsed = tokio::task::spawn_blocking(move || requests::parsed(&file)).await;
        let file = parsed.map_err(|died| Status::internal(died.to_string()))??;
        self.check_command(&file, may_command)?;
        let peer = self.clone();
        let submitted = self
            .change(async move {
                peer.refresh().await?;
                match check_only {
                    true => jobs::preview(&peer.0.db, &file, &peer.0.reach).await,
                    false => jobs::submit_within(&peer.0.db, &file, &peer.0.reach).await,
                }
            })
            .await?;
        let mut warnings = submitted.warnings;
        warnings.truncate(WARNINGS_MAX);
        Ok(SubmitJobResponse {
            warnings,
            phase: phase(submitted.state).into(),
            name: submitted.name,
            number: submitted.number,
            shards: submitted.shards,
            joined: submitted.joined,
        })
    }

    /// Whether a caller may submit a job here that runs a program, if it does.
    fn check_command(&self, file: &JobFile, may_command: bool) -> Result<(), Status> {
        if !matches!(file.spec().step, Some(Step::Command(_))) {
            return Ok(());
        }
        if !self.0.commands {
            return Err(Status::failed_precondition(
                "the job runs a program (`[command]`), and this peer takes no such jobs; start it with --allow-commands",
            ));
        }
        match may_command {
            true => Ok(()),
            false => Err(Status::permission_denied(
                "the job runs a program (`[command]`), which takes the role `command` beside `submit`",
            )),
        }
    }

    async fn replace(
        &self,
        file: eciton_proto::v1::JobFile,
        may_command: bool,
    ) -> Result<ReplaceJobResponse, Status> {
        let permit = self.0.submits.acquire().await;
        let _permit = permit.map_err(|_| Status::unavailable("this peer is about to end"))?;
        let parsed = tokio::task::spawn_blocking(move || requests::parsed(&file)).await;
        let file = parsed.map_err(|died| Status::internal(died.to_string()))??;
        self.check_command(&file, may_command)?;
        let peer = self.clone();
        let replaced = self.change(async move {
            peer.refresh().await?;
            jobs::replace_within(&peer.0.db, &file, &peer.0.reach).await
        });
        let Replaced {
            submitted,
            replaced,
        } = replaced.await?;
        Ok(ReplaceJobResponse {
            phase: phase(submitted.state).into(),
            name: submitted.name,
            number: submitted.number,
            shards: submitted.shards,
            joined: submitted.joined,
            replaced: replaced.unwrap_or(0),
        })
    }

    async fn list(&self, request: ListJobsRequest) -> Result<ListJobsResponse, Status> {
        requests::at_most("name_prefix", &request.name_prefix, JOB_NAME_LEN_MAX)?;
        let view = requests::view_among(request.view, &[JobView::Basic, JobView::Counts])?;
        let mut phases: Vec<JobPhase> = request.phases().collect();
        phases.sort_unstable();
        phases.dedup();
        let filter = format!("jobs {phases:?} {}", request.name_prefix);
        let after = pages::after(&filter, &request.page_token)?.to_owned();
        let limit = requests::page_size(request.page_size, JOBS_PAGE_DEFAULT, JOBS_PAGE_MAX);
        let prefix = request.name_prefix;
        let mut page = self
            .read(move |db| {
                let (after, prefix, phases) = (after.clone(), prefix.clone(), phases.clone());
                async move {
                    let of = PageOf {
                        after: &after,
                        prefix: &prefix,
                        phases: &phases,
                        limit,
                        counts: view == JobView::Counts,
                    };
                    jobs::page(&db, &of).await
                }
                .boxed()
            })
            .await?;
        let next = page.next.map(|last| pages::token(&filter, &last));
        self.with_running(&mut page.jobs).await;
        Ok(ListJobsResponse {
            jobs: page.jobs,
            next_page_token: next.unwrap_or_default(),
        })
    }
}

/// A state by its name in the contract.
fn phase(state: &str) -> JobPhase {
    match state {
        "pending" => JobPhase::Pending,
        "running" => JobPhase::Running,
        "done" => JobPhase::Done,
        "failed" => JobPhase::Failed,
        "cancelled" => JobPhase::Cancelled,
        _ => JobPhase::Unspecified,
    }
}
