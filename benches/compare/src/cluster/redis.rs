//! A Redis server of the measurement's own: on a free port, without persistence, ended with it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::Served;
use super::server::{Server, free_port};
use crate::engine::Result;

/// Looks whether it is there, 10 ms apart.
const LOOKS_MAX: u32 = 500;

/// The server.
pub struct Redis {
    child: Child,
    port: u16,
}

/// Starts one, as what a side needs.
pub(super) fn serve(_folder: &Path) -> Served {
    Ok(Some(Box::new(Redis::start()?)))
}

impl Redis {
    /// Starts one.
    ///
    /// # Errors
    /// It is not installed, or does not come up.
    pub fn start() -> Result<Redis> {
        let port = free_port()?;
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("redis-server: {error}; apt-get install redis-server"))?;
        let mut redis = Redis { child, port };
        for _ in 0..LOOKS_MAX {
            if redis.answers() {
                return Ok(redis);
            }
            if let Ok(Some(status)) = redis.child.try_wait() {
                return Err(format!("redis-server ended: {status}"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err("redis-server does not come up".to_owned())
    }

    /// Where it is, for its clients.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Has it forget everything, and whether it says that it has.
    pub fn flush(&self) -> bool {
        self.says("FLUSHALL", "+OK")
    }

    fn answers(&self) -> bool {
        self.says("PING", "+PONG")
    }

    fn says(&self, command: &str, expected: &str) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        let mut answer = vec![0; expected.len()];
        let asked = stream
            .write_all(format!("{command}\r\n").as_bytes())
            .and_then(|()| stream.read_exact(&mut answer));
        asked.is_ok() && answer == expected.as_bytes()
    }
}

impl Server for Redis {
    fn url(&self) -> String {
        Redis::url(self)
    }

    fn process(&self) -> &Child {
        &self.child
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // What is gone already need not be ended.
        self.child
            .kill()
            .and_then(|()| self.child.wait().map(drop))
            .unwrap_or(());
    }
}
