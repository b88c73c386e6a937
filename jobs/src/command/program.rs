//! Running one program over one shard.
//!
//! Four things happen at a time, so that no program can block its worker, whatever it reads and writes first: a thread
//! feeds its standard input, a thread takes its standard error, a thread waits for its end, and this one looks after
//! time limits and bounds. Its standard output goes to a file, which is read once it has ended.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::end::ProgramEnd;
use super::error::CommandError;
use super::limits::{BREAK_OFF_GRACE, KILL_GRACE, LOOKS_APART, PIPES_GRACE};
use super::scratch::{ProgramFolder, SHELL, path_variable};
use super::strays;
use super::tail::{Tail, drain};
use crate::spec::ProgramFile;

/// Becomes the program, after its number is where the reaper finds it. `$1` is the file for that, `$2` the limit of memory
/// in KiB or empty, `$3` says where its standard output goes.
const LAUNCH: &str = r#"
echo "$$" > "$1" || exit 126
[ -z "$2" ] || ulimit -v "$2" || exit 126
ulimit -c 0
if [ "$3" = log ]; then shift 3; exec "$@" >&2; fi
shift 3
exec "$@"
"#;

/// A program to be run, and what it is given.
pub(crate) struct Invocation<'a> {
    /// The program and its arguments; at least one.
    pub(crate) argv: &'a [String],
    /// Its environment, beside `PATH` and where it works.
    pub(crate) variables: Vec<(String, OsString)>,
    /// Files that it finds where it works.
    pub(crate) files: &'a [ProgramFile],
    /// Where it works.
    pub(crate) folder: &'a ProgramFolder,
    /// Whether rows go to its standard input.
    pub(crate) has_input: bool,
    /// Whether its standard output is rows; else it goes to the log, with its standard error.
    pub(crate) has_output: bool,
    /// Bytes of address space that it may have; 0: as many as it likes.
    pub(crate) memory_len_max: u64,
    /// How long it may run; `None`: as long as it likes.
    pub(crate) timeout: Option<Duration>,
    /// Bytes of its output, at most.
    pub(crate) output_len_max: u64,
    /// Bytes that are kept of its standard error.
    pub(crate) stderr_kept: usize,
}

/// The standard input of a program. Dropping it ends the input.
pub(crate) struct ProgramInput {
    pipe: ChildStdin,
    is_open: Arc<AtomicBool>,
}

impl Write for ProgramInput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pipe.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pipe.flush()
    }
}

impl Drop for ProgramInput {
    fn drop(&mut self) {
        self.is_open.store(false, Ordering::SeqCst);
    }
}

/// A program that has ended.
pub(crate) struct Ran<F> {
    /// How.
    pub(crate) end: ProgramEnd,
    /// What feeding it has given; `None` where that did not come to its end.
    pub(crate) fed: Option<F>,
    /// The end of its standard error.
    pub(crate) stderr: Tail,
}

/// Whether a program is to go on.
pub(crate) enum StillWanted {
    Yes,
    No,
}

/// Runs a program to its end. `feed` is called on a thread of its own with the standard input, if it has one; where it
/// gives an error, the program is killed. `look` is called again and again while the program runs, with what it has
/// written to its standard error. Nothing of the program runs any more when this returns. Blocks.
///
/// # Errors
/// [`CommandError`] where it cannot be started.
pub(crate) fn run<F: Send + 'static, E: Send + 'static>(
    invocation: &Invocation<'_>,
    feed: impl FnOnce(Option<ProgramInput>) -> Result<F, E> + Send + 'static,
    mut look: impl FnMut(&Mutex<Tail>) -> StillWanted,
) -> Result<Ran<Result<F, E>>, CommandError> {
    let mut child = start(invocation)?;
    let begun = Instant::now();
    let mut running = match ProgramThreads::new(&mut child, invocation, feed) {
        Ok(running) => running,
        Err(cause) => {
            kill(&child, Signal::KILL);
            child.wait().ok();
            return Err(io_error(invocation, cause));
        }
    };
    // Asks it to end, and kills it where it does not.
    let mut asked: Option<(Instant, Duration, ProgramEnd)> = None;
    let mut is_killed = false;
    while !running.has_ended(LOOKS_APART) {
        let wanted = look(&running.stderr);
        if let Some((at, grace, _)) = &asked {
            if !is_killed && at.elapsed() >= *grace {
                kill(&child, Signal::KILL);
                is_killed = true;
            }
            continue;
        }
        let reason = match invocation.timeout {
            _ if matches!(wanted, StillWanted::No)
                || running.feed_failed.load(Ordering::SeqCst) =>
            {
                Some((BREAK_OFF_GRACE, ProgramEnd::BrokenOff))
            }
            Some(timeout) if begun.elapsed() >= timeout => {
                Some((KILL_GRACE, ProgramEnd::TimedOut(timeout)))
            }
            _ if output_len(invocation) > invocation.output_len_max => Some((
                Duration::ZERO,
                ProgramEnd::Flooded(invocation.output_len_max),
            )),
            _ => None,
        };
        if let Some((grace, end)) = reason {
            kill(&child, Signal::TERM);
            asked = Some((Instant::now(), grace, end));
        }
    }
    // Those that it has left behind in its group. Nobody has asked yet how it ended, so the number is still its own.
    kill(&child, Signal::KILL);
    let status = child.wait().map_err(|cause| io_error(invocation, cause))?;
    let fed = running.end(invocation.folder.path(), &mut look);
    let end = match asked {
        Some((_, _, end)) => end,
        None if output_len(invocation) > invocation.output_len_max => {
            ProgramEnd::Flooded(invocation.output_len_max)
        }
        None => ended(status, invocation)?,
    };
    let stderr = std::mem::replace(&mut *running.stderr.lock(), Tail::new(0));
    Ok(Ran { end, fed, stderr })
}

