//! What each command does: one file a noun.

mod copies;
mod db;
mod job;
mod plan;
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

/// Does what was asked for.
///
/// # Errors
/// Why it failed; the exit code follows from it.
pub(crate) fn dispatch(call: Call) -> Result<(), Failure> {
    let global = &call.global;
    match call.command {
        Command::Run(args) => block_on(run::run(global, &args)),
        Command::Worker(args) => block_on(worker::worker(global, &args)),
        Command::Up(args) => block_on(up::up(global, &args)),
        Command::Top(args) => block_on(top::top(global, &args)),
        Command::Submit(args) => block_on(run::submit(global, &args)),
        Command::Plan(args) => block_on(plan::plan(global, &args)),
        Command::Job(args) => block_on(job::job(global, args)),
        Command::Get(args) => block_on(record::get(global, &args)),
        Command::Put(args) => block_on(record::put(global, args)),
        Command::Del(args) => block_on(record::delete(global, &args)),
        Command::Scan(args) => block_on(scan::scan(global, &args)),
        Command::Stream(args) => block_on(stream::stream(global, args)),
        Command::Store(args) => block_on(store::store(global, args)),
        Command::Db(args) => block_on(db::db(global, &args)),
        Command::Version => version::version(global),
        Command::Tied(args) => tied::tied(&args),
    }
}
