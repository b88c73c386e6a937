//! Who works on the database.

use std::net::SocketAddr;

use eciton_engine::entropy::{Entropy as _, SystemEntropy};
use eciton_proto::limits::{WORKER_TEXT_LEN_MAX, WORKERS_PAGE_DEFAULT, WORKERS_PAGE_MAX};
use eciton_proto::v1::{
    ListWorkersRequest, ListWorkersResponse, Worker, WorkerInfo, WorkerJob, WorkerKind, WorkerState,
};
use tonic::Status;

use super::{Peer, now_ms, pages, requests};
use crate::process_name::{host, worker_name};

/// What tokens of pages of workers are made with: there is one list of them.
const FILTER: &str = "workers";

/// What does not change about this process.
pub(super) struct Me {
    id: String,
    info: WorkerInfo,
    address: String,
    started_ms: i64,
}

impl Me {
    /// This process, which serves at `address`, if anywhere.
    pub(super) fn new(address: Option<&str>, slots: usize) -> Me {
        let name = worker_name();
        let mut address = address.unwrap_or_default().to_owned();
        address.truncate(address.floor_char_boundary(WORKER_TEXT_LEN_MAX));
        Me {
            id: format!("{:032x}", SystemEntropy.next_u128()),
            info: WorkerInfo {
                name,
                version: format!("eciton {}", env!("CARGO_PKG_VERSION")),
                slots: u32::try_from(slots).unwrap_or(u32::MAX),
            },
            address,
            started_ms: now_ms(),
        }
    }
}

/// Where others reach whoever listens at an address, as far as can be told here: whoever listens everywhere is found by
/// the name of this machine, if by anything.
pub(super) fn reached_at(address: SocketAddr) -> String {
    match address.ip().is_unspecified() {
        true => format!("{}:{}", host(), address.port()),
        false => address.to_string(),
    }
}

impl Peer {
    /// This process as a worker, with all that it is at. Programs that do not say who they are work for it.
    pub(super) fn as_worker(&self) -> Worker {
        let (me, activity) = (&self.0.me, &self.0.activity);
        let mut running = activity.running();
        for job in self.desk().unnamed() {
            let sum = running.entry(job.name).or_default();
            *sum = sum.saturating_add(job.running);
        }
        let mut asides = activity.asides();
        for name in asides.keys() {
            running.entry(name.clone()).or_default();
        }
        let state = match self.is_draining() {
            true => WorkerState::Draining,
            false => WorkerState::Running,
        };
        Worker {
            id: me.id.clone(),
            info: Some(me.info.clone()),
            kind: WorkerKind::Node.into(),
            state: state.into(),
            address: me.address.clone(),
            busy: running.values().copied().fold(0, u32::saturating_add),
            started_ms: me.started_ms,
            seen_ms: now_ms(),
            shards_done: activity.done(),
            jobs: running
                .into_iter()
                .map(|(name, running)| WorkerJob {
                    aside: asides.remove(&name).unwrap_or_default(),
                    name,
                    running,
                })
                .collect(),
        }
    }

    /// A page of workers.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a token that no answer gave.
    pub(super) async fn workers(
        &self,
        request: &ListWorkersRequest,
    ) -> Result<ListWorkersResponse, Status> {
        let after = pages::after(FILTER, &request.page_token)?;
        let size = requests::page_size(request.page_size, WORKERS_PAGE_DEFAULT, WORKERS_PAGE_MAX);
        let known = self.all_workers().await.into_values();
        let mut workers: Vec<Worker> = known.filter(|worker| worker.id.as_str() > after).collect();
        let mut next_page_token = String::new();
        if workers.len() > size {
            workers.truncate(size);
            let last = workers.last().map_or("", |worker| worker.id.as_str());
            next_page_token = pages::token(FILTER, last);
        }
        Ok(ListWorkersResponse {
            workers,
            next_page_token,
        })
    }
}
