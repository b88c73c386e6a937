//! Where a setting comes from: a flag, else the environment, else `eciton.toml` in the working
//! directory.
//!
//! Not `figment`, whose errors name the file and the key, but not the line; and not clap's `env`, which takes an empty variable
//! for a value and whose errors name the flag instead of the variable that is wrong.

use std::env;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum as _;
use eciton_engine::coord::redis::RedisOptions;
use eciton_engine::storage::{CacheOptions, WatchOptions};
use eciton_engine::{Compression, Options};
use eciton_jobs::command::CommandHost;
use eciton_jobs::run::COMMIT_INTERVAL;
use eciton_jobs::source::Reach;
use eciton_jobs::spec::parse_size;
use serde::Deserialize;

use crate::cli::{self, Compressed, Global, Listening, Worker, Workers};
use crate::command_flags::{Commands, Scratch};
use crate::failure::Failure;
use crate::flags::{self, CONNECTIONS_DEFAULT, interval};
use crate::ops_flags::{LogFormat, Logging};
use crate::roots::{self, DataRoots};
use crate::scrubbing::Scrubbing;
use crate::trace_flags::Tracing;

/// How long the series of a job are kept after its end, where nothing is said.
const KEEP_DEFAULT: Duration = Duration::from_hours(1);

/// The shortest time after which a storage path counts as one that hangs: ordinary disks take that long now and then.
const STORAGE_TIMEOUT_MIN: Duration = Duration::from_millis(100);
/// The file of settings, in the working directory.
const FILE: &str = "eciton.toml";
/// Worker tasks of one process.
const WORKERS_MAX: u16 = 1024;

/// What `eciton.toml` may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    db: Option<PathBuf>,
    standby: Option<PathBuf>,
    storage_timeout: Option<String>,
    scrub_interval: Option<String>,
    scrub_bandwidth: Option<String>,
    workers: Option<u16>,
    commit_interval: Option<String>,
    compression: Option<String>,
    redis: Option<RedisOptions>,
    cache: Option<Cache>,
    listen: Option<String>,
    advertise: Option<String>,
    connections: Option<usize>,
    tls: Option<TlsSection>,
    tokens: Option<PathBuf>,
    data_root: Option<DataRoots>,
    allow_remote: Option<Vec<String>>,
    scratch: Option<PathBuf>,
    #[serde(rename = "metrics_token_file")]
    metrics_tokens: Option<PathBuf>,
}

/// `[tls]`: with what gRPC is served over TLS.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsSection {
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
}

/// `[cache]`: where what was read of a bucket is kept.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cache {
    dir: Option<PathBuf>,
    /// Bytes.
    size: Option<u64>,
}

/// The database's folder, for what is done to folders alone.
///
/// # Errors
/// As [`database`]; [`Failure::Usage`] for a bucket.
pub(crate) fn folder(global: &Global) -> Result<PathBuf, Failure> {
    let path = database(global)?;
    match bucket(&path) {
        Some(url) => Err(Failure::Usage(format!(
            "database `{url}`: this is done to folders only; a bucket keeps versions and copies by its own means"
        ))),
        None => Ok(path),
    }
}

/// The address of a database in a bucket, if that is what the path says.
pub(crate) fn bucket(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| text.contains("://"))
}

/// The database: a folder's path, or the address of a bucket and a prefix.
///
/// # Errors
/// [`Failure::Usage`] where none was given.
pub(crate) fn database(global: &Global) -> Result<PathBuf, Failure> {
    let path = match (&global.db, from_environment("ECITON_DB")) {
        (Some(path), _) => path.clone(),
        (None, Some(path)) => PathBuf::from(path),
        (None, None) => read_file()?.db.ok_or_else(|| {
            let ways = "give --db DIR, set ECITON_DB, or write db = \"DIR\" in eciton.toml";
            Failure::Usage(format!("no database named: {ways}"))
        })?,
    };
    Ok(path)
}

/// The second storage path of the database, if it has one.
///
/// # Errors
/// [`Failure::Usage`] for a file that cannot be read.
pub(crate) fn standby(global: &Global) -> Result<Option<PathBuf>, Failure> {
    let named = global
        .standby
        .clone()
        .or_else(|| from_environment("ECITON_STANDBY").map(PathBuf::from));
    match named {
        Some(path) => Ok(Some(path)),
        None => Ok(read_file()?.standby),
    }
}

