//! Watches whose worker goes: they go on elsewhere, or say why they do not.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::peer::Peer;
use crate::redis::RedisServer;
use crate::support::{Ended, Place, program, upsert};

/// `job watch`, which is killed where a test ends early.
struct Watching {
    child: Option<Child>,
    lines: BufReader<ChildStdout>,
}

impl Watching {
    fn start(place: &Place, peers: &str) -> Watching {
        let mut command = program();
        command
            .args(["job", "watch", "levels", "--json", "--peer", peers])
            .current_dir(place.path(""))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut watching = Watching {
            child: Some(child),
            lines,
        };
        assert_eq!(watching.next()["state"], "pending");
        watching
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("`{line}`: {error}"))
    }

    fn ended(mut self) -> Ended {
        self.child
            .take()
            .unwrap()
            .wait_with_output()
            .unwrap()
            .into()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Workers that compute nothing, and a job that stays open.
fn open_job(redis: &RedisServer) -> (Place, [Peer; 2]) {
    let place = Place::new();
    place.write("a.csv", crate::support::measurements(100));
    place.write("job.toml", upsert("2KiB"));
    place.call(&["submit", "job.toml"]).done();
    let url = redis.url();
    let args = ["--slots", "0", "--redis", url.as_str()];
    let peers = [0, 1].map(|_| Peer::start(&place, &args));
    (place, peers)
}

#[test]
fn a_watch_goes_on_at_another_worker() {
    let redis = RedisServer::start();
    let (place, [first, second]) = open_job(&redis);
    let both = format!("{},{}", first.address(), second.address());
    let mut watching = Watching::start(&place, &both);
    first.send(Signal::TERM);
    first.ended().done();
    second.call(&place, &["job", "cancel", "levels"]).done();
    // Nothing was told twice, and nothing left out.
    assert_eq!(watching.next()["state"], "cancelled");
    watching
        .ended()
        .with_code(1)
        .told(&["job `levels` is cancelled"]);
}

#[test]
fn a_watch_says_that_its_only_worker_is_leaving() {
    let redis = RedisServer::start();
    let (place, [first, second]) = open_job(&redis);
    let mut watching = Watching::start(&place, first.address());
    first.send(Signal::TERM);
    let address = first.address().to_owned();
    first.ended().done();
    let error = &watching.next()["error"];
    assert_eq!(
        (&error["kind"], &error["code"]),
        (&"unavailable".into(), &1.into())
    );
    let words = [
        "this worker is leaving; ask another one",
        "no peer answers",
        &address,
    ];
    watching.ended().with_code(1).told(&words);
    // One that is killed says nothing; the words are its address's.
    let mut watching = Watching::start(&place, second.address());
    second.send(Signal::KILL);
    assert_eq!(watching.next()["error"]["kind"], "unavailable");
    watching
        .ended()
        .with_code(1)
        .told(&["no peer answers", second.address()]);
}
