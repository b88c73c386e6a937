//! Workers know of each other: each says every few seconds who it is and what it is at.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use eciton_engine::limits::NOTE_LEN_MAX;
use eciton_proto::limits::WORKER_LEN_MAX;
use eciton_proto::prost::Message;
use eciton_proto::prost::encoding::encoded_len_varint;
use eciton_proto::v1::{JobPhase, JobStatus, Worker};
use metrics::gauge;
use tokio::task::JoinHandle;

use super::Peer;
use crate::metrics::{LEASES_HELD, WORKERS_ALIVE};

/// How often a worker says that it is there.
const SAID_APART: Duration = Duration::from_secs(2);
/// For each worker that there is, how long it is until they are counted again, if that is longer: what counting costs
/// all of them together grows with their number, and not with its square.
const COUNTED_APART_A_WORKER: Duration = Duration::from_millis(20);
/// Milliseconds after which one that says nothing is taken to have gone: some of its words may get lost.
const SILENCE_MS_MAX: u64 = 10_000;
/// How long what was heard of others is used: calls that come close together listen once.
const HEARD_FOR: Duration = Duration::from_millis(500);
/// How long listening may take, where Redis hangs.
const HEAR_WITHIN: Duration = Duration::from_secs(1);

// Whatever a worker says is short enough to be heard.
const _: () = assert!(WORKER_LEN_MAX <= NOTE_LEN_MAX);

/// Who says that he is there. Whatever else somebody has put there is nobody.
pub(crate) fn told((id, note): (String, Bytes)) -> Option<Worker> {
    let worker = Worker::decode(note).ok()?;
    (worker.id == id).then_some(worker)
}

/// How many shards of each job somebody is at.
#[derive(Debug, Default)]
pub(crate) struct Running(HashMap<String, u64>);

impl Running {
    /// What these workers say that they are at.
    pub(crate) fn of<'a>(workers: impl IntoIterator<Item = &'a Worker>) -> Running {
        let mut running = Running::default();
        workers.into_iter().for_each(|worker| running.add(worker));
        running
    }

    fn add(&mut self, worker: &Worker) {
        for job in &worker.jobs {
            let sum = self.0.entry(job.name.clone()).or_default();
            *sum = sum.saturating_add(job.running.into());
        }
    }

    /// Shards of the job of that name.
    pub(crate) fn of_job(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }
}

/// What others have said, and when it was listened to.
pub(super) struct Heard {
    at: Instant,
    workers: BTreeMap<String, Worker>,
}

/// A worker that says that it is there.
pub(crate) struct Announcing {
    peer: Peer,
    telling: JoinHandle<()>,
}

impl Announcing {
    /// Says that nobody works here any more.
    pub(crate) async fn end(self) {
        self.telling.abort();
        // It has been aborted, or has died, which matters no more.
        self.telling.await.ok();
        self.peer.withdraw().await;
    }
}

impl Peer {
    /// Says from now on who works here. A program that pulls here is one that works, too.
    ///
    /// In a task, so that it goes on whatever else holds a lock of the database.
    pub(crate) fn appear(&self) -> Announcing {
        let peer = self.clone();
        Announcing {
            peer: self.clone(),
            telling: tokio::spawn(async move { peer.announce().await }),
        }
    }

    async fn announce(&self) {
        let mut count_next = Instant::now();
        loop {
            self.tell_metrics();
            if let Err(error) = self.desk().forget_ended().await {
                tracing::debug!(%error, "ended jobs are not forgotten yet");
            }
            for worker in self.workers_here() {
                let note = fitting(worker.clone()).encode_to_vec().into();
                self.0.db.announce(&worker.id, note, SILENCE_MS_MAX).await;
            }
            if Instant::now() >= count_next {
                let alive = self.all_workers().await.len();
                #[allow(clippy::cast_precision_loss, reason = "some thousands")]
                gauge!(WORKERS_ALIVE).set(alive as f64);
                let pause = COUNTED_APART_A_WORKER * u32::try_from(alive).unwrap_or(u32::MAX);
                // A few are counted each time they speak.
                count_next = Instant::now() + pause.saturating_sub(SAID_APART);
            }
            let draining = self.0.stop.cancelled();
            tokio::select! {
                () = tokio::time::sleep(SAID_APART) => {}
                // Said at once, and then in turn.
                () = draining, if !self.is_draining() => {}
            }
        }
    }

    /// What metrics tell of a state, and nobody sets when it changes.
    fn tell_metrics(&self) {
        self.0.db.tell_metrics();
        #[allow(clippy::cast_precision_loss, reason = "some thousands")]
        gauge!(LEASES_HELD).set(self.desk().held() as f64);
    }

    async fn withdraw(&self) {
        for worker in self.workers_here() {
            self.0.db.announce(&worker.id, Bytes::new(), 0).await;
        }
    }

    /// This process and the programs that pull here, as they are now.
    fn workers_here(&self) -> Vec<Worker> {
        let mut workers = vec![self.as_worker()];
        workers.extend(self.desk().programs());
        workers
    }

    /// Whoever was heard of lately, by their ids: a hint.
    pub(super) async fn all_workers(&self) -> BTreeMap<String, Worker> {
        let mut workers = self.heard().await.workers.clone();
        // What is known here is newer than what was said.
        for worker in self.workers_here() {
            workers.insert(worker.id.clone(), fitting(worker));
        }
        workers
    }