/// When a storage path of a mirrored database counts as one that hangs or is too slow.
///
/// # Errors
/// [`Failure::Usage`] for a time that is none, and for a file that cannot be read.
pub(crate) fn watch() -> Result<WatchOptions, Failure> {
    const VARIABLE: &str = "ECITON_STORAGE_TIMEOUT";
    let mut options = WatchOptions::default();
    let named = match from_environment(VARIABLE) {
        Some(text) => Some(named_interval(VARIABLE, &text)?),
        None => match read_file()?.storage_timeout {
            Some(text) => Some(named_interval(&format!("{FILE}: storage_timeout"), &text)?),
            None => None,
        },
    };
    if let Some(limit) = named {
        if limit < STORAGE_TIMEOUT_MIN {
            let message = format!(
                "{VARIABLE} or `storage_timeout` is {} ms: expected {} ms or more",
                limit.as_millis(),
                STORAGE_TIMEOUT_MIN.as_millis()
            );
            return Err(Failure::Usage(message));
        }
        options.limit = limit;
    }
    Ok(options)
}

/// How a worker scrubs the storage paths of a mirrored database; `None`: it does not.
///
/// # Errors
/// [`Failure::Usage`] for a time or a size that is none, and for a file that cannot be read.
pub(crate) fn scrubbing() -> Result<Option<Scrubbing>, Failure> {
    let file = read_file()?;
    let mut scrubbing = Scrubbing::default();
    let interval = from_environment("ECITON_SCRUB_INTERVAL").or(file.scrub_interval);
    if let Some(text) = interval {
        scrubbing.interval = named_interval("ECITON_SCRUB_INTERVAL or `scrub_interval`", &text)?;
    }
    let bandwidth = from_environment("ECITON_SCRUB_BANDWIDTH").or(file.scrub_bandwidth);
    if let Some(text) = bandwidth {
        let size = parse_size(&text).filter(|size| *size > 0);
        scrubbing.bandwidth = size.ok_or_else(|| {
            Failure::Usage(format!(
                "ECITON_SCRUB_BANDWIDTH or `scrub_bandwidth` is `{text}`: expected a size like 10MiB"
            ))
        })?;
    }
    Ok((!scrubbing.interval.is_zero()).then_some(scrubbing))
}

/// Where Redis is, and how it is used; `None`: this process has the database alone. A flag or variable says
/// where, and `[redis]` in the file the rest.
///
/// # Errors
/// [`Failure::Usage`] for a file that cannot be read.
pub(crate) fn redis(global: &Global) -> Result<Option<RedisOptions>, Failure> {
    let urls = global
        .redis
        .clone()
        .or_else(|| from_environment("ECITON_REDIS"));
    let in_file = read_file()?.redis;
    let mut options = match (urls, in_file) {
        (None, None) => return Ok(None),
        (Some(urls), in_file) => RedisOptions {
            urls: RedisOptions::at(&urls).urls,
            ..in_file.unwrap_or_default()
        },
        (None, Some(options)) => options,
    };
    let given = |name: &str, setting: &mut Option<String>| {
        if let Some(value) = from_environment(name) {
            *setting = Some(value);
        }
    };
    given("ECITON_REDIS_USERNAME", &mut options.username);
    given("ECITON_REDIS_PASSWORD", &mut options.password);
    Ok(Some(options))
}

/// Where what is read of a bucket is kept, and how much of it; `None`: nowhere. A flag or variable says where, and
/// `[cache]` in the file the rest.
///
/// # Errors
/// [`Failure::Usage`] for a file that cannot be read.
pub(crate) fn cache(global: &Global) -> Result<Option<CacheOptions>, Failure> {
    let in_file = read_file()?.cache.unwrap_or_default();
    let given = global.cache.clone();
    let given = given.or_else(|| from_environment("ECITON_CACHE").map(PathBuf::from));
    let len_max = in_file.size.unwrap_or(CacheOptions::LEN_MAX);
    let options = given
        .or(in_file.dir)
        .map(|folder| CacheOptions { folder, len_max });
    Ok(options)
}

