//! Workers know of each other: each says every few seconds who it is and what it is at.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use eciton_proto::prost::Message;
use eciton_proto::v1::Worker;
use metrics::gauge;

use super::Peer;
use crate::metrics::WORKERS_ALIVE;

/// How often a worker says that it is there.
const SAID_APART: Duration = Duration::from_secs(2);
/// Milliseconds after which one that says nothing is taken to have gone: some of its words may get lost.
const SILENCE_MS_MAX: u64 = 10_000;

/// Who says that he is there. Whatever else somebody has put there is nobody.
pub(crate) fn told((id, note): (String, Bytes)) -> Option<Worker> {
    let worker = Worker::decode(note).ok()?;
    (worker.id == id).then_some(worker)
}

impl Peer {
    /// Says who works here, again and again, until it is dropped. A program that pulls here is one that works, too.
    pub(crate) async fn announce(&self) {
        loop {
            let mut workers = vec![self.as_worker()];
            workers.extend(self.desk().programs());
            for worker in &workers {
                let note = worker.encode_to_vec().into();
                self.0.db.announce(&worker.id, note, SILENCE_MS_MAX).await;
            }
            #[allow(clippy::cast_precision_loss, reason = "a few")]
            gauge!(WORKERS_ALIVE).set(self.all_workers().await.len() as f64);
            let draining = self.0.stop.requested();
            tokio::select! {
                () = tokio::time::sleep(SAID_APART) => {}
                // Said at once, and then in turn.
                () = draining, if !self.is_draining() => {}
            }
        }
    }

    /// Says that nobody works here any more.
    pub(crate) async fn withdraw(&self) {
        let mut ids = vec![self.as_worker().id];
        ids.extend(self.desk().programs().into_iter().map(|worker| worker.id));
        for id in ids {
            self.0.db.announce(&id, Bytes::new(), 0).await;
        }
    }

    /// Whoever was heard of lately, by their ids: a hint.
    pub(super) async fn all_workers(&self) -> BTreeMap<String, Worker> {
        let notes = self.0.db.announced().await.into_iter();
        let named = |worker: Worker| (worker.id.clone(), worker);
        let mut workers: BTreeMap<String, Worker> = notes.filter_map(told).map(named).collect();
        // What is known here is newer than what was said.
        for worker in [self.as_worker()].into_iter().chain(self.desk().programs()) {
            workers.insert(worker.id.clone(), worker);
        }
        workers
    }
}
