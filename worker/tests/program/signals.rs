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

/// Before a shard is begun there is nothing to drain: a signal ends the command, and what to do is said.
#[test]
fn a_command_that_waits_for_its_storage_says_what_to_do_on_a_signal() {
    let place = Place::new();
    place.write("a.csv", measurements(10));
    place.write("job.toml", aggregation("1KiB"));
    let calls: [(&[&str], &str); 5] = [
        (
            &["run", "job.toml"],
            "before any shard was begun; go on with `eciton run job.toml --db s3://bucket/prefix`",
        ),
        (
            &["job", "retry", "stations"],
            "before any shard was begun; go on with `eciton job retry stations --db s3://bucket/prefix`",
        ),
        (
            &["submit", "job.toml"],
            "call `eciton submit job.toml` again",
        ),
        (&["put", "s", "1", "2"], "it may have taken effect"),
        (&["scan", "s"], "error: ended by"),
    ];
    for (args, words) in calls {
        for (signal, name) in [(Signal::INT, "SIGINT"), (Signal::TERM, "SIGTERM")] {
            let mute = Mute::new();
            let mut command = mute.command(args);
            let child = command.current_dir(place.path("")).spawn().unwrap();
            let _asked = mute.0.accept().unwrap();
            send(&child, signal);
            let ended = Ended::from(child.wait_with_output().unwrap());
            ended
                .with_code(130)
                .told(&[&format!("ended by {name}"), words]);
        }
    }
    // Programs are told, too.
    let mute = Mute::new();
    let mut command = mute.command(&["run", "job.toml", "--json"]);
    let child = command.current_dir(place.path("")).spawn().unwrap();
    let _asked = mute.0.accept().unwrap();
    send(&child, Signal::INT);
    let ended = Ended::from(child.wait_with_output().unwrap()).with_code(130);
    assert_eq!(ended.json()["error"]["kind"], "interrupted");
    assert_eq!(ended.json()["error"]["code"], 130);
}

/// Reading all of so large a file takes longer than anybody waits.
#[test]
fn a_run_that_plans_says_what_to_do_on_a_signal() {
    let place = Place::new();
    let path = place.write("a.csv", measurements(3000));
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(60 << 30).unwrap();
    let job = aggregation("64GiB").replace("[source]", "[source]\nverify = \"content\"");
    place.write("job.toml", job);
    for command in ["run", "submit", "plan"] {
        let args = [command, "job.toml"];
        let child = place.start(&args);
        let opened = format!("/proc/{}/fd", child.id());
        until(|| {
            let files = std::fs::read_dir(&opened).unwrap().flatten();
            let mut files = files.filter_map(|file| file.path().read_link().ok());
            files.any(|file| file == path)
        });
        send(&child, Signal::INT);
        let ended = Ended::from(child.wait_with_output().unwrap()).with_code(130);
        match command {
            "run" => ended.told(&[
                "ended by SIGINT before any shard was begun",
                "go on with `eciton run job.toml --db",
            ]),
            "plan" => ended.told(&["ended by SIGINT", "nothing was written"]),
            _ => ended.told(&["ended by SIGINT", "call `eciton submit job.toml` again"]),
        };
        assert!(!place.db().exists() || command != "plan");
    }
}

/// Goes between a program and an object store; once it is asked to, nothing gets through any more.
struct Valve {
    address: std::net::SocketAddr,
    is_shut: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Valve {
    fn before(store: std::net::SocketAddr) -> Valve {
        use std::net::TcpStream;
        use std::sync::atomic::{AtomicBool, Ordering};
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let is_shut = std::sync::Arc::new(AtomicBool::new(false));
        let shut = std::sync::Arc::clone(&is_shut);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(store).unwrap();
                for (mut from, mut to) in [
                    (client.try_clone().unwrap(), server.try_clone().unwrap()),
                    (server, client),
                ] {
                    let shut = std::sync::Arc::clone(&shut);
                    std::thread::spawn(move || {
                        let mut bytes = [0; 16384];
                        while let Ok(len) = from.read(&mut bytes) {
                            if len == 0 {
                                break;
                            }
                            // Kept open, and silent.
                            while shut.load(Ordering::SeqCst) {
                                std::thread::park();
                            }
                            if std::io::Write::write_all(&mut to, &bytes[..len]).is_err() {
                                break;
                            }
                        }
                        to.shutdown(std::net::Shutdown::Both).ok();
                    });
                }
            }
        });
        Valve { address, is_shut }
    }
}

/// The time to drain holds also where the storage has stopped to answer: what hangs is left.
#[test]
fn draining_ends_where_the_storage_hangs() {
    let store = crate::bucket::Server::moto();
    store.make_bucket("bucket");
    let valve = Valve::before(store.address());
    let start = |args: &[&str]| {
        let mut command = program();
        command
            .args(args)
            .args(["--db", "s3://bucket/prefix"])
            .env("AWS_ENDPOINT_URL", format!("http://{}", valve.address))
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    };
    let put = start(&["put", "s", "k", "1", "--create"]).output().unwrap();
    Ended::from(put).done();
    let args = [
        "worker",
        "--drain",
        "1s",
        "--listen",
        "127.0.0.1:0",
        "--slots",
        "1",
    ];
    let mut child = start(&args).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut told = String::new();
    while !told.contains("listening on") {
        let len = stderr.read_line(&mut told).unwrap();
        assert!(len > 0, "{told}");
    }
    valve
        .is_shut
        .store(true, std::sync::atomic::Ordering::SeqCst);
    send(&child, Signal::TERM);
    stderr.read_to_string(&mut told).unwrap();
    let code = child.wait().unwrap().code();
    // Either nothing was asked of the storage at that moment, or it was left, which is what the message says.
    match code {
        Some(0) => {}
        code => {
            assert_eq!(code, Some(1), "{told}");
            assert!(told.contains("draining took longer than 1 s"), "{told}");
        }
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
