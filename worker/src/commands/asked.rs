//! What to do after a signal has ended a command that had nothing to drain.

use std::path::Path;

use super::run::{among, word};
use crate::cli::{Command, Db, Global, Job};
use crate::settings;
use crate::signals::Advice;

/// The words that follow "ended by SIGINT"; `None` of commands that listen to signals from their beginning.
pub(super) fn advice(global: &Global, command: &Command) -> Option<Advice> {
    let at = || match settings::database(global) {
        Ok(path) => format!(" --db {}{}", word(&path), among(global)),
        Err(_) => String::new(),
    };
    let go_on = |call: &str| format!(" before any shard was begun; go on with `{call}`");
    let same = |file: &Path| word(file);
    let words = match command {
        Command::Worker(_)
        | Command::Up(_)
        | Command::Top(_)
        | Command::Health(_)
        | Command::Version
        | Command::Completions(_)
        | Command::Man(_)
        | Command::Supervised(_) => return None,
        Command::Run(args) => {
            let replace = if args.replace { " --replace" } else { "" };
            go_on(&format!("eciton run {}{replace}{}", same(&args.file), at()))
        }
        Command::Job(Job::Retry(args)) => go_on(&format!("eciton job retry {}{}", args.job, at())),
        Command::Submit(args) => format!(
            "; the job may be recorded: call `eciton submit {}` again, which joins it then",
            same(&args.file)
        ),
        Command::Plan(_) | Command::Init(_) => "; nothing was written".to_owned(),
        Command::Export(args) if args.to == "-" => String::new(),
        Command::Export(_) => "; what was there before is as it was".to_owned(),
        Command::Job(Job::Cancel { job, .. }) => undecided(&format!("eciton job cancel {job}")),
        Command::Job(Job::Rm(args)) => undecided(&format!("eciton job rm {}", args.job)),
        Command::Job(Job::Watch { .. }) => "; the job goes on".to_owned(),
        Command::Put(_) | Command::Del(_) => {
            "; it may have taken effect: read the record, or call it again".to_owned()
        }
        Command::Store(_) | Command::Stream(_) | Command::Db(Db::Compact { .. }) => {
            "; what had begun took effect as a whole or not at all".to_owned()
        }
        Command::Db(Db::Reinstate { .. }) => "; call it again, and it goes on".to_owned(),
        Command::Db(Db::Backup { .. } | Db::Restore { .. } | Db::Publish { .. }) => {
            "; call it again with the same folder".to_owned()
        }
        Command::Get(_)
        | Command::Scan(_)
        | Command::Query(_)
        | Command::Db(_)
        | Command::Job(_) => String::new(),
    };
    // What these print is no failure's.
    let prints_records = matches!(
        command,
        Command::Get(_) | Command::Scan(_) | Command::Query(_) | Command::Stream(_)
    );
    Some(Advice {
        words,
        json: global.json && !prints_records,
    })
}

fn undecided(call: &str) -> String {
    format!("; it may have taken effect: see `eciton job ls`, or call `{call}` again")
}