/// How pages that are written are compressed; those that are there stay as they are.
///
/// # Errors
/// [`Failure::Usage`] for what is no compression.
pub(crate) fn compression(given: Compressed) -> Result<Compression, Failure> {
    let named = |name: &str, text: &str| {
        let found = cli::compression(text);
        found.map_err(|expected| Failure::Usage(format!("{name} is `{text}`: {expected}")))
    };
    if let Some(compression) = given.compression {
        return Ok(compression);
    }
    if let Some(text) = from_environment("ECITON_COMPRESSION") {
        return named("ECITON_COMPRESSION", &text);
    }
    match read_file()?.compression {
        Some(text) => named(&format!("{FILE}: compression"), &text),
        None => Ok(Options::default().compression),
    }
}

/// The number of worker tasks; the number of cores where nothing says otherwise.
///
/// # Errors
/// [`Failure::Usage`] for what is no number from 1 to 1024.
fn workers(given: &Workers) -> Result<usize, Failure> {
    Ok(said_workers(given.workers)?.unwrap_or_else(cores))
}

/// The cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// The number of worker tasks, where anything says it.
///
/// # Errors
/// [`Failure::Usage`] for what is no number from 1 to 1024.
pub(crate) fn said_workers(given: Option<u16>) -> Result<Option<usize>, Failure> {
    if let Some(workers) = given {
        return Ok(Some(usize::from(workers)));
    }
    if let Some(text) = from_environment("ECITON_WORKERS") {
        let number = text.parse().ok().filter(|n| (1..=WORKERS_MAX).contains(n));
        return number.map(usize::from).map(Some).ok_or_else(|| {
            let expected = format!("expected a number from 1 to {WORKERS_MAX}");
            Failure::Usage(format!("ECITON_WORKERS is `{text}`, {expected}"))
        });
    }
    Ok(read_file()?.workers.map(usize::from))
}

/// How workers are to work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkerSettings {
    /// Worker tasks.
    pub(crate) workers: usize,
    /// How long computed shards wait to be committed together.
    pub(crate) commit_interval: Duration,
}

/// The settings of workers.
///
/// # Errors
/// [`Failure::Usage`] for what is no number from 1 to 1024, or no time.
pub(crate) fn worker_settings(given: &Workers) -> Result<WorkerSettings, Failure> {
    let from_file = || read_file().map(|file| file.commit_interval);
    let commit_interval = match (
        given.commit_interval,
        from_environment("ECITON_COMMIT_INTERVAL"),
    ) {
        (Some(interval), _) => interval,
        (None, Some(text)) => named_interval("ECITON_COMMIT_INTERVAL", &text)?,
        (None, None) => match from_file()? {
            Some(text) => named_interval(&format!("{FILE}: commit_interval"), &text)?,
            None => COMMIT_INTERVAL,
        },
    };
    Ok(WorkerSettings {
        workers: workers(given)?,
        commit_interval,
    })
}

/// The slots of a worker, and how long computed shards wait to be committed together.
///
/// # Errors
/// As [`worker_settings`].
pub(crate) fn slots(given: &Worker) -> Result<(usize, Duration), Failure> {
    let workers = worker_settings(&Workers {
        workers: given.slots,
        commit_interval: given.commit_interval,
    })?;
    Ok((workers.workers, workers.commit_interval))
}

/// Where programs of jobs work, for a command whose user has named the job; those of jobs that came over the network
/// where `over_network` says so.
///
/// # Errors
/// [`Failure::Usage`] for a file that cannot be read.
pub(crate) fn command_host(given: &Scratch, over_network: bool) -> Result<CommandHost, Failure> {
    let named = given.scratch.clone();
    let named = named.or_else(|| from_environment("ECITON_SCRATCH").map(PathBuf::from));
    let scratch = match named {
        Some(folder) => folder,
        None => read_file()?
            .scratch
            .unwrap_or_else(CommandHost::default_scratch),
    };
    Ok(CommandHost::new(scratch, over_network))
}

