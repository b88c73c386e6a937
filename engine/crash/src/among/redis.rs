//! A Redis of the run's own: without persistence, ended with the run. The harness asks it over a socket in
//! its folder, so it is reached whatever becomes of the network between it and the processes.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::split::command_in;

/// Tries at a free port, and looks whether the server is there.
const TRIES_MAX: u32 = 20;
const LOOKS_MAX: u32 = 2000;
const LOOK: Duration = Duration::from_millis(5);
/// How long the server may take for an answer.
const ANSWER: Duration = Duration::from_secs(1);
/// Bytes of an answer that are read.
const ANSWER_LEN_MAX: usize = 4096;
/// From a port to that over which the nodes of a cluster talk to each other.
const BUS_PORT: u16 = 10_000;
const MISSING: &str = "redis-server does not start; install it with `apt-get install -y --no-install-recommends redis-server`";

/// Where a server stands and what it is.
#[derive(Clone, Debug)]
pub struct Stand {
    /// The network namespace, if it is not that of the harness.
    pub namespace: Option<String>,
    /// Its addresses there.
    pub addresses: Vec<Ipv4Addr>,
    /// More arguments.
    pub args: &'static [&'static str],
}

/// A server that is killed when this is dropped.
#[derive(Debug)]
pub struct Redis {
    /// None while it is down.
    child: Option<Child>,
    stand: Stand,
    port: u16,
    folder: PathBuf,
}

impl Redis {
    /// A server; `folder` is created, for what it needs of its own.
    ///
    /// # Errors
    /// It is not installed, or does not come up.
    pub fn start(folder: &Path, stand: &Stand) -> io::Result<Redis> {
        std::fs::create_dir(folder)?;
        for _ in 0..TRIES_MAX {
            // Somebody else may take the port in between; then it is tried again with another.
            let mut redis = Redis {
                child: None,
                stand: stand.clone(),
                port: free_port()?,
                folder: folder.to_owned(),
            };
            redis.restart()?;
            if redis.comes_up()? {
                return Ok(redis);
            }
        }
        Err(io::Error::other("redis-server does not come up"))
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How it is reached at one of its addresses.
    pub fn url(&self, at: usize) -> String {
        let addresses = &self.stand.addresses;
        let address = addresses.get(at).unwrap_or(&Ipv4Addr::LOCALHOST);
        format!("redis://{address}:{}", self.port)
    }

    /// Starts it, with nothing in it, after it was killed. Does not wait until it answers.
    ///
    /// # Errors
    /// It is not installed.
    pub fn restart(&mut self) -> io::Result<()> {
        self.kill();
        let namespace = self.stand.namespace.as_deref();
        let child = command_in(namespace, Path::new("redis-server"))
            .args(["--save", "", "--appendonly", "no"])
            // Else it turns away whoever comes from another namespace.
            .args(["--protected-mode", "no"])
            .args(["--port", &self.port.to_string()])
            .arg("--unixsocket")
            .arg(self.socket())
            .arg("--bind")
            .args(self.stand.addresses.iter().map(Ipv4Addr::to_string))
            .args(self.stand.args)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let missing = |cause| io::Error::other(format!("{MISSING} ({cause})"));
        self.child = Some(child.map_err(missing)?);
        Ok(())
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("socket")
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
        self.comes_to("PING", "+PONG")
    }

    /// Whether its answer to this comes to contain that.
    ///
    /// # Errors
    /// It cannot be looked after.
    pub fn comes_to(&mut self, question: &str, answer: &str) -> io::Result<bool> {
        for _ in 0..LOOKS_MAX {
            let ended = match &mut self.child {
                Some(child) => child.try_wait()?.is_some(),
                None => true,
            };
            if ended {
                return Ok(false);
            }
            if self.ask(question).is_ok_and(|told| told.contains(answer)) {
                return Ok(true);
            }
            std::thread::sleep(LOOK);
        }
        Ok(false)
    }

    /// The beginning of its answer, as it comes.
    ///
    /// # Errors
    /// It does not answer.
    pub fn ask(&self, what: &str) -> io::Result<String> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        stream.write_all(format!("{what}\r\n").as_bytes())?;
        let mut told = vec![0; ANSWER_LEN_MAX];
        let len = stream.read(&mut told)?;
        Ok(String::from_utf8_lossy(&told[..len]).into_owned())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One whose partner for the bus of a cluster is a free port, too.
fn free_port() -> io::Result<u16> {
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        if let Some(bus) = port.checked_add(BUS_PORT)
            && TcpListener::bind((Ipv4Addr::LOCALHOST, bus)).is_ok()
        {
            return Ok(port);
        }
    }
}
