//! A process among others: opens the database, runs its tasks until it is asked to end, and closes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use eciton_engine::{Error, Result};
use tokio::signal::unix::{SignalKind, signal};

use super::cells;
use super::journal::{Entry, Journal};
use super::task::Task;
use crate::dice::Dice;
use crate::stores::Stores;

/// What is done wrong on purpose, to show that it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Acknowledges before it commits.
    Hasty,
    /// Reads what must be new without looking for what is new.
    Stale,
}

impl Fault {
    /// The word on a command line.
    pub fn word(self) -> &'static str {
        match self {
            Fault::Hasty => "--hasty",
            Fault::Stale => "--stale",
        }
    }

    /// The fault of a word.
    pub fn parse(word: &str) -> Option<Fault> {
        [Fault::Hasty, Fault::Stale]
            .into_iter()
            .find(|fault| fault.word() == word)
    }
}

/// What a process is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orders {
    /// The database.
    pub folder: PathBuf,
    /// Where its journal goes.
    pub journal: PathBuf,
    /// Where Redis is.
    pub redis_url: String,
    /// What decides what its transactions do.
    pub seed: u64,
    /// Its place among the processes.
    pub worker: u64,
    /// How often a process of this place was started before.
    pub life: u64,
    /// Tasks at the same time.
    pub tasks: u64,
    /// Milliseconds from one transaction of a task to its next, on average.
    pub pace_ms: u64,
    /// When the run began, on the machine's clock.
    pub begun_ns: u64,
    /// What it does wrong.
    pub fault: Option<Fault>,
}

impl Orders {
    /// Them as arguments.
    pub fn to_args(&self) -> Vec<String> {
        let mut args = vec![
            self.folder.display().to_string(),
            self.journal.display().to_string(),
            self.redis_url.clone(),
        ];
        let numbers = [
            self.seed,
            self.worker,
            self.life,
            self.tasks,
            self.pace_ms,
            self.begun_ns,
        ];
        args.extend(numbers.iter().map(u64::to_string));
        args.extend(self.fault.map(|fault| fault.word().to_owned()));
        args
    }

    /// Them from arguments.
    pub fn from_args(args: &[String]) -> Option<Orders> {
        let ([folder, journal, redis_url], rest) = args.split_first_chunk()?;
        let (numbers, fault) = rest.split_first_chunk::<6>()?;
        let number = |at: usize| numbers[at].parse::<u64>().ok();
        Some(Orders {
            folder: PathBuf::from(folder),
            journal: PathBuf::from(journal),
            redis_url: redis_url.clone(),
            seed: number(0)?,
            worker: number(1)?,
            life: number(2)?,
            tasks: number(3)?,
            pace_ms: number(4)?,
            begun_ns: number(5)?,
            fault: match fault {
                [] => None,
                [word] => Some(Fault::parse(word)?),
                _ => return None,
            },
        })
    }
}

/// Does as it is told until `SIGTERM`.
///
/// # Errors
/// The journal cannot be written; what the journal says, too.
pub async fn work(orders: Orders) -> Result<()> {
    let journal = Journal::create(&orders.journal);
    let journal = journal.map_err(|cause| Error::Invalid(format!("the journal: {cause}")))?;
    let done = work_on(Arc::new(orders), &Arc::new(journal)).await;
    done.inspect_err(|error| eprintln!("a process among others ends: {error}"))
}

async fn work_on(orders: Arc<Orders>, journal: &Arc<Journal>) -> Result<()> {
    let ending = Arc::new(AtomicBool::new(false));
    let asked = signal(SignalKind::terminate());
    let mut asked = asked.map_err(|cause| Error::Invalid(format!("no signals: {cause}")))?;
    let flag = Arc::clone(&ending);
    tokio::spawn(async move {
        asked.recv().await;
        flag.store(true, Ordering::Relaxed);
    });
    let db = cells::open_among(&orders.folder, &orders.redis_url).await;
    let db = db.inspect_err(|error| journal.say(&failed("opening", error)))?;
    let stores = Stores::create(&db).await;
    let stores = stores.inspect_err(|error| journal.say(&failed("finding the stores", error)))?;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..orders.tasks {
        let task = Task {
            db: db.clone(),
            stores: stores.clone(),
            journal: Arc::clone(journal),
            dice: Dice::of(orders.seed, &[orders.worker, orders.life, number]),
            orders: Arc::clone(&orders),
            ending: Arc::clone(&ending),
            number,
            count: 0,
        };
        tasks.spawn(task.run());
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(failed) = ended {
            journal.say(&Entry::Bad(format!("a task ended: {failed}")));
        }
    }
    let closed = db.close().await;
    closed.inspect_err(|error| journal.say(&failed("closing", error)))?;
    journal.say(&Entry::End);
    Ok(())
}

/// What is said of an error. Nothing here damages the folder or makes it refuse: such errors must not be.
pub(super) fn failed(what: &str, error: &Error) -> Entry {
    let text = format!("{what}: {error}");
    match error {
        Error::Corrupt { .. } | Error::Halted { .. } | Error::Storage { .. } => Entry::Bad(text),
        _ => Entry::Note(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_lead_back() {
        for fault in [None, Some(Fault::Hasty), Some(Fault::Stale)] {
            let orders = Orders {
                folder: PathBuf::from("a b"),
                journal: PathBuf::from("c"),
                redis_url: "redis://d:1".to_owned(),
                seed: u64::MAX,
                worker: 1,
                life: 2,
                tasks: 3,
                pace_ms: 4,
                begun_ns: 5,
                fault,
            };
            let args = orders.to_args();
            assert_eq!(Orders::from_args(&args), Some(orders));
            assert_eq!(Orders::from_args(&args[..8]), None);
        }
    }
}
