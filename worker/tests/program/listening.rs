//! Where a worker says that it is reached, and how many connections it takes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::peer::{Peer, until};
use crate::support::{Place, measurements, upsert};

/// The address that workers tell of the one that is asked.
fn told(place: &Place, peer: &Peer) -> String {
    let port = peer.address().rsplit(':').next().unwrap();
    let asked = ["top", "--once", "--json", "--peer"];
    let mut command = crate::support::program();
    command.args(asked).arg(format!("127.0.0.1:{port}"));
    let ended = crate::support::Ended::from(command.current_dir(place.path("")).output().unwrap());
    let told: Value = ended.done().json();
    told["workers"][0]["address"].as_str().unwrap().to_owned()
}

#[test]
fn a_worker_tells_the_address_that_it_was_given() {
    let place = Place::new();
    let start = |more: &[&str], configure: &dyn Fn(&mut Command)| {
        let args = [&["--listen", "0.0.0.0:0", "--insecure"], more].concat();
        Peer::start_with(&place, &args, configure)
    };
    let nothing = |_: &mut Command| {};
    // A flag, else the environment, else the file, else the host's name.
    let peer = start(&[], &nothing);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let port = peer.address().rsplit(':').next().unwrap();
    assert_eq!(told(&place, &peer), format!("{}:{port}", host.trim()));
    drop(peer);
    place.write("eciton.toml", "advertise = \"file:1\"\n");
    let peer = start(&[], &nothing);
    assert_eq!(told(&place, &peer), "file:1");
    drop(peer);
    let environment = |command: &mut Command| {
        command.env("ECITON_ADVERTISE", "variable.local:2");
    };
    let peer = start(&[], &environment);
    assert_eq!(told(&place, &peer), "variable.local:2");
    drop(peer);
    let peer = start(&["--advertise", "[fe80::1]:7711"], &environment);
    assert_eq!(told(&place, &peer), "[fe80::1]:7711");
    drop(peer);

    let call = |args: &[&str]| place.call(&[&["worker"], args].concat());
    call(&["--listen", "127.0.0.1:0", "--advertise", "no-port"])
        .with_code(2)
        .told(&["--advertise", "no-port", "expected host:port"]);
    call(&["--advertise", "a:1"])
        .with_code(2)
        .told(&["--advertise: expected --listen, too"]);
    place.write(
        "eciton.toml",
        "listen = \"127.0.0.1:0\"\nadvertise = \"http://a:1\"\n",
    );
    call(&[]).with_code(2).told(&[
        "eciton.toml: advertise is `http://a:1`",
        "expected host:port",
    ]);
    place.write("eciton.toml", "listen = \"127.0.0.1:0\"\nconnections = 0\n");
    call(&[])
        .with_code(2)
        .told(&["eciton.toml: connections is `0`", "from 1 to 1000000"]);
}

/// `up` starts the worker that listens with what it was told itself.
#[test]
fn up_says_where_its_worker_is_reached() {
    let place = Place::new();
    place.call(&["db", "init"]).done();
    // Taken when it has been found free: somebody else may be quicker, and then `up` ends.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let args = [
        "up",
        "--workers",
        "1",
        "--listen",
        &address,
        "--advertise",
        "node-1:7711",
    ];
    let mut up = Up(place.start(&args));
    let top = ["top", "--once", "--json", "--peer", &address];
    let mut seen = Value::Null;
    until(|| {
        assert!(up.0.try_wait().unwrap().is_none(), "it has ended");
        let mut command = crate::support::program();
        let output = command.args(top).output().unwrap();
        seen = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        seen["workers"][0]["address"] == "node-1:7711"
    });
}

/// `up`, which ends with its workers where a test ends early.
struct Up(std::process::Child);

impl Drop for Up {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A connection that begins HTTP/2, so that it is kept for a while. It may be closed already.
fn connect(peer: &Peer) -> TcpStream {
    let mut stream = TcpStream::connect(peer.address()).unwrap();
    let beginning = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    stream.write_all(beginning).ok();
    stream
}

/// Whether the connection is closed by the other side.
fn is_closed(mut stream: &TcpStream) -> bool {
    let wait = Duration::from_millis(50);
    stream.set_read_timeout(Some(wait)).unwrap();
    let mut told = [0; 1024];
    match stream.read(&mut told) {
        Ok(len) => len == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// Beyond the limit connections are closed and the log says it once; below it everything is as before.
#[test]
fn connections_beyond_the_limit_are_closed() {
    let place = Place::new();
    let peer = Peer::start(&place, &["--connections", "2"]);
    let taken = [connect(&peer), connect(&peer)];
    for _ in 0..20 {
        let refused = connect(&peer);
        until(|| is_closed(&refused));
    }
    let text = peer.call(&place, &["job", "ls"]).with_code(1);
    text.told(&["no peer answers"]);
    drop(taken);
    until(|| peer.call(&place, &["job", "ls"]).code == Some(0));
    peer.send(Signal::TERM);
    let log = peer.ended().done().stderr;
    let warned = log.matches("closed at once").count();
    assert_eq!(warned, 1, "{log}");
    assert!(log.contains("--connections"), "{log}");
}

/// Where the system lets a process open few files, connections take no more of them than leave some to the database.
#[test]
fn connections_leave_files_to_the_database() {
    let place = Place::new();
    place.call(&["db", "init"]).done();
    let program = crate::support::program();
    let script = "ulimit -n 64 && exec \"$0\" \"$@\"";
    let mut worker = Command::new("sh");
    worker.arg("-c").arg(script).arg(program.get_program());
    let peer = Peer::start_as(worker, &place, &["--listen", "127.0.0.1:0"]);
    let mut held: Vec<TcpStream> = Vec::new();
    // More than there are files.
    for _ in 0..100 {
        held.push(connect(&peer));
    }
    let last = held.pop().unwrap();
    until(|| is_closed(&last));
    assert!(!is_closed(&held[0]) && !is_closed(&held[20]));
    // The database goes on meanwhile.
    place.write("a.csv", measurements(200));
    place.write("job.toml", upsert("1KiB"));
    held.truncate(10);
    until(|| peer.call(&place, &["submit", "job.toml"]).code == Some(0));
    peer.call(&place, &["job", "watch"]).done();
    held.clear();
    until(|| peer.call(&place, &["job", "ls"]).code == Some(0));
    peer.send(Signal::TERM);
    let log = peer.ended().done().stderr;
    assert!(log.contains("enough for 32 connections"), "{log}");
    assert!(log.contains("closed at once"), "{log}");
}