/// The permission of a worker to run programs of jobs, if it has it.
///
/// # Errors
/// As [`command_host`].
pub(crate) fn commands(given: &Commands) -> Result<Option<CommandHost>, Failure> {
    let host = given.allowed.then(|| command_host(&given.scratch, true));
    host.transpose()
}

/// Where metrics are served, and to whom.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) address: SocketAddr,
    /// Tokens for metrics alone; `None`: what follows says who may read them.
    pub(crate) token_file: Option<PathBuf>,
    /// The file of tokens of gRPC, which asks for a role.
    pub(crate) tokens: Option<PathBuf>,
    /// Whether anybody may read them beyond this machine, too.
    pub(crate) insecure: bool,
    /// How long series of ended jobs are told.
    pub(crate) keep: Duration,
}

impl Metrics {
    /// Whether others than this machine reach them.
    pub(crate) fn is_beyond(&self) -> bool {
        !self.address.ip().is_loopback()
    }
}

/// Where metrics are served, if anywhere.
///
/// # Errors
/// [`Failure::Usage`] for what is no address, and for a file that cannot be read.
pub(crate) fn metrics(given: &Worker) -> Result<Option<Metrics>, Failure> {
    let address = match given.metrics {
        Some(address) => Some(address),
        None => metrics_address()?,
    };
    let Some(address) = address else {
        return Ok(None);
    };
    let in_file = read_file()?;
    let token_file = given.metrics_token_file.clone();
    let token_file =
        token_file.or_else(|| from_environment("ECITON_METRICS_TOKEN_FILE").map(PathBuf::from));
    Ok(Some(Metrics {
        address,
        token_file: token_file.or(in_file.metrics_tokens),
        tokens: tokens(&given.listening, in_file.tokens),
        insecure: given.listening.insecure,
        keep: given.metrics_keep.unwrap_or(KEEP_DEFAULT),
    }))
}

/// Where the environment says that metrics are served, if it does.
///
/// # Errors
/// [`Failure::Usage`] for what is no address.
pub(crate) fn metrics_address() -> Result<Option<SocketAddr>, Failure> {
    let Some(text) = from_environment("ECITON_METRICS") else {
        return Ok(None);
    };
    let address = text.parse().map_err(|_| {
        let expected = "expected an address like 127.0.0.1:9100";
        Failure::Usage(format!("ECITON_METRICS is `{text}`: {expected}"))
    });
    address.map(Some)
}

/// How log lines are written.
///
/// # Errors
/// [`Failure::Usage`] where the environment says what is no format.
pub(crate) fn log_format(given: &Logging) -> Result<LogFormat, Failure> {
    if let Some(format) = given.log_format {
        return Ok(format);
    }
    let Some(text) = from_environment("ECITON_LOG_FORMAT") else {
        return Ok(LogFormat::Text);
    };
    LogFormat::from_str(&text, false).map_err(|_| {
        Failure::Usage(format!(
            "ECITON_LOG_FORMAT is `{text}`: expected text or json"
        ))
    })
}

/// The collector that spans are sent to, if any.
pub(crate) fn otlp(given: &Tracing) -> Option<String> {
    let given = given.otlp.clone();
    given.or_else(|| from_environment("ECITON_OTLP"))
}

/// The file of tokens.
fn tokens(given: &Listening, in_file: Option<PathBuf>) -> Option<PathBuf> {
    let given = given.tokens.clone();
    let given = given.or_else(|| from_environment("ECITON_TOKENS").map(PathBuf::from));
    given.or(in_file)
}

/// How far jobs reach that come over gRPC.
///
/// # Errors
/// [`Failure::Usage`] for a path that cannot be, and for a file that cannot be read.
pub(crate) fn reach(given: &Listening) -> Result<Reach, Failure> {
    let file = read_file()?;
    let reach = roots::reach(&given.data_roots, file.data_root)?;
    roots::with_remote(reach, &given.allow_remote, file.allow_remote)
}

