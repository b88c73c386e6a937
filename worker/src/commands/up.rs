//! `up`: a swarm on this machine, of processes of this same program.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use eciton_engine::Error;
use serde_json::json;

use crate::cli::{Global, Up};
use crate::failure::Failure;
use crate::local::{Member, OwnRedis, Secret, SwarmNews, Who, this_program};
use crate::signals::{Drained, First, Hangups, Signals};
use crate::words::counted;
use crate::{database, settings, view};

/// Worker processes where nothing is said: more of them take more memory, and the cores are shared anyway.
const WORKERS_MAX: usize = 4;
/// Slots that a worker may have.
const SLOTS_MAX: usize = 1024;
/// Time between two looks at the processes.
const LOOKS_APART: Duration = Duration::from_millis(100);
/// Time between two looks whether any job is open.
const IDLE_LOOKS_APART: Duration = Duration::from_secs(1);
/// A worker ends by itself once its time to drain is over; so much later it is killed.
const DRAIN_MORE: Duration = Duration::from_secs(8);
/// How long Redis may take to end.
const REDIS_END_MAX: Duration = Duration::from_secs(5);

/// Starts a swarm, looks after it until a signal comes, and has it drain.
///
/// # Errors
/// What a worker would run into at the database; [`Failure::Work`] where a worker ends again and again soon after
/// its start, or where draining took too long; [`Failure::Interrupted`] after a second signal.
pub(super) async fn up(global: &Global, args: &Up) -> Result<(), Failure> {
    // Whoever closes a terminal wants to be rid of what runs in it; a service is asked to read its files again.
    let (mut signals, hangups) = match has_terminal() {
        true => (Signals::with_hangup()?, None),
        false => (Signals::new()?, Some(Hangups::new()?)),
    };
    let to_reload = Arc::new(AtomicBool::new(false));
    if let Some(mut hangups) = hangups {
        let to_reload = Arc::clone(&to_reload);
        tokio::spawn(async move {
            loop {
                hangups.next().await;
                to_reload.store(true, Ordering::SeqCst);
            }
        });
    }
    let first = First::default();
    let news = SwarmNews::new(global);
    let mut swarm = tokio::select! {
        swarm = Swarm::gather(global, args, &news) => swarm?,
        asked = signals.next() => {
            first.note(asked);
            return first.conclude(Drained::Finished);
        }
    };
    let kept = tokio::select! {
        kept = swarm.keep(global, args.until_idle, &news, &to_reload) => kept,
        asked = signals.next() => {
            first.note(asked);
            Ok(())
        }
    };
    let words =
        "stopping: workers finish the shards they are at; a second signal ends them at once";
    news.tell(words, &json!({"event": "stopping"}));
    let drained = tokio::select! {
        drained = swarm.drain(args.drain, &news) => drained,
        _ = signals.next() => Err(Failure::Interrupted(
            "ended at once by a second signal; what was at work is done again by others".to_owned(),
        )),
    };
    kept.and(drained)
        .and_then(|()| first.conclude(Drained::Elsewhere))
}

/// Whether this process belongs to somebody's terminal.
fn has_terminal() -> bool {
    io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal()
}

/// The processes. Those that still run are killed where this is dropped, workers first.
struct Swarm {
    workers: Vec<Member>,
    redis: Option<OwnRedis>,
    /// Where the address of Redis stands, with its password.
    _address: Option<Secret>,
}