/// How it ended by itself.
fn ended(status: ExitStatus, invocation: &Invocation<'_>) -> Result<ProgramEnd, CommandError> {
    let end = ProgramEnd::of(status);
    // The shell did not come as far as the program.
    let is_started = fs::metadata(invocation.folder.pid()).is_ok_and(|pid| pid.len() > 0);
    if !is_started && !end.is_success() {
        let cause = io::Error::other("its scratch folder was removed, or is full");
        return Err(start_error(invocation, cause));
    }
    Ok(end)
}

/// The threads around a program.
struct ProgramThreads<R> {
    exit: Receiver<()>,
    has_exited: bool,
    stderr: Arc<Mutex<Tail>>,
    stderr_end: Receiver<()>,
    fed: Receiver<R>,
    is_input_open: Arc<AtomicBool>,
    feed_failed: Arc<AtomicBool>,
}

impl<F: Send + 'static, E: Send + 'static> ProgramThreads<Result<F, E>> {
    fn new(
        child: &mut Child,
        invocation: &Invocation<'_>,
        feed: impl FnOnce(Option<ProgramInput>) -> Result<F, E> + Send + 'static,
    ) -> io::Result<Self> {
        let begin = |name: &str| thread::Builder::new().name(name.to_owned());
        let pid = pid(child).ok_or_else(|| io::Error::other("it has no number"))?;
        let (ended, exit) = channel();
        begin("program").spawn(move || {
            // Not reaped by this: its number stays its own.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while let Err(error) = waitid(WaitId::Pid(pid), options) {
                if error != rustix::io::Errno::INTR {
                    break;
                }
            }
            ended.send(()).ok();
        })?;
        let stderr = Arc::new(Mutex::new(Tail::new(invocation.stderr_kept)));
        let (ended, stderr_end) = channel();
        let (pipe, tail) = (child.stderr.take(), Arc::clone(&stderr));
        begin("program stderr").spawn(move || {
            if let Some(pipe) = pipe {
                drain(pipe, |bytes| tail.lock().push(bytes));
            }
            ended.send(()).ok();
        })?;
        let (ended, fed) = channel();
        let is_input_open = Arc::new(AtomicBool::new(child.stdin.is_some()));
        let feed_failed = Arc::new(AtomicBool::new(false));
        let input = child.stdin.take().map(|pipe| ProgramInput {
            pipe,
            is_open: Arc::clone(&is_input_open),
        });
        let failed = Arc::clone(&feed_failed);
        begin("program stdin").spawn(move || {
            let fed = feed(input);
            failed.store(fed.is_err(), Ordering::SeqCst);
            ended.send(fed).ok();
        })?;
        Ok(ProgramThreads {
            exit,
            has_exited: false,
            stderr,
            stderr_end,
            fed,
            is_input_open,
            feed_failed,
        })
    }

    /// Waits for the end of the program, at most so long.
    fn has_ended(&mut self, at_most: Duration) -> bool {
        self.has_exited =
            self.has_exited || self.exit.recv_timeout(at_most) != Err(RecvTimeoutError::Timeout);
        self.has_exited
    }

    /// Waits until the threads have ended, after the process group was killed; gives what feeding has given.
    fn end(
        &self,
        folder: &Path,
        look: &mut impl FnMut(&Mutex<Tail>) -> StillWanted,
    ) -> Option<Result<F, E>> {
        if self.stderr_end.recv_timeout(PIPES_GRACE) == Err(RecvTimeoutError::Timeout) {
            let strays = strays::kill(folder);
            tracing::warn!(
                strays,
                "a program has left processes outside of its process group"
            );
            // What they still hold after that is given up.
            self.stderr_end.recv_timeout(PIPES_GRACE).ok();
        }
        let mut is_swept = false;
        loop {
            match self.fed.recv_timeout(PIPES_GRACE) {
                Ok(fed) => return Some(fed),
                // The rest of the source is being read.
                Err(RecvTimeoutError::Timeout) if !self.is_input_open.load(Ordering::SeqCst) => {
                    if matches!(look(&self.stderr), StillWanted::No) {
                        return None;
                    }
                }
                Err(RecvTimeoutError::Timeout) if !is_swept => {
                    strays::kill(folder);
                    is_swept = true;
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// Sends a signal to the whole process group, which has the number of its first process.
fn kill(child: &Child, signal: Signal) {
    if let Some(pid) = pid(child) {
        // All of them may have ended a moment ago.
        kill_process_group(pid, signal).ok();
    }
}

fn output_len(invocation: &Invocation<'_>) -> u64 {
    if !invocation.has_output {
        return 0;
    }
    fs::metadata(invocation.folder.rows()).map_or(0, |rows| rows.len())
}

fn name(invocation: &Invocation<'_>) -> String {
    invocation.argv.first().cloned().unwrap_or_default()
}

fn io_error(invocation: &Invocation<'_>, cause: io::Error) -> CommandError {
    CommandError::Io {
        program: name(invocation),
        cause,
    }
}

fn start_error(invocation: &Invocation<'_>, cause: io::Error) -> CommandError {
    CommandError::Start {
        program: name(invocation),
        cause,
    }
}

fn start(invocation: &Invocation<'_>) -> Result<Child, CommandError> {
    let folder = invocation.folder;
    let work = folder.work();
    for file in invocation.files {
        write(&work, file).map_err(CommandError::Scratch)?;
    }
    let path = variable(invocation, "PATH").unwrap_or_else(path_variable);
    let program = name(invocation);
    find(&program, &path, &work).ok_or_else(|| CommandError::NotFound(program.clone()))?;
    let memory = match invocation.memory_len_max {
        0 => String::new(),
        len => (len / 1024).to_string(),
    };
    let mut command = Command::new(SHELL);
    command
        .args(["-c", LAUNCH, "eciton"])
        .arg(folder.pid())
        .arg(memory)
        .arg(if invocation.has_output { "rows" } else { "log" })
        .args(invocation.argv)
        .env_clear()
        .env("PATH", &path)
        .env("TMPDIR", &work)
        .envs(
            invocation
                .variables
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .env(strays::FOLDER_VARIABLE, &work)
        .current_dir(&work)
        .process_group(0)
        .stderr(Stdio::piped());
    command.stdin(match invocation.has_input {
        true => Stdio::piped(),
        false => Stdio::null(),
    });
    let stdout = match invocation.has_output {
        true => Stdio::from(private_file(&folder.rows(), 0o600).map_err(CommandError::Scratch)?),
        false => Stdio::null(),
    };
    command.stdout(stdout);
    command
        .spawn()
        .map_err(|cause| start_error(invocation, cause))
}

fn variable(invocation: &Invocation<'_>, wanted: &str) -> Option<OsString> {
    let mut variables = invocation.variables.iter();
    variables.find_map(|(name, value)| (name == wanted).then(|| value.clone()))
}

fn write(work: &Path, file: &ProgramFile) -> io::Result<()> {
    let path = work.join(&file.name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mode = if file.executable { 0o700 } else { 0o600 };
    private_file(&path, mode)?.write_all(&file.content)
}

fn private_file(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    options.open(path)
}

/// Where a program is that a shell would start.
fn find(program: &str, path: &OsString, work: &Path) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        let metadata = fs::metadata(path);
        metadata.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return Some(work.join(program)).filter(is_program);
    }
    let mut folders = std::env::split_paths(path);
    folders.find_map(|folder| Some(work.join(folder).join(program)).filter(is_program))
}
