//! The connections of a listener: no more than there is room for, and none of those that say nothing.
//!
//! Accepting and serving are tonic's; this is what stands between: a connection takes a place and gives it back when it
//! ends, whoever ends it. Whoever connects has to say something soon, and go on saying something: one that speaks
//! HTTP/2 answers when it is asked whether it is there, so that whoever is silent for longer than that takes is not
//! there, whatever had been said before.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tonic::transport::server::{Connected, TcpConnectInfo, TcpIncoming};

use crate::flags::CONNECTIONS_DEFAULT;

/// Bytes that begin HTTP/2; a TLS handshake has more.
const BEGINNING_LEN: usize = 24;
/// Time between two lines of the log about connections that were not taken.
const WARNINGS_APART: Duration = Duration::from_mins(1);
/// How long nobody is taken after that has failed: most likely no file can be opened, and trying again at once would
/// take a core.
const REST: Duration = Duration::from_millis(100);
/// Files that the process opens beside its connections, about.
#[cfg(unix)]
const OTHER_FILES: u64 = 1024;

/// How many connections there may be, and what they may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections at the same time; more are closed at once.
    pub(super) connections: usize,
    /// Within this the first words have to come: the beginning of HTTP/2, or a TLS handshake.
    pub(super) begin_within: Duration,
    /// A connection on which nothing happens is asked so often whether its other end is there...
    pub(super) asked_apart: Duration,
    /// ...and given up where no answer comes for so long.
    pub(super) answer_within: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            connections: CONNECTIONS_DEFAULT,
            begin_within: Duration::from_secs(10),
            asked_apart: Duration::from_secs(20),
            answer_within: Duration::from_secs(20),
        }
    }
}

impl Bounds {
    /// Longer than anybody is silent who is asked and answers. Those whom HTTP/2 does not ask yet, or no more, are
    /// given up by this.
    fn silence_max(&self) -> Duration {
        (self.asked_apart + self.answer_within) * 5 / 4
    }
}

/// Connections as they come, each with its place.
pub(super) struct Connections {
    incoming: TcpIncoming,
    bounds: Bounds,
    room: Arc<Semaphore>,
    /// Until when nobody is taken.
    resting: Option<Pin<Box<Sleep>>>,
    warned: Option<Instant>,
    /// Connections that were closed since.
    refused: u64,
}

impl Connections {
    pub(super) fn new(incoming: TcpIncoming, mut bounds: Bounds) -> Connections {
        bounds.connections = make_room(bounds.connections);
        Connections {
            incoming,
            bounds,
            room: Arc::new(Semaphore::new(bounds.connections)),
            resting: None,
            warned: None,
            refused: 0,
        }
    }

    /// Whether it is time to say something again.
    fn is_to_warn(&mut self) -> bool {
        let is_due = self.warned.is_none_or(|at| at.elapsed() >= WARNINGS_APART);
        if is_due {
            self.warned = Some(Instant::now());
        }
        is_due
    }

    fn refuse(&mut self) {
        self.refused += 1;
        if self.is_to_warn() {
            let (refused, max) = (std::mem::take(&mut self.refused), self.bounds.connections);
            tracing::warn!(
                "connections are closed at once, {refused} since the last such line: there are {max}, which is the most (--connections)"
            );
        }
    }
}

impl Stream for Connections {
    type Item = io::Result<Connection>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(resting) = &mut this.resting {
                ready!(resting.as_mut().poll(context));
                this.resting = None;
            }
            match ready!(Pin::new(&mut this.incoming).poll_next(context)) {
                None => return Poll::Ready(None),
                Some(Ok(stream)) => match Arc::clone(&this.room).try_acquire_owned() {
                    Ok(place) => {
                        return Poll::Ready(Some(Ok(Connection::new(stream, place, this.bounds))));
                    }
                    Err(_) => this.refuse(),
                },
                // Somebody went away before he was taken.
                Some(Err(error)) if is_of_one(&error) => {}
                Some(Err(error)) => {
                    if this.is_to_warn() {
                        tracing::warn!("connections cannot be taken: {error}");
                    }
                    this.resting = Some(Box::pin(sleep(REST)));
                }
            }
        }
    }
}

/// Whether an error is that of one connection, and says nothing about the next.
fn is_of_one(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// A connection in its place, which is free again once this is dropped. Reading fails once nothing came for too long.
pub(super) struct Connection {
    stream: TcpStream,
    bounds: Bounds,
    /// Bytes that came, as long as they are few.
    heard_len: usize,
    /// When it was opened, or anything came last.
    heard_at: Instant,
    timer: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit, bounds: Bounds) -> Connection {
        let now = Instant::now();
        Connection {
            stream,
            bounds,
            heard_len: 0,
            heard_at: now,
            timer: Box::pin(sleep_until(now + bounds.begin_within)),
            _place: place,
        }
    }

    fn has_begun(&self) -> bool {
        self.heard_len >= BEGINNING_LEN
    }

    fn hear(&mut self, len: usize) {
        if !self.has_begun() {
            self.heard_len += len;
            // Until it has begun the time runs from when it was opened, however often a byte comes.
            if !self.has_begun() {
                return;
            }
        }
        self.heard_at = Instant::now();
    }

    /// When it is given up, unless more comes.
    fn ends_at(&self) -> Instant {
        self.heard_at
            + match self.has_begun() {
                true => self.bounds.silence_max(),
                false => self.bounds.begin_within,
            }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(context, buffer) {
            this.hear(buffer.filled().len() - before);
            return Poll::Ready(read);
        }
        loop {
            ready!(this.timer.as_mut().poll(context));
            // The timer is not set anew for everything that comes.
            let ends_at = this.ends_at();
            if ends_at <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            this.timer.as_mut().reset(ends_at);
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

/// Lets this process open as many files as so many connections take, where the system permits that; gives how many
/// there may be, so that the database has files left.
#[cfg(unix)]
fn make_room(connections: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = (connections as u64).saturating_add(OTHER_FILES);
    // None: as many as one likes.
    let Some(current) = limit.current.filter(|current| *current < wanted) else {
        return connections;
    };
    let raised = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raised = Rlimit {
        current: Some(raised),
        maximum: limit.maximum,
    };
    let allowed = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current.unwrap_or(wanted),
        Err(_) => current,
    };
    let left = allowed.saturating_sub(OTHER_FILES).max(allowed / 2);
    let room = usize::try_from(left).map_or(connections, |left| left.clamp(1, connections));
    if room < connections {
        tracing::warn!(
            "{allowed} files can be opened here, which is enough for {room} connections and not for {connections}: \
             `ulimit -n {wanted}` lets them in"
        );
    }
    room
}

#[cfg(not(unix))]
fn make_room(connections: usize) -> usize {
    connections
}
