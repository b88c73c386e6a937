//! The processes, Redis and the links between them, while they are struck, until all have ended.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::journal::now_ns;
use super::redis::Stand;
use super::run::Scale;
use super::seat::Seat;
use super::servers::Servers;
use super::split::{SIDES, Split};
use super::strikes::{self, Form, Strike};
use super::tally::Tally;
use super::worker::Orders;

/// Tasks of each process.
const TASKS: u64 = 4;
/// Between two looks at the processes.
const LOOK: Duration = Duration::from_millis(10);
/// Between two lines that tell how far it is.
const TELL: Duration = Duration::from_secs(30);
/// Looks (of 5 ms) until all processes have ended that were asked to.
const END_LOOKS_MAX: u32 = 36_000;

/// Everything that is struck; what of it still runs ends when this is dropped.
#[derive(Debug)]
pub struct Field {
    // Dropped in this order: namespaces go once nobody is in them.
    seats: Vec<Seat>,
    servers: Servers,
    split: Option<Split>,
    tally: Tally,
}

impl Field {
    /// Starts Redis, in `temp`, and the processes at the folder.
    ///
    /// # Errors
    /// Something does not start, or cannot be on this machine: the text says what is missing.
    pub fn new(scale: &Scale, temp: &Path, folder: &Path, journals: &Path) -> io::Result<Field> {
        let split = match scale.form {
            Form::Split => Some(Split::make()?),
            Form::One | Form::Cluster => None,
        };
        let stand = Stand {
            namespace: split.as_ref().map(Split::hub),
            addresses: match split {
                Some(_) => Split::addresses(),
                None => vec![Ipv4Addr::LOCALHOST],
            },
            args: &[],
        };
        let servers = match scale.form {
            Form::Cluster => Servers::cluster(temp)?,
            Form::One | Form::Split => Servers::one(temp, &stand)?,
        };
        let mut field = Field {
            seats: Vec::new(),
            servers,
            split,
            tally: Tally {
                processes: scale.processes,
                ..Tally::default()
            },
        };
        field.fill(scale, folder, journals)?;
        Ok(field)
    }

    fn fill(&mut self, scale: &Scale, folder: &Path, journals: &Path) -> io::Result<()> {
        let begun_ns = now_ns();
        let program = std::env::current_exe()?;
        for worker in 0..scale.processes {
            let side = usize::try_from(worker).unwrap_or(0) % SIDES;
            let orders = Orders {
                folder: folder.to_owned(),
                journal: journals.to_owned(),
                redis_url: self.servers.url(side),
                seed: scale.seed,
                worker,
                life: 0,
                tasks: TASKS,
                pace_ms: 1000 * TASKS * scale.processes / scale.rate,
                begun_ns,
                fault: scale.fault,
            };
            let namespace = self.split.as_ref().map(|split| split.side(side));
            let mut seat = Seat::new(&program, orders, journals, namespace);
            seat.start()?;
            self.seats.push(seat);
        }
        Ok(())
    }

    /// Strikes as planned until the time is over. `wrong` gets what must not happen.
    ///
    /// # Errors
    /// Something cannot be struck, or does not start again.
    pub fn strike(&mut self, scale: &Scale, wrong: &mut Vec<String>) -> io::Result<()> {
        let (begun, mut told) = (Instant::now(), Instant::now());
        let run_ms = u64::try_from(scale.lasting.as_millis()).unwrap_or(u64::MAX);
        let plan = strikes::plan(scale.seed, scale.form, scale.processes, run_ms);
        let mut plan = plan.into_iter().peekable();
        while begun.elapsed() < scale.lasting {
            self.servers.bring_back(false)?;
            self.mend(false)?;
            self.look(wrong)?;
            let is_due = |at_ms: u64| Duration::from_millis(at_ms) <= begun.elapsed();
            while let Some((_, strike)) = plan.next_if(|(at_ms, _)| is_due(*at_ms)) {
                self.carry_out(strike)?;
            }
            if told.elapsed() > TELL {
                told = Instant::now();
                let (kills, stops) = (self.tally.kills, self.tally.stops);
                let seconds = begun.elapsed().as_secs();
                println!("after {seconds} s: kills {kills} stops {stops}");
            }
            std::thread::sleep(LOOK);
        }
        self.tally.seconds = begun.elapsed().as_secs();
        Ok(())
    }

