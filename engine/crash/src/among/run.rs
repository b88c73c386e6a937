//! One run: processes and Redis are started, struck as planned, and ended; then all of it is judged.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::cells::{ACCOUNTS, SETUP};
use super::field::Field;
use super::journal::{Entry, Journal, Step};
use super::judge;
use super::remains::{self, Remains};
use super::said::Said;
use super::strikes::Form;
use super::worker::Fault;

/// Notes that are told.
const NOTES_MAX: usize = 12;

/// How large a run is.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Processes at the same time.
    pub processes: u64,
    /// How long they are struck.
    pub lasting: Duration,
    /// What decides what is struck when.
    pub seed: u64,
    /// Transactions a second of all together, at most, on average.
    pub rate: u64,
    /// What is between the processes.
    pub form: Form,
    /// What the processes do wrong.
    pub fault: Option<Fault>,
}

/// Does a run and says how it went.
pub fn main(scale: &Scale) -> ExitCode {
    println!("seed {}", scale.seed);
    match play(scale) {
        Ok(violations) => ExitCode::from(u8::from(violations > 0)),
        Err(cause) => {
            eprintln!(
                "seed {}: the machine does not play along: {cause}",
                scale.seed
            );
            ExitCode::from(3)
        }
    }
}

fn play(scale: &Scale) -> io::Result<usize> {
    let temp = tempfile::Builder::new().prefix("eciton-among-").tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let folder = temp.path().join("db");
    let journals = temp.path().join("journals");
    std::fs::create_dir(&journals)?;
    let set_up = runtime.block_on(remains::set_up(&folder));
    let set_up = set_up.map_err(|error| io::Error::other(format!("setting up: {error}")))?;

    let mut said = Said::default();
    note_set_up(&journals, set_up)?;
    let mut field = Field::new(scale, temp.path(), &folder, &journals)?;
    field.strike(scale, &mut said.wrong)?;
    // Whoever is still there then is killed: nobody can commit any more.
    let mut tally = field.end(&mut said.wrong)?;

    hear(&journals, &mut said)?;
    (tally.commits, tally.reads) = said.acknowledged();
    (tally.conflicts, tally.open) = (said.conflicts, said.open());
    (tally.unknown, tally.refused) = (said.unknown, said.refused);
    let wrong = match runtime.block_on(Remains::read(&folder)) {
        Ok(remains) => weigh(&said, &remains),
        Err(error) => {
            let mut wrong = said.wrong.clone();
            wrong.push(format!("the database cannot be read: {error}"));
            wrong
        }
    };
    tell(scale, &said, &wrong);
    if !wrong.is_empty() && scale.fault.is_none() {
        println!(
            "the folder and the journals stay in {}",
            temp.keep().display()
        );
    }
    println!("{tally} violations {}", wrong.len());
    Ok(wrong.len())
}

fn tell(scale: &Scale, said: &Said, wrong: &[String]) {
    for note in said.notes.iter().take(NOTES_MAX) {
        println!("note: {note}");
    }
    let more = said.notes.len().saturating_sub(NOTES_MAX);
    if more > 0 {
        println!("note: and {more} more");
    }
    for what in wrong {
        println!("seed {}: VIOLATION: {what}", scale.seed);
    }
    if !wrong.is_empty() {
        let fault = scale.fault.map_or("", Fault::word);
        println!(
            "repeat with `cargo run -p eciton-crash -- among --processes {} --seconds {} --seed {} --rate {} {} {fault}`",
            scale.processes,
            scale.lasting.as_secs(),
            scale.seed,
            scale.rate,
            scale.form.word()
        );
    }
}

/// Notes in a journal what was done before the first process.
fn note_set_up(journals: &Path, (from_ns, at_ns, position): (u64, u64, u64)) -> io::Result<()> {
    let journal = Journal::create(&journals.join(format!("{}-0", u64::MAX)))?;
    journal.say(&Entry::Begin {
        id: SETUP,
        fresh: true,
        from_ns,
        steps: (0..ACCOUNTS).map(Step::Set).collect(),
    });
    journal.say(&Entry::Done {
        id: SETUP,
        at_ns,
        position,
    });
    Ok(())
}

/// Judges once more what a run has left.
pub fn judge_again(left: &Path) -> ExitCode {
    let judged = || -> io::Result<usize> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut said = Said::default();
        hear(&left.join("journals"), &mut said)?;
        let remains = runtime.block_on(Remains::read(&left.join("db")));
        let remains = remains.map_err(|error| io::Error::other(error.to_string()))?;
        let wrong = weigh(&said, &remains);
        for what in &wrong {
            println!("VIOLATION: {what}");
        }
        println!("violations {}", wrong.len());
        Ok(wrong.len())
    };
    match judged() {
        Ok(violations) => ExitCode::from(u8::from(violations > 0)),
        Err(cause) => {
            eprintln!("{}: cannot be judged: {cause}", left.display());
            ExitCode::from(3)
        }
    }
}

/// Reads all journals.
fn hear(journals: &Path, said: &mut Said) -> io::Result<()> {
    for entry in std::fs::read_dir(journals)? {
        let entry = entry?;
        let name = entry.file_name();
        let place = name.to_str().and_then(|name| name.split('-').next());
        let worker = place.and_then(|place| place.parse().ok());
        let worker = worker.ok_or_else(|| io::Error::other("a journal without a place"))?;
        for line in Journal::read(&entry.path())? {
            said.hear(worker, line);
        }
    }
    Ok(())
}

fn weigh(said: &Said, remains: &Remains) -> Vec<String> {
    let begun = Instant::now();
    let mut wrong = judge::judge(said, remains);
    let history = judge::history(said, remains);
    wrong.extend(judge::judge_history(&history));
    println!(
        "judged {} transactions up to slot {} in {:.1} s",
        history.len(),
        remains.position,
        begun.elapsed().as_secs_f64()
    );
    wrong
}
