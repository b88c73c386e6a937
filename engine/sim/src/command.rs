//! The command line of `sim`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Instant;

use eciton_engine::base::{Mutant, Rare};
use eciton_sim::campaign::{Campaign, Summary};
use eciton_sim::fault::FaultKind;
use eciton_sim::outcome::{Outcome, Run, run_seed};
use eciton_sim::scenario::Scenario;
use eciton_sim::shrink::shrink;
use eciton_sim::trace::TraceMode;

/// A line on stdout; where nobody reads it any more, nothing.
macro_rules! say {
    ($($what:tt)*) => { drop(writeln!(std::io::stdout(), $($what)*)) };
}

pub(crate) const HELP: &str = "\
sim --seeds N [--from S] [--jobs J]     runs N seeds; the last line is `seeds N violations V`
sim --seed S [--like L] [--trace]       replays one, with the settings of seed L
sim --mutants [NAME...] [--seeds N]     breaks one rule at a time until a seed catches it
sim scale                               lets a swarm grow over a model of a bucket; `sim scale --help`

  --scenario standalone|clustered|twins instead of each seed's own
  --no-steer                            every seed has settings of its own: none takes over those of one that
                                        reached what few reach
  --mutant NAME                         breaks a rule in the seeds that are run or replayed
  --faults                              tells how often each kind of fault was injected
  --no-shrink                           prints the first failure with all of its faults

Exit code: 0, 1 where a promise was broken or a mutant missed, 2 for a call that makes no sense.";

const SEEDS: u64 = 1_000;
const MUTANT_SEEDS: u64 = 10_000;
const SHRINK_RUNS_MAX: usize = 400;

/// What is to be done.
#[derive(Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "options of a command line, each on or off"
)]
pub(crate) struct Command {
    seeds: Option<u64>,
    from: u64,
    jobs: Option<usize>,
    seed: Option<u64>,
    like: Option<u64>,
    no_steer: bool,
    trace: bool,
    /// Empty means all.
    mutants: Option<Vec<Mutant>>,
    mutant: Option<Mutant>,
    scenario: Option<Scenario>,
    faults: bool,
    no_shrink: bool,
    help: bool,
}

