//! Tokens and certificates that are replaced while a worker serves.

use std::fs;

use rustix::process::Signal;

use crate::peer::{Peer, until};
use crate::redis::Certificates;
use crate::support::{Ended, Place, program};
use crate::swarm::{Worker, answered, free_address};

fn code(peer: &Peer, place: &Place, token: &str) -> Option<i32> {
    peer.call(place, &["job", "ls", "--token", token]).code
}

/// A new token is known and a removed one is not, by themselves and at once on SIGHUP; a file that cannot be read changes
/// nothing.
#[test]
fn tokens_are_read_again() {
    let place = Place::new();
    let tokens = place.write("tokens", "read tok-1\n");
    let peer = Peer::start(&place, &["--tokens", tokens.to_str().unwrap()]);
    assert_eq!(code(&peer, &place, "tok-1"), Some(0));
    assert_eq!(code(&peer, &place, "tok-2"), Some(2));
    place.write("tokens", "read tok-2\n");
    until(|| code(&peer, &place, "tok-2") == Some(0));
    assert_eq!(code(&peer, &place, "tok-1"), Some(2));
    // In the middle of an edit.
    place.write("tokens", "read tok-2\ntok-3\n");
    peer.send(Signal::HUP);
    place.write("next", "read tok-4\n");
    assert_eq!(code(&peer, &place, "tok-2"), Some(0));
    // Replaced by another file, as a secret of Kubernetes is.
    fs::rename(place.path("next"), place.path("tokens")).unwrap();
    peer.send(Signal::HUP);
    until(|| code(&peer, &place, "tok-4") == Some(0));
    assert_eq!(code(&peer, &place, "tok-2"), Some(2));
    fs::remove_file(place.path("tokens")).unwrap();
    peer.send(Signal::HUP);
    assert_eq!(code(&peer, &place, "tok-4"), Some(0));
    peer.send(Signal::TERM);
    let log = peer.ended().done().stderr;
    assert!(log.contains("tokens:2: expected"), "{log}");
    assert!(log.contains("what was read before stays in use"), "{log}");
    for token in ["tok-1", "tok-2", "tok-3", "tok-4"] {
        assert!(!log.contains(token), "{token}: {log}");
    }
}

fn call(args: &[&str]) -> Ended {
    program().args(args).output().unwrap().into()
}

/// A certificate of another authority, and with it other clients; key and certificate that do not fit change nothing.
#[test]
fn certificates_are_read_again() {
    let (old, new) = (Certificates::make(), Certificates::make());
    let place = Place::new();
    let put = |from: &Certificates, names: &[&str]| {
        for name in names {
            fs::copy(from.path(name), place.path(name)).unwrap();
        }
    };
    let all = ["ca.pem", "server.pem", "server.key"];
    put(&old, &all);
    let path = |name: &str| place.path(name).to_str().unwrap().to_owned();
    let (cert, key, ca) = (path("server.pem"), path("server.key"), path("ca.pem"));
    let args = [
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--tls-client-ca",
        &ca,
    ];
    let peer = Peer::start(&place, &args);
    let asked = |who: &Certificates| {
        let path = |name: &str| who.path(name).to_str().unwrap().to_owned();
        let https = format!("https://{}", peer.address());
        call(&[
            "job",
            "ls",
            "--peer",
            &https,
            "--tls-ca",
            &path("ca.pem"),
            "--tls-client-cert",
            &path("client.pem"),
            "--tls-client-key",
            &path("client.key"),
        ])
    };
    asked(&old).done();
    asked(&new).with_code(1);
    put(&new, &["server.pem"]);
    peer.send(Signal::HUP);
    asked(&old).done();
    put(&new, &all);
    until(|| asked(&new).code == Some(0));
    asked(&old).with_code(1);
    peer.send(Signal::TERM);
    let log = peer.ended().done().stderr;
    assert!(
        log.contains("server.key") && log.contains("stays in use"),
        "{log}"
    );
}

/// Beyond this machine metrics take a token, which is read again, too; who lives needs none.
#[test]
fn metrics_beyond_this_machine_take_a_token() {
    let place = Place::new();
    let call = |more: &[&str]| {
        let args = ["worker", "--metrics", "0.0.0.0:0"];
        place.call(&[&args, more].concat())
    };
    call(&[])
        .with_code(2)
        .told(&["--metrics-token-file", "--tokens", "--insecure"]);
    place.write("empty", "");
    call(&["--metrics-token-file", "empty"])
        .with_code(2)
        .told(&["empty:1: expected a token"]);
    assert!(!place.db().exists());

    place.write("scrape", "# Prometheus\none\n");
    let mut address = free_address();
    address.set_ip([0, 0, 0, 0].into());
    let at = address.to_string();
    address.set_ip([127, 0, 0, 1].into());
    let get = |path: &str, token: &str| answered(address, path, token).map_or(0, |told| told.0);
    let worker = Worker::start(
        &place,
        &["--metrics", &at, "--metrics-token-file", "scrape"],
    );
    until(|| get("/healthz", "") == 200);
    assert_eq!(get("/metrics", ""), 401);
    assert_eq!(get("/metrics", "two"), 401);
    assert_eq!(get("/metrics", "one"), 200);
    assert_eq!(get("/nothing", "one"), 404);
    place.write("scrape", "two\n");
    worker.send(Signal::HUP);
    until(|| get("/metrics", "two") == 200);
    assert_eq!(get("/metrics", "one"), 401);
    worker.send(Signal::TERM);
    worker.ended().done();

    // The tokens of gRPC, by their roles.
    place.write("tokens", "metrics scrape-1\nwork work-2\nread read-3\n");
    let worker = Worker::start(&place, &["--metrics", &at, "--tokens", "tokens"]);
    until(|| get("/healthz", "") == 200);
    let codes = ["", "scrape-1", "work-2", "read-3"].map(|token| get("/metrics", token));
    assert_eq!(codes, [401, 200, 403, 200]);
    worker.send(Signal::TERM);
    worker.ended().done();
    let worker = Worker::start(&place, &["--metrics", &at, "--insecure"]);
    until(|| get("/metrics", "") == 200);
    worker.send(Signal::TERM);
    worker.ended().done();
}
