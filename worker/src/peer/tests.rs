//! A server in this process, and what its connections may and may not do: real sockets, with short times.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use eciton_engine::{Db, Options};
use eciton_jobs::run::{CancellationToken, Leases};
use eciton_jobs::source::Reach;
use eciton_proto::limits::{WORKER_LEN_MAX, WORKERS_PAGE_MAX};
use eciton_proto::prost::Message;
use eciton_proto::v1::swarm_client::SwarmClient;
use eciton_proto::v1::{ListWorkersRequest, Worker, WorkerJob};
use tempfile::TempDir;
use tonic::transport::Channel;

use super::connections::Bounds;
use super::server::{Listener, Serving};
use super::{Activity, Peer};
use crate::flags::CONNECTIONS_DEFAULT;
use crate::settings::Listen;

/// What begins HTTP/2, and settings, all left as they are.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// Longer than any test takes: what has these bounds is not what ends a connection.
const NEVER: Duration = Duration::from_hours(1);
const SOON: Duration = Duration::from_millis(200);

fn patient() -> Bounds {
    Bounds {
        connections: CONNECTIONS_DEFAULT,
        begin_within: NEVER,
        asked_apart: NEVER,
        answer_within: NEVER,
    }
}

struct Served {
    db: Db,
    _serving: Serving,
    address: SocketAddr,
    _dir: TempDir,
}

async fn serve(bounds: Bounds) -> Served {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        create: true,
        ..Options::default()
    };
    let db = Db::open(&dir.path().join("db"), options).await.unwrap();
    let listen = Listen {
        address: "127.0.0.1:0".to_owned(),
        advertise: None,
        connections: bounds.connections,
        certificate: None,
        client_ca: None,
        tokens: None,
        insecure: false,
    };
    let listener = Listener::bind_within(&listen, bounds).unwrap();
    let address = listener.address();
    let stop = CancellationToken::new();
    let activity = Arc::new(Activity::default());
    let peer = Peer::new(
        &db,
        None,
        0,
        activity,
        Leases::new(),
        Reach::anywhere(),
        stop.clone(),
    );
    Served {
        db,
        _serving: listener.serve(peer, stop).unwrap(),
        address,
        _dir: dir,
    }
}

impl Served {
    /// A connection on which nothing was said yet.
    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).unwrap()
    }

    async fn client(&self) -> Result<SwarmClient<Channel>, tonic::transport::Error> {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        Ok(SwarmClient::new(endpoint.connect().await?))
    }

    /// A client whose connection was taken, and that is answered on it.
    async fn answered(&self) -> Option<SwarmClient<Channel>> {
        let mut client = self.client().await.ok()?;
        answers(&mut client).await.then_some(client)
    }
}

async fn answers(client: &mut SwarmClient<Channel>) -> bool {
    client
        .list_workers(ListWorkersRequest::default())
        .await
        .is_ok()
}

/// Waits until the other side has closed.
async fn closed(mut stream: TcpStream) {
    let reading = tokio::task::spawn_blocking(move || {
        stream
            .set_read_timeout(Some(Duration::from_mins(2)))
            .unwrap();
        let mut told = Vec::new();
        match stream.read_to_end(&mut told) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => panic!("{error}"),
            _ => {}
        }
    });
    reading.await.unwrap();
}

/// The last place is taken, one more connection is closed at once, and a place that was given back is taken again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_as_many_connections_as_there_is_room_for() {
    let served = serve(Bounds {
        connections: 2,
        ..patient()
    })
    .await;
    let mut first = served.answered().await.unwrap();
    let second = served.connect();
    // Taken in the order in which they came.
    for _ in 0..3 {
        closed(served.connect()).await;
        assert!(served.answered().await.is_none());
    }
    assert!(answers(&mut first).await, "those that are there stay");
    drop(second);
    let third = loop {
        if let Some(third) = served.answered().await {
            break third;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    closed(served.connect()).await;
    drop((first, third));
    while served.answered().await.is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whoever says nothing, or does not come to an end of his first words, gives his place back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_begin_is_not_kept() {
    let served = serve(Bounds {
        connections: 2,
        begin_within: SOON,
        ..patient()
    })
    .await;
    let silent = served.connect();
    let mut slow = served.connect();
    slow.write_all(&PREFACE[..10]).unwrap();
    for taken in [silent, slow] {
        closed(taken).await;
    }
    // Whoever has begun has all the time.
    let mut client = loop {
        if let Some(client) = served.answered().await {
            break client;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    tokio::time::sleep(3 * SOON).await;
    assert!(answers(&mut client).await);
}

/// A client that spoke HTTP/2 and does not answer any more, as one that was stopped or whose network is gone, is given
/// up; one that answers stays, however long nothing else happens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_answer_is_given_up() {
    let asking = Bounds {
        asked_apart: SOON,
        // Long enough for one that answers, on a machine that has much to do.
        answer_within: 25 * SOON,
        ..patient()
    };
    let served = serve(asking).await;
    let mut live = served.answered().await.unwrap();
    let mut silent = served.connect();
    silent.write_all(PREFACE).unwrap();
    silent.write_all(&SETTINGS).unwrap();
    // One whom HTTP/2 asks nothing yet: its settings are cut.
    let mut cut = served.connect();
    cut.write_all(PREFACE).unwrap();
    cut.write_all(&SETTINGS[..4]).unwrap();
    tokio::join!(closed(silent), closed(cut));
    assert!(answers(&mut live).await);
}

/// A page of as many workers as there may be on one, each as long as it may be, is taken by a client that was left as it
/// is; nobody is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_long_workers_fit_everywhere() {
    let served = serve(patient()).await;
    let count = WORKERS_PAGE_MAX as usize + 10;
    let worker = |n: usize| {
        let mut worker = Worker {
            id: format!("{n:08}"),
            ..Worker::default()
        };
        let job = |len: usize| WorkerJob {
            name: "x".repeat(len),
            running: 1,
            ..WorkerJob::default()
        };
        worker.jobs = vec![job(WORKER_LEN_MAX - 100)];
        let left = WORKER_LEN_MAX - worker.encoded_len();
        worker.jobs = vec![job(WORKER_LEN_MAX - 100 + left)];
        assert_eq!(worker.encoded_len(), WORKER_LEN_MAX);
        worker
    };
    for n in 0..count {
        let worker = worker(n);
        let note = worker.encode_to_vec().into();
        served.db.announce(&worker.id, note, 3_600_000).await;
    }
    let mut client = served.answered().await.unwrap();
    // What was heard before is used for a moment.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (mut found, mut page_token, mut largest) = (Vec::new(), String::new(), 0);
    loop {
        let request = ListWorkersRequest {
            page_size: u32::MAX,
            page_token,
        };
        let page = client.list_workers(request).await.unwrap().into_inner();
        largest = largest.max(page.encoded_len());
        let ids = page.workers.into_iter().map(|worker| worker.id);
        found.extend(ids.filter(|id| id.len() == 8));
        if page.next_page_token.is_empty() {
            break;
        }
        page_token = page.next_page_token;
    }
    let expected: Vec<String> = (0..count).map(|n| format!("{n:08}")).collect();
    assert_eq!(found, expected);
    assert!(largest > 2_000_000, "{largest} bytes");
}
