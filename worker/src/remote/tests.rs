//! A client whose peers fall silent.

use std::io::Read;
use std::net::TcpListener;
use std::time::Duration;

use tonic::Code;

use super::connect::{Patience, Remote};
use crate::failure::Failure;
use crate::settings::PeerSettings;

/// Listens, takes whatever is said, and says nothing: how many have connected is not known.
fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut heard = Vec::new();
                stream
                    .and_then(|mut stream| stream.read_to_end(&mut heard))
                    .ok();
            });
        }
    });
    address
}

/// Each peer that says nothing is asked whether it is there, and then the next one is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_fall_silent_are_given_up() {
    let (first, second) = (silent(), silent());
    let peers = PeerSettings {
        addresses: format!("{first},{second}"),
        token: None,
        ca: None,
        certificate: None,
    };
    let patience = Patience {
        asked_apart: Duration::from_millis(100),
        answer_within: Duration::from_millis(200),
        ..Patience::default()
    };
    let mut remote = Remote::with(&peers, patience).unwrap();
    let Err(Failure::Peer { code, message }) = remote.job("any").await else {
        panic!("somebody answered")
    };
    assert_eq!(code, Code::Unavailable);
    for address in [first, second] {
        assert!(message.contains(&address), "{message}");
    }
    assert!(message.starts_with("no peer answers: "), "{message}");
}
