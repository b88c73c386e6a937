//! A Redis of the run's own: on a free port of this machine, without persistence, ended with the run.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Tries at a free port, and looks whether the server is there.
const TRIES_MAX: u32 = 20;
const LOOKS_MAX: u32 = 2000;
const LOOK: Duration = Duration::from_millis(5);
/// How long the server may take for an answer.
const ANSWER: Duration = Duration::from_secs(1);
const MISSING: &str = "redis-server does not start; install it with `apt-get install -y --no-install-recommends redis-server`";

/// A server that is killed when this is dropped.
#[derive(Debug)]
pub struct Redis {
    /// None while it is down.
    child: Option<Child>,
    port: u16,
    folder: PathBuf,
}

impl Redis {
    /// A server; `folder` is where it stands, and stays empty.
    ///
    /// # Errors
    /// It is not installed, or does not come up.
    pub fn start(folder: &Path) -> io::Result<Redis> {
        for _ in 0..TRIES_MAX {
            // Somebody else may take the port in between; then it is tried again with another.
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
                .local_addr()?
                .port();
            let mut redis = Redis {
                child: None,
                port,
                folder: folder.to_owned(),
            };
            redis.restart()?;
            if redis.comes_up()? {
                return Ok(redis);
            }
        }
        Err(io::Error::other("redis-server does not come up"))
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts it, with nothing in it, after it was killed. Does not wait until it answers.
    ///
    /// # Errors
    /// It is not installed.
    pub fn restart(&mut self) -> io::Result<()> {
        self.kill();
        let child = Command::new("redis-server")
            .args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1"])
            .args(["--port", &self.port.to_string()])
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let missing = |cause| io::Error::other(format!("{MISSING} ({cause})"));
        self.child = Some(child.map_err(missing)?);
        Ok(())
    }

    /// Kills it, as a machine does that fails.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself, which is as good.
            child.kill().unwrap_or_default();
            child.wait().map(drop).unwrap_or_default();
        }
    }

    /// Whether it was killed.
    pub fn is_down(&self) -> bool {
        self.child.is_none()
    }

    /// Stops it in the middle of whatever it does, or lets it go on.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match &self.child {
            Some(child) => Ok(kill_process(Pid::from_child(child), signal)?),
            None => Ok(()),
        }
    }

    /// Makes it forget everything; whether it said that it did.
    pub fn flush(&self) -> bool {
        self.ask("FLUSHALL")
            .is_ok_and(|told| told.starts_with("+OK"))
    }

    /// Whether it is there: in the end it must be, or nothing was shown.
    ///
    /// # Errors
    /// It cannot be looked after.
    pub fn comes_up(&mut self) -> io::Result<bool> {
        for _ in 0..LOOKS_MAX {
            let ended = match &mut self.child {
                Some(child) => child.try_wait()?.is_some(),
                None => true,
            };
            if ended {
                return Ok(false);
            }
            if self.ask("PING").is_ok_and(|told| told.starts_with("+PONG")) {
                return Ok(true);
            }
            std::thread::sleep(LOOK);
        }
        Ok(false)
    }

    fn ask(&self, what: &str) -> io::Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all(format!("{what}\r\n").as_bytes())?;
        let mut told = [0; 64];
        let len = stream.read(&mut told)?;
        Ok(String::from_utf8_lossy(&told[..len]).into_owned())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
