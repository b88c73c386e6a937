//! Failures that say what is meant.

use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use crate::peer::Peer;
use crate::redis::Certificates;
use crate::support::{Ended, Place, program};

fn call(args: &[&str]) -> Ended {
    program().args(args).output().unwrap().into()
}

/// An address without the right scheme, and a certificate that the peer does not take, are told as that.
#[test]
fn a_peer_that_is_called_wrongly_is_told_as_that() {
    let (own, others) = (Certificates::make(), Certificates::make());
    let path = |of: &Certificates, name: &str| of.path(name).to_str().unwrap().to_owned();
    let (ca, cert, key) = (
        path(&own, "ca.pem"),
        path(&own, "server.pem"),
        path(&own, "server.key"),
    );
    let place = Place::new();
    let args = [
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--tls-client-ca",
        &ca,
    ];
    let peer = Peer::start(&place, &args);
    peer.call(&place, &["job", "ls"])
        .with_code(1)
        .told(&["no peer answers", "it speaks TLS: write https://"]);
    let https = format!("https://{}", peer.address());
    let (client, secret) = (path(&others, "client.pem"), path(&others, "client.key"));
    let shown = ["--tls-client-cert", &client, "--tls-client-key", &secret];
    let asked = ["job", "ls", "--peer", &https, "--tls-ca", &ca];
    call(&[&asked[..], &shown].concat()).with_code(1).told(&[
        "no peer answers",
        "it refused the certificate",
        "--tls-client-ca",
    ]);
    drop(peer);
    let peer = Peer::start(&place, &[]);
    let https = format!("https://{}", peer.address());
    call(&["job", "ls", "--peer", &https, "--tls-ca", &ca])
        .with_code(1)
        .told(&["it does not speak TLS: write http://"]);
}

#[test]
fn files_of_tokens_are_told_as_what_they_are() {
    let place = Place::new();
    let tokens = place.write("tokens", "\u{feff}read one\n");
    let peer = Peer::start(&place, &["--tokens", tokens.to_str().unwrap()]);
    place.write("empty", "\n");
    peer.call(&place, &["job", "ls", "--token-file", "empty"])
        .with_code(2)
        .told(&["empty: expected a token, found an empty file"]);
    place.write("marked", "\u{feff}one\r\n");
    peer.call(&place, &["job", "ls", "--token-file", "marked"])
        .done();
    peer.send(Signal::TERM);
    peer.ended().done();
}

/// What lies in the folder of a database belongs to it.
#[test]
fn copies_are_not_made_inside_the_database() {
    let place = Place::new();
    place.call(&["put", "s", "k", "1", "--create"]).done();
    std::os::unix::fs::symlink(place.db(), place.path("way")).unwrap();
    for folder in ["db/copies", "db", "way/copies", "db/log/x/y"] {
        for command in ["backup", "publish"] {
            place
                .call(&["db", command, folder])
                .with_code(2)
                .told(&[folder, "choose a folder outside of it"]);
        }
    }
    assert!(!place.path("db/copies").exists());
    place.call(&["db", "backup", "beside"]).done();
    place.call(&["db", "publish", "published"]).done();
}

/// Somebody else's database: by a user without rights, which root can become.
#[test]
fn a_database_of_somebody_else_is_told_with_its_owner() {
    if !rustix::process::geteuid().is_root() {
        // Nobody else's files can be made by others.
        return;
    }
    let place = Place::new();
    place.call(&["put", "s", "k", "1", "--create"]).done();
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&place.path(""), 0o755);
    let as_nobody = |args: &[&str]| {
        use std::os::unix::process::CommandExt;
        let call = place.command(args);
        // The program itself may lie where only root gets to.
        let copy = place.path("program");
        if !copy.exists() {
            std::fs::copy(call.get_program(), &copy).unwrap();
        }
        let mut command = std::process::Command::new(copy);
        command.args(call.get_args()).uid(65534).gid(65534);
        Ended::from(command.current_dir(place.path("")).output().unwrap())
    };
    as_nobody(&["scan", "s"]).done();
    let db = place.db();
    let db = db.to_str().unwrap();
    as_nobody(&["put", "s", "k", "2"]).with_code(1).told(&[
        db,
        "belongs to user `root`",
        "commands that only read work",
    ]);
    mode(&place.db(), 0o700);
    as_nobody(&["db", "verify"])
        .with_code(1)
        .told(&[db, "belongs to user `root`"]);
}
