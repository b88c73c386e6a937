//! A job is killed with SIGKILL at random moments and started again; in the end its stores equal those
//! of a job that nobody disturbed.

use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::{Place, aggregation, measurements, upsert};

/// Kills that hit a running process, for each of the two jobs.
const KILLS: u32 = 25;
/// Rows: some sixty shards of 2 KiB.
const ROWS: u32 = 3500;

/// `SplitMix64`: the printed seed gives the same moments again.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

pub(crate) fn seed() -> u64 {
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |t| t.subsec_nanos())
    };
    let given = std::env::var("ECITON_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(now()));
    println!("ECITON_TEST_SEED={seed}");
    seed
}

fn place(job: &str) -> Place {
    let place = Place::new();
    place.write("a.csv", measurements(ROWS));
    place.write("job.toml", job);
    place
}

/// Kills `job` again and again until [`KILLS`] have hit. A database whose job ended in spite of them is
/// compared, and the next one begun.
fn survives(job: &str, store: &str) {
    let mut random = Random(seed());
    let undisturbed = place(job);
    let started = Instant::now();
    undisturbed
        .call(&["run", "job.toml", "--commit-interval", "0s"])
        .done();
    // Beyond the whole run, so that its very end is hit too.
    let moments_us = u64::try_from(started.elapsed().as_micros()).unwrap() * 11 / 10;
    let expected = undisturbed.records(store);
    assert!(expected.lines().count() >= 17, "{expected}");

    let (mut kills, mut databases) = (0, 0);
    while kills < KILLS {
        databases += 1;
        let place = place(job);
        let mut killed_here = 0;
        while kills < KILLS {
            let moment = Duration::from_micros(random.below(moments_us));
            if !killed(&place, moment, killed_here % 3 == 2) {
                break;
            }
            kills += 1;
            killed_here += 1;
        }
        place.call(&["run", "job.toml"]).done();
        let found = place.records(store);
        assert!(
            found == expected,
            "after {killed_here} kills: {found}\nexpected: {expected}"
        );
        place.call(&["db", "verify"]).done();
    }
    println!("{kills} kills over {databases} databases");
}

/// Runs the job and kills it after `moment`; false if it had ended by itself.
fn killed(place: &Place, moment: Duration, patient: bool) -> bool {
    // Shards that commit one by one, so that most kills come between commits; and, every third time, all
    // that a worker computes in half a second together.
    let interval = if patient { "500ms" } else { "0s" };
    let mut command = place.command(&["run", "job.toml", "--commit-interval", interval]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Not a wait for something to happen: the moment itself is what is being tried.
    sleep(moment);
    child.kill().unwrap();
    let status = child.wait().unwrap();
    match status.code() {
        None => true,
        Some(0) => false,
        Some(code) => panic!("the disturbed job ended by itself with {code}"),
    }
}

#[test]
fn an_aggregation_survives_kills() {
    survives(&aggregation("2KiB"), "stations");
}

#[test]
fn an_upsert_survives_kills() {
    survives(&upsert("2KiB"), "levels");
}

/// The answer of a query comes with the end of its job: a kill there leaves neither half of it.
#[test]
fn an_answer_survives_kills() {
    let job = aggregation("2KiB");
    let (head, _) = job.split_once("[transform]").unwrap();
    let sql = "SELECT station, count(*) AS rows, sum(level) AS level_sum, avg(level) AS level_avg, count(DISTINCT note) AS \
               notes, round(sum(flow) / count(flow), 3) AS flow FROM source GROUP BY station HAVING count(*) > 1";
    survives(&format!("{head}[transform]\nsql = \"{sql}\"\n"), "stations");
}