    /// Says in each job how many of its shards somebody is at.
    pub(super) async fn with_running(&self, jobs: &mut [JobStatus]) {
        let is_open = |job: &JobStatus| {
            matches!(
                job.phase(),
                JobPhase::Unspecified | JobPhase::Pending | JobPhase::Running
            )
        };
        if !jobs.iter().any(|job| is_open(job) && job.counts.is_some()) {
            return;
        }
        let heard = self.heard().await;
        let here = self.workers_here();
        let is_here = |id: &str| here.iter().any(|worker| worker.id == id);
        let others = heard.workers.values();
        let all = others.filter(|other| !is_here(&other.id)).chain(&here);
        let running = Running::of(all);
        for job in jobs.iter_mut().filter(|job| is_open(job)) {
            if let Some(counts) = &mut job.counts {
                // Those that have just ended are counted as that.
                let rest = job.shards.saturating_sub(counts.done + counts.failed);
                counts.running = running.of_job(&job.name).min(rest);
            }
        }
    }

    /// What others have said, not long ago. Many calls at a time listen together.
    async fn heard(&self) -> Arc<Heard> {
        let mut last = self.0.heard.lock().await;
        if let Some(heard) = last.as_ref().filter(|heard| heard.at.elapsed() < HEARD_FOR) {
            return Arc::clone(heard);
        }
        let notes = tokio::time::timeout(HEAR_WITHIN, self.0.db.announced()).await;
        let workers = notes.unwrap_or_default().into_iter().filter_map(told);
        let heard = Arc::new(Heard {
            at: Instant::now(),
            workers: workers.map(|worker| (worker.id.clone(), worker)).collect(),
        });
        *last = Some(Arc::clone(&heard));
        heard
    }
}

/// A worker with as many of its jobs as there is room for, those first of which it has most shards.
fn fitting(mut worker: Worker) -> Worker {
    let mut jobs = std::mem::take(&mut worker.jobs);
    jobs.sort_by(|a, b| b.running.cmp(&a.running).then_with(|| a.name.cmp(&b.name)));
    let mut len = worker.encoded_len();
    jobs.retain(|job| {
        let job_len = job.encoded_len();
        // The field's number takes a byte.
        let more = 1 + encoded_len_varint(job_len as u64) + job_len;
        let fits = len + more <= WORKER_LEN_MAX;
        len += if fits { more } else { 0 };
        fits
    });
    worker.jobs = jobs;
    worker
}

#[cfg(test)]
mod tests {
    use super::*;
    use eciton_proto::limits::{JOB_NAME_LEN_MAX, WORKER_TEXT_LEN_MAX};
    use eciton_proto::v1::{WorkerInfo, WorkerJob};

    fn job(name: &str, running: u32) -> WorkerJob {
        WorkerJob {
            name: name.to_owned(),
            running,
            ..WorkerJob::default()
        }
    }

    /// The longest texts and numbers leave room for the jobs that the contract promises, and no more is said than is
    /// heard.
    #[test]
    fn a_worker_says_what_fits() {
        let text = || "x".repeat(WORKER_TEXT_LEN_MAX);
        let name = |n: u32| format!("{n:0>JOB_NAME_LEN_MAX$}");
        let worker = Worker {
            id: text(),
            info: Some(WorkerInfo {
                name: text(),
                version: text(),
                slots: u32::MAX,
            }),
            kind: 2,
            state: 2,
            address: text(),
            busy: u32::MAX,
            started_ms: -1,
            seen_ms: -1,
            shards_done: u64::MAX,
            jobs: (0..1000)
                .rev()
                .map(|n| job(&name(n), u32::MAX - n))
                .collect(),
        };
        let said = fitting(worker.clone());
        assert!(said.encoded_len() <= WORKER_LEN_MAX);
        let first: Vec<WorkerJob> = (0..6).map(|n| job(&name(n), u32::MAX - n)).collect();
        assert_eq!(said.jobs, first);
        // To the byte.
        let filled = |len: usize| {
            let mut worker = worker.clone();
            worker.jobs.truncate(5);
            worker
                .jobs
                .push(job(&"y".repeat(JOB_NAME_LEN_MAX + len), 2000));
            fitting(worker)
        };
        let edge = (0..200).map(filled).map(|said| said.encoded_len()).max();
        assert_eq!(edge, Some(WORKER_LEN_MAX));
        // Sixteen of ordinary length all fit.
        let names = (0..16).map(|n| job(&format!("{n:0>40}"), u32::MAX));
        let jobs: Vec<WorkerJob> = names.collect();
        let sixteen = Worker {
            jobs: jobs.clone(),
            ..worker
        };
        assert_eq!(fitting(sixteen).jobs, jobs);
    }

    #[test]
    fn shards_of_all_workers_are_added_up() {
        let worker = |jobs: &[WorkerJob]| Worker {
            jobs: jobs.to_vec(),
            ..Worker::default()
        };
        let workers = [
            worker(&[job("a", 2), job("b", u32::MAX)]),
            worker(&[]),
            worker(&[job("b", u32::MAX)]),
        ];
        let running = Running::of(&workers);
        let sums = ["a", "b", "c"].map(|name| running.of_job(name));
        assert_eq!(sums, [2, 2 * u64::from(u32::MAX), 0]);
    }
}
