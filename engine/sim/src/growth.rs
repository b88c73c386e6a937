//! The command line of `sim scale`: a swarm that grows over a model of a bucket.

use std::io::Write;
use std::process::ExitCode;

use eciton_sim::scale::bucket::Latencies;
use eciton_sim::scale::{Swarm, Went, run};
use serde_json::{Value, json};

use crate::command::number;

/// A line on stdout; where nobody reads it any more, nothing.
macro_rules! say {
    ($($what:tt)*) => { drop(writeln!(std::io::stdout(), $($what)*)) };
}

pub(crate) const HELP: &str = "\
sim scale [OPTIONS]     lets a swarm grow at one database in a modelled bucket, in virtual time: shards a second,
                        what is asked of storage and bus, and when storage is saturated

  --workers N,N,...     workers in all (default 8,40,200,1000,2500,5000)
  --slots N             workers of one process (default 8)
  --shard-ms N          milliseconds of a shard (default 1000)
  --seconds N           virtual seconds that are measured (default 20)
  --faster X            a bucket X times as fast as S3 Standard, with X times the requests (default 1)
  --bus-ms N            milliseconds of a call to the bus and back (default 1)
  --seed N              decides everything (default 1)
  --json                the last line on stdout is the result as JSON

The same arguments give the same figures, but for `cpu`: the processor time that the simulation took, for each process
and virtual second.";

const WORKERS: [u64; 6] = [8, 40, 200, 1_000, 2_500, 5_000];

/// What is to be simulated.
pub(crate) struct Growth {
    workers: Vec<u64>,
    swarm: Swarm,
    faster: f64,
    json: bool,
    help: bool,
}

impl Growth {
    pub(crate) fn parse(args: &[String]) -> Result<Growth, String> {
        let mut growth = Growth {
            workers: WORKERS.to_vec(),
            swarm: Swarm::default(),
            faster: 1.0,
            json: false,
            help: false,
        };
        let mut args = args.iter().map(String::as_str);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("`{arg}` needs a value"));
            let positive = |text: &str| match number(text)? {
                0 => Err(format!("`{arg}` takes at least 1")),
                number => Ok(number),
            };
            match arg {
                "--workers" => {
                    growth.workers = value()?
                        .split(',')
                        .map(positive)
                        .collect::<Result<_, _>>()?;
                }
                "--slots" => growth.swarm.slots = positive(value()?)?,
                "--shard-ms" => growth.swarm.shard_ms = positive(value()?)?,
                "--seconds" => growth.swarm.seconds = positive(value()?)?,
                "--bus-ms" => growth.swarm.bus_ms = number(value()?)?,
                "--seed" => growth.swarm.seed = number(value()?)?,
                "--faster" => {
                    let text = value()?;
                    let times = text
                        .parse()
                        .ok()
                        .filter(|times: &f64| times.is_finite() && *times > 0.0);
                    growth.faster = times.ok_or(format!("`{text}` is no factor above 0"))?;
                }
                "--json" => growth.json = true,
                "--help" | "-h" => growth.help = true,
                unknown => return Err(format!("no option `{unknown}`")),
            }
        }
        Ok(growth)
    }

    pub(crate) fn run(self) -> ExitCode {
        if self.help {
            say!("{HELP}");
            return ExitCode::SUCCESS;
        }
        let mut lines = Vec::new();
        let head = [
            "workers",
            "processes",
            "shards/s",
            "of ideal",
            "commit ms",
            "slots/s",
            "reads/s",
            "writes/s",
            "saturated",
            "bus calls/s",
            "bus MB/s",
            "wasted/s",
            "lost/s",
            "cpu",
        ];
        eprintln!("{}", head.map(|name| format!("{name:>11}")).concat());
        for workers in &self.workers {
            let swarm = Swarm {
                workers: *workers,
                latencies: Latencies::S3.faster(self.faster),
                ..self.swarm
            };
            match measure(&swarm) {
                Ok((went, cpu)) => {
                    eprintln!("{}", row(&swarm, &went, cpu));
                    lines.extend(as_lines(&swarm, &went, cpu));
                }
                Err(error) => {
                    eprintln!("error: {workers} workers: {error}");
                    return ExitCode::FAILURE;
                }
            }
        }
        if self.json {
            let Swarm {
                seed,
                slots,
                shard_ms,
                seconds,
                bus_ms,
                ..
            } = self.swarm;
            let faster = self.faster;
            let machine = format!(
                "simulated: {slots} workers a process, shards of {shard_ms} ms, S3 Standard times {faster}, bus {bus_ms} ms, {seconds} s, seed {seed}"
            );
            say!(
                "{}",
                json!({"machine": machine, "commit": null, "lines": lines})
            );
        }
        ExitCode::SUCCESS
    }
}

