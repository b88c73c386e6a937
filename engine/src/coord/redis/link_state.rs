//! What a link and its driver have in common, and what passes between them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use parking_lot::Mutex;
use redis::Value;
use tokio::sync::oneshot;

use super::health::Health;
use super::names::Names;
use super::script::Call;
use crate::coord::Mailbox;
use crate::coord::inbox::Inbox;

/// What is to be sent.
pub(super) enum Job {
    /// A script, and who waits for its reply, if anybody does.
    Call(Call, Option<oneshot::Sender<Value>>),
    /// From now on what comes for this mailbox is wanted.
    Listen(Mailbox),
    /// Somebody waits until what was queued before this has been answered.
    Flush(oneshot::Sender<()>),
}

impl Job {
    pub(super) fn len(&self) -> usize {
        match self {
            Job::Call(call, _) => call.len(),
            Job::Listen(_) | Job::Flush(_) => 0,
        }
    }
}

/// What a link and its driver have in common.
pub(super) struct LinkState {
    pub(super) names: Names,
    /// Calls are sent; otherwise they come to nothing at once.
    pub(super) is_up: AtomicBool,
    /// Bytes in the queue.
    pub(super) queued_len: AtomicUsize,
    pub(super) inboxes: Mutex<HashMap<Mailbox, Arc<Inbox>>>,
    /// How the server does.
    pub(super) health: Health,
}

impl LinkState {
    /// Has everybody look again who waits for answers.
    pub(super) fn nudge_all(&self) {
        for inbox in self.inboxes.lock().values() {
            inbox.nudge();
        }
    }
}
