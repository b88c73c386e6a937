//! Commands that ask a peer: the same words, the same exit codes; whoever is killed, a submitted job is done.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::peer::{Peer, until};
use crate::redis::{Certificates, RedisServer};
use crate::support::{Ended, Place, aggregation, measurements, program, upsert};

const ROWS: u32 = 2000;
const LEASE: &str = "[run]\nlease = \"300ms\"\n";

fn place() -> Place {
    let place = Place::new();
    place.write("a.csv", measurements(ROWS));
    place.write("job.toml", aggregation("2KiB"));
    place
}

/// A call that asks no database, from the place's folder.
fn call(place: &Place, args: &[&str]) -> Ended {
    let mut command = program();
    command.args(args).current_dir(place.path(""));
    command.output().unwrap().into()
}

/// The fields of a job that do not change by themselves.
fn settled(mut job: Value) -> Value {
    job["wall_seconds"] = Value::Null;
    job
}

#[test]
fn commands_say_the_same_over_a_peer() {
    let (undisturbed, place) = (place(), place());
    undisturbed.call(&["run", "job.toml"]).done();
    let peer = Peer::start(&place, &[]);
    assert_eq!(
        peer.call(&place, &["submit", "job.toml"]).done().stdout,
        "stations\n"
    );
    let watched = peer
        .call(&place, &["job", "watch", "stations", "--json"])
        .done();
    let news = watched.json_lines();
    let last = news.last().unwrap();
    assert_eq!(last["state"], "done");
    assert_eq!(last["rows_read"], ROWS);
    let dones: Vec<u64> = news
        .iter()
        .map(|n| n["shards"]["done"].as_u64().unwrap())
        .collect();
    assert!(dones.is_sorted(), "{dones:?}");
    let text = peer.call(&place, &["job", "watch"]).done().stdout;
    assert!(text.contains("stations: done"), "{text}");

    for args in [
        &["job", "ls"][..],
        &["job", "ls", "--json"],
        &["job", "show", "stations"],
        &["job", "show"],
    ] {
        assert_eq!(
            peer.call(&place, args).done().stdout,
            place.call(args).done().stdout,
            "{args:?}"
        );
    }
    let there = peer.call(&place, &["job", "show", "--json"]).done().json();
    assert_eq!(settled(there.clone()), settled(place.job("stations")));
    assert_eq!(there["wall_seconds"], place.job("stations")["wall_seconds"]);
    let again = peer
        .call(&place, &["submit", "job.toml", "--json"])
        .done()
        .json();
    assert_eq!(settled(again), settled(there));

    // What is refused here is refused there, with the same exit code.
    place.write(
        "other.toml",
        aggregation("2KiB").replace("sum(flow)", "max(flow)"),
    );
    let bad = aggregation("2KiB").replace("SELECT", "SELEKT");
    place.write("bad.toml", bad.replace("\"stations\"", "\"bad\""));
    for (args, kind, words) in [
        (&["submit", "other.toml"][..], "job_differs", "merge.values"),
        (
            &["submit", "bad.toml"],
            "invalid",
            "bad.toml:7: key `transform.sql`",
        ),
        (
            &["submit", "absent.toml"],
            "job_file",
            "absent.toml: cannot be read",
        ),
        (
            &["job", "show", "absent"],
            "no_job",
            "expected one of `stations`",
        ),
        (
            &["job", "watch", "absent"],
            "no_job",
            "expected one of `stations`",
        ),
        (&["job", "cancel", "stations"], "job_state", "stations"),
        (&["job", "retry", "stations"], "job_state", "stations"),
    ] {
        let args = [args, &["--json"]].concat();
        let ended = peer.call(&place, &args).with_code(2).told(&[words]);
        assert_eq!(
            ended.json_lines().pop().unwrap()["error"]["kind"],
            kind,
            "{ended:?}"
        );
    }
    assert_eq!(place.records("stations"), undisturbed.records("stations"));
}

