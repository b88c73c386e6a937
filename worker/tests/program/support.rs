//! The program as its users call it, and small jobs for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The call ended well.
    pub(crate) fn done(self) -> Ended {
        self.with_code(0)
    }

    /// The call ended with this code.
    pub(crate) fn with_code(self, code: i32) -> Ended {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// The call told its failure in one line on stderr, with these words in it.
    pub(crate) fn told(self, words: &[&str]) -> Ended {
        let errors: Vec<&str> = self
            .stderr
            .lines()
            .filter(|l| l.starts_with("error: "))
            .collect();
        assert_eq!(errors.len(), 1, "not one line of error: {self:#?}");
        for word in words {
            assert!(
                errors[0].contains(word),
                "`{word}` is not in the message: {self:#?}"
            );
        }
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        self
    }

    /// The lines of stdout, each a JSON value.
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        let parsed = self.stdout.lines().map(serde_json::from_str);
        parsed
            .collect::<Result<_, _>>()
            .unwrap_or_else(|e| panic!("not JSON: {e}: {self:#?}"))
    }

    /// The only line of stdout, a JSON value.
    pub(crate) fn json(&self) -> Value {
        let mut lines = self.json_lines();
        assert_eq!(lines.len(), 1, "{self:#?}");
        lines.remove(0)
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Ended {
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The program, without the settings of whoever runs the tests. `ECITON_PROGRAM` names another one than that of the tests.
pub(crate) fn program() -> Command {
    let named = std::env::var_os("ECITON_PROGRAM");
    let mut command = Command::new(named.unwrap_or_else(|| env!("CARGO_BIN_EXE_eciton").into()));
    for name in [
        "DB",
        "WORKERS",
        "COMMIT_INTERVAL",
        "COMPRESSION",
        "REDIS",
        "REDIS_USERNAME",
        "REDIS_PASSWORD",
        "LISTEN",
        "ADVERTISE",
        "CONNECTIONS",
        "METRICS",
        "TLS_CERT",
        "TLS_KEY",
        "TLS_CLIENT_CA",
        "TOKEN",
        "TOKENS",
        "DATA_ROOT",
        "METRICS_TOKEN_FILE",
        "LOG_FORMAT",
        "OTLP",
    ] {
        command.env_remove(format!("ECITON_{name}"));
    }
    command.env_remove("RUST_LOG");
    command.stdin(Stdio::null());
    command
}

/// A folder for one test: a database, and whatever lies beside it.
pub(crate) struct Place {
    dir: TempDir,
    db: &'static str,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place::with_db("db")
    }

    /// A place whose database has another path.
    pub(crate) fn with_db(db: &'static str) -> Place {
        Place {
            dir: tempfile::tempdir().unwrap(),
            db,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The database's folder, which does not exist before a command creates it.
    pub(crate) fn db(&self) -> PathBuf {
        self.path(self.db)
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Calls the program on this place's database, from this place's folder.
    pub(crate) fn call(&self, args: &[&str]) -> Ended {
        self.command(args).output().unwrap().into()
    }

    /// A call on this place's database, not started yet.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = program();
        command
            .args(args)
            .arg("--db")
            .arg(self.db())
            .current_dir(self.dir.path());
        command
    }

    /// Starts a call in the background, its output piped.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        self.command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// The records of a store as `scan --json` prints them.
    pub(crate) fn records(&self, store: &str) -> String {
        self.call(&["scan", store, "--json"]).done().stdout
    }

    /// Whether there is a database, and a job of this name in it.
    pub(crate) fn job_is_there(&self, name: &str) -> bool {
        self.call(&["job", "show", name]).code == Some(0)
    }

    /// The state of a job.
    pub(crate) fn job(&self, name: &str) -> Value {
        self.call(&["job", "show", name, "--json"]).done().json()
    }
}

/// The sample jobs.
pub(crate) fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../jobs/examples")
}

/// A CSV of `rows` made-up measurements: integers, text with quotes in it, and quarters, whose sums
/// are exact in any order.
pub(crate) fn measurements(rows: u32) -> String {
    let mut text = String::from("id,station,level,flow,note\n");
    for id in 0..rows {
        let mixed = id.wrapping_mul(2_654_435_761) >> 7;
        let level = i64::from(mixed % 2000) - 1000;
        let flow = f64::from(mixed % 4096) / 4.0;
        let level = if id % 97 == 0 {
            String::new()
        } else {
            level.to_string()
        };
        let note = if id % 11 == 0 {
            "\"said \"\"high\"\", twice\""
        } else {
            "plain"
        };
        text.push_str(&format!("{id},s{},{level},{flow},{note}\n", mixed % 17));
    }
    text
}

/// A job that aggregates [`measurements`] by station.
pub(crate) fn aggregation(shard_size: &str) -> String {
    format!(
        r#"name = "stations"
[source]
format = "csv"
paths = ["*.csv"]
shard_size = "{shard_size}"
[transform]
sql = "SELECT station, level, flow FROM source"
[merge]
store = "stations"
key = ["station"]
[merge.values]
rows = "count()"
level_sum = "sum(level)"
level_min = "min(level)"
level_max = "max(level)"
level_avg = "avg(level)"
flow_sum = "sum(flow)"
"#
    )
}

/// A job that keeps every one of [`measurements`].
pub(crate) fn upsert(shard_size: &str) -> String {
    format!(
        r#"name = "levels"
[source]
format = "csv"
paths = ["*.csv"]
shard_size = "{shard_size}"
[upsert]
store = "levels"
key = ["station", "id"]
"#
    )
}
