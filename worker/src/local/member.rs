//! A process that is started again whenever it ends.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::news::{End, SwarmNews, Who, describe};
use crate::failure::Failure;

/// Who ends sooner after his start than this has not come to work.
const SOON: Duration = Duration::from_secs(5);
/// So many such ends in a row are enough, where the process ended by itself.
const SOON_ENDS_MAX: u32 = 5;
/// ... and where a signal ended it. It had come to work, and what kills it comes to its last attempt some time.
const SOON_KILLS_MAX: u32 = 50;
/// The pause before the first new start, and the longest; doubled after each soon end.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// A process of the swarm, which is killed where this is dropped.
pub(crate) struct Member {
    who: Who,
    make: Box<dyn Fn() -> io::Result<Command>>,
    /// What it reads from its standard input, if anything.
    input: String,
    state: MemberState,
    /// Ends in a row that came soon after the start.
    soon_ends: u32,
}

enum MemberState {
    Running(RunningChild),
    /// It starts at this moment.
    Due(Instant),
    Ended,
}

struct RunningChild {
    child: Child,
    since: Instant,
    /// Hands on what it says; gives the last failure that it has told.
    log: Option<JoinHandle<Option<String>>>,
}

impl Member {
    /// A process that is due at once, as `make` says, and reads `input`.
    pub(crate) fn new(
        who: Who,
        input: String,
        make: impl Fn() -> io::Result<Command> + 'static,
    ) -> Member {
        Member {
            who,
            make: Box::new(make),
            input,
            state: MemberState::Due(Instant::now()),
            soon_ends: 0,
        }
    }

    /// Starts what is due, and looks after what has ended. The thread that calls this must be one that lives as long
    /// as the process: see [`end_with`](super::end_with).
    ///
    /// # Errors
    /// [`Failure::Work`]: it has ended again and again, soon after its start; it cannot be started.
    pub(crate) fn attend(&mut self, news: &SwarmNews<'_>) -> Result<(), Failure> {
        match &mut self.state {
            MemberState::Due(at) if *at <= Instant::now() => self.start(news),
            MemberState::Running(_) => self.look(news),
            MemberState::Due(_) | MemberState::Ended => Ok(()),
        }
    }

    fn start(&mut self, news: &SwarmNews<'_>) -> Result<(), Failure> {
        let who = self.who;
        let cannot = |cause: io::Error| Failure::Work(format!("{who} cannot be started: {cause}"));
        let mut command = (self.make)().map_err(cannot)?;
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command.stdin(match self.input.is_empty() {
            true => Stdio::null(),
            false => Stdio::piped(),
        });
        // Ctrl-C is for whoever looks after them: a worker that gets a second signal does not drain.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(cannot)?;
        if let Some(mut stdin) = child.stdin.take() {
            // If it has ended meanwhile, that is seen soon.
            stdin.write_all(self.input.as_bytes()).ok();
        }
        let log = child.stderr.take();
        let log = log.map(|log| thread::spawn(move || hand_on(who, log)));
        news.started(who, child.id());
        self.state = MemberState::Running(RunningChild {
            child,
            since: Instant::now(),
            log,
        });
        Ok(())
    }

    fn look(&mut self, news: &SwarmNews<'_>) -> Result<(), Failure> {
        let Some((end, lasted)) = self.ended()? else {
            return Ok(());
        };
        self.soon_ends = if lasted < SOON { self.soon_ends + 1 } else { 0 };
        let soon_ends_max = match end.status.code() {
            Some(_) => SOON_ENDS_MAX,
            None => SOON_KILLS_MAX,
        };
        if self.soon_ends >= soon_ends_max {
            news.ended(self.who, &end, None);
            let (who, how, seconds) = (self.who, describe(&end), SOON.as_secs());
            return Err(Failure::Work(format!(
                "{who} does not come to work: {soon_ends_max} times in a row it ended within {seconds} s of its \
                 start; at last it {how}"
            )));
        }
        let (first, longest) = PAUSES;
        let doubled = first * 2_u32.pow(self.soon_ends.saturating_sub(1).min(10));
        let pause = doubled.min(longest);
        news.ended(self.who, &end, Some(pause));
        self.state = MemberState::Due(Instant::now() + pause);
        Ok(())
    }

    /// How it ended, if it has, and how long it had run.
    fn ended(&mut self) -> io::Result<Option<(End, Duration)>> {
        let MemberState::Running(running) = &mut self.state else {
            return Ok(None);
        };
        let Some(status) = running.child.try_wait()? else {
            return Ok(None);
        };
        let lasted = running.since.elapsed();
        let pid = running.child.id();
        // All that it has said is told before its end is.
        let error = running.log.take().and_then(|log| log.join().ok().flatten());
        self.state = MemberState::Ended;
        Ok(Some((End { pid, status, error }, lasted)))
    }

    /// Has it read again what it reads on SIGHUP.
    pub(crate) fn hang_up(&self) {
        #[cfg(unix)]
        if let MemberState::Running(running) = &self.state {
            send(&running.child, rustix::process::Signal::HUP);
        }
    }

    /// Asks it to end, and starts it no more.
    pub(crate) fn ask_to_end(&mut self) {
        match &mut self.state {
            MemberState::Running(running) => terminate(&mut running.child),
            MemberState::Due(_) => self.state = MemberState::Ended,
            MemberState::Ended => {}
        }
    }

    /// After [`ask_to_end`](Member::ask_to_end): how it ended, once it has; told once.
    ///
    /// # Errors
    /// Where the system does not say.
    pub(crate) fn look_for_end(&mut self, news: &SwarmNews<'_>) -> io::Result<Option<End>> {
        let ended = self.ended()?.map(|(end, _)| end);
        if let Some(end) = &ended {
            news.ended(self.who, end, None);
        }
        Ok(ended)
    }

    /// Whether it has ended and is not started again.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, MemberState::Ended)
    }

    /// Which one it is.
    pub(crate) fn who(&self) -> Who {
        self.who
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let MemberState::Running(running) = &mut self.state {
            // It may have ended a moment ago.
            running.child.kill().ok();
            running.child.wait().ok();
        }
    }
}

/// Copies what a process says to standard error, and says who it was.
fn hand_on(who: Who, log: ChildStderr) -> Option<String> {
    let mut last = None;
    for line in BufReader::new(log).split(b'\n') {
        let Ok(line) = line else { break };
        let line = String::from_utf8_lossy(&line);
        if let Some(error) = line.strip_prefix("error: ") {
            last = Some(error.to_owned());
        }
        writeln!(io::stderr(), "{who}: {line}").ok();
    }
    last
}

/// Asks a process to end.
fn terminate(child: &mut Child) {
    #[cfg(unix)]
    send(child, rustix::process::Signal::TERM);
    #[cfg(not(unix))]
    child.kill().ok();
}

#[cfg(unix)]
fn send(child: &Child, signal: rustix::process::Signal) {
    use rustix::process::{Pid, kill_process};
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It is a child that nobody has waited for yet, so the number is still its own.
        kill_process(pid, signal).ok();
    }
}