/// What it took of one processor, too, for each process and virtual second; `None` where the system does not tell.
fn measure(swarm: &Swarm) -> Result<(Went, Option<f64>), eciton_engine::base::Error> {
    let begun = cpu_seconds();
    let (went, simulated_s) = run(swarm)?;
    let used = cpu_seconds().zip(begun).map(|(end, begun)| end - begun);
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let cpu = used.map(|used| used / simulated_s / swarm.processes() as f64);
    Ok((went, cpu))
}

/// Seconds that this thread, which does everything, was on a processor, as Linux tells.
fn cpu_seconds() -> Option<f64> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let ns: f64 = told.split_whitespace().next()?.parse().ok()?;
    Some(ns / 1e9)
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn ideal(swarm: &Swarm) -> f64 {
    swarm.workers as f64 * 1e3 / swarm.shard_ms as f64
}

fn row(swarm: &Swarm, went: &Went, cpu: Option<f64>) -> String {
    let cells = [
        swarm.workers.to_string(),
        swarm.processes().to_string(),
        format!("{:.0}", went.shards),
        format!("{:.0} %", 100.0 * went.shards / ideal(swarm)),
        format!("{:.0}", went.commit_ms),
        format!("{:.1}", went.slots),
        format!("{:.0}", went.reads),
        format!("{:.0}", went.writes),
        format!("{:.0} %", 100.0 * went.saturated),
        format!("{:.0}", went.calls),
        format!("{:.1}", went.bus_len / 1e6),
        format!("{:.1}", went.wasted),
        format!("{:.1}", went.conflicts),
        cpu.map_or("-".to_owned(), |cpu| format!("{:.1} %", 100.0 * cpu)),
    ];
    cells.map(|cell| format!("{cell:>11}")).concat()
}

fn as_lines(swarm: &Swarm, went: &Went, cpu: Option<f64>) -> Vec<Value> {
    let line = |name: &str, unit: &str, ours: f64, higher_is_better: bool, floor: Option<f64>| {
        json!({
            "workload": format!("{name}_{}_workers", swarm.workers),
            "unit": unit,
            "higher_is_better": higher_is_better,
            "ours": ours,
            "peers": {},
            "ratio_to_best": null,
            "floor": floor,
        })
    };
    #[allow(clippy::cast_precision_loss, reason = "some thousands")]
    let limit = |a_second: u64| Some(a_second as f64);
    let mut lines = vec![
        line(
            "sim_scale",
            "shards/s",
            went.shards,
            true,
            Some(ideal(swarm)),
        ),
        line("sim_scale_commit", "ms", went.commit_ms, false, None),
        line(
            "sim_scale_reads",
            "requests/s",
            went.reads,
            false,
            limit(swarm.latencies.reads_a_second),
        ),
        line(
            "sim_scale_writes",
            "requests/s",
            went.writes,
            false,
            limit(swarm.latencies.writes_a_second),
        ),
        line(
            "sim_scale_saturated",
            "of the time",
            went.saturated,
            false,
            None,
        ),
        line("sim_scale_bus", "bytes/s", went.bus_len, false, None),
    ];
    lines.extend(cpu.map(|cpu| line("sim_scale_cpu", "of a processor", cpu, false, None)));
    lines
}
