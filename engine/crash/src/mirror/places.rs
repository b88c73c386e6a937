//! The storage paths as the processes of a run see them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use eciton_engine::coord::{SharedCoordinator, Silence};
use eciton_engine::storage::{
    Access, LocalStorage, Storage, Unreachable, WatchOptions, WatchedStorage,
};
use eciton_engine::{Environment, Mode, Options};

/// How long a path may be slow.
const SLOW_FOR: Duration = Duration::from_millis(300);

/// What is on a command line.
#[derive(Clone, Debug)]
pub struct Places {
    /// The active path.
    pub active: PathBuf,
    /// The passive path.
    pub passive: PathBuf,
    /// The watchdog's limit.
    pub limit: Duration,
}

impl Places {
    /// As arguments.
    pub fn to_args(&self) -> Vec<String> {
        let text = |path: &Path| path.display().to_string();
        vec![
            text(&self.active),
            text(&self.passive),
            self.limit.as_millis().to_string(),
        ]
    }

    /// From arguments; and those that follow.
    pub fn parse(args: &[String]) -> Option<(Places, &[String])> {
        let ([active, passive, limit], rest) = args.split_first_chunk::<3>()?;
        let places = Places {
            active: active.into(),
            passive: passive.into(),
            limit: Duration::from_millis(limit.parse().ok()?),
        };
        Some((places, rest))
    }

    /// Opens both, each with its watchdog.
    pub async fn open(&self, access: Access) -> Vec<Arc<dyn Storage>> {
        let mut places: Vec<Arc<dyn Storage>> = Vec::new();
        for path in [&self.active, &self.passive] {
            let options = WatchOptions {
                limit: self.limit,
                slow_for: SLOW_FOR,
            };
            let (location, own) = (path.display().to_string(), path.clone());
            let open = move || LocalStorage::open(&own, access);
            places.push(match WatchedStorage::open(&location, options, open).await {
                Ok(folder) => Arc::new(folder),
                Err(error) => Arc::new(Unreachable::new(location, error.to_string())),
            });
        }
        places
    }
}

/// How the database is opened.
pub fn options() -> Options {
    Options {
        mode: Mode::Clustered,
        fold_len_min: 4_000,
        ..Options::default()
    }
}

/// Processes that hear nothing of each other.
pub fn environment() -> Environment {
    let environment = Environment::default();
    let coordinator = SharedCoordinator::new(
        Arc::new(Silence),
        Arc::clone(&environment.clock),
        Arc::clone(&environment.entropy),
    );
    Environment {
        coordinator: Arc::new(coordinator),
        ..environment
    }
}