#[test]
fn a_job_is_cancelled_and_retried_over_a_peer() {
    let place = place();
    place.call(&["submit", "job.toml"]).done();
    place.call(&["job", "cancel", "stations"]).done();
    let watched = place.call(&["job", "watch", "stations"]).with_code(1);
    watched.told(&["job `stations` is cancelled"]);
    let peer = Peer::start(&place, &[]);
    let cancelled = peer
        .call(&place, &["job", "cancel", "stations", "--json"])
        .done()
        .json();
    assert_eq!(cancelled["state"], "cancelled");
    let retried = peer
        .call(&place, &["job", "retry", "stations", "--json"])
        .done()
        .json();
    assert_eq!(retried["retries"], 1);
    let watched = place.call(&["job", "watch", "--json"]).done().json_lines();
    assert_eq!(watched.last().unwrap()["state"], "done");
    assert_eq!(watched.last().unwrap()["rows_read"], ROWS);
    peer.send(Signal::TERM);
    peer.ended().done();
}

/// The process that took the job is killed right after its answer: it was durable, and others do it.
#[test]
fn whoever_took_a_job_may_be_killed_right_after_its_answer() {
    let undisturbed = place();
    undisturbed.write("job.toml", upsert("2KiB"));
    undisturbed.call(&["run", "job.toml"]).done();
    let redis = RedisServer::start();
    let url = redis.url();
    let shared = ["--redis", url.as_str()];
    let place = place();
    place.write("job.toml", format!("{}{LEASE}", upsert("2KiB")));
    let other = Peer::start(&place, &shared);
    let peer = Peer::start(&place, &shared);
    peer.call(&place, &["submit", "job.toml"]).done();
    drop(peer);
    let watched = other
        .call(&place, &["job", "watch", "levels", "--json"])
        .done();
    let last = watched.json_lines().pop().unwrap();
    assert_eq!(
        (&last["state"], &last["rows_read"]),
        (&Value::from("done"), &Value::from(ROWS))
    );
    assert_eq!(place.records("levels"), undisturbed.records("levels"));
    other.send(Signal::TERM);
    other.ended().done();
    place.call(&["db", "verify"]).done();
}

/// A job that one peer took is told by the others at once.
#[test]
fn any_peer_tells_the_same() {
    let redis = RedisServer::start();
    let url = redis.url();
    let place = place();
    let peers = [0, 1].map(|_| Peer::start(&place, &["--redis", &url]));
    peers[0].call(&place, &["submit", "job.toml"]).done();
    peers[1].call(&place, &["job", "show", "stations"]).done();
    peers[0].call(&place, &["job", "watch", "stations"]).done();
    let jobs = [0, 1].map(|n: usize| {
        peers[n]
            .call(&place, &["job", "show", "--json"])
            .done()
            .json()
    });
    assert_eq!(jobs[0], jobs[1]);
}

/// The first peer that answers is asked, wherever it stands; a watch goes on at another one.
#[test]
fn the_next_peer_is_asked_where_one_does_not_answer() {
    let redis = RedisServer::start();
    let url = redis.url();
    let place = place();
    place.write("job.toml", format!("{}{LEASE}", aggregation("2KiB")));
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let nobody = gone.local_addr().unwrap().to_string();
    drop(gone);
    let (first, second) = (
        Peer::start(&place, &["--redis", &url]),
        Peer::start(&place, &["--redis", &url]),
    );
    let all = format!("{nobody}, http://{},{}", first.address(), second.address());
    call(&place, &["submit", "job.toml", "--peer", &all]).done();
    let mut command = program();
    command.args(["job", "watch", "stations", "--json", "--peer", &all]);
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let watch = command.spawn().unwrap();
    drop(first);
    let watched = Ended::from(watch.wait_with_output().unwrap()).done();
    assert_eq!(watched.json_lines().pop().unwrap()["state"], "done");
    call(&place, &["job", "ls", "--peer", &nobody])
        .with_code(1)
        .told(&["no peer answers", &nobody]);
    for bad in ["ftp://a:1", "a", "http://a:1/x", ","] {
        call(&place, &["job", "ls", "--peer", bad])
            .with_code(2)
            .told(&["--peer", "expected"]);
    }
    call(&place, &["job", "ls", "--peer", &all, "--db", "db"])
        .with_code(2)
        .told(&["--peer", "--db"]);
    call(&place, &["job", "ls", "--token", "x"])
        .with_code(2)
        .told(&["--peer"]);
}

