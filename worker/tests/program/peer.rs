//! Workers that serve gRPC, and clients of them.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use eciton_proto::v1::shards_client::ShardsClient;
use eciton_proto::v1::swarm_client::SwarmClient;
use eciton_proto::v1::{JobFile, SubmitJobRequest};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::support::{Ended, Place, program};

/// A worker that listens at a free port; killed where a test ends early.
pub(crate) struct Peer {
    child: Option<Child>,
    log: Option<JoinHandle<String>>,
    address: String,
}

impl Peer {
    /// A worker of the place's database, with one slot where nothing else is said, and these arguments more.
    pub(crate) fn start(place: &Place, more: &[&str]) -> Peer {
        Peer::start_with(
            place,
            &[&["--listen", "127.0.0.1:0"], more].concat(),
            |_| {},
        )
    }

    /// The same, listening where the arguments or the settings say. Jobs that are submitted to it read what lies in the
    /// place.
    pub(crate) fn start_with(
        place: &Place,
        args: &[&str],
        configure: impl FnOnce(&mut Command),
    ) -> Peer {
        let root = place.path("");
        let args = [args, &["--data-root", root.to_str().unwrap()]].concat();
        Peer::start_bare(place, &args, configure)
    }

    /// The same, without leave to read anything.
    pub(crate) fn start_bare(
        place: &Place,
        args: &[&str],
        configure: impl FnOnce(&mut Command),
    ) -> Peer {
        let few = ["worker", "--create", "--commit-interval", "20ms"];
        let slots = match args.contains(&"--slots") {
            true => &[][..],
            false => &["--slots", "1"],
        };
        let mut command = place.command(&[&few, slots, args].concat());
        configure(&mut command);
        Peer::start_by(command)
    }

    /// A worker by a command that gets its arguments; it listens where they say.
    pub(crate) fn start_as(mut command: Command, place: &Place, args: &[&str]) -> Peer {
        command.args(["worker", "--create", "--slots", "1"]);
        command.args(args);
        command.arg("--db").arg(place.db());
        command.arg("--data-root").arg(place.path(""));
        Peer::start_by(command)
    }

    fn start_by(mut command: Command) -> Peer {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut told = String::new();
        let address = loop {
            let before = told.len();
            let len = stderr.read_line(&mut told).unwrap();
            assert!(len > 0, "it does not listen: {told}");
            if let Some((_, address)) = told[before..].split_once("listening on ") {
                // In a log for programs a quotation mark follows.
                let address = address.trim().split('"').next();
                break address.unwrap_or_default().to_owned();
            }
        };
        // Read to the end, so that it never waits for a reader.
        let log = spawn(move || {
            stderr.read_to_string(&mut told).unwrap();
            told
        });
        Peer {
            child: Some(child),
            log: Some(log),
            address,
        }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn send(&self, signal: Signal) {
        let id = self.child.as_ref().unwrap().id();
        let pid = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// How it ended, once it has.
    pub(crate) fn ended(mut self) -> Ended {
        let output = self.child.take().unwrap().wait_with_output().unwrap();
        Ended {
            stderr: self.log.take().unwrap().join().unwrap(),
            ..output.into()
        }
    }

    /// Calls the program, which asks this peer.
    pub(crate) fn call(&self, place: &Place, args: &[&str]) -> Ended {
        let mut command = program();
        command.args(args).args(["--peer", &self.address]);
        command.current_dir(place.path(""));
        command.output().unwrap().into()
    }

    /// A client of this peer.
    pub(crate) async fn client(&self) -> SwarmClient<Channel> {
        SwarmClient::new(self.channel().await)
    }

    /// A client that takes shards.
    pub(crate) async fn puller(&self) -> ShardsClient<Channel> {
        ShardsClient::new(self.channel().await)
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect().await.unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// Waits for a future on a runtime of its own.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    Runtime::new().unwrap().block_on(work)
}

/// The code and the message of a refusal.
pub(crate) fn refused<T>(answer: Result<Response<T>, Status>) -> (Code, String) {
    match answer {
        Ok(_) => panic!("it was not refused"),
        Err(status) => (status.code(), status.message().to_owned()),
    }
}

/// A job file of the place.
pub(crate) fn submission(place: &Place, text: &str) -> SubmitJobRequest {
    SubmitJobRequest {
        file: Some(JobFile {
            name: "job.toml".to_owned(),
            text: text.to_owned(),
            directory: place.path("").to_str().unwrap().to_owned(),
            contents: Vec::new(),
        }),
        check_only: false,
    }
}

/// Waits until a condition holds; whoever runs the tests ends one that never does.
pub(crate) fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        sleep(Duration::from_millis(20));
    }
}
