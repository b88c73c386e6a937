//! A Redis that can be reached and refuses what it is asked for is of no use, and everybody is told.

use std::io::Read as _;
use std::net::TcpListener;
use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::redis::RedisServer;
use crate::support::Place;

const LOOKS: usize = 600;

/// Polls for up to a minute.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..LOOKS {
        if is_so() {
            return;
        }
        sleep(Duration::from_millis(100));
    }
    panic!("{what}");
}

/// A worker with metrics; what it says on stderr goes to a file.
struct Worker {
    child: Child,
    metrics: String,
    place: Place,
}

impl Worker {
    fn start(url: &str) -> Worker {
        let place = Place::new();
        place.call(&["db", "init"]).done();
        let port = {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().port()
        };
        let metrics = format!("127.0.0.1:{port}");
        let log = std::fs::File::create(place.path("log")).unwrap();
        let args = [
            "worker",
            "--slots",
            "1",
            "--metrics",
            &metrics,
            "--redis",
            url,
        ];
        let child = place.command(&args).stderr(log).spawn().unwrap();
        Worker {
            child,
            metrics,
            place,
        }
    }

    fn log(&self) -> String {
        let mut told = String::new();
        let mut file = std::fs::File::open(self.place.path("log")).unwrap();
        file.read_to_string(&mut told).unwrap();
        told
    }

    /// Lines of the log with these words.
    fn told(&self, words: &str) -> usize {
        self.log()
            .lines()
            .filter(|line| line.contains(words))
            .count()
    }

    fn is_up(&self) -> Option<bool> {
        use std::io::Write as _;
        let mut stream = std::net::TcpStream::connect(&self.metrics).ok()?;
        write!(
            stream,
            "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let line = text
            .lines()
            .find(|line| line.starts_with("eciton_coordinator_up "))?;
        Some(line.ends_with(" 1"))
    }

    fn workers(&self, url: &str) -> Value {
        let top = ["top", "--once", "--json", "--redis", url];
        self.place.call(&top).done().json()["workers"].clone()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn user(server: &RedisServer, name: &str, rights: &[&str]) -> String {
    let secret = format!(">{name}");
    let first = [
        "ACL",
        "SETUSER",
        name,
        "on",
        &secret,
        "~{eciton:*",
        "&{eciton:*",
    ];
    assert_eq!(server.cli(&[&first, rights].concat()), "OK");
    format!("redis://{name}:{name}@127.0.0.1:{}", server.port())
}

/// Neither a word, nor a metric, nor `top` told of it.
#[test]
fn a_user_who_may_run_no_scripts_is_told_once_and_again_when_that_is_mended() {
    let server = RedisServer::start();
    let few = [
        "+@pubsub", "+hello", "+ping", "+client", "+time", "+exists", "+get", "+set",
    ];
    let url = user(&server, "ant", &few);
    let worker = Worker::start(&url);
    until("nothing is told", || worker.told("Redis refuses") > 0);
    let log = worker.log();
    assert!(log.contains("NOPERM") && log.contains("eval"), "{log}");
    assert!(!log.contains("ant:ant"), "{log}");
    until("it counts as up", || worker.is_up() == Some(false));
    assert_eq!(worker.workers(&url), Value::Null);
    server.cli(&["ACL", "SETUSER", "ant", "+@all"]);
    until("that it is mended is not told", || {
        worker.told("Redis is back") > 0
    });
    until("it does not count as up", || worker.is_up() == Some(true));
    until("workers are not known", || {
        worker
            .workers(&url)
            .as_array()
            .is_some_and(|all| all.len() == 1)
    });
    // In the middle, too.
    server.cli(&["ACL", "SETUSER", "ant", "-@scripting"]);
    until("the second time is not told", || {
        worker.told("Redis refuses") == 2
    });
    assert_eq!(worker.told("Redis is back"), 1, "{}", worker.log());
}

#[test]
fn a_full_server_and_a_replica_are_of_no_use() {
    let (server, other) = (RedisServer::start(), RedisServer::start());
    let url = server.url();
    let worker = Worker::start(&url);
    until("it does not count as up", || worker.is_up() == Some(true));
    assert_eq!(worker.told("Redis is back"), 0, "it was never away");
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    until("OOM is not told", || worker.told("OOM") > 0);
    until("it counts as up", || worker.is_up() == Some(false));
    assert_eq!(worker.workers(&url), Value::Null);
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    until("its end is not told", || worker.told("Redis is back") == 1);
    server.cli(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]);
    until("READONLY is not told", || worker.told("READONLY") > 0);
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    until("its end is not told", || worker.told("Redis is back") == 2);
    assert_eq!(worker.told("Redis refuses"), 1, "{}", worker.log());
    assert_eq!(worker.told("Redis is away"), 1, "{}", worker.log());
}

/// The password was changed, and connections were cut: seven times it was back, and never away.
#[test]
fn it_is_back_only_where_it_was_away() {
    let server = RedisServer::start();
    let url = user(&server, "ant", &["+@all"]);
    let worker = Worker::start(&url);
    until("it does not count as up", || worker.is_up() == Some(true));
    server.cli(&["ACL", "SETUSER", "ant", "resetpass", ">bee"]);
    server.cli(&["CLIENT", "KILL", "USER", "ant"]);
    until("that it is away is not told", || {
        worker.told("WRONGPASS") > 0
    });
    server.cli(&["ACL", "SETUSER", "ant", ">ant"]);
    until("that it is back is not told", || {
        worker.told("Redis is back") == 1
    });
    let away = worker.told("Redis is away");
    assert!((1..=2).contains(&away), "{}", worker.log());
}

/// It ended before it had found out.
#[test]
fn a_short_command_tells_that_nobody_is_there() {
    let place = Place::new();
    place.call(&["db", "init"]).done();
    place.call(&["store", "create", "s"]).done();
    let port = {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    for way in ["redis", "rediss"] {
        let url = format!("{way}://127.0.0.1:{port}");
        let put = place.call(&["put", "s", "1", "1", "--redis", &url]).done();
        assert!(put.stderr.contains("Redis is away"), "{put:#?}");
    }
}

#[test]
fn a_wrong_address_names_the_setting() {
    let place = Place::new();
    let wrong = ["worker", "--redis", "me:hidden@host:6379"];
    let told = place.call(&wrong).with_code(2);
    let told = told.told(&["--redis", "ECITON_REDIS", "…@host:6379", "redis://"]);
    assert!(!told.stderr.contains("hidden"), "{told:#?}");
}
