//! A proxy before an object store: it loses answers that the store gave, gives others, and slows or cuts
//! bodies, as the test says for each request.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::disallowed_methods, reason = "a proxy needs threads and time")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::bucket::{exchange, parts};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It passes, and its answer too.
    Pass,
    /// The store carries it out; the connection ends without an answer.
    LoseReply,
    /// The store carries it out; nothing is answered as long as the client waits.
    Hang,
    /// The store never sees it; this status is answered.
    Refuse(u16),
    /// The store carries it out; this status is answered.
    Deny(u16),
    /// Half of the answer's body arrives, then the connection ends.
    CutBody,
    /// The body arrives in many small pieces.
    SlowBody,
    /// It passes without headers that begin so.
    Without(&'static str),
}

/// A request, as far as a test decides by it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    head: String,
}

impl Request {
    /// Whether it is a create-if-absent.
    pub(crate) fn is_create(&self) -> bool {
        self.head.to_lowercase().contains("\r\nif-none-match: *")
    }
}

type Judge = Box<dyn FnMut(&Request) -> Fate + Send>;

/// The proxy, running as long as the process.
#[derive(Clone)]
pub(crate) struct Proxy {
    address: SocketAddr,
    judge: Arc<Mutex<Judge>>,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Proxy {
    pub(crate) fn start(store: SocketAddr) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = Proxy {
            address: listener.local_addr().unwrap(),
            judge: Arc::new(Mutex::new(Box::new(|_| Fate::Pass))),
            seen: Arc::default(),
        };
        let handle = proxy.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let proxy = handle.clone();
                // A connection that breaks is the client's to notice.
                std::thread::spawn(move || proxy.serve(client, store).ok());
            }
        });
        proxy
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on `judge` decides.
    pub(crate) fn judge_by(&self, judge: impl FnMut(&Request) -> Fate + Send + 'static) {
        *self.judge.lock().unwrap() = Box::new(judge);
    }

    /// What has come so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    fn serve(&self, mut client: TcpStream, store: SocketAddr) -> std::io::Result<()> {
        let (request, message) = receive(&mut client)?;
        let fate = (*self.judge.lock().unwrap())(&request);
        self.seen.lock().unwrap().push(request);
        if let Fate::Refuse(status) = fate {
            return answer(&mut client, status);
        }
        let without = match fate {
            Fate::Without(header) => header,
            _ => "\0",
        };
        let reply = exchange(store, &for_store(&message, without))?;
        match fate {
            Fate::LoseReply => Ok(()),
            Fate::Hang => {
                // Until the client goes.
                client.read(&mut [0]).map(drop)
            }
            Fate::Deny(status) => answer(&mut client, status),
            Fate::CutBody => {
                let (head, body) = parts(&reply).unwrap_or((&reply, &[]));
                client.write_all(head)?;
                client.write_all(&body[..body.len() / 2])?;
                client.shutdown(Shutdown::Both)
            }
            Fate::SlowBody => {
                for piece in reply.chunks((reply.len() / 20).max(1)) {
                    client.write_all(piece)?;
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(())
            }
            Fate::Pass | Fate::Without(_) | Fate::Refuse(_) => client.write_all(&reply),
        }
    }
}

/// Reads one request.
fn receive(client: &mut TcpStream) -> std::io::Result<(Request, Vec<u8>)> {
    let mut message = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if let Some((head, body)) = parts(&message) {
            let head = String::from_utf8_lossy(head).into_owned();
            let lower = head.to_lowercase();
            let len = lower
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let len: usize = len.map_or(0, |len| len.trim().parse().unwrap());
            if body.len() >= len {
                let mut words = head.split(' ').map(str::to_owned);
                let (method, path) = (words.next().unwrap(), words.next().unwrap());
                let request = Request { method, path, head };
                return Ok((request, message));
            }
        }
        let read = client.read(&mut buffer)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        message.extend_from_slice(&buffer[..read]);
    }
}

/// The same request, with which the store closes the connection, and so the client's.
fn for_store(message: &[u8], without: &str) -> Vec<u8> {
    let (head, body) = parts(message).unwrap();
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines().filter(|line| {
        let line = line.to_lowercase();
        !line.is_empty() && !line.starts_with("connection:") && !line.starts_with(without)
    });
    let mut out = format!("{}\r\nConnection: close\r\n", lines.next().unwrap());
    for line in lines {
        out.push_str(line);
        out.push_str("\r\n");
    }
    out.push_str("\r\n");
    [out.as_bytes(), body].concat()
}

fn answer(client: &mut TcpStream, status: u16) -> std::io::Result<()> {
    let body = match status {
        409 => "<Error><Code>ConditionalRequestConflict</Code></Error>",
        _ => "<Error><Code>SlowDown</Code></Error>",
    };
    let len = body.len();
    let head =
        format!("HTTP/1.1 {status} Said\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n");
    client.write_all(head.as_bytes())?;
    client.write_all(body.as_bytes())
}
