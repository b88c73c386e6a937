//! The task behind a link: connects, sends what is queued in one go, and begins again when the connection
//! is lost. While there is none, nothing is queued and nobody waits.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::future::{Either, select};
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, PushInfo, PushKind, RedisError, RedisResult, Value};
use tokio::sync::{Notify, mpsc, oneshot};

use super::dial::{Address, Dialer, Pushed};
use super::link_state::{Job, LinkState};
use super::names::Names;
use super::options::RedisOptions;
use super::parcel::{bytes, unpack_answers};
use super::script::{CLAIM, Call};
use crate::base::clock::Clock;
use crate::base::entropy::Entropy;
use crate::base::metric;

/// Calls that are sent in one go at most.
const PIPELINE_MAX: usize = 512;
const NS_A_MS: u64 = 1_000_000;
/// What a server answers that cannot do its work: another one may, or this one later.
const UNFIT: [&str; 8] = [
    "READONLY",
    "MOVED",
    "LOADING",
    "NOAUTH",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "MISCONF",
    "NOREPLICAS",
];
/// What a server answers that is there and does not do what it is asked for.
const REFUSALS: [&str; 3] = ["NOPERM", "OOM", "WRONGPASS"];
/// What is claimed to see whether claims are taken.
const PROBE: &str = "probe";
/// Before version 7 what a script met is told in the text of a general error.
const SCRIPT_ERROR: &str = "ERR";

/// Connects a link, again and again.
pub(super) struct Driver {
    pub(super) shared: Arc<LinkState>,
    pub(super) jobs: mpsc::Receiver<Job>,
    pub(super) dialer: Arc<Dialer>,
    pub(super) options: RedisOptions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
}

/// Why a connection was given up.
enum Ended {
    /// Nobody calls any more.
    Unused,
    /// The server said so, or the connection broke.
    Lost(Lost),
}

/// Why, and what follows.
struct Lost {
    /// The server's word for it.
    code: Option<String>,
    cause: String,
    /// Where the server says that another one is.
    address: Option<Address>,
}

type Waiting = (Call, Option<oneshot::Sender<Value>>);

impl Driver {
    pub(super) async fn run(mut self) {
        let (mut attempt, mut failures, mut known) = (0, 0, None);
        let mut is_again = false;
        loop {
            let lost = Arc::new(Notify::new());
            let (pushed, dialer) = (self.pushed(&lost), Arc::clone(&self.dialer));
            let key = self.shared.names.claim("");
            let probe = probe(&self.shared.names);
            let dialed = async {
                let dialed = dialer.dial(known.as_ref(), attempt, &key, &pushed);
                let mut connection = dialed.await?;
                let probed = try_out(&mut connection, &probe).await?;
                Ok::<_, RedisError>((connection, probed))
            };
            let Some(dialed) = self.idle(dialed).await else {
                return;
            };
            known = None;
            let (code, cause) = match dialed {
                Ok((mut connection, probed)) => {
                    if let Err(error) = probed {
                        self.refused(&probe, &error);
                    }
                    if is_again {
                        metric::count_coordinator_reconnect();
                    }
                    is_again = true;
                    let since = self.clock.monotonic_ns();
                    let ended = self.serve(&mut connection, &lost).await;
                    let lived_ms = (self.clock.monotonic_ns() - since) / NS_A_MS;
                    // One that lives for a moment only must not be called every moment.
                    if lived_ms >= self.options.backoff_ms_max {
                        failures = 0;
                    }
                    match ended {
                        Ended::Unused => return,
                        Ended::Lost(lost) => {
                            known = lost.address;
                            (lost.code, lost.cause)
                        }
                    }
                }
                Err(error) => {
                    attempt += 1;
                    (code_of(&error), error.to_string())
                }
            };
            self.shared.health.away(code.as_deref(), &cause);
            let pause_ms = self.pause_ms(failures);
            failures += 1;
            let clock = Arc::clone(&self.clock);
            if self.idle(clock.sleep_ms(pause_ms)).await.is_none() {
                return;
            }
        }
    }

    /// Longer from failure to failure, and never the same for all processes.
    fn pause_ms(&self, failures: u32) -> u64 {
        let doubled = self.options.backoff_ms_min.max(1) << failures.min(16);
        let pause = doubled.min(self.options.backoff_ms_max.max(1));
        let jitter = self.entropy.next_u128() % u128::from(pause / 2 + 1);
        let jitter = u64::try_from(jitter).unwrap_or(0);
        assert!(jitter <= pause, "{jitter} ms less than {pause} ms");
        pause - jitter
    }