/// Where gRPC is served, and to whom.
#[derive(Debug)]
pub(crate) struct Listen {
    /// Host and port.
    pub(crate) address: String,
    /// Host and port under which others reach it; `None`: where it listens.
    pub(crate) advertise: Option<String>,
    /// Connections at the same time.
    pub(crate) connections: usize,
    /// The certificate that is shown, and its key.
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
    /// Who signs the certificates of clients; `None`: they need none.
    pub(crate) client_ca: Option<PathBuf>,
    /// The file of tokens; `None`: callers need none.
    pub(crate) tokens: Option<PathBuf>,
    /// Whether that may be less than it takes beyond this machine.
    pub(crate) insecure: bool,
}

/// Where gRPC is served, and to whom; `None`: nowhere.
///
/// # Errors
/// [`Failure::Usage`] for a certificate without its key, or the other way round, and for a file that cannot be read.
pub(crate) fn listen(given: &Listening) -> Result<Option<Listen>, Failure> {
    let in_file = read_file()?;
    let files = in_file.tls.unwrap_or_default();
    let path = |flag: &Option<PathBuf>, name: &str, in_file: Option<PathBuf>| {
        let given = flag
            .clone()
            .or_else(|| from_environment(name).map(PathBuf::from));
        given.or(in_file)
    };
    let address = given
        .listen
        .clone()
        .or_else(|| from_environment("ECITON_LISTEN"));
    let Some(address) = address.or(in_file.listen) else {
        return match given.advertise {
            Some(_) => Err(Failure::Usage(
                "--advertise: expected --listen, too".to_owned(),
            )),
            None => Ok(None),
        };
    };
    let advertise = match (&given.advertise, from_environment("ECITON_ADVERTISE")) {
        (Some(address), _) => Some(address.clone()),
        (None, Some(text)) => Some(advertised("ECITON_ADVERTISE", &text)?),
        (None, None) => match in_file.advertise {
            Some(text) => Some(advertised(&format!("{FILE}: advertise"), &text)?),
            None => None,
        },
    };
    let connections = match (given.connections, from_environment("ECITON_CONNECTIONS")) {
        (Some(connections), _) => connections as usize,
        (None, Some(text)) => connections("ECITON_CONNECTIONS", &text)?,
        (None, None) => match in_file.connections {
            Some(number) => connections(&format!("{FILE}: connections"), &number.to_string())?,
            None => CONNECTIONS_DEFAULT,
        },
    };
    let cert = path(&given.tls_cert, "ECITON_TLS_CERT", files.cert);
    let key = path(&given.tls_key, "ECITON_TLS_KEY", files.key);
    let certificate = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => {
            return Err(Failure::Usage(
                "--tls-cert: expected --tls-key, too".to_owned(),
            ));
        }
        (None, Some(_)) => {
            return Err(Failure::Usage(
                "--tls-key: expected --tls-cert, too".to_owned(),
            ));
        }
    };
    Ok(Some(Listen {
        address,
        advertise,
        connections,
        certificate,
        client_ca: path(
            &given.tls_client_ca,
            "ECITON_TLS_CLIENT_CA",
            files.client_ca,
        ),
        tokens: tokens(given, in_file.tokens),
        insecure: given.insecure,
    }))
}

/// An address that others are told.
fn advertised(name: &str, text: &str) -> Result<String, Failure> {
    let found = flags::advertised(text);
    found.map_err(|expected| Failure::Usage(format!("{name} is `{text}`: {expected}")))
}

/// How many connections there may be.
fn connections(name: &str, text: &str) -> Result<usize, Failure> {
    let number = text.parse().ok();
    let number = number.filter(|n: &u32| (1..=flags::CONNECTIONS_MAX).contains(n));
    number.map(|n| n as usize).ok_or_else(|| {
        let expected = format!("expected a number from 1 to {}", flags::CONNECTIONS_MAX);
        Failure::Usage(format!("{name} is `{text}`: {expected}"))
    })
}

/// Which workers are asked over gRPC, and how.
#[derive(Debug)]
pub(crate) struct PeerSettings {
    /// Addresses with commas between them.
    pub(crate) addresses: String,
    /// The token that is brought along.
    pub(crate) token: Option<String>,
    /// Who signs the certificates of peers; `None`: whom this machine trusts.
    pub(crate) ca: Option<PathBuf>,
    /// The certificate that is shown, and its key.
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
}

