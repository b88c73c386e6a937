//! What each command does: one file a noun. Files import only from lower ranks:
//!
//! | rank | file | is |
//! |---|---|---|
//! | 3 | `asked` | what a signal is answered with |
//! | 3 | `init` | drafting a job file |
//! | 3 | `job` | `job ls|show|watch|cancel|retry|rm` |
//! | 3 | `plan` | what a job would do |
//! | 2 | `run` | recording and running a job |
//! | 1 | `db` | databases as a whole |
//! | 1 | `scan` | records of a store in order |
//! | 1 | `store` | stores |
//! | 1 | `stream` | values of any length |
//! | 1 | `watch` | how a job goes |
//! | 0 | `completions` | shells and manual pages |
//! | 0 | `copies` | backups, restoring, publishing |
//! | 0 | `export` | stores as files |
//! | 0 | `found` | the job that a command is about |
//! | 0 | `health` | whether a worker is ready |
//! | 0 | `paths` | storage paths of a mirrored database |
//! | 0 | `query` | SQL over stores |
//! | 1 | `graph` | which jobs start after which |
//! | 1 | `job_logs` | what the programs of a job wrote |
//! | 0 | `record` | single records |
//! | 0 | `scrub` | damage restored from the other storage path |
//! | 0 | `supervised` | a supervised child |
//! | 0 | `top` | a view of the swarm, again and again |
//! | 0 | `up` | a swarm on this machine |
//! | 0 | `version` | versions and features |
//! | 0 | `worker` | a worker of the swarm |

mod asked;
mod completions;
mod copies;
mod db;
mod export;
mod found;
mod graph;
mod health;
mod init;
mod job;
mod job_logs;
mod paths;
mod plan;
mod query;
mod record;
mod run;
mod scan;
mod scrub;
mod store;
mod stream;
mod supervised;
mod top;
mod up;
mod version;
mod watch;
mod worker;

use crate::cli::{Call, Command};
use crate::database::block_on;
use crate::failure::Failure;
use crate::signals::unless_asked;

/// Does what was asked for.
///
/// # Errors
/// Why it failed; the exit code follows from it.
pub(crate) fn dispatch(call: Call) -> Result<(), Failure> {
    let global = &call.global;
    match &call.command {
        Command::Version => return version::version(global),
        Command::Completions(args) => return completions::completions(global, args),
        Command::Man(args) => return completions::man(global, args),
        Command::Supervised(args) => return supervised::supervised(args),
        Command::Health(args) => return health::health(global, args),
        _ => {}
    }
    let advice = asked::advice(global, &call.command);
    let done = async {
        match call.command {
            Command::Run(args) => run::run(global, &args).await,
            Command::Init(args) => init::init(global, &args).await,
            Command::Worker(args) => worker::worker(global, &args).await,
            Command::Up(args) => up::up(global, &args).await,
            Command::Top(args) => top::top(global, &args).await,
            Command::Submit(args) => run::submit(global, &args).await,
            Command::Plan(args) => plan::plan(global, &args).await,
            Command::Job(args) => job::job(global, args).await,
            Command::Get(args) => record::get(global, &args).await,
            Command::Put(args) => record::put(global, args).await,
            Command::Del(args) => record::delete(global, &args).await,
            Command::Scan(args) => scan::scan(global, &args).await,
            Command::Query(args) => query::query(global, &args).await,
            Command::Export(args) => export::export(global, &args).await,
            Command::Stream(args) => stream::stream(global, args).await,
            Command::Store(args) => store::store(global, args).await,
            Command::Db(args) => db::db(global, &args).await,
            Command::Version
            | Command::Completions(_)
            | Command::Man(_)
            | Command::Health(_)
            | Command::Supervised(_) => Ok(()),
        }
    };
    match advice {
        Some(advice) => block_on(unless_asked(advice, done)),
        None => block_on(done),
    }
}
