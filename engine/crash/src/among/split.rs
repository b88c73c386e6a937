//! Processes in two network namespaces, Redis in a third, and the links between them, which are cut.
//!
//! The folder is shared by all: only what goes over the network is lost. Nothing is done in the namespace of
//! the machine; the three have names of the run's own, and go with it.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// How many namespaces with processes there are.
pub const SIDES: usize = 2;
/// What the names of all namespaces begin with; the number of the harness's process follows.
const PREFIX: &str = "eciton-among-";
const IMPOSSIBLE: &str = "network namespaces cannot be made: this needs root, and `ip` (`apt-get install -y --no-install-recommends iproute2`)";

/// How a link is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    /// The interface is down at the processes: they are told at once that there is no network.
    Down,
    /// It is down at Redis: what either says is lost.
    Unplugged,
    /// What Redis says is lost; it hears and does what it is told.
    Deaf,
}

impl Cut {
    /// All of them.
    pub const ALL: [Cut; 3] = [Cut::Down, Cut::Unplugged, Cut::Deaf];
}

/// The namespaces, which go when this is dropped.
#[derive(Debug)]
pub struct Split {
    name: String,
    /// How each link is cut, and until when.
    cuts: [Option<(Cut, Instant)>; SIDES],
}

impl Split {
    /// Makes the namespaces and the links.
    ///
    /// # Errors
    /// This is not root, or `ip` is missing: the text says so.
    pub fn make() -> io::Result<Split> {
        sweep()?;
        let split = Split {
            name: format!("{PREFIX}{}", std::process::id()),
            cuts: [None; SIDES],
        };
        let hub = split.hub();
        ip(&["netns", "add", &hub]).map_err(impossible)?;
        for at in 0..SIDES {
            let (side, link) = (split.side(at), link(at));
            ip(&["netns", "add", &side]).map_err(impossible)?;
            let peer = ["type", "veth", "peer", "name", "hub", "netns", &side];
            ip(&[&["link", "add", &link, "netns", &hub], &peer[..]].concat())
                .map_err(impossible)?;
            let [there, here] = [hub_address(at), side_address(at)].map(|one| format!("{one}/24"));
            ip(&["-n", &hub, "addr", "add", &there, "dev", &link])?;
            ip(&["-n", &side, "addr", "add", &here, "dev", "hub"])?;
            ip(&["-n", &hub, "link", "set", &link, "up"])?;
            ip(&["-n", &side, "link", "set", "hub", "up"])?;
        }
        Ok(split)
    }

    /// The namespace of Redis.
    pub fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    /// A namespace of processes.
    pub fn side(&self, at: usize) -> String {
        format!("{}-{}", self.name, at % SIDES)
    }

    /// Where Redis is to each of the sides.
    pub fn addresses() -> Vec<Ipv4Addr> {
        (0..SIDES).map(hub_address).collect()
    }

    /// Cuts a link for a while; whether it was whole.
    ///
    /// # Errors
    /// It cannot be cut.
    pub fn cut(&mut self, at: usize, cut: Cut, lasting: Duration) -> io::Result<bool> {
        if self.cuts[at].is_some() {
            return Ok(false);
        }
        self.set(at, cut, true)?;
        self.cuts[at] = Some((cut, Instant::now() + lasting));
        Ok(true)
    }

    /// Mends those that are due, or all.
    ///
    /// # Errors
    /// They cannot be mended.
    pub fn mend(&mut self, all: bool) -> io::Result<()> {
        for at in 0..SIDES {
            if let Some((cut, until)) = self.cuts[at]
                && (all || until <= Instant::now())
            {
                self.set(at, cut, false)?;
                self.cuts[at] = None;
            }
        }
        Ok(())
    }

    fn set(&self, at: usize, cut: Cut, is_cut: bool) -> io::Result<()> {
        let (hub, side, link) = (self.hub(), self.side(at), link(at));
        let state = if is_cut { "down" } else { "up" };
        match cut {
            Cut::Down => ip(&["-n", &side, "link", "set", "hub", state]),
            Cut::Unplugged => ip(&["-n", &hub, "link", "set", &link, state]),
            Cut::Deaf => {
                let what = if is_cut { "add" } else { "del" };
                let address = side_address(at).to_string();
                ip(&["-n", &hub, "route", what, "blackhole", &address])
            }
        }
    }
}

impl Drop for Split {
    fn drop(&mut self) {
        for name in (0..SIDES).map(|at| self.side(at)).chain([self.hub()]) {
            // It may not have been made.
            ip(&["netns", "del", &name]).unwrap_or_default();
        }
    }
}

/// The beginning of a command that runs in a network namespace. Its process is the program itself, which a
/// signal to it reaches.
pub fn command_in(namespace: Option<&str>, program: &Path) -> Command {
    match namespace {
        Some(namespace) => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", namespace]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// The hub's end of a link.
fn link(at: usize) -> String {
    format!("side{at}")
}

/// In namespaces of one's own all addresses are free.
fn hub_address(at: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, u8::try_from(at).unwrap_or(0), 1)
}

fn side_address(at: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, u8::try_from(at).unwrap_or(0), 2)
}

/// Deletes what runs have left that were killed.
fn sweep() -> io::Result<()> {
    let told = output(&["netns", "list"]).map_err(impossible)?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    for name in told.lines().filter_map(|line| line.split(' ').next()) {
        let process = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if let Some(process) = process
            && !Path::new("/proc").join(process).exists()
        {
            // Another run may sweep at the same time.
            ip(&["netns", "del", name]).unwrap_or_default();
        }
    }
    Ok(())
}

fn impossible(cause: io::Error) -> io::Error {
    io::Error::other(format!("{IMPOSSIBLE} ({cause})"))
}

fn output(args: &[&str]) -> io::Result<Output> {
    Command::new("ip").args(args).output()
}

fn ip(args: &[&str]) -> io::Result<()> {
    let done = output(args)?;
    if done.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&done.stderr);
    let what = format!("ip {}: {}", args.join(" "), why.trim());
    Err(io::Error::other(what))
}