/// Which workers are asked over gRPC; `None`: the database is opened here.
///
/// # Errors
/// [`Failure::Usage`] where a database is named, too, and for a file of a token that cannot be read.
pub(crate) fn peers(global: &Global, given: &cli::Peers) -> Result<Option<PeerSettings>, Failure> {
    let Some(addresses) = given.peer.clone() else {
        return Ok(None);
    };
    if global.db.is_some() || global.redis.is_some() {
        let told =
            "--peer: expected no --db and no --redis, since the peer has opened its database";
        return Err(Failure::Usage(told.to_owned()));
    }
    let in_file = given.token_file.as_ref().map(|path| {
        let cannot = |error| Failure::Usage(format!("{}: cannot be read: {error}", path.display()));
        let text = fs::read_to_string(path).map_err(cannot)?;
        match text.trim_start_matches('\u{feff}').trim() {
            "" => {
                let told = format!("{}: expected a token, found an empty file", path.display());
                Err(Failure::Usage(told))
            }
            token => Ok(token.to_owned()),
        }
    });
    let token = given.token.clone().or(in_file.transpose()?);
    Ok(Some(PeerSettings {
        addresses,
        token: token.or_else(|| from_environment("ECITON_TOKEN")),
        ca: given.tls_ca.clone(),
        certificate: given
            .tls_client_cert
            .clone()
            .zip(given.tls_client_key.clone()),
    }))
}

fn named_interval(name: &str, text: &str) -> Result<Duration, Failure> {
    interval(text).map_err(|expected| Failure::Usage(format!("{name} is `{text}`: {expected}")))
}

/// A variable that is set and not empty; an empty one means that it was meant to be unset.
fn from_environment(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn read_file() -> Result<File, Failure> {
    match fs::read_to_string(FILE) {
        Ok(text) => parse(&text),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(File::default()),
        Err(cause) => Err(Failure::Usage(format!("{FILE}: cannot be read: {cause}"))),
    }
}

fn parse(text: &str) -> Result<File, Failure> {
    let file: File = toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text[..start.min(text.len())].matches('\n').count() + 1;
        Failure::Usage(format!("{FILE}:{line}: {}", error.message()))
    })?;
    match file.workers {
        Some(workers) if !(1..=WORKERS_MAX).contains(&workers) => Err(Failure::Usage(format!(
            "{FILE}: workers is {workers}, expected a number from 1 to {WORKERS_MAX}"
        ))),
        _ => Ok(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_a_time() {
        assert_eq!(named_interval("x", "2s").unwrap(), Duration::from_secs(2));
        assert_eq!(named_interval("x", "0s").unwrap(), Duration::ZERO);
        for text in ["2", "s", "-1s", "1 year"] {
            let refused = named_interval("ECITON_COMMIT_INTERVAL", text).unwrap_err();
            let told = format!("ECITON_COMMIT_INTERVAL is `{text}`: expected a time like");
            assert!(format!("{refused:?}").contains(&told), "{refused:?}");
        }
    }

    #[test]
    fn the_file_is_checked_with_its_line() {
        let file = parse("db = \"x\"\nworkers = 3\n").unwrap();
        assert_eq!((file.db, file.workers), (Some(PathBuf::from("x")), Some(3)));
        let message = |text| parse(text).unwrap_err().to_string();
        assert!(message("db = \"x\"\ndatabase = 1\n").starts_with("eciton.toml:2: "));
        assert!(message("workers = 0\n").contains("from 1 to 1024"));
        assert!(message("workers = 1025\n").contains("from 1 to 1024"));
        assert_eq!(parse("workers = 1024\n").unwrap().workers, Some(1024));
        let redis = parse("[redis]\nurls = [\"redis://a\"]\n").unwrap().redis;
        assert_eq!(redis, Some(RedisOptions::at("redis://a")));
        let cache = parse("[cache]\ndir = \"x\"\nsize = 5\n").unwrap().cache;
        let cache = cache.map(|cache| (cache.dir, cache.size));
        assert_eq!(cache, Some((Some(PathBuf::from("x")), Some(5))));
        assert!(message("[cache]\nsize = -1\n").starts_with("eciton.toml:2: "));
        assert!(message("[redis]\nurl = \"redis://a\"\n").starts_with("eciton.toml:2: "));
    }
}
