//! Whether this worker is ready: it has its database open, does not drain, and its storage responds.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use eciton_engine::Action;
use eciton_engine::Db;
use eciton_jobs::run::CancellationToken;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long an answer of the storage is used: probes of several kinds come close together.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// How long a probe may take. Kubernetes gives its probes a second more by our chart.
const PROBE_WITHIN: Duration = Duration::from_secs(2);
/// Every database has it, whatever else is in its folder.
const PROBED: &str = "INSTANCE";

/// Why a worker is not ready, for people. No path and no address is in it: anybody may ask.
type Reason = &'static str;
type Probing = JoinHandle<Result<(), String>>;

/// The readiness of this process.
pub(crate) struct Health {
    stop: CancellationToken,
    opened: OnceLock<Opened>,
    last: Mutex<Last>,
}

/// A database that is open.
struct Opened {
    db: Db,
    /// `None`: it is in a bucket.
    folder: Option<PathBuf>,
}

/// What the storage answered last.
#[derive(Default)]
struct Last {
    answer: Option<(Instant, Result<(), Reason>)>,
    /// A probe that has not been answered yet: no other one is begun before it is.
    pending: Option<Probing>,
}

impl Health {
    /// Not ready yet. `stop` makes it unready for good.
    pub(crate) fn new(stop: CancellationToken) -> Health {
        Health {
            stop,
            opened: OnceLock::new(),
            last: Mutex::default(),
        }
    }

    /// The database is open from now on. A folder is looked into, too.
    pub(crate) fn opened(&self, db: &Db, folder: Option<PathBuf>) {
        let db = db.clone();
        let before = self.opened.set(Opened { db, folder });
        assert!(before.is_ok(), "a worker opens one database");
    }

    /// Asks the storage, unless it has answered within the last second.
    ///
    /// # Errors
    /// Why this worker is not ready.
    pub(crate) async fn check(&self) -> Result<(), Reason> {
        if self.stop.is_cancelled() {
            return Err("draining");
        }
        let Some(opened) = self.opened.get() else {
            return Err("starting: the database is not open yet");
        };
        let mut last = self.last.lock().await;
        if let Some((at, answer)) = last.answer
            && at.elapsed() < FRESH_FOR
        {
            return answer;
        }
        let pending = last.pending.take();
        let mut probing = pending.unwrap_or_else(|| tokio::spawn(opened.probe()));
        let answer = match timeout(PROBE_WITHIN, &mut probing).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => {
                tracing::warn!(
                    error,
                    "not ready: the storage of the database cannot be read"
                );
                Err("the storage of the database cannot be read; the log says why")
            }
            Ok(Err(died)) => {
                tracing::error!(%died, "not ready: the probe of the storage ended");
                Err("the probe of the storage ended")
            }
            Err(_) => {
                tracing::warn!("not ready: the storage of the database does not respond");
                last.pending = Some(probing);
                Err("the storage of the database does not respond")
            }
        };
        last.answer = Some((Instant::now(), answer));
        answer
    }
}

impl Opened {
    /// Looks whether anything was committed, and whether the folder is still there.
    fn probe(&self) -> impl Future<Output = Result<(), String>> + Send + 'static {
        let (db, folder) = (self.db.clone(), self.folder.clone());
        async move {
            if let Some(folder) = folder {
                let read = tokio::task::spawn_blocking(move || {
                    let path = folder.join(PROBED);
                    read(path.clone()).map_err(|error| format!("{}: {error}", path.display()))
                });
                read.await.map_err(|died| died.to_string())??;
            }
            match db.refresh().await {
                Err(error) if error.action() != Action::Retry => Err(error.to_string()),
                _ => Ok(()),
            }
        }
    }
}

fn read(path: PathBuf) -> io::Result<()> {
    File::open(path)?.read_exact(&mut [0])
}
