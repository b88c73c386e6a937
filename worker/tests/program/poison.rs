//! A shard that kills its process, again and again, fails after its attempts; nothing else does.

use std::fs::File;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use eciton_engine::{Db, Key, Options, ScanRange};
use eciton_proto::prost::Message as _;
use eciton_proto::v1::Session;
use rustix::process::{Pid, Signal, kill_process};

use crate::redis::RedisServer;
use crate::support::Place;

/// Files, each a shard.
const FILES: u64 = 8;
/// The one that takes so long that its process can be killed while it is at it.
const POISON: u64 = 3;
/// Rows of that one.
const ROWS: usize = 100_000_000;
const ATTEMPTS: u64 = 2;
/// Kills that are enough, whoever is hit.
const KILLS_MAX: u64 = 40;

/// A place with a job of which one shard takes very long.
fn place() -> Place {
    let place = Place::new();
    let mut text = format!(
        "name = \"poison\"\n[source]\nformat = \"csv\"\npaths = [\"f*\"]\n[merge]\nstore = \"sums\"\nkey = [\"k\"]\n\
         [merge.values]\nrows = \"count()\"\n[run]\nmax_attempts = {ATTEMPTS}\nlease = \"1s\"\n"
    );
    place.write("job.toml", &text);
    text = text.replace("poison", "other").replace("sums", "others");
    place.write("other.toml", text.replace("f*", "f0.csv"));
    for n in 0..FILES {
        if n != POISON {
            place.write(&format!("f{n}.csv"), format!("k\n{n}\n{n}\n"));
        }
    }
    let long = File::create(place.path(&format!("f{POISON}.csv.gz"))).unwrap();
    let mut gzip = Command::new("gzip")
        .arg("-1")
        .stdin(Stdio::piped())
        .stdout(long)
        .spawn()
        .unwrap();
    let mut stdin = gzip.stdin.take().unwrap();
    stdin.write_all(b"k\n").unwrap();
    let some = b"3\n".repeat(ROWS / 100);
    for _ in 0..100 {
        stdin.write_all(&some).unwrap();
    }
    drop(stdin);
    assert!(gzip.wait().unwrap().success());
    place
}

/// What the processes at a job have recorded of themselves.
fn sessions(place: &Place, job: &str) -> Vec<Session> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let db = Db::open_read_only(&place.db(), Options::default())
            .await
            .unwrap();
        let Some(store) = db.store("_jobs").await.unwrap() else {
            return Vec::new();
        };
        let prefix = Key::from_datums(&["session".into(), job.into()]).unwrap();
        let mut scan = db.snapshot().scan(&store, &ScanRange::prefix(prefix));
        let mut sessions = Vec::new();
        while let Some(record) = scan.next().await.unwrap() {
            sessions.push(Session::decode(&record.value[..]).unwrap());
        }
        sessions
    })
}

fn kill(pid: u32) -> bool {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).is_ok()
}

/// Kills whoever is at the poison, until the job has ended; `tend` starts those again that are gone.
fn hunt(place: &Place, mut tend: impl FnMut()) -> u64 {
    let mut kills = 0;
    while kills < KILLS_MAX {
        tend();
        if !place.job_is_there("poison") {
            continue;
        }
        let job = place.job("poison");
        if job["state"] == "failed" {
            return kills;
        }
        assert_ne!(job["state"], "done", "the long shard was too short: {job}");
        // Nobody says what it is at before a process has died: then it is all that is left.
        let is_all = job["shards"]["done"] == FILES - 1;
        for session in sessions(place, "poison") {
            let is_at_it = session.shards.contains(&POISON);
            if is_at_it || session.shards.is_empty() && is_all && kills < 2 {
                kills += u64::from(kill(session.pid));
            }
        }
        sleep(Duration::from_millis(20));
    }
    panic!(
        "{kills} processes died, and nobody took notice: {}",
        place.job("poison")
    );
}

fn holds(place: &Place) {
    let job = place.job("poison");
    let shards = &job["shards"];
    assert_eq!(
        (&shards["done"], &shards["failed"]),
        (&(FILES - 1).into(), &1.into()),
        "{job}"
    );
    let failure = &job["failures"][0];
    assert_eq!(failure["shard"], POISON, "{job}");
    assert_eq!(failure["file"], format!("f{POISON}.csv.gz"), "{job}");
    assert_eq!(failure["attempts"], ATTEMPTS, "{job}");
    let error = failure["error"].as_str().unwrap();
    assert!(
        error.contains("the process that computed it died"),
        "{error}"
    );
    let records = place.records("sums");
    assert_eq!(records.lines().count() as u64, FILES - 1, "{records}");
    assert!(
        records.lines().all(|line| line.contains("\"rows\":2")),
        "{records}"
    );
    place.call(&["db", "verify"]).done();
}

/// A process that is killed where a test ends early.
struct Running(Child);

impl Running {
    fn is_gone(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_run_that_is_repeated_comes_to_its_end() {
    let place = place();
    let run = || {
        Running(place.start(&[
            "run",
            "job.toml",
            "--workers",
            "2",
            "--commit-interval",
            "0s",
        ]))
    };
    let mut running = run();
    let kills = hunt(&place, || {
        if running.is_gone() {
            running = run();
        }
    });
    // The first one or two die before a session says which shards are at work.
    let expected = ATTEMPTS + 1..=ATTEMPTS + 2;
    assert!(expected.contains(&kills), "{kills} kills");
    drop(running);
    let again = place.call(&["run", "job.toml"]).with_code(1);
    assert!(
        again.stderr.contains("the process that computed it died"),
        "{again:#?}"
    );
    holds(&place);
}

#[test]
fn workers_that_are_started_again_do_all_the_rest() {
    let place = place();
    let redis = RedisServer::start();
    let url = redis.url();
    let worker = || {
        let args = [
            "worker",
            "--slots",
            "1",
            "--commit-interval",
            "20ms",
            "--redis",
            &url,
        ];
        Running(place.start(&args))
    };
    for job in ["job.toml", "other.toml"] {
        place.call(&["submit", job, "--redis", &url]).done();
    }
    let mut workers = [worker(), worker()];
    hunt(&place, || {
        for running in workers
            .iter_mut()
            .filter_map(|running| running.is_gone().then_some(running))
        {
            *running = worker();
        }
    });
    while place.job("other")["state"] != "done" {
        sleep(Duration::from_millis(20));
    }
    holds(&place);
}

#[test]
fn a_swarm_that_mends_itself_outlives_it() {
    let place = place();
    place.call(&["submit", "job.toml"]).done();
    let up = [
        "up",
        "--workers",
        "2",
        "--slots",
        "1",
        "--commit-interval",
        "20ms",
    ];
    let mut command = place.command(&up);
    let mut up = Running(
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    hunt(&place, || assert!(!up.is_gone(), "it has given up"));
    holds(&place);
}