impl Swarm {
    /// A swarm whose workers are about to start, at a database that they can open.
    async fn gather(global: &Global, args: &Up, news: &SwarmNews<'_>) -> Result<Swarm, Failure> {
        let mut count = args.workers.map_or_else(workers_default, usize::from);
        let mut slots = match settings::said_workers(args.slots)? {
            Some(slots) => slots,
            None => (settings::cores() / count).max(1),
        };
        // Told now, and not by a worker that ends again and again.
        settings::listen(&args.listening)?;
        settings::reach(&args.listening)?;
        settings::database(global)?;
        if let Some(first) = args.metrics {
            metrics_of(first, count)?;
        }
        let named = settings::redis(global)?;
        // What is no database and is not to become one is told before anything is started.
        let looked = database::read(global).await;
        if let Err(failure @ Failure::Engine(Error::Unfinished { .. })) = looked {
            return Err(failure);
        }
        let redis = match (&named, OwnRedis::program()) {
            (None, Some(program)) => Some(OwnRedis::start(&program, news).await?),
            _ => None,
        };
        let mut address = None;
        if let Some(redis) = &redis {
            // What is printed may end in a log that others can read.
            let secret = Secret::write("eciton-redis", redis.url())?;
            let path = secret.path().display();
            news.tell(
                &format!("redis: for other processes at this database: export ECITON_REDIS=\"$(cat '{path}')\""),
                &json!({"event": "redis_listens", "url": redis.address(), "url_file": path.to_string()}),
            );
            address = Some(secret);
        } else if named.is_none() && count > 1 {
            // Processes that hear nothing of each other would all compute the same shards.
            slots = (slots * count).min(SLOTS_MAX);
            count = 1;
            let words = format!(
                "no Redis is named and no redis-server is on the PATH: one worker with {} does the work of all",
                counted(slots as u64, "slot")
            );
            tracing::warn!("{words}");
        }
        let options = redis.as_ref().map(OwnRedis::options).or(named);
        database::prepare(global, options).await?;
        let url = redis.as_ref().map(|redis| redis.url().to_owned());
        let url = url.or_else(|| global.redis.clone());
        let metrics = match args.metrics {
            Some(first) => metrics_of(first, count)?,
            None => Vec::new(),
        };
        let members = (1..=count).map(|number| {
            let mut args = worker_args(global, args, number, slots);
            if let Some(address) = metrics.get(number - 1) {
                args.extend(["--metrics".into(), address.to_string().into()]);
            }
            let (url, is_own) = (url.clone(), redis.is_some());
            Member::new(Who::Worker(number), String::new(), move || {
                let mut command = this_program(&args)?;
                with_redis(&mut command, url.as_deref(), is_own);
                Ok(command)
            })
        });
        Ok(Swarm {
            workers: members.collect(),
            redis,
            _address: address,
        })
    }

    /// Starts whatever is due, for as long as any job is open, or for good.
    ///
    /// Not a task: the thread that starts the processes has to be the one that ends last.
    async fn keep(
        &mut self,
        global: &Global,
        until_idle: bool,
        news: &SwarmNews<'_>,
        to_reload: &AtomicBool,
    ) -> Result<(), Failure> {
        let mut looked = Instant::now();
        loop {
            if to_reload.swap(false, Ordering::SeqCst) {
                self.workers.iter().for_each(Member::hang_up);
            }
            if let Some(redis) = &mut self.redis {
                redis.member.attend(news)?;
            }
            for worker in &mut self.workers {
                worker.attend(news)?;
            }
            if until_idle && looked.elapsed() >= IDLE_LOOKS_APART {
                if !view::is_any_open(global).await? {
                    return Ok(());
                }
                looked = Instant::now();
            }
            tokio::time::sleep(LOOKS_APART).await;
        }
    }

    /// Has the workers finish what they are at, and then Redis end.
    async fn drain(&mut self, drain: Duration, news: &SwarmNews<'_>) -> Result<(), Failure> {
        for worker in &mut self.workers {
            worker.ask_to_end();
        }
        let mut failed = Vec::new();
        let late = Instant::now() + drain + DRAIN_MORE;
        for worker in &mut self.workers {
            while !worker.has_ended() && Instant::now() < late {
                match worker.look_for_end(news)? {
                    Some(end) if !end.status.success() => failed.push(worker.who().to_string()),
                    Some(_) => {}
                    None => tokio::time::sleep(LOOKS_APART).await,
                }
            }
            if !worker.has_ended() {
                failed.push(worker.who().to_string());
            }
        }
        // Those that are late.
        self.workers.clear();
        self.end_redis(news).await?;
        match failed.as_slice() {
            [] => Ok(()),
            failed => Err(Failure::Work(format!(
                "{} did not end well; what was at work there is done again by others",
                failed.join(", ")
            ))),
        }
    }

