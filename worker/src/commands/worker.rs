//! `worker`: works on the shards of every open job, with all others that do.

use std::sync::Arc;
use std::time::Duration;

use eciton_engine::db::Db;
use eciton_jobs::run::{self as jobs, Leases, ServeOptions, Stop};

use crate::cli::{Global, Worker};
use crate::database::{self, Absent};
use crate::failure::Failure;
use crate::metrics::{self, JobMetrics};
use crate::peer::{Activity, Listener, Peer, Serving};
use crate::{local, settings, signals};

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
    if let Some(address) = settings::metrics(args)? {
        metrics::serve(address)?;
    }
    let listen = match args.unheard {
        true => None,
        false => settings::listen(&args.listening)?,
    };
    let listener = listen.as_ref().map(Listener::bind).transpose()?;
    let stop = Stop::new();
    signals::listen(stop.clone())?;
    let drain = args.drain;
    let absent = match args.create {
        true => Absent::Create,
        false => Absent::Refuse,
    };
    database::writing(global, absent, async move |db: Db| {
        let activity = Arc::new(Activity::default());
        let leases = Leases::new();
        let address = listener.as_ref().map(Listener::advertised);
        let peer = Peer::new(
            &db,
            address,
            slots,
            Arc::clone(&activity),
            leases.clone(),
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
            ..ServeOptions::new(slots, stop.clone())
        };
        let served = tokio::select! {
            served = work(&db, slots, &options, &peer) => served,
            () = late(&stop, drain) => Err(Failure::Work(format!(
                "draining took longer than {} s; what was at work is done again by others",
                drain.as_secs()
            ))),
        };
        announcing.end().await;
        if let Some(serving) = serving {
            serving.end().await;
        }
        served
    })
    .await
}

/// Works on shards with the slots that there are, until it is asked to stop and nothing is at work any more, neither
/// here nor at programs that pulled here.
async fn work(db: &Db, slots: usize, options: &ServeOptions, peer: &Peer) -> Result<(), Failure> {
    match slots {
        0 => options.stop.requested().await,
        _ => jobs::serve(db, options).await?,
    }
    peer.pulled().await;
    Ok(())
}

/// Answers calls for the database, and says where.
fn calls(listener: Listener, peer: &Peer, stop: &Stop) -> Result<Serving, Failure> {
    let address = listener.address();
    let serving = listener.serve(peer.clone(), stop.clone())?;
    tracing::info!("listening on {address}");
    Ok(serving)
}

/// So long after the stop.
async fn late(stop: &Stop, drain: Duration) {
    stop.requested().await;
    tokio::time::sleep(drain).await;
}