impl Command {
    pub(crate) fn parse(args: &[String]) -> Result<Command, String> {
        let mut command = Command::default();
        let mut args = args.iter().map(String::as_str).peekable();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("`{arg}` needs a value"));
            match arg {
                "--seeds" => command.seeds = Some(number(value()?)?),
                "--from" => command.from = number(value()?)?,
                "--jobs" => {
                    let jobs = number(value()?)?;
                    command.jobs = Some(usize::try_from(jobs).unwrap_or(1).max(1));
                }
                "--seed" => command.seed = Some(number(value()?)?),
                "--like" => command.like = Some(number(value()?)?),
                "--no-steer" => command.no_steer = true,
                "--trace" => command.trace = true,
                "--faults" => command.faults = true,
                "--no-shrink" => command.no_shrink = true,
                "--mutant" => command.mutant = Some(mutant(value()?)?),
                "--scenario" => command.scenario = Some(scenario(value()?)?),
                "--help" | "-h" => command.help = true,
                "--mutants" => {
                    let mut names = Vec::new();
                    while let Some(name) = args.next_if(|next| !next.starts_with("--")) {
                        names.push(mutant(name)?);
                    }
                    command.mutants = Some(names);
                }
                unknown => return Err(format!("no option `{unknown}`")),
            }
        }
        Ok(command)
    }

    pub(crate) fn run(self) -> ExitCode {
        if self.help {
            say!("{HELP}");
            return ExitCode::SUCCESS;
        }
        let passed = match (&self.mutants, self.seed) {
            (Some(names), _) => self.run_mutants(names),
            (None, Some(seed)) => self.replay(seed),
            (None, None) => self.run_seeds(),
        };
        if passed {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    fn campaign(&self, seeds: u64, mutant: Option<Mutant>) -> Campaign {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        Campaign {
            from: self.from,
            seeds,
            jobs: self.jobs.unwrap_or_else(cores),
            mutant,
            scenario: self.scenario,
            stops_early: mutant.is_some(),
            steers: !self.no_steer,
        }
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "a measurement for people, outside of every run"
    )]
    fn run_seeds(&self) -> bool {
        let campaign = Campaign {
            stops_early: false,
            ..self.campaign(self.seeds.unwrap_or(SEEDS), self.mutant)
        };
        say!("from seed {}", campaign.from);
        let start = Instant::now();
        let is_terminal = std::io::stderr().is_terminal();
        let summary = campaign.run(|done, violations| {
            if is_terminal && done.is_multiple_of(50) {
                eprint!(
                    "\r{done} of {} seeds, {violations} violations",
                    campaign.seeds
                );
            }
        });
        if is_terminal {
            eprintln!();
        }
        let seconds = start.elapsed().as_secs_f64();
        if self.faults {
            print_faults(&summary);
        }
        if let Some(first) = summary.violations.values().next() {
            self.print_failure(first);
        }
        print_kinds(&summary);
        print_rare(&summary);
        #[allow(clippy::cast_precision_loss, reason = "for people")]
        let (seeds, steps) = (summary.seeds as f64, summary.steps as f64);
        say!(
            "{:.0} seeds/s, {:.0} steps a seed, {seconds:.1} s",
            seeds / seconds,
            steps / seeds.max(1.0)
        );
        let violations = summary.violations.len();
        say!("seeds {} violations {violations}", summary.seeds);
        violations == 0
    }

    fn run_once(&self, seed: u64, trace: TraceMode) -> Outcome {
        run_seed(&Run {
            seed,
            like: self.like,
            mutant: self.mutant,
            scenario: self.scenario,
            trace,
            ..Run::default()
        })
    }

    fn replay(&self, seed: u64) -> bool {
        let mode = if self.trace {
            TraceMode::Full
        } else {
            TraceMode::Off
        };
        let outcome = self.run_once(seed, mode);
        let mut out = std::io::BufWriter::new(std::io::stdout());
        for line in &outcome.trace {
            drop(writeln!(out, "{line}"));
        }
        drop(out);
        if outcome.violation.is_some() {
            self.print_failure(&outcome);
        }
        let violations = u8::from(outcome.violation.is_some());
        say!("{} steps, {} faults", outcome.steps, outcome.faults.len());
        say!("seeds 1 violations {violations}");
        outcome.violation.is_none()
    }

    /// The seed, what was broken, and a few faults that are enough.
    fn print_failure(&self, outcome: &Outcome) {
        let Outcome { seed, like, .. } = *outcome;
        if let Some(violation) = &outcome.violation {
            say!("seed {seed}: {violation}");
        }
        say!("replay: sim {}", self.replaying(seed, like));
        let shrunk = if self.no_shrink {
            outcome.clone()
        } else {
            shrink(outcome.clone(), SHRINK_RUNS_MAX, |suppressed| {
                run_seed(&Run {
                    seed,
                    like,
                    mutant: self.mutant,
                    scenario: self.scenario,
                    suppressed: suppressed.clone(),
                    ..Run::default()
                })
            })
        };
        let (few, all) = (shrunk.active().count(), outcome.active().count());
        if let Some(violation) = &shrunk.violation {
            say!("with {few} of {all} faults: {violation}");
        }
        for fault in shrunk.active() {
            say!("  {fault}");
        }
    }

    /// The arguments that replay a seed.
    fn replaying(&self, seed: u64, like: Option<u64>) -> String {
        let mut args = vec![format!("--seed {seed}")];
        args.extend(like.map(|like| format!("--like {like}")));
        let scenario = Scenario::ALL
            .iter()
            .find(|(other, _)| Some(*other) == self.scenario);
        args.extend(scenario.map(|(_, name)| format!("--scenario {name}")));
        let mutant = self.mutant.map(|mutant| snake_case(&format!("{mutant:?}")));
        args.extend(mutant.map(|name| format!("--mutant {name}")));
        args.join(" ")
    }

    fn run_mutants(&self, names: &[Mutant]) -> bool {
        let all = if names.is_empty() { Mutant::ALL } else { names };
        let seeds = self.seeds.unwrap_or(MUTANT_SEEDS);
        let mut missed = 0;
        for mutant in all {
            let summary = self.campaign(seeds, Some(*mutant)).run(|_, _| {});
            let name = snake_case(&format!("{mutant:?}"));
            match summary.violations.first_key_value() {
                Some((seed, outcome)) => {
                    let like = outcome.like.map(|like| format!(" like {like}"));
                    say!("{name} caught at seed {seed}{}", like.unwrap_or_default());
                    if let Some(violation) = &outcome.violation {
                        eprintln!("  {violation}");
                    }
                }
                None => {
                    say!("{name} MISSED");
                    missed += 1;
                }
            }
        }
        missed == 0
    }
}

fn print_faults(summary: &Summary) {
    for kind in FaultKind::ALL {
        say!("{:>10} {kind:?}", summary.counts[kind as usize]);
    }
}

/// How many seeds reached each rare branch, the seldom ones first.
fn print_rare(summary: &Summary) {
    let mut points: Vec<_> = Rare::ALL.iter().zip(summary.steering.seeds()).collect();
    points.sort_by_key(|(_, seeds)| **seeds);
    say!("seeds that reached each rare branch:");
    for (point, seeds) in points {
        let name = snake_case(&format!("{point:?}"));
        let never = if *seeds == 0 { "  NEVER" } else { "" };
        say!("{seeds:>10} {name}{never}");
    }
}

/// Which promises were broken, how often, and first by which seed.
fn print_kinds(summary: &Summary) {
    let mut kinds = std::collections::BTreeMap::<&str, (u64, u64)>::new();
    for (seed, outcome) in &summary.violations {
        if let Some(violation) = &outcome.violation {
            kinds.entry(&violation.what).or_insert((0, *seed)).0 += 1;
        }
    }
    for (what, (count, first)) in kinds {
        say!("{count} times, first by seed {first}: {what}");
    }
}

pub(crate) fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn scenario(name: &str) -> Result<Scenario, String> {
    let found = Scenario::ALL.iter().find(|(_, other)| *other == name);
    found
        .map(|(scenario, _)| *scenario)
        .ok_or(format!("no scenario `{name}`"))
}

fn mutant(name: &str) -> Result<Mutant, String> {
    let mut all = Mutant::ALL.iter().chain(Mutant::APART).copied();
    all.find(|mutant| snake_case(&format!("{mutant:?}")) == name)
        .ok_or(format!("no mutant `{name}`"))
}

/// `NoDedup` as `no_dedup`.
fn snake_case(camel: &str) -> String {
    let mut name = String::new();
    for c in camel.chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(c.to_lowercase());
    }
    name
}