#[test]
fn tokens_say_who_may_do_what() {
    let place = place();
    let tokens = place.write(
        "tokens",
        "# for tests\nread look-1\nread,submit all-2\nwork work-3\n",
    );
    let peer = Peer::start(&place, &["--tokens", tokens.to_str().unwrap()]);
    let with =
        |args: &[&str], token: &str| peer.call(&place, &[args, &["--token", token]].concat());
    let kind = |ended: Ended| ended.json_lines().pop().unwrap()["error"]["kind"].clone();
    let none = peer
        .call(&place, &["job", "ls", "--json"])
        .with_code(2)
        .told(&["token", "ECITON_TOKEN"]);
    assert_eq!(kind(none), "unauthenticated");
    assert_eq!(
        kind(with(&["job", "ls", "--json"], "look-2").with_code(2)),
        "unauthenticated"
    );
    let denied = with(&["submit", "job.toml", "--json"], "look-1")
        .with_code(2)
        .told(&["`submit`"]);
    assert_eq!(kind(denied), "permission_denied");
    assert_eq!(
        kind(with(&["job", "ls", "--json"], "work-3").with_code(2)),
        "permission_denied"
    );
    assert!(!place.job_is_there("stations"));
    with(&["submit", "job.toml"], "all-2").done();
    with(&["job", "watch"], "look-1").done();
    let file = place.write("token", "all-2\n");
    let file = file.to_str().unwrap();
    peer.call(&place, &["job", "ls", "--token-file", file])
        .done();
    let mut command = program();
    command
        .args(["job", "show", "--peer", peer.address()])
        .env("ECITON_TOKEN", "look-1");
    Ended::from(command.output().unwrap()).done();
    peer.send(Signal::TERM);
    let told = peer.ended().done().stderr;
    assert!(!told.contains("look-") && !told.contains("all-2"), "{told}");
}

#[test]
fn tls_keeps_strangers_out() {
    let certificates = Certificates::make();
    let path = |name: &str| certificates.path(name).to_str().unwrap().to_owned();
    let (ca, cert, key) = (path("ca.pem"), path("server.pem"), path("server.key"));
    let (client_cert, client_key) = (path("client.pem"), path("client.key"));
    let place = place();
    let served = ["--tls-cert", &cert, "--tls-key", &key];
    let peer = Peer::start(&place, &served);
    let https = format!("https://{}", peer.address());
    call(
        &place,
        &["submit", "job.toml", "--peer", &https, "--tls-ca", &ca],
    )
    .done();
    // Without an authority of its own it trusts whom this machine trusts; and TLS is not plain text.
    call(&place, &["job", "ls", "--peer", &https])
        .with_code(1)
        .told(&["no peer answers"]);
    peer.call(&place, &["job", "ls"])
        .with_code(1)
        .told(&["no peer answers"]);
    call(
        &place,
        &["job", "ls", "--peer", peer.address(), "--tls-ca", &ca],
    )
    .done();
    drop(peer);

    let peer = Peer::start(&place, &[&served[..], &["--tls-client-ca", &ca]].concat());
    let https = format!("https://{}", peer.address());
    let asked = ["job", "watch", "--peer", &https, "--tls-ca", &ca];
    call(&place, &asked).with_code(1).told(&["no peer answers"]);
    let shown = [
        "--tls-client-cert",
        &client_cert,
        "--tls-client-key",
        &client_key,
    ];
    call(&place, &[&asked[..], &shown].concat()).done();
    // One that another authority has signed.
    let others = Certificates::make();
    let other = |name: &str| others.path(name).to_str().unwrap().to_owned();
    let (cert, key) = (other("client.pem"), other("client.key"));
    let strange = ["--tls-client-cert", &cert, "--tls-client-key", &key];
    call(&place, &[&asked[..], &strange].concat())
        .with_code(1)
        .told(&["no peer answers"]);
}