    /// Does `work` while whatever is queued comes to nothing; `None` once nobody calls any more.
    async fn idle<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            let job = {
                let next = std::pin::pin!(self.jobs.recv());
                match select(work.as_mut(), next).await {
                    Either::Left((done, _)) => return Some(done),
                    Either::Right((job, _)) => job?,
                }
            };
            self.take_off(&job);
        }
    }

    fn take_off(&self, job: &Job) {
        let queued = self
            .shared
            .queued_len
            .fetch_sub(job.len(), Ordering::Relaxed);
        assert!(
            queued >= job.len(),
            "{} bytes come off a queue of {queued}",
            job.len()
        );
    }

    /// Puts answers into their mailboxes as they come, and notices the end of the connection.
    fn pushed(&self, lost: &Arc<Notify>) -> Pushed {
        let (shared, lost) = (Arc::clone(&self.shared), Arc::clone(lost));
        Arc::new(move |info: PushInfo| match info.kind {
            PushKind::Disconnection => lost.notify_one(),
            PushKind::Message => deliver(&shared, info.data),
            _ => {}
        })
    }

    async fn serve(&mut self, connection: &mut MultiplexedConnection, lost: &Notify) -> Ended {
        // First up, then listening: who comes in between is in the map or in the queue.
        let was_up = self.shared.is_up.swap(true, Ordering::SeqCst);
        assert!(!was_up, "one connection at a time");
        let ended = match self.listen(connection).await {
            Ok(()) => self.send_all(connection, lost).await,
            Err(error) => ended_by(&error),
        };
        let was_up = self.shared.is_up.swap(false, Ordering::SeqCst);
        assert!(was_up, "the connection was given up before");
        while let Ok(job) = self.jobs.try_recv() {
            self.take_off(&job);
        }
        self.shared.nudge_all();
        ended
    }

    async fn listen(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        let mailboxes: Vec<_> = self.shared.inboxes.lock().keys().copied().collect();
        for mailbox in mailboxes {
            let channel = self.shared.names.channel(mailbox);
            connection.subscribe(channel).await?;
        }
        self.shared.health.connected();
        Ok(())
    }

    async fn send_all(&mut self, connection: &mut MultiplexedConnection, lost: &Notify) -> Ended {
        let clock = Arc::clone(&self.clock);
        let mut jobs = Vec::with_capacity(PIPELINE_MAX);
        loop {
            let ping_ms = self.ping_ms();
            tokio::select! {
                biased;
                () = lost.notified() => {
                    return Ended::Lost(Lost {
                        code: None,
                        cause: "the connection was closed".to_owned(),
                        address: None,
                    });
                }
                count = self.jobs.recv_many(&mut jobs, PIPELINE_MAX) => {
                    if count == 0 {
                        return Ended::Unused;
                    }
                }
                () = clock.sleep_ms(ping_ms) => {}
            }
            for job in &jobs {
                self.take_off(job);
            }
            if let Err(error) = self.send(connection, jobs.drain(..)).await {
                return ended_by(&error);
            }
        }
    }

    /// Sends jobs in one go, and replies; an error says that the connection is of no use any more. Without
    /// any it finds out whether it still is.
    async fn send(
        &self,
        connection: &mut MultiplexedConnection,
        jobs: impl Iterator<Item = Job>,
    ) -> RedisResult<()> {
        let mut waiting: Vec<Waiting> = Vec::new();
        let mut flushes = Vec::new();
        for job in jobs {
            match job {
                Job::Call(mut call, None) => {
                    let is_absorbed = match waiting.last_mut() {
                        Some((last, None)) => last.absorb(&mut call),
                        _ => false,
                    };
                    if !is_absorbed {
                        waiting.push((call, None));
                    }
                }
                Job::Call(call, reply) => waiting.push((call, reply)),
                Job::Listen(mailbox) => {
                    let channel = self.shared.names.channel(mailbox);
                    connection.subscribe(channel).await?;
                }
                Job::Flush(done) => flushes.push(done),
            }
        }
        if waiting.is_empty() && self.shared.health.refuses() {
            let probe = probe(&self.shared.names);
            match try_out(connection, &probe).await? {
                Ok(()) => self.shared.health.took(probe.name()),
                Err(error) => self.refused(&probe, &error),
            }
        } else if waiting.is_empty() {
            let ping = redis::cmd("PING");
            ping.query_async::<()>(connection).await?;
        } else {
            let unknown = self.send_calls(connection, waiting, false).await?;
            if !unknown.is_empty() {
                self.send_calls(connection, unknown, true).await?;
            }
        }
        for done in flushes {
            // Who has gone away does not want to know.
            done.send(()).ok();
        }
        Ok(())
    }

    /// The server is there and does not do what it is asked for.
    fn refused(&self, call: &Call, error: &RedisError) {
        metric::count_coordinator_error(error.code().unwrap_or("other"));
        tracing::debug!(%error, "Redis refuses a call");
        let code = code_of(error).unwrap_or_else(|| "other".to_owned());
        let cause = error
            .detail()
            .map_or_else(|| error.to_string(), str::to_owned);
        self.shared.health.refused(call.name(), &code, &cause);
    }

    /// How long nothing is sent. One that refuses calls is asked again as often as one that is away.
    fn ping_ms(&self) -> u64 {
        match self.shared.health.refuses() {
            true => self.options.ping_ms.min(self.options.backoff_ms_max),
            false => self.options.ping_ms,
        }
    }

    /// The calls whose script the server does not know come back.
    async fn send_calls(
        &self,
        connection: &mut MultiplexedConnection,
        calls: Vec<Waiting>,
        is_whole: bool,
    ) -> RedisResult<Vec<Waiting>> {
        let mut pipeline = Pipeline::with_capacity(calls.len());
        for (call, _) in &calls {
            pipeline.add_command(call.command(is_whole));
        }
        pipeline.ignore_errors();
        let replies: Vec<RedisResult<Value>> = pipeline.query_async(connection).await?;
        let mut unknown = Vec::new();
        let mut unfit = None;
        for ((call, waiting), reply) in calls.into_iter().zip(replies) {
            match reply {
                Ok(value) => {
                    self.shared.health.took(call.name());
                    // Who has gone away does not want to know.
                    drop(waiting.map(|waiting| waiting.send(value)));
                }
                Err(error) if !is_whole && is(&error, "NOSCRIPT") => unknown.push((call, waiting)),
                Err(error) => {
                    if is(&error, "WRONGTYPE") {
                        metric::count_coordinator_error("WRONGTYPE");
                        call.clear().query_async::<()>(connection).await?;
                    } else if is_unfit(&error) {
                        metric::count_coordinator_error(error.code().unwrap_or("other"));
                        unfit = Some(error);
                    } else {
                        self.refused(&call, &error);
                    }
                }
            }
        }
        unfit.map_or(Ok(unknown), Err)
    }
}

