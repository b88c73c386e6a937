//! What metrics cost: the same job of empty shards with and without them, in turns.
//!
//! Four sides: workers without metrics, twice (what the two differ by is noise), with `--metrics`, and with somebody who
//! scrapes each worker every second. Each turn has them in another order. Throughput is what users see; the CPU time of
//! all processes is what a machine that does other work, too, disturbs less.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use eciton_compare::report::{Line, median};
use eciton_compare::usage::cpu_seconds_of;

use crate::place::{Place, Worker};
use crate::swarm::job_file;

/// Shards where nothing else is said: enough for some seconds, so that a scrape or two count.
pub(crate) const SHARDS: u64 = 50_000;
const WORKERS: usize = 2;
/// Time between two scrapes: more often than anybody would.
const SCRAPED_APART: Duration = Duration::from_secs(1);
const JOB: &str = "nothing";

/// How the workers are started, and watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Off,
    OffAgain,
    On,
    Scraped,
}

const SIDES: [Side; 4] = [Side::Off, Side::On, Side::OffAgain, Side::Scraped];

/// What one run took.
#[derive(Clone, Copy, Debug)]
struct Measured {
    seconds: f64,
    cpu_seconds: f64,
}

/// All sides, in turn.
pub(crate) fn measure(shards: u64, runs: usize) -> Result<Vec<Line>, String> {
    let mut measured: Vec<(Side, Measured)> = Vec::new();
    for turn in 0..runs {
        for place in 0..SIDES.len() {
            let side = SIDES[(turn + place) % SIDES.len()];
            let run = run(side, shards)?;
            eprintln!("turn {turn}: {side:?} {run:?}");
            measured.push((side, run));
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "counts of one measurement")]
    let count = shards as f64;
    let of = |side: Side, value: &dyn Fn(&Measured) -> f64| {
        let runs = measured.iter().filter(|(of, _)| *of == side);
        median(runs.map(|(_, run)| value(run)).collect())
    };
    let line = |name: &str, side, unit, higher_is_better, value: &dyn Fn(&Measured) -> f64| Line {
        workload: format!("{name}_{shards}_shards_{WORKERS}_workers"),
        unit,
        higher_is_better,
        ours: Some(of(side, value)),
        peers: vec![("without", of(Side::Off, value))],
        floor: None,
    };
    let mut lines = Vec::new();
    for (name, side) in [
        ("metrics_noise", Side::OffAgain),
        ("metrics_on", Side::On),
        ("metrics_scraped", Side::Scraped),
    ] {
        let speed = |run: &Measured| count / run.seconds;
        lines.push(line(name, side, "shards/s", true, &speed));
        let cpu = |run: &Measured| run.cpu_seconds * 1e6 / count;
        let name = format!("{name}_cpu");
        lines.push(line(&name, side, "us/shard", false, &cpu));
    }
    Ok(lines)
}

fn run(side: Side, shards: u64) -> Result<Measured, String> {
    let place = Place::new()?;
    // Workers that have opened the database.
    place.submit(&job_file("warm", 2))?;
    let mut workers: Vec<Worker> = Vec::new();
    let mut scrapers: Vec<Scraper> = Vec::new();
    for _ in 0..WORKERS {
        let address = free_address()?;
        let at = address.to_string();
        let more: &[&str] = match side {
            Side::Off | Side::OffAgain => &[],
            Side::On | Side::Scraped => &["--metrics", &at],
        };
        workers.push(place.worker(more)?);
        if side == Side::Scraped {
            scrapers.push(Scraper::start(address));
        }
    }
    place.wait_for("warm", 2)?;
    let processes = workers.iter().map(Worker::id);
    let processes: Vec<u32> = processes.chain([place.redis().id()]).collect();
    let cpu = || processes.iter().map(|id| cpu_seconds_of(*id)).sum::<f64>();
    place.submit(&job_file(JOB, shards))?;
    // From the first shard, so that starting `submit` is not measured.
    place.wait_for(JOB, 1)?;
    let (began, before) = (Instant::now(), cpu());
    place.wait_looking(JOB, shards, Duration::from_millis(20))?;
    let measured = Measured {
        seconds: began.elapsed().as_secs_f64(),
        cpu_seconds: cpu() - before,
    };
    for scraper in scrapers {
        let scrapes = scraper.end();
        if scrapes == 0 {
            return Err("a worker was never scraped".to_owned());
        }
    }
    Ok(measured)
}

/// An address at which nobody listens.
fn free_address() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address.map_err(|error| error.to_string())
}

/// Scrapes a worker until it is ended, as Prometheus would.
struct Scraper {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<u32>,
}

impl Scraper {
    fn start(address: SocketAddr) -> Scraper {
        let ends = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            let mut scrapes = 0;
            while !is_over.load(Ordering::SeqCst) {
                // Before it listens it is not there.
                let has_some = scrape(address).is_ok_and(|page| page.contains("eciton_build_info"));
                scrapes += u32::from(has_some);
                std::thread::park_timeout(match has_some {
                    true => SCRAPED_APART,
                    false => SCRAPED_APART / 50,
                });
            }
            scrapes
        });
        Scraper { ends, thread }
    }

    /// Gives how often there was something.
    fn end(self) -> u32 {
        self.ends.store(true, Ordering::SeqCst);
        self.thread.thread().unpark();
        self.thread.join().unwrap_or(0)
    }
}

fn scrape(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    Ok(page)
}
