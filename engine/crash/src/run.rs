//! One run: a database that is started, struck and looked at, several times over.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use rustix::process::Signal;

use crate::checker::Look;
use crate::dice::Dice;
use crate::disk::{Counts, Faults};
use crate::judge::History;
use crate::line::Line;
use crate::medium::Medium;
use crate::plan::Id;
use crate::process::{self, Event, Worker};
use crate::state::State;
use crate::worker::Orders;

/// How long nothing may be heard of a worker: then it hangs.
const SILENCE_MAX: Duration = Duration::from_mins(5);
/// Violations of one run that are reported.
const REPORTED_MAX: usize = 12;

/// A deliberate break of durability, for showing that the harness notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The file system ignores syncs.
    Lying,
    /// The worker acknowledges before it commits.
    Hasty,
}

/// How runs are to be done.
#[derive(Clone, Debug)]
pub struct Manner {
    /// This program, which is also worker and checker.
    pub program: PathBuf,
    /// On a file system that can lose power; otherwise in a plain folder.
    pub power: bool,
    /// What is broken on purpose.
    pub broken: Option<Break>,
    /// Tell every step.
    pub trace: bool,
}

/// What happened in runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Starts of a worker.
    pub rounds: u64,
    /// Workers killed.
    pub kills: u64,
    /// Workers stopped.
    pub stops: u64,
    /// Power losses.
    pub losses: u64,
    /// Transactions acknowledged.
    pub acknowledged: u64,
    /// Syncs that failed on purpose.
    pub failed_syncs: u64,
    /// Rounds on a medium that filled up.
    pub full: u64,
    /// Changes that the medium saw.
    pub changes: u64,
}

impl Tally {
    /// Adds another run's.
    pub fn add(&mut self, other: &Tally) {
        self.rounds += other.rounds;
        self.kills += other.kills;
        self.stops += other.stops;
        self.losses += other.losses;
        self.acknowledged += other.acknowledged;
        self.failed_syncs += other.failed_syncs;
        self.full += other.full;
        self.changes += other.changes;
    }
}

/// When a worker is struck.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// Within the medium's operation that follows so many changes.
    Changes(u64),
    /// So many microseconds after so many acknowledgements.
    Acknowledged(u64, u64),
    /// Not at all.
    Never,
}

/// How a worker is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    Kill,
    StopThenKill,
    /// Goes on after a while, and is killed after so many more acknowledgements.
    StopThenGoOn(u64),
}

/// A run in progress.
pub struct Run<'a> {
    manner: &'a Manner,
    seed: u64,
    dice: Dice,
    medium: Medium,
    history: History,
    tally: Tally,
    /// What someone saw beside the worker that was killed then: it has been written.
    written: BTreeSet<Id>,
    /// A sync of this round is to fail.
    failing: bool,
    wrong: Vec<String>,
}

/// What was seen beside a stopped worker, and what had been said before.
type Beside = Option<(History, Result<State, String>)>;

