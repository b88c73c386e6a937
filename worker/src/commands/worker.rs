//! `worker`: works on the shards of every open job, with all others that do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use eciton_engine::Db;
use eciton_jobs::run::{self as jobs, CancellationToken, Leases, Resources, ServeOptions};
use tokio::task::JoinHandle;

use crate::cli::{Global, Worker};
use crate::database::{self, Absent};
use crate::failure::Failure;
use crate::health::Health;
use crate::job_log::JobLog;
use crate::metrics::{self, JobMetrics};
use crate::peer::{Activity, Listener, Peer, Serving};
use crate::reload::{self, Reload};
use crate::signals::{self, Drained, Hangups, Signals};
use crate::{job_gauges, local, roots, scrubbing, settings, space};

/// How long shards that did not end within the time to drain may take to break off.
const BREAK_OFF_WITHIN: Duration = Duration::from_secs(4);
/// How long closing may take after that.
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
    let drain = args.drain;
    let stop = CancellationToken::new();
    let health = Arc::new(Health::new(stop.clone()));
    let mut reloads: Vec<Arc<dyn Reload>> = Vec::new();
    if let Some(metrics) = settings::metrics(args)? {
        reloads.extend(metrics::serve(&metrics, Arc::clone(&health))?);
    }
    let commands = settings::commands(&args.commands)?;
    let named = args.commands.resources.clone().unwrap_or_default();
    let resources = Resources::of(slots, named.0);
    let reach = settings::reach(&args.listening)?;
    roots::warn_of_absent(reach.roots());
    let listen = match args.unheard {
        true => None,
        false => settings::listen(&args.listening)?,
    };
    let listener = listen.as_ref().map(Listener::bind).transpose()?;
    reloads.extend(listener.iter().flat_map(Listener::reloads));
    reload::watch(reloads, Hangups::new()?);
    let first = signals::listen(stop.clone(), Signals::new()?);
    let absent = match args.create {
        true => Absent::Create,
        false => Absent::Refuse,
    };
    let is_open = Arc::new(AtomicBool::new(false));
    let break_off = CancellationToken::new();
    let breaks_off = break_off.clone();
    let (opened, asked) = (Arc::clone(&is_open), stop.clone());
    let path = settings::database(global)?;
    let folder = settings::bucket(&path).is_none().then_some(path.clone());
    let mirror = match (settings::standby(global)?, settings::scrubbing()?) {
        (Some(_), Some(how)) => Some((database::both_places(global).await?, how)),
        _ => None,
    };
    let serving = database::writing(global, absent, async move |db: Db| {
        opened.store(true, Ordering::SeqCst);
        health.opened(&db, folder.clone());
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
        )
        .with_commands(commands.is_some());
        let serving = match listener {
            Some(listener) => Some(calls(listener, &peer, &stop)?),
            None => None,
        };
        let announcing = peer.appear();
        let mut telling = vec![job_gauges::watch(db.clone(), Arc::clone(&activity))];
        telling.extend(folder.map(space::watch));
        telling.extend(mirror.map(|(places, how)| scrubbing::watch(places, how)));
        let options = ServeOptions {
            commit_interval,
            observer: Arc::new(move |job: &str| {
                let metrics = Arc::new(JobMetrics::new(job));
                activity.of(job, Arc::new(JobLog::new(job, metrics)))
            }),
            leases,
            reach,
            break_off: breaks_off.clone(),
            commands,
            resources: Some(resources),
            ..ServeOptions::new(slots, stop.clone())
        };
        let served = tokio::select! {
            served = work(&db, slots, &options, &peer, drain) => served,
            () = late(&stop, drain + BREAK_OFF_WITHIN) => Err(too_long(drain)),
        };
        telling.iter().for_each(JoinHandle::abort);
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
    let drained = match break_off.is_cancelled() {
        true => Drained::Overdue,
        false => Drained::Finished,
    };
    served.and_then(|()| first.conclude(drained))
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
    tokio::time::sleep(drain + BREAK_OFF_WITHIN + CLOSE_WITHIN).await;
    Err(too_long(drain))
}

fn too_long(drain: Duration) -> Failure {
    Failure::Work(format!(
        "draining took longer than {} s; what was at work is done again by others",
        drain.as_secs()
    ))
}

/// Works on shards with the slots that there are, until it is asked to stop and nothing is at work any more, neither
/// here nor at programs that pulled here, or the time to drain is over.
async fn work(
    db: &Db,
    slots: usize,
    options: &ServeOptions,
    peer: &Peer,
    drain: Duration,
) -> Result<(), Failure> {
    let whole = async {
        match slots {
            0 => options.stop.cancelled().await,
            _ => jobs::serve(db, options).await?,
        }
        // Programs finish at another worker what they were at when the time is over.
        tokio::select! {
            () = peer.pulled() => {}
            () = options.break_off.cancelled() => {}
        }
        Ok(())
    };
    let overdue = async {
        late(&options.stop, drain).await;
        let seconds = drain.as_secs();
        tracing::warn!(
            seconds,
            "the time to drain is over: the shards that are still at work are given up, and other workers compute them again"
        );
        options.break_off.cancel();
        std::future::pending().await
    };
    tokio::select! {
        ended = whole => ended,
        ended = overdue => ended,
    }
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
