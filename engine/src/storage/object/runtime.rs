//! Where requests run: on threads of their own, one runtime for the process.
//!
//! A request needs a runtime with sockets and timers. Whoever calls may have another one, which ends before
//! a background fold does, or none at all, as a fold on a pool of plain threads; on the threads here every
//! call makes progress whoever waits for it, and however.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::Instant;

/// They wait for sockets most of the time.
const THREADS: usize = 2;

/// Lives as long as the process.
static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);

/// A request that takes longer is told.
const SLOW: Duration = Duration::from_secs(10);
/// Such lines are so far apart, for all requests together.
const TOLD_APART: Duration = Duration::from_secs(10);

/// When a slow request was told last.
static TOLD: Mutex<Option<Instant>> = Mutex::new(None);

/// The places that this process has opened, and where they are, for people.
static PLACES: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Remembers a place, to be named where it does not answer.
pub(super) fn opened(place: String) {
    PLACES.lock().insert(place);
}

/// Runs `work`, which goes on even if nobody waits for it any more: what has been sent has been sent. Whoever waits for
/// long is told for which request.
pub(super) async fn run<T: Send + 'static>(
    what: String,
    work: impl Future<Output = T> + Send + 'static,
) -> io::Result<T> {
    let done = handle()?.spawn(watched(what, work));
    done.await.map_err(io::Error::other)
}

async fn watched<T>(what: String, work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(SLOW, &mut work).await {
            Ok(done) => return done,
            Err(_) => {
                let mut told = TOLD.lock();
                if told.is_none_or(|at| at.elapsed() >= TOLD_APART) {
                    *told = Some(Instant::now());
                    let seconds = began.elapsed().as_secs();
                    let places: Vec<String> = PLACES.lock().iter().cloned().collect();
                    let places = places.join(", ");
                    tracing::warn!(
                        "the object store has not answered a request for {seconds} s ({what}; {places}); still waiting"
                    );
                }
            }
        }
    }
}

/// Runs `work`, for which nobody waits.
pub(super) fn leave(work: impl Future<Output = ()> + Send + 'static) {
    match handle() {
        Ok(handle) => drop(handle.spawn(work)),
        Err(cause) => tracing::warn!(%cause, "work was not begun"),
    }
}

pub(super) fn handle() -> io::Result<Handle> {
    let mut runtime = RUNTIME.lock();
    if let Some(runtime) = &*runtime {
        return Ok(runtime.handle().clone());
    }
    let begun = Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("eciton-object")
        .enable_all()
        .build()?;
    Ok(runtime.insert(begun).handle().clone())
}
