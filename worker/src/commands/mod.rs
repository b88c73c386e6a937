//! What each command does: one file a noun.

mod asked;
mod completions;
mod copies;
mod db;
mod export;
mod init;
mod job;
mod plan;
mod query;
mod record;
mod run;
mod scan;
mod store;
mod stream;
mod tied;
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
        Command::Tied(args) => return tied::tied(args),
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
            Command::Version | Command::Completions(_) | Command::Man(_) | Command::Tied(_) => {
                Ok(())
            }
        }
    };
    match advice {
        Some(advice) => block_on(unless_asked(advice, done)),
        None => block_on(done),
    }
}
