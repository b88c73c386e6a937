//! Workers whose clocks differ by hours: no job is cancelled for that, and no job ends before it began.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::redis::RedisServer;
use crate::support::{Place, aggregation, measurements, program};

const MISSING: &str =
    "the test needs faketime: apt-get install -y --no-install-recommends faketime";

/// The program with another time of day.
fn at(offset: &str) -> Command {
    let plain = program();
    let mut command = Command::new("faketime");
    command.args(["-f", offset]).arg(plain.get_program());
    for (name, _) in plain.get_envs() {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // The program is what faketime has become.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn clocks_that_are_hours_off_cancel_nothing() {
    let there = Command::new("faketime").arg("--version").output();
    assert!(there.is_ok(), "{MISSING}");
    assert!(Path::new("/proc/uptime").exists());
    let redis = RedisServer::start();
    let url = redis.url();
    let place = Place::new();
    place.write("a.csv", measurements(2000));
    let job = format!(
        "{}[run]\ndeadline = \"1h\"\nlease = \"1s\"\n",
        aggregation("2KiB")
    );
    place.write("job.toml", job);
    place.call(&["submit", "job.toml", "--redis", &url]).done();
    let start = |offset: &str| {
        let mut command = at(offset);
        command.args([
            "worker",
            "--slots",
            "1",
            "--commit-interval",
            "20ms",
            "--redis",
            &url,
        ]);
        command.arg("--db").arg(place.db());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Running(child.unwrap())
    };
    let _workers = [start("-26h"), start("+5h")];
    let job = loop {
        let job = place.job("stations");
        match job["state"].as_str().unwrap() {
            "pending" | "running" => sleep(Duration::from_millis(50)),
            _ => break job,
        }
    };
    assert_eq!(job["state"], "done", "{job}");
    // With as many digits each, so that their order as text is that in time.
    let moment = |name: &str| {
        let text = job[name].as_str().unwrap().trim_end_matches('Z');
        let (second, part) = text.split_once('.').unwrap_or((text, ""));
        format!("{second}.{part:0<6}")
    };
    let moments = ["submitted_at", "started_at", "finished_at"].map(moment);
    assert!(moments.is_sorted(), "{job}");
    assert!(job["wall_seconds"].as_f64().unwrap() < 1800.0, "{job}");
    let top = place.call(&["top", "--once", "--redis", &url]).done();
    assert!(top.stdout.contains("stations"), "{top:#?}");
}