    /// Does what is due at the seats.
    fn look(&mut self, wrong: &mut Vec<String>) -> io::Result<()> {
        for (worker, seat) in self.seats.iter_mut().enumerate() {
            if let Some(status) = seat.look()? {
                wrong.push(format!("process {worker} ended by itself: {status}"));
            }
        }
        Ok(())
    }

    fn mend(&mut self, all: bool) -> io::Result<()> {
        match &mut self.split {
            Some(split) => split.mend(all),
            None => Ok(()),
        }
    }

    fn carry_out(&mut self, strike: Strike) -> io::Result<()> {
        let tally = &mut self.tally;
        match strike {
            Strike::Kill { worker, away_ms } => {
                if let Some(seat) = next_of(&mut self.seats, worker, Seat::is_taken) {
                    let is_still = !seat.is_running();
                    seat.kill(Duration::from_millis(away_ms))?;
                    tally.kills += 1;
                    tally.kills_still += u64::from(is_still);
                }
            }
            Strike::Stop { worker, still_ms } => {
                if let Some(seat) = next_of(&mut self.seats, worker, Seat::is_running) {
                    seat.stop(Duration::from_millis(still_ms))?;
                    tally.stops += 1;
                }
            }
            Strike::Flush => tally.flushes += u64::from(self.servers.flush()),
            Strike::RedisKill { which, away_ms } => {
                let struck = self.servers.kill(which, Duration::from_millis(away_ms));
                tally.redis_kills += u64::from(struck);
            }
            Strike::RedisStop { which, still_ms } => {
                let struck = self.servers.stop(which, Duration::from_millis(still_ms))?;
                tally.redis_stops += u64::from(struck);
            }
            Strike::Cut {
                side,
                cut,
                apart_ms,
            } => {
                if let Some(split) = &mut self.split {
                    let struck = split.cut(side, cut, Duration::from_millis(apart_ms))?;
                    tally.cuts += u64::from(struck);
                }
            }
        }
        Ok(())
    }

    /// Everything is whole again and everybody goes on, is asked to end, and does; what happened.
    ///
    /// # Errors
    /// Redis does not come back, or something cannot be waited for.
    pub fn end(mut self, wrong: &mut Vec<String>) -> io::Result<Tally> {
        self.mend(true)?;
        self.servers.bring_back(true)?;
        if !self.servers.come_up()? {
            return Err(io::Error::other("Redis does not come back"));
        }
        self.tally.elections = self.servers.elections();
        self.look(wrong)?;
        for seat in &mut self.seats {
            // Those that are still away, too: of two processes both may be, and then nobody listens.
            seat.come_back()?;
        }
        if !self.servers.come_into_use() {
            wrong.push("in the end no process listens to Redis".to_owned());
        }
        for seat in &mut self.seats {
            seat.ask_to_end()?;
        }
        let mut looks = END_LOOKS_MAX;
        for (worker, seat) in self.seats.iter_mut().enumerate() {
            if !seat.is_taken() {
                continue;
            }
            match seat.wait(&mut looks)? {
                Some(status) if ended_well(status) => {}
                Some(status) => wrong.push(format!("process {worker} ended with {status}")),
                None => wrong.push(format!("process {worker} did not end when it was asked to")),
            }
        }
        Ok(std::mem::take(&mut self.tally))
    }
}

/// The seat of this place, or the next one for which it holds.
fn next_of(seats: &mut [Seat], worker: u64, holds: fn(&Seat) -> bool) -> Option<&mut Seat> {
    let first = usize::try_from(worker).unwrap_or(0);
    let at = (first..seats.len())
        .chain(0..first)
        .find(|at| holds(&seats[*at]))?;
    seats.get_mut(at)
}

/// A process that was asked before it listened ends by the signal.
fn ended_well(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.success() || status.signal() == Some(Signal::TERM.as_raw())
}
