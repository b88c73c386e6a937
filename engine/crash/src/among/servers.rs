//! All Redis servers of a run: one, or a cluster of three masters, each with a replica.

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::redis::{Redis, Stand};

/// Nodes of a cluster: as many masters as replicas.
const NODES: usize = 6;
/// A replica takes the place of its master half a second after that is gone, however little it knows.
const NODE_ARGS: &[&str] = &[
    "--cluster-enabled",
    "yes",
    "--cluster-config-file",
    "nodes.conf",
    "--cluster-node-timeout",
    "500",
    "--cluster-require-full-coverage",
    "no",
    "--cluster-replica-validity-factor",
    "0",
    "--repl-diskless-sync-delay",
    "0",
];
/// Of so many strikes one is at any master, and the others are at the one that has the database.
const ANY_ONCE_IN: u64 = 4;

/// Looks whether somebody uses them.
const LOOKS_MAX: u32 = 2000;
const LOOK: Duration = Duration::from_millis(5);

/// The servers, of which at most one is away at a time.
#[derive(Debug)]
pub struct Servers {
    nodes: Vec<Redis>,
    /// Who is away, and when it comes back.
    away: Option<(usize, Instant)>,
    /// The epoch that a cluster began with.
    epoch: u64,
}

impl Servers {
    /// One server.
    ///
    /// # Errors
    /// It is not installed, or does not come up.
    pub fn one(folder: &Path, stand: &Stand) -> io::Result<Servers> {
        Ok(Servers {
            nodes: vec![Redis::start(&folder.join("redis"), stand)?],
            away: None,
            epoch: 0,
        })
    }

    /// A cluster.
    ///
    /// # Errors
    /// Redis is not installed, or the cluster does not come together.
    pub fn cluster(folder: &Path) -> io::Result<Servers> {
        let stand = Stand {
            namespace: None,
            addresses: vec![std::net::Ipv4Addr::LOCALHOST],
            args: NODE_ARGS,
        };
        let start = |at| Redis::start(&folder.join(format!("redis-{at}")), &stand);
        let nodes = (0..NODES).map(start).collect::<io::Result<Vec<_>>>()?;
        let addresses = nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port()));
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(addresses)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .output()?;
        let mut servers = Servers {
            nodes,
            away: None,
            epoch: 0,
        };
        if !made.status.success() || !servers.come_up()? {
            let told = String::from_utf8_lossy(&made.stdout).into_owned();
            let what = format!("the Redis Cluster does not come together: {told}");
            return Err(io::Error::other(what));
        }
        servers.epoch = servers.newest_epoch();
        Ok(servers)
    }

    fn is_cluster(&self) -> bool {
        self.nodes.len() > 1
    }

    /// Where all of them are, at one of their addresses.
    pub fn url(&self, at: usize) -> String {
        let urls: Vec<String> = self.nodes.iter().map(|node| node.url(at)).collect();
        urls.join(",")
    }

    /// Makes all masters forget everything that are there; whether some said that they did.
    pub fn flush(&self) -> bool {
        let mut flushed = false;
        for node in self.here() {
            flushed |= self.nodes[node].flush();
        }
        flushed
    }

    /// Kills a master, which comes back without anything; whether there was one.
    pub fn kill(&mut self, which: u64, away: Duration) -> bool {
        let Some(at) = self.master(which) else {
            return false;
        };
        self.nodes[at].kill();
        self.away = Some((at, Instant::now() + away));
        true
    }

    /// Stops a master; whether there was one.
    ///
    /// # Errors
    /// It is gone.
    pub fn stop(&mut self, which: u64, still: Duration) -> io::Result<bool> {
        let Some(at) = self.master(which) else {
            return Ok(false);
        };
        self.nodes[at].signal(Signal::STOP)?;
        self.away = Some((at, Instant::now() + still));
        Ok(true)
    }

    /// Brings back who is due, or whoever is away.
    ///
    /// # Errors
    /// It does not start.
    pub fn bring_back(&mut self, at_once: bool) -> io::Result<()> {
        let Some((at, until)) = self.away else {
            return Ok(());
        };
        if at_once || until <= Instant::now() {
            let node = &mut self.nodes[at];
            if node.is_down() {
                node.restart()?;
            } else {
                node.signal(Signal::CONT)?;
            }
            self.away = None;
        }
        Ok(())
    }

    /// Whether all of them are there, and the cluster is whole.
    ///
    /// # Errors
    /// They cannot be looked after.
    pub fn come_up(&mut self) -> io::Result<bool> {
        let is_cluster = self.is_cluster();
        for node in &mut self.nodes {
            let is_up = match is_cluster {
                true => node.comes_to("CLUSTER INFO", "cluster_state:ok")?,
                false => node.comes_up()?,
            };
            if !is_up {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether some process comes to listen to one of them: in the end it must, or nothing was shown.
    pub fn come_into_use(&self) -> bool {
        (0..LOOKS_MAX).any(|_| {
            let is_heard = |node: &Redis| {
                let told = node.ask("PUBSUB CHANNELS").unwrap_or_default();
                number(&told, "*") > 0
            };
            let is_used = self.nodes.iter().any(is_heard);
            if !is_used {
                std::thread::sleep(LOOK);
            }
            is_used
        })
    }

    /// How often the nodes of a cluster have agreed on another master, mostly.
    pub fn elections(&self) -> u64 {
        self.newest_epoch().saturating_sub(self.epoch)
    }

    /// Nodes that are not away.
    fn here(&self) -> impl Iterator<Item = usize> {
        let away = self.away.map(|(at, _)| at);
        (0..self.nodes.len()).filter(move |at| Some(*at) != away)
    }

    /// A master to strike, if nobody is away: mostly the one that has the most keys, which are those of the
    /// database.
    fn master(&self, which: u64) -> Option<usize> {
        if self.away.is_some() {
            return None;
        }
        if !self.is_cluster() {
            return Some(0);
        }
        let says = |at: usize, question| self.nodes[at].ask(question).unwrap_or_default();
        let masters = || {
            self.here()
                .filter(|at| says(*at, "ROLE").contains("master"))
        };
        if which.is_multiple_of(ANY_ONCE_IN) {
            let masters: Vec<usize> = masters().collect();
            let at = usize::try_from(which / ANY_ONCE_IN).unwrap_or(0);
            return masters.get(at % masters.len().max(1)).copied();
        }
        let keys = |at: &usize| number(&says(*at, "DBSIZE"), ":");
        masters().max_by_key(keys)
    }

    fn newest_epoch(&self) -> u64 {
        let epoch = |at: usize| {
            let told = self.nodes[at].ask("CLUSTER INFO").unwrap_or_default();
            number(&told, "cluster_current_epoch:")
        };
        self.here().map(epoch).max().unwrap_or(0)
    }
}

/// The number that follows on something in an answer.
fn number(told: &str, what: &str) -> u64 {
    let rest = told.split_once(what).map_or("", |(_, rest)| rest);
    let end = rest.find(|letter: char| !letter.is_ascii_digit());
    rest[..end.unwrap_or(rest.len())].parse().unwrap_or(0)
}