    async fn end_redis(&mut self, news: &SwarmNews<'_>) -> Result<(), Failure> {
        let Some(mut redis) = self.redis.take() else {
            return Ok(());
        };
        redis.member.ask_to_end();
        let late = Instant::now() + REDIS_END_MAX;
        while !redis.member.has_ended() && Instant::now() < late {
            if redis.member.look_for_end(news)?.is_none() {
                tokio::time::sleep(LOOKS_APART).await;
            }
        }
        Ok(())
    }
}

fn workers_default() -> usize {
    settings::cores().min(WORKERS_MAX)
}

/// Where each worker serves its metrics: at ports that follow each other.
///
/// # Errors
/// [`Failure::Usage`] where there are not enough ports.
fn metrics_of(first: SocketAddr, workers: usize) -> Result<Vec<SocketAddr>, Failure> {
    let all = (0..workers).map(|after| {
        let port = u16::try_from(usize::from(first.port()) + after).ok()?;
        Some(SocketAddr::new(first.ip(), port))
    });
    let all: Option<Vec<SocketAddr>> = all.collect();
    all.filter(|_| first.port() > 0).ok_or_else(|| {
        let words = counted(workers as u64, "worker");
        Failure::Usage(format!(
            "--metrics {first}: expected a port from which on there is one for each of {words}"
        ))
    })
}

/// What a worker is called with.
fn worker_args(global: &Global, args: &Up, number: usize, slots: usize) -> Vec<OsString> {
    let mut call: Vec<OsString> = vec!["worker".into()];
    let mut add = |flag: &str, value: OsString| call.extend([OsString::from(flag), value]);
    add("--parent", std::process::id().to_string().into());
    add("--slots", slots.to_string().into());
    let ms = |time: Duration| OsString::from(format!("{}ms", time.as_millis()));
    add("--drain", ms(args.drain));
    if let Some(interval) = args.commit_interval {
        add("--commit-interval", ms(interval));
    }
    for (flag, path) in [
        ("--db", &global.db),
        ("--standby", &global.standby),
        ("--cache", &global.cache),
    ] {
        if let Some(path) = path {
            add(flag, path.into());
        }
    }
    for root in &args.listening.data_roots {
        add("--data-root", root.into());
    }
    for prefix in &args.listening.allow_remote {
        add("--allow-remote", prefix.into());
    }
    if let Some(scratch) = &args.commands.scratch.scratch {
        add("--scratch", scratch.into());
    }
    if let Some(resources) = &args.commands.resources {
        add("--resources", resources.to_string().into());
    }
    if args.commands.allowed {
        call.push("--allow-commands".into());
    }
    if args.listening.insecure {
        call.push("--insecure".into());
    }
    let mut add = |flag: &str, value: OsString| call.extend([OsString::from(flag), value]);
    // One address, one process: the first of them serves for all.
    if number > 1 {
        call.push("--unheard".into());
        return call;
    }
    let listening = &args.listening;
    if let Some(address) = &listening.listen {
        add("--listen", address.into());
    }
    if let Some(address) = &listening.advertise {
        add("--advertise", address.into());
    }
    if let Some(connections) = listening.connections {
        add("--connections", connections.to_string().into());
    }
    for (flag, path) in [
        ("--tls-cert", &listening.tls_cert),
        ("--tls-key", &listening.tls_key),
        ("--tls-client-ca", &listening.tls_client_ca),
        ("--tokens", &listening.tokens),
    ] {
        if let Some(path) = path {
            add(flag, path.into());
        }
    }
    call
}

/// Tells a worker of Redis: over its environment, which nobody else can read.
fn with_redis(command: &mut Command, url: Option<&str>, is_own: bool) {
    // An address, too, that only one process can have.
    command.env_remove("ECITON_METRICS");
    if let Some(url) = url {
        command.env("ECITON_REDIS", url);
    }
    if is_own {
        command.env_remove("ECITON_REDIS_USERNAME");
        command.env_remove("ECITON_REDIS_PASSWORD");
    }
}
