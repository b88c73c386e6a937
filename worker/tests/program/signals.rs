//! How processes end on signals, and what they do on SIGHUP.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::peer::{Peer, until};
use crate::support::{Ended, Place, aggregation, measurements, program};

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// 130 says that somebody ended it; a service that is told to end has done what it should.
#[test]
fn the_exit_code_tells_which_signal_ended_a_worker() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 0)] {
        let place = Place::new();
        let peer = Peer::start(&place, &[]);
        peer.send(signal);
        let ended = peer.ended().with_code(code);
        assert!(ended.stderr.contains("stopping: "), "{ended:#?}");
    }
}

/// SIGHUP does not end a worker, also one without tokens and certificates.
#[test]
fn a_worker_stays_on_sighup() {
    let place = Place::new();
    let peer = Peer::start(&place, &[]);
    peer.send(Signal::HUP);
    peer.call(&place, &["job", "ls"]).done();
    peer.send(Signal::HUP);
    peer.send(Signal::TERM);
    peer.ended().done();
}

/// A run whose terminal is closed drains; under `nohup` it goes on.
#[test]
fn a_run_drains_where_its_terminal_is_closed() {
    let whole = Place::new();
    whole.write("a.csv", measurements(2000));
    whole.write("job.toml", aggregation("1KiB"));
    whole.call(&["run", "job.toml"]).done();
    for is_ignored in [false, true] {
        let place = Place::new();
        place.write("a.csv", measurements(2000));
        place.write("job.toml", aggregation("1KiB"));
        let run = place.command(&[
            "run",
            "job.toml",
            "--workers",
            "1",
            "--commit-interval",
            "0s",
        ]);
        let mut command = match is_ignored {
            false => run,
            true => {
                let mut nohup = Command::new("sh");
                nohup.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]);
                nohup.arg(run.get_program()).args(run.get_args());
                nohup.current_dir(place.path(""));
                nohup
            }
        };
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        until(|| place.job_is_there("stations") && place.job("stations")["shards"]["done"] != 0);
        send(&child, Signal::HUP);
        let ended = Ended::from(child.wait_with_output().unwrap());
        match is_ignored {
            true => drop(ended.done()),
            false => {
                ended.with_code(130).told(&["interrupted", "go on with"]);
                place.call(&["run", "job.toml"]).done();
            }
        }
        assert_eq!(place.records("stations"), whole.records("stations"));
    }
}

/// An object store that takes connections and says nothing.
struct Mute(TcpListener);

impl Mute {
    fn new() -> Mute {
        Mute(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = program();
        let address = self.0.local_addr().unwrap();
        command
            .args(args)
            .args(["--db", "s3://bucket/prefix"])
            .env("AWS_ENDPOINT_URL", format!("http://{address}"))
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// A worker that waits for its storage has begun nothing: it ends at once. Whoever waits is told what for.
#[test]
fn a_worker_that_opens_a_mute_storage_ends_on_a_signal() {
    let mute = Mute::new();
    for (signal, code) in [(Signal::TERM, 0), (Signal::INT, 130)] {
        let mut child = mute.command(&["worker"]).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        // The line comes while it waits.
        let mut told = String::new();
        while !told.contains("has not answered a request for") {
            let len = stderr.read_line(&mut told).unwrap();
            assert!(len > 0, "{told}");
        }
        send(&child, signal);
        stderr.read_to_string(&mut told).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{told}");
    }
}

/// What is printed and cannot be is no success.
#[test]
fn a_closed_stdout_is_a_failure() {
    let place = Place::new();
    place.call(&["put", "s", "k", "1", "--create"]).done();
    let closed = |args: &[&str]| {
        let call = place.command(args);
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$0\" \"$@\" >&-"]);
        shell.arg(call.get_program()).args(call.get_args());
        Ended::from(shell.stdin(Stdio::null()).output().unwrap())
    };
    for args in [
        &["scan", "s"][..],
        &["get", "s", "k"],
        &["job", "ls", "--json"],
        &["store", "ls"],
    ] {
        closed(args)
            .with_code(1)
            .told(&["standard output is closed"]);
    }
    // Nobody wants to read it: that is no failure.
    let mut ignored = place.command(&["scan", "s"]);
    let ended = ignored.stdout(Stdio::null()).status().unwrap();
    assert_eq!(ended.code(), Some(0));
}
