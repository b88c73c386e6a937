//! `worker`: works on the shards of every open job, with all others that do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use eciton_engine::Db;
use eciton_jobs::run::{self as jobs, CancellationToken, Leases, ServeOptions};

use crate::cli::{Global, Worker};
use crate::database::{self, Absent};
use crate::failure::Failure;
use crate::metrics::{self, JobMetrics};
use crate::peer::{Activity, Listener, Peer, Serving};
use crate::reload::{self, Reload};
use crate::signals::{self, Hangups, Signals};
use crate::{local, roots, settings};

/// How long closing may take once the time to drain is over.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Serves until a signal comes, and then drains.
///
/// # Errors
/// [`Failure::Usage`] where nobody can listen at an address, or not as it was asked for; [`Failure::Work`] where
/// draining took too long: what was at work is computed again by others. What the database refuses.
pub(super) async fn worker(global: &Global, args: &Worker) -> Result<(), Failure> {
    if let Some(parent) = args.parent {
        local::end_with(parent)?;
    }
    let (slots, commit_interval) = settings::slots(args)?;
    let mut reloads: Vec<Arc<dyn Reload>> = Vec::new();
    if let Some(metrics) = settings::metrics(args)? {
        reloads.extend(metrics::serve(&metrics)?);
    }
    let reach = settings::reach(&args.listening)?;
    roots::warn_of_absent(reach.roots());
    let listen = match args.unheard {
        true => None,
        false => settings::listen(&args.listening)?,
    };
    let listener = listen.as_ref().map(Listener::bind).transpose()?;
    reloads.extend(listener.iter().flat_map(Listener::reloads));
    reload::watch(reloads, Hangups::new()?);
    let stop = CancellationToken::new();
    let first = signals::listen(stop.clone(), Signals::new()?);
    let drain = args.drain;
    let absent = match args.create {
        true => Absent::Create,
        false => Absent::Refuse,
    };
    let is_open = Arc::new(AtomicBool::new(false));
    let (opened, asked) = (Arc::clone(&is_open), stop.clone());
    let serving = database::writing(global, absent, async move |db: Db| {
        opened.store(true, Ordering::SeqCst);
        let activity = Arc::new(Activity::default());
        let leases = Leases::new();
        let address = listener.as_ref().map(Listener::advertised);
        let peer = Peer::new(
            &db,
            address,
            slots,
            Arc::clone(&activity),
            leases.clone(),
            reach.clone(),
            stop.clone(),
        );
        let serving = match listener {
            Some(listener) => Some(calls(listener, &peer, &stop)?),
            None => None,
        };
        let announcing = peer.appear();
        let options = ServeOptions {
            commit_interval,
            observer: Arc::new(move |job: &str| activity.of(job, Arc::new(JobMetrics::new(job)))),
            leases,
            reach,
            ..ServeOptions::new(slots, stop.clone())
        };
        let served = tokio::select! {
            served = work(&db, slots, &options, &peer) => served,
            () = late(&stop, drain) => Err(too_long(drain)),
        };
        announcing.end().await;
        if let Some(serving) = serving {
            serving.end().await;
        }
        served
    });
    // A storage that does not answer holds up neither the beginning nor the end for longer than was said.
    let served = tokio::select! {
        served = serving => served,
        gone = gone(&asked, &is_open, drain) => gone,
    };
    served.and_then(|()| first.conclude())
}

/// After the stop: at once where the database is not open yet, and nothing was begun; else once draining and closing have
/// taken too long.
async fn gone(
    stop: &CancellationToken,
    is_open: &AtomicBool,
    drain: Duration,
) -> Result<(), Failure> {
    stop.cancelled().await;
    if !is_open.load(Ordering::SeqCst) {
        return Ok(());
    }
    tokio::time::sleep(drain + CLOSE_WITHIN).await;
    Err(too_long(drain))
}

fn too_long(drain: Duration) -> Failure {
    Failure::Work(format!(
        "draining took longer than {} s; what was at work is done again by others",
        drain.as_secs()
    ))
}

/// Works on shards with the slots that there are, until it is asked to stop and nothing is at work any more, neither
/// here nor at programs that pulled here.
async fn work(db: &Db, slots: usize, options: &ServeOptions, peer: &Peer) -> Result<(), Failure> {
    match slots {
        0 => options.stop.cancelled().await,
        _ => jobs::serve(db, options).await?,
    }
    peer.pulled().await;
    Ok(())
}

/// Answers calls for the database, and says where.
fn calls(listener: Listener, peer: &Peer, stop: &CancellationToken) -> Result<Serving, Failure> {
    let address = listener.address();
    let serving = listener.serve(peer.clone(), stop.clone())?;
    tracing::info!("listening on {address}");
    Ok(serving)
}

/// So long after the stop.
async fn late(stop: &CancellationToken, drain: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(drain).await;
}
