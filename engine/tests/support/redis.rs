//! Redis servers of a test's own: on free ports of this machine, without persistence, ended with the test.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and may wait for a server"
)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Tries at a free port, and looks whether a server is there.
const TRIES_MAX: u32 = 20;
const LOOKS_MAX: u32 = 1000;
const MISSING: &str =
    "Redis is needed for this test: apt-get install -y --no-install-recommends redis-server";

/// A server that is killed when this is dropped.
pub(crate) struct RedisServer {
    child: Child,
    args: Vec<String>,
    /// Arguments of `redis-cli` that it takes to reach it.
    cli: Vec<String>,
    port: u16,
    folder: tempfile::TempDir,
}

impl RedisServer {
    /// A server that anybody may use.
    pub(crate) fn start() -> RedisServer {
        RedisServer::start_with(&[], &[])
    }

    /// A server with more arguments, and those with which `redis-cli` reaches it. `PORT` stands for its port.
    pub(crate) fn start_with(args: &[&str], cli: &[&str]) -> RedisServer {
        for _ in 0..TRIES_MAX {
            let folder = tempfile::tempdir().unwrap();
            let port = free_port();
            let own = |text: &&str| text.replace("PORT", &port.to_string());
            let args: Vec<String> = args.iter().map(own).collect();
            let child = spawn(port, &args, folder.path());
            let mut server = RedisServer {
                child,
                args,
                cli: cli.iter().map(own).collect(),
                port,
                folder,
            };
            // Otherwise somebody else took the port in between.
            if server.answers() {
                return server;
            }
        }
        panic!("redis-server does not come up");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What `redis-cli` prints.
    pub(crate) fn cli(&self, args: &[&str]) -> String {
        let (told, _) = self.try_cli(args);
        told
    }

    fn try_cli(&self, args: &[&str]) -> (String, bool) {
        let output = Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(&self.cli)
            .args(args)
            .output()
            .expect(MISSING);
        let told = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (told, output.status.success())
    }

    fn answers(&mut self) -> bool {
        for _ in 0..LOOKS_MAX {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if self.try_cli(&["PING"]).0 == "PONG" {
                return true;
            }
            pause();
        }
        false
    }

    /// Ends it at once, as a machine does that fails.
    pub(crate) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Starts it again at the same port, with nothing in it.
    pub(crate) fn restart(&mut self) {
        self.kill();
        for _ in 0..TRIES_MAX {
            self.child = spawn(self.port, &self.args, self.folder.path());
            if self.answers() {
                return;
            }
            self.kill();
        }
        panic!("port {} is not free any more", self.port);
    }

    /// Stops it in the middle of whatever it does: connections stay, and nothing answers.
    pub(crate) fn stop(&self) {
        self.signal("-STOP");
        // Until then it may still answer.
        let stat = format!("/proc/{}/stat", self.child.id());
        let is_stopped = |stat: String| {
            stat.rsplit_once(')')
                .is_some_and(|(_, s)| s.starts_with(" T"))
        };
        while !std::fs::read_to_string(&stat).is_ok_and(is_stopped) {
            std::thread::yield_now();
        }
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(status.success(), "kill {signal} {pid}");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

fn spawn(port: u16, args: &[String], folder: &Path) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]);
    if !args.iter().any(|arg| arg == "--port") {
        command.args(["--port", &port.to_string()]);
    }
    let command = command.args(args).current_dir(folder);
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null()).spawn().expect(MISSING)
}

/// One whose partner for the bus of a cluster, 10,000 higher, is a port, too.
fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        if port < 55_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}

/// A cluster of three masters, which works on with any of them.
pub(crate) struct RedisCluster {
    pub(crate) nodes: Vec<RedisServer>,
}

impl RedisCluster {
    pub(crate) fn start() -> RedisCluster {
        let args = [
            "--cluster-enabled",
            "yes",
            "--cluster-config-file",
            "nodes.conf",
            "--cluster-node-timeout",
            "500",
            "--cluster-require-full-coverage",
            "no",
        ];
        let nodes: Vec<_> = (0..3)
            .map(|_| RedisServer::start_with(&args, &[]))
            .collect();
        let addresses = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        let output = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(addresses)
            .args(["--cluster-replicas", "0", "--cluster-yes"])
            .output()
            .expect(MISSING);
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{told}");
        for node in &nodes {
            let is_ok = |told: String| told.contains("cluster_state:ok");
            assert!(
                (0..LOOKS_MAX).any(|_| {
                    pause();
                    is_ok(node.cli(&["CLUSTER", "INFO"]))
                }),
                "the cluster does not come together"
            );
        }
        RedisCluster { nodes }
    }

    pub(crate) fn urls(&self) -> String {
        let urls: Vec<_> = self.nodes.iter().map(RedisServer::url).collect();
        urls.join(",")
    }

    /// Which of the nodes has a key.
    pub(crate) fn node_of(&self, key: &str) -> usize {
        let has = |node: &RedisServer| !node.cli(&["EXISTS", key]).contains("MOVED");
        self.nodes.iter().position(has).unwrap()
    }
}

/// Certificates that nobody else trusts: an authority, a server at 127.0.0.1 and a client.
pub(crate) struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    pub(crate) fn make() -> Certificates {
        let folder = tempfile::tempdir().unwrap();
        let script = "
            set -e
            openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority \
                -keyout ca.key -out ca.pem
            for who in server client; do
                openssl req -newkey rsa:2048 -nodes -subj /CN=$who -keyout $who.key -out $who.csr
                printf 'subjectAltName=IP:127.0.0.1,DNS:localhost' > $who.ext
                openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
                    -extfile $who.ext -out $who.pem
            done";
        let output = Command::new("sh")
            .args(["-c", script])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "openssl is needed for this test: apt-get install -y --no-install-recommends openssl\n{told}"
        );
        Certificates { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A server with a password and nothing but TLS, which wants certificates of its clients, too.
    pub(crate) fn server(&self, password: &str) -> RedisServer {
        let path = |name| self.path(name).to_str().unwrap().to_owned();
        let (ca, cert, key) = (path("ca.pem"), path("server.pem"), path("server.key"));
        let (client_cert, client_key) = (path("client.pem"), path("client.key"));
        let args = [
            "--port",
            "0",
            "--tls-port",
            "PORT",
            "--tls-ca-cert-file",
            &ca,
            "--tls-cert-file",
            &cert,
            "--tls-key-file",
            &key,
            "--requirepass",
            password,
        ];
        let cli = [
            "--tls",
            "--cacert",
            &ca,
            "--cert",
            &client_cert,
            "--key",
            &client_key,
            "--no-auth-warning",
            "-a",
            password,
        ];
        RedisServer::start_with(&args, &cli)
    }
}