impl<'a> Run<'a> {
    /// A run of a seed, on a medium of its own.
    ///
    /// # Errors
    /// No medium can be made.
    pub fn new(manner: &'a Manner, seed: u64) -> io::Result<Run<'a>> {
        let medium = if manner.power {
            Medium::mount(Dice::of(seed, &[1]))?
        } else {
            Medium::folder()?
        };
        Ok(Run {
            manner,
            seed,
            dice: Dice::of(seed, &[2]),
            medium,
            history: History::new(seed),
            tally: Tally::default(),
            written: BTreeSet::new(),
            failing: false,
            wrong: Vec::new(),
        })
    }

    /// Does all rounds; returns what happened and what does not hold.
    ///
    /// # Errors
    /// The machine does not play along: that says nothing about the database.
    pub fn play(mut self) -> io::Result<(Tally, Vec<String>)> {
        for round in 0..2 + self.dice.below(4) {
            self.round(round)?;
            if !self.wrong.is_empty() {
                break;
            }
        }
        self.tally.acknowledged = self.history.acknowledged() as u64;
        if let Some(gate) = self.medium.gate() {
            let Counts {
                changes,
                failed_syncs,
                ..
            } = gate.look().counts;
            (self.tally.changes, self.tally.failed_syncs) = (changes, failed_syncs);
        }
        self.wrong.truncate(REPORTED_MAX);
        Ok((self.tally, self.wrong))
    }

    fn trace(&self, text: impl FnOnce() -> String) {
        if self.manner.trace {
            eprintln!("  {}", text());
        }
    }

    fn round(&mut self, round: u64) -> io::Result<()> {
        let orders = Orders {
            folder: self.medium.database(),
            seed: self.seed,
            round,
            tasks: 1 + self.dice.below(6),
            transactions: 20 + self.dice.scaled(300),
            fold_len_min: usize::try_from(2000 + self.dice.scaled(300_000)).unwrap_or(2000),
            hasty: self.manner.broken == Some(Break::Hasty),
            abrupt: self.dice.once_in(2),
        };
        let faults = self.faults();
        self.failing = faults.failing_sync.is_some();
        let moment = self.moment();
        self.trace(|| format!("round {round}: {moment:?} {faults:?} {orders:?}"));
        if let Some(gate) = self.medium.gate() {
            gate.look().set_faults(faults);
        }
        self.tally.rounds += 1;
        let killed = self.strike(&orders, moment)?;
        let calm = Faults {
            lying: self.manner.broken == Some(Break::Lying),
            ..Faults::default()
        };
        if let Some(gate) = self.medium.gate() {
            gate.go_on();
            gate.look().set_faults(calm);
        }
        self.aftermath(killed)
    }

    /// Perhaps loses power, and looks; then perhaps again, since what was seen must stay.
    fn aftermath(&mut self, killed: bool) -> io::Result<()> {
        let lost = killed && self.manner.power && self.dice.below(5) < 3;
        let written = std::mem::take(&mut self.written);
        if lost {
            self.power_loss()?;
        } else {
            // A process that is killed leaves what the system holds, synced or not.
            self.history.must_keep(&written);
        }
        let closes = self.dice.once_in(4);
        self.look(if closes { Look::Close } else { Look::ReadWrite });
        if self.wrong.is_empty() && self.manner.power && self.dice.once_in(4) {
            self.power_loss()?;
            self.look(Look::ReadWrite);
        }
        Ok(())
    }

    fn power_loss(&mut self) -> io::Result<()> {
        self.tally.losses += 1;
        self.trace(|| "power loss".to_owned());
        let dice = Dice::new(self.dice.next());
        self.medium.power_loss(&dice)
    }

    fn look(&mut self, look: Look) {
        match process::check(&self.manner.program, &self.medium.database(), look) {
            Ok(state) => {
                let seen = state.marks.len();
                self.trace(|| format!("seen: {seen} transactions"));
                let wrong = self.history.judge(&state);
                self.wrong.extend(wrong);
            }
            Err(why) => self.wrong.push(format!("it cannot be read: {why}")),
        }
    }

    /// What is to go wrong in a round: mostly nothing.
    fn faults(&mut self) -> Faults {
        let mut faults = Faults {
            lying: self.manner.broken == Some(Break::Lying),
            ..Faults::default()
        };
        let Some(gate) = self.medium.gate() else {
            return faults;
        };
        match self.dice.below(8) {
            0 => {
                faults.failing_sync = Some(self.dice.scaled(600));
                faults.failed_stays = self.dice.once_in(2);
            }
            1 => {
                let room = gate.look().used() + self.dice.scaled(6_000_000);
                faults.room = Some(room);
                self.tally.full += 1;
            }
            _ => {}
        }
        faults
    }

    fn moment(&self) -> Moment {
        match self.dice.below(10) {
            0 => Moment::Never,
            1..6 if self.manner.power => Moment::Changes(self.dice.scaled(2500) - 1),
            _ => {
                let acknowledged = self.dice.scaled(300) - 1;
                Moment::Acknowledged(acknowledged, self.dice.below(8000))
            }
        }
    }

    /// Starts a worker and strikes it; whether it was killed.
    fn strike(&mut self, orders: &Orders, moment: Moment) -> io::Result<bool> {
        let gate = self.medium.gate().cloned();
        let worker = Worker::start(&self.manner.program, orders, gate)?;
        if let (Some(gate), Moment::Changes(changes)) = (self.medium.gate(), moment) {
            let sender = worker.sender();
            // Nobody may listen any more.
            let tell = move || sender.send(Event::Tripped).unwrap_or_default();
            gate.trip_after(changes, Box::new(tell));
        }
        if !self.listen(&worker, moment)? {
            let status = worker.wait()?;
            self.trace(|| format!("ended: {status}"));
            return Ok(false);
        }
        let blow = match self.dice.below(8) {
            0 => Blow::StopThenKill,
            1 => Blow::StopThenGoOn(self.dice.scaled(100)),
            _ => Blow::Kill,
        };
        self.trace(|| format!("{blow:?}"));
        let beside = match blow {
            Blow::Kill => None,
            _ => self.stop(&worker, moment)?,
        };
        if let Blow::StopThenGoOn(more) = blow {
            if let Some(gate) = self.medium.gate() {
                gate.go_on();
            }
            worker.signal(Signal::CONT)?;
            if !self.listen(&worker, Moment::Acknowledged(more, 0))? {
                worker.wait()?;
                self.judge_beside(beside);
                return Ok(false);
            }
        }
        self.tally.kills += 1;
        for event in worker.kill()? {
            self.hear(&event);
        }
        self.judge_beside(beside);
        Ok(true)
    }

    /// Stops a worker for a while. Unless it waits at the gate, someone looks at the database
    /// meanwhile: returned is what was seen, and what had been said before.
    fn stop(&mut self, worker: &Worker, moment: Moment) -> io::Result<Beside> {
        self.tally.stops += 1;
        worker.signal(Signal::STOP)?;
        std::thread::sleep(Duration::from_micros(self.dice.below(20_000)));
        if matches!(moment, Moment::Changes(_)) {
            return Ok(None);
        }
        for event in worker.events().try_iter() {
            // Its end, if it was quicker than the signal, must be heard by whoever waits for it.
            if matches!(event, Event::Ended) {
                worker.sender().send(event).unwrap_or_default();
                break;
            }
            self.hear(&event);
        }
        let said = self.history.clone();
        let folder = self.medium.database();
        let is_there = self.history.acknowledged() > 0;
        let seen = is_there.then(|| process::check(&self.manner.program, &folder, Look::Beside));
        Ok(seen.map(|seen| (said, seen)))
    }

    fn judge_beside(&mut self, beside: Beside) {
        let Some((said, seen)) = beside else { return };
        let found = match seen {
            Ok(state) => {
                let wrong = self.history.as_of(&said).judge_beside(&state);
                self.written = state.marks;
                // What a failed sync had to write may be gone again.
                if self.failing {
                    self.written.clear();
                }
                wrong
            }
            Err(why) => vec![format!("it cannot be read: {why}")],
        };
        let beside = |what| format!("beside a stopped worker: {what}");
        self.wrong.extend(found.into_iter().map(beside));
    }

    /// Listens until the moment has come (`true`) or the worker has ended.
    fn listen(&mut self, worker: &Worker, moment: Moment) -> io::Result<bool> {
        let mut acknowledged = 0;
        loop {
            if let Moment::Acknowledged(count, delay_us) = moment
                && acknowledged >= count
            {
                std::thread::sleep(Duration::from_micros(delay_us));
                return Ok(true);
            }
            match worker.events().recv_timeout(SILENCE_MAX) {
                Ok(Event::Tripped) => return Ok(true),
                Ok(Event::Ended) => return Ok(false),
                Ok(event) => acknowledged += u64::from(self.hear(&event)),
                Err(RecvTimeoutError::Timeout) => {
                    self.wrong.push("the worker hangs".to_owned());
                    return Ok(true);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other("the worker's reader is gone"));
                }
            }
        }
    }

    /// Notes what a worker said; whether it is an acknowledgement.
    fn hear(&mut self, event: &Event) -> bool {
        match event {
            Event::Said(line) => {
                if let Line::Note(_) | Line::Unknown(..) | Line::No(..) | Line::Bad(_) = line {
                    self.trace(|| line.to_string());
                }
                self.wrong.extend(self.history.hear(line));
                matches!(line, Line::Ok(..))
            }
            // A process that is killed may be in the middle of a line.
            Event::Garbled(text) => {
                self.trace(|| format!("garbled: {text}"));
                false
            }
            Event::Tripped | Event::Ended => false,
        }
    }
}
