//! `up`: a swarm on this machine works, mends itself, drains, and leaves nobody behind.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{JoinHandle, spawn};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::peer::until;
use crate::support::{Ended, Place, aggregation, measurements};

/// Rows: some forty shards of 2 KiB.
const ROWS: u32 = 2000;
const LEASE: &str = "[run]\nlease = \"300ms\"\n";
const MISSING: &str =
    "Redis is needed for this test: apt-get install -y --no-install-recommends redis-server";

/// A swarm that is killed where a test ends early; its processes end with it.
struct Up {
    child: Child,
    events: Receiver<Value>,
    log: Option<JoinHandle<String>>,
}

impl Up {
    fn start(place: &Place, more: &[&str]) -> Up {
        let version = Command::new("redis-server").arg("--version").output();
        assert!(
            version.is_ok_and(|output| output.status.success()),
            "{MISSING}"
        );
        Up::start_with(place, more, |_| {})
    }

    fn start_with(place: &Place, more: &[&str], configure: impl FnOnce(&mut Command)) -> Up {
        let few = ["up", "--slots", "1", "--commit-interval", "20ms", "--json"];
        let mut command = place.command(&[&few, more].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        configure(&mut command);
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        let (sender, events) = channel();
        // Both are read to the end, so that it never waits for a reader.
        spawn(move || {
            for line in stdout.lines() {
                sender
                    .send(serde_json::from_str(&line.unwrap()).unwrap())
                    .ok();
            }
        });
        let log = spawn(move || {
            let mut told = String::new();
            stderr.read_to_string(&mut told).unwrap();
            told
        });
        Up {
            child,
            events,
            log: Some(log),
        }
    }

    /// The next event of this kind.
    fn event(&mut self, kind: &str) -> Value {
        loop {
            match self.events.recv() {
                Ok(event) if event["event"] == kind => return event,
                Ok(_) => {}
                Err(_) => {
                    let log = self.log.take().map(|log| log.join().unwrap());
                    panic!("no {kind}: {log:?}");
                }
            }
        }
    }

    fn send(&self, signal: Signal) {
        send(u64::from(self.child.id()), signal);
    }

    /// How it ended, once it has; stdout without what was read of it.
    fn ended(mut self) -> Ended {
        let code = self.child.wait().unwrap().code();
        let events = self.events.iter().map(|event| format!("{event}\n"));
        Ended {
            code,
            stdout: events.collect(),
            stderr: self.log.take().unwrap().join().unwrap(),
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn send(pid: u64, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Whether a process runs; one that nobody has waited for yet does not.
fn runs(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| {
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| !rest.starts_with(" Z"))
    })
}

fn pid(event: &Value) -> u64 {
    event["pid"]
        .as_u64()
        .unwrap_or_else(|| panic!("no pid: {event}"))
}

/// A place with a job, which is not submitted yet, and what it comes to.
fn place() -> (Place, String) {
    let place = Place::new();
    place.write("a.csv", measurements(ROWS));
    place.write("job.toml", format!("{}{LEASE}", aggregation("2KiB")));
    let whole = Place::new();
    whole.write("a.csv", measurements(ROWS));
    whole.write("job.toml", aggregation("2KiB"));
    whole.call(&["run", "job.toml"]).done();
    (place, whole.records("stations"))
}

/// Two workers with a Redis of their own do a job that comes later; one that is killed comes back; on a signal all
/// end well.
#[test]
fn a_swarm_works_mends_itself_and_drains() {
    let (place, expected) = place();
    let mut up = Up::start(&place, &["--workers", "2"]);
    let redis = pid(&up.event("redis_started"));
    let listens = up.event("redis_listens");
    // What is printed has no password in it; it stands in a file of its own, for nobody else.
    assert!(!listens["url"].as_str().unwrap().contains('@'), "{listens}");
    let secret = std::path::PathBuf::from(listens["url_file"].as_str().unwrap());
    let mode = std::os::unix::fs::PermissionsExt::mode(&secret.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let url = std::fs::read_to_string(&secret).unwrap().trim().to_owned();
    let first = up.event("worker_started");
    let second = up.event("worker_started");
    assert_eq!(
        (&first["worker"], &second["worker"]),
        (&1.into(), &2.into())
    );
    until(|| {
        let shared = ["top", "--once", "--json", "--redis", &url];
        let told = place.call(&shared).done().json();
        told["totals"]["workers"] == 2 && told["totals"]["slots"] == 2
    });
    place.call(&["submit", "job.toml", "--redis", &url]).done();
    send(pid(&second), Signal::KILL);
    let ended = up.event("worker_ended");
    assert_eq!((&ended["worker"], &ended["signal"]), (&2.into(), &9.into()));
    assert!(ended["restart_in_ms"].as_u64().unwrap() > 0, "{ended}");
    let again = up.event("worker_started");
    assert_eq!(again["worker"], 2);
    assert_ne!(pid(&again), pid(&second));
    until(|| place.job("stations")["state"] == "done");
    assert_eq!(place.job("stations")["rows_read"], ROWS);
    assert_eq!(place.records("stations"), expected);
    up.send(Signal::TERM);
    let ended = up.ended().done();
    let events = ended.json_lines();
    let ends = |kind: &str| events.iter().filter(|event| event["event"] == kind).count();
    assert_eq!(
        (ends("stopping"), ends("worker_ended"), ends("redis_ended")),
        (1, 2, 1)
    );
    assert!(
        events
            .iter()
            .all(|event| event["code"].as_u64().is_none_or(|code| code == 0))
    );
    assert!(ended.stderr.contains("worker 1: "), "{ended:#?}");
    assert!(
        !secret.exists(),
        "the password is left in {}",
        secret.display()
    );
    for process in [redis, pid(&first), pid(&again)] {
        assert!(!runs(process), "{process} still runs");
    }
    place.call(&["db", "verify"]).done();
}

/// Also one that has just been started, and the Redis.
#[test]
fn nobody_outlives_a_swarm_that_is_killed() {
    let (place, _) = place();
    let mut up = Up::start(&place, &["--workers", "3"]);
    let mut processes = vec![pid(&up.event("redis_started"))];
    for _ in 0..3 {
        processes.push(pid(&up.event("worker_started")));
    }
    assert!(processes.iter().all(|process| runs(*process)));
    up.send(Signal::KILL);
    assert_eq!(up.ended().code, None);
    until(|| !processes.iter().any(|process| runs(*process)));
    // Nobody has the database open any more.
    place.call(&["run", "job.toml"]).done();
}

#[test]
fn a_swarm_ends_by_itself_once_all_jobs_have_ended() {
    let (place, expected) = place();
    place.call(&["submit", "job.toml"]).done();
    let up = Up::start(&place, &["--workers", "2", "--until-idle"]);
    up.ended().done();
    assert_eq!(place.job("stations")["state"], "done");
    assert_eq!(place.records("stations"), expected);
}

/// Processes that hear nothing of each other would do everything twice.
#[test]
fn without_any_redis_one_worker_does_the_work_of_all() {
    let (place, expected) = place();
    place.call(&["submit", "job.toml"]).done();
    let args = ["--workers", "3", "--until-idle"];
    let up = Up::start_with(&place, &args, |command| {
        command.env("PATH", place.path(""));
    });
    let ended = up.ended().done();
    assert!(
        ended.stderr.contains("one worker with 3 slots"),
        "{ended:#?}"
    );
    let events = ended.json_lines();
    let started = events
        .iter()
        .filter(|event| event["event"] == "worker_started");
    assert_eq!(started.count(), 1, "{events:#?}");
    assert_eq!(place.records("stations"), expected);
}

#[test]
fn what_no_worker_could_open_is_told_at_once() {
    let place = Place::new();
    place.write("db", "no folder");
    let up = Up::start(&place, &["--workers", "2"]);
    let ended = up.ended();
    assert!(!ended.stdout.contains("worker_started"), "{ended:#?}");
    assert_eq!(ended.code, place.call(&["worker"]).code, "{ended:#?}");
    ended.told(&["db"]);
}

/// Not for ever, and with the reason.
#[test]
fn a_worker_that_never_comes_to_work_ends_the_swarm() {
    let place = Place::new();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let up = Up::start(&place, &["--workers", "2", "--listen", &address]);
    let ended = up.ended().with_code(1);
    let starts = ended.json_lines().into_iter();
    let starts = starts.filter(|event| event["event"] == "worker_started" && event["worker"] == 1);
    assert_eq!(starts.count(), 5, "{ended:#?}");
    let error = ended.stderr.lines().last().unwrap_or_default();
    assert!(
        error.starts_with("error: worker 1 does not come to work"),
        "{error}"
    );
    assert!(error.contains(&address), "{error}");
}

/// What a storage refuses where a database is opened is told with the database's path.
#[test]
#[cfg(target_os = "linux")]
fn a_folder_that_cannot_be_one_is_named() {
    // Nobody, not even root, makes anything in there.
    for args in [&["up"][..], &["worker", "--create"], &["db", "init"]] {
        let mut command = crate::support::program();
        command.args(args).args(["--db", "/proc/none"]);
        let ended = crate::support::Ended::from(command.output().unwrap());
        ended.with_code(1).told(&["database `/proc/none`: storage"]);
    }
}
