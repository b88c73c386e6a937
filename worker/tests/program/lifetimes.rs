//! How long the series of a job are told.

use std::net::TcpStream;

use rustix::process::Signal;

use crate::peer::until;
use crate::support::{Place, aggregation, measurements};
use crate::swarm::{Worker, free_address, scraped, wait_for};

/// They are there as long as the job is open and a while longer, are dropped then, and come back with a retry; what
/// belongs to no job stays.
#[test]
fn series_of_a_job_end_with_it_and_come_back() {
    let place = Place::new();
    place.write("a.csv", measurements(500));
    place.write("job.toml", aggregation("2KiB"));
    // One shard fails, so that there is something to retry.
    let broken = measurements(500).replacen("\n40,", "\n40,x,y,", 1);
    place.write("a.csv", &broken);
    place.call(&["submit", "job.toml"]).done();
    let address = free_address();
    let at = address.to_string();
    let worker = Worker::start(&place, &["--metrics", &at, "--metrics-keep", "300ms"]);
    until(|| TcpStream::connect(address).is_ok());
    let has_series = || scraped(address).contains("job=\"stations\"");
    until(has_series);
    until(|| place.job("stations")["state"] == "failed");
    until(|| !has_series());
    let told = scraped(address);
    assert!(told.contains("\neciton_commits_total{"), "{told}");
    worker.send(Signal::TERM);
    worker.ended().done();

    place.write("a.csv", measurements(500));
    place
        .call(&["job", "retry", "stations", "--record-only"])
        .done();
    let worker = Worker::start(&place, &["--metrics", &at, "--metrics-keep", "1h"]);
    wait_for(&place, &["stations"]);
    let told = scraped(address);
    let done = "eciton_shards_total{job=\"stations\",state=\"done\"} 1";
    assert!(told.contains(done), "{told}");
    assert!(told.contains("# HELP eciton_shards_total "), "{told}");
    worker.send(Signal::TERM);
    worker.ended().done();
}