#[test]
fn listening_beyond_this_machine_takes_tls_and_tokens() {
    let certificates = Certificates::make();
    let path = |name: &str| certificates.path(name).to_str().unwrap().to_owned();
    let (cert, key) = (path("server.pem"), path("server.key"));
    let place = place();
    let tokens = place.write("tokens", "read,submit all\n");
    let tokens = tokens.to_str().unwrap();
    let beyond = ["worker", "--listen", "0.0.0.0:0"];
    let with = |more: &[&str]| place.call(&[&beyond[..], more].concat());
    with(&[]).with_code(2).told(&["--tls-cert", "--insecure"]);
    with(&["--tokens", tokens])
        .with_code(2)
        .told(&["--tls-cert", "--insecure"]);
    let tls = ["--tls-cert", &cert, "--tls-key", &key];
    with(&tls)
        .with_code(2)
        .told(&["--tokens", "--tls-client-ca", "--insecure"]);
    with(&["--tls-cert", &cert])
        .with_code(2)
        .told(&["--tls-key"]);
    with(&["--tls-key", &key])
        .with_code(2)
        .told(&["--tls-cert"]);
    with(&["--tls-client-ca", &cert, "--insecure"])
        .with_code(2)
        .told(&["--tls-client-ca", "--tls-cert"]);
    let unpaired = [
        "--tls-cert",
        &cert,
        "--tls-key",
        &path("client.key"),
        "--tokens",
        tokens,
    ];
    with(&unpaired).with_code(2).told(&["--tls-cert"]);
    with(&[&tls[..], &["--tokens", "absent"]].concat())
        .with_code(2)
        .told(&["absent", "cannot be read"]);
    place.write("bad", "read fine\nsecret\n");
    let ended = with(&[&tls[..], &["--tokens", "bad"]].concat())
        .with_code(2)
        .told(&["bad:2: expected"]);
    assert!(!ended.stderr.contains("secret"), "{ended:?}");
    for bad in ["nonsense", "127.0.0.1", "127.0.0.1:x"] {
        place
            .call(&["worker", "--listen", bad])
            .with_code(2)
            .told(&["--listen", bad]);
    }
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = taken
        .local_addr()
        .map(|address| (taken, address.to_string()))
        .unwrap();
    place
        .call(&["worker", "--listen", &taken.1])
        .with_code(2)
        .told(&[&taken.1, "cannot listen there"]);
    assert!(!place.db().exists(), "a refused call left a database");

    // Safe, and said not to be: both listen. Settings come from the environment and from the file, too.
    for more in [
        &[&tls[..], &["--tokens", tokens]].concat()[..],
        &["--insecure"],
    ] {
        drop(Peer::start_with(
            &place,
            &[&["--listen", "0.0.0.0:0"], more].concat(),
            |_| {},
        ));
    }
    let peer = Peer::start_with(&place, &[], |command: &mut Command| {
        command
            .env("ECITON_LISTEN", "127.0.0.1:0")
            .env("ECITON_TOKENS", tokens);
    });
    peer.call(&place, &["job", "ls"])
        .with_code(2)
        .told(&["token"]);
    drop(peer);
    place.write(
        "eciton.toml",
        "listen = \"127.0.0.1:0\"\ntokens = \"tokens\"\n",
    );
    let peer = Peer::start_with(&place, &[], |_| {});
    peer.call(&place, &["job", "ls"])
        .with_code(2)
        .told(&["token"]);
    peer.call(&place, &["job", "ls", "--token", "all"]).done();
    until(|| place.db().exists());
}
