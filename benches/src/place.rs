//! A folder with a database, a Redis and worker processes of the program that was built beside this one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use eciton_compare::cluster::Redis;
use eciton_engine::{Db, Options};
use eciton_jobs::run::{self, JobStatus};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;

/// How often a job is looked at whose shards take next to no time.
const LOOKS_APART: Duration = Duration::from_millis(5);
/// A job that stands still for so long is given up.
const PATIENCE: Duration = Duration::from_mins(2);

/// A worker, ended with the measurement.
pub(crate) struct Worker(Child);

impl Worker {
    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Ends it as a machine that fails does.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        let killed = self.0.kill().and_then(|()| self.0.wait());
        killed.map(drop).map_err(|error| error.to_string())
    }

    /// Stops it where it is, or lets it go on.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), String> {
        kill_process(Pid::from_child(&self.0), signal).map_err(|error| error.to_string())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // What is gone already need not be ended.
        self.0.kill().and_then(|()| self.0.wait().map(drop)).ok();
    }
}

/// Where a measurement of the program takes place.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    redis: Redis,
    runtime: Runtime,
}

impl Place {
    /// An empty one, with a Redis of its own.
    pub(crate) fn new() -> Result<Place, String> {
        let text = |error: std::io::Error| error.to_string();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        Ok(Place {
            folder: tempfile::tempdir().map_err(text)?,
            redis: Redis::start()?,
            runtime: runtime.enable_all().build().map_err(text)?,
        })
    }

    /// The coordinator of the workers.
    pub(crate) fn redis(&self) -> &Redis {
        &self.redis
    }

    /// The database.
    pub(crate) fn db(&self) -> PathBuf {
        self.folder.path().join("db")
    }

    /// A file beside the job's.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self) -> Result<Command, String> {
        let mut program = Command::new(program()?);
        let url = self.redis.url();
        program.current_dir(self.folder.path());
        program.env("ECITON_DB", self.db()).env("ECITON_REDIS", url);
        program.stdin(Stdio::null()).stdout(Stdio::null());
        program.stderr(Stdio::null());
        Ok(program)
    }

    /// Submits the job of a job file.
    pub(crate) fn submit(&self, job: &str) -> Result<(), String> {
        let file = self.folder.path().join("job.toml");
        fs::write(&file, job).map_err(|error| error.to_string())?;
        let status = self.program()?.arg("submit").arg(&file).status();
        succeeded("submit", status)
    }

    /// A worker of one slot, with these arguments more.
    pub(crate) fn worker(&self, more: &[&str]) -> Result<Worker, String> {
        let mut program = self.program()?;
        let child = program
            .args(["worker", "--create", "--slots", "1"])
            .args(more)
            .spawn();
        child.map(Worker).map_err(|error| error.to_string())
    }

    /// What the program prints with these arguments.
    pub(crate) fn told(&self, args: &[&str]) -> Result<String, String> {
        let mut program = self.program()?;
        let output = program.args(args).stdout(Stdio::piped()).output();
        let output = output.map_err(|error| error.to_string())?;
        succeeded(&args.join(" "), Ok(output.status))?;
        String::from_utf8(output.stdout).map_err(|error| error.to_string())
    }

    /// Waits until so many shards of a job are done, and looks often.
    pub(crate) fn wait_for(&self, name: &str, shards: u64) -> Result<(), String> {
        self.wait_looking(name, shards, LOOKS_APART)
    }

    /// Waits until so many shards of a job are done.
    pub(crate) fn wait_looking(
        &self,
        name: &str,
        shards: u64,
        apart: Duration,
    ) -> Result<(), String> {
        let (mut seen, mut since) = (0, Instant::now());
        while seen < shards {
            if since.elapsed() > PATIENCE {
                return Err(format!("{seen} of {shards} shards, and no more come"));
            }
            std::thread::sleep(apart);
            let done = self.status(name)?.map_or(0, |status| status.shards.done);
            if done > seen {
                (seen, since) = (done, Instant::now());
            }
        }
        Ok(())
    }

    /// How a job stands; `None` before it is there.
    pub(crate) fn status(&self, name: &str) -> Result<Option<JobStatus>, String> {
        self.runtime.block_on(status(&self.db(), name))
    }
}

fn succeeded(what: &str, status: std::io::Result<ExitStatus>) -> Result<(), String> {
    match status.map_err(|error| error.to_string())? {
        status if status.success() => Ok(()),
        status => Err(format!("{what}: {status}")),
    }
}

async fn status(db: &Path, name: &str) -> Result<Option<JobStatus>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let db = Db::open_read_only(db, Options::default())
        .await
        .map_err(|error| text(&error))?;
    run::status(&db, name).await.map_err(|error| text(&error))
}

/// The program, beside this one.
fn program() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let folders = own.ancestors().skip(1).take(2);
    let found = folders
        .map(|folder| folder.join("eciton"))
        .find(|p| p.is_file());
    found.ok_or_else(|| {
        "the program `eciton` is not there; build it first: cargo build --release -p eciton-worker"
            .to_owned()
    })
}
