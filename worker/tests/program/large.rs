//! Answers as large as they get, to clients of any language that were left as they are: those take 4 MiB.

use std::collections::BTreeSet;

use eciton_proto::limits::RESPONSE_LEN_MAX;
use eciton_proto::prost::Message;
use eciton_proto::v1::{GetJobRequest, JobView, PullRequest, SubmitJobRequest};

use crate::peer::{Peer, block_on, submission};
use crate::support::{Place, aggregation, measurements};

/// Bytes of the SQL of a job: four of them fit into an answer, five do not.
const SQL_LEN: usize = 1_000_000;

/// A job whose SQL is long.
fn wordy(place: &Place, name: &str) -> SubmitJobRequest {
    let words = " ".repeat(SQL_LEN);
    let text = aggregation("2KiB")
        .replace("\"stations\"", &format!("\"{name}\""))
        .replace(" FROM source", &format!("{words}FROM source"));
    submission(place, &text)
}

#[test]
fn a_client_of_four_mebibytes_takes_every_answer() {
    let place = Place::new();
    place.write("a.csv", measurements(20));
    let peer = Peer::start(&place, &["--slots", "0"]);
    let names = ["a", "b", "c", "d", "e"];
    block_on(async {
        let (mut client, mut puller) = (peer.client().await, peer.puller().await);
        for name in names {
            client.submit_job(wordy(&place, name)).await.unwrap();
            let request = GetJobRequest {
                name: name.to_owned(),
                view: JobView::Spec.into(),
            };
            let answer = client.get_job(request).await.unwrap().into_inner();
            assert!(answer.encoded_len() > SQL_LEN);
        }
        // Of all five as many as fit; the others are in the next answer.
        let mut pulled = BTreeSet::new();
        for fit in [4, 1] {
            let request = PullRequest {
                tasks_max: 64,
                ..PullRequest::default()
            };
            let answer = puller.pull(request).await.unwrap().into_inner();
            let found = answer.encoded_len();
            assert_eq!(answer.jobs.len(), fit, "{found} bytes");
            assert!((fit * SQL_LEN..=RESPONSE_LEN_MAX).contains(&found));
            assert!(!answer.tasks.is_empty());
            pulled.extend(answer.jobs.into_iter().map(|job| job.name));
        }
        assert!(pulled.iter().eq(&names), "{pulled:?}");
    });
    // The program's own client, too.
    let shown = peer.call(&place, &["job", "show", "e", "--json"]).done();
    assert_eq!(shown.json()["state"], "running");
}