/// Whether that is the error, told by its code or within a script's.
fn is(error: &RedisError, code: &str) -> bool {
    let found = error.code() == Some(code);
    let within = || error.detail().is_some_and(|detail| detail.contains(code));
    found || error.code() == Some(SCRIPT_ERROR) && within()
}

fn is_unfit(error: &RedisError) -> bool {
    UNFIT.iter().any(|code| is(error, code))
}

/// The server's word for an error: that of a script that met it, where there is one.
fn code_of(error: &RedisError) -> Option<String> {
    let known = UNFIT.iter().chain(&REFUSALS);
    let met = known.copied().find(|code| is(error, code));
    met.or_else(|| error.code()).map(str::to_owned)
}

/// A call that does nothing and takes what most calls take: it shows whether the server is of use.
fn probe(names: &Names) -> Call {
    let call = Call::new(&CLAIM, vec![names.claim(PROBE)]);
    call.arg(PROBE).number(1)
}

/// Makes a call; an error within says that the server refuses it.
async fn try_out(
    connection: &mut MultiplexedConnection,
    probe: &Call,
) -> RedisResult<RedisResult<()>> {
    let mut pipeline = Pipeline::with_capacity(1);
    pipeline.add_command(probe.command(true)).ignore_errors();
    let replies: Vec<RedisResult<Value>> = pipeline.query_async(connection).await?;
    match replies.into_iter().next() {
        Some(Err(error)) if is(&error, "WRONGTYPE") => {
            probe.clear().query_async::<()>(connection).await?;
            Ok(Ok(()))
        }
        Some(Err(error)) if is_unfit(&error) => Err(error),
        Some(Err(error)) => Ok(Err(error)),
        Some(Ok(_)) | None => Ok(Ok(())),
    }
}

fn ended_by(error: &RedisError) -> Ended {
    Ended::Lost(Lost {
        code: code_of(error),
        cause: error.to_string(),
        address: Address::named_by(error),
    })
}

fn deliver(shared: &LinkState, data: Vec<Value>) {
    let mut parts = data.into_iter().map(bytes);
    let (Some(Some(channel)), Some(Some(message))) = (parts.next(), parts.next()) else {
        return;
    };
    let Some(mailbox) = shared.names.mailbox(&channel) else {
        return;
    };
    let inbox = shared.inboxes.lock().get(&mailbox).cloned();
    match inbox {
        Some(inbox) if message.is_empty() => inbox.nudge(),
        Some(inbox) => inbox.put(unpack_answers(message)),
        None => {}
    }
}
