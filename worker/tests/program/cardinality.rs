//! How many series a worker tells, however many jobs there are.

use crate::peer::{Peer, block_on, submission, until};
use crate::support::Place;
use crate::swarm::{free_address, scraped};

const JOBS: usize = 300;
/// What the page on metrics promises.
const SERIES_MAX: usize = 2000;

#[test]
fn three_hundred_jobs_make_fewer_than_two_thousand_series() {
    let place = Place::new();
    let address = free_address();
    let peer = Peer::start(&place, &["--metrics", &address.to_string(), "--slots", "2"]);
    let job = |number: usize| {
        format!(
            "name = \"job-{number}\"\n[source]\nformat = \"range\"\nfrom = 0\nto = 10\nshard_len = 10\n\
             [merge]\nstore = \"sums\"\nkey = [\"i\"]\ninto_existing = true\n[merge.values]\nn = \"count()\"\n"
        )
    };
    block_on(async {
        let mut client = peer.client().await;
        for number in 0..JOBS {
            let submitted = client.submit_job(submission(&place, &job(number))).await;
            submitted.unwrap();
        }
    });
    let last = format!("job-{}", JOBS - 1);
    for number in (0..JOBS).rev() {
        until(|| place.job(&format!("job-{number}"))["state"] == "done");
        if number < JOBS - 20 {
            break;
        }
    }
    let mut series = 0;
    // The last of them has just ended, so its series are there.
    until(|| {
        let told = scraped(address);
        let lines = told.lines().filter(|line| line.starts_with("eciton_"));
        series = lines.count();
        told.contains(&format!("job=\"{last}\",state=\"done\"}} 1"))
    });
    eprintln!("{series} series after {JOBS} jobs");
    assert!(series > 500, "{series} series: jobs have none");
    assert!(series < SERIES_MAX, "{series} series after {JOBS} jobs");
}
