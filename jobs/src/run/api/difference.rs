//! In which keys two specifications differ.

use eciton_proto::v1::job_spec::{Sink, Step};
use eciton_proto::v1::{CommandFile, JobSpec, RunSpec};

/// Characters of a value that a message still shows.
const SHOWN_LEN_MAX: usize = 60;

/// The keys in which `new` differs from `old`, as a job file names them.
pub(crate) fn differences(old: &JobSpec, new: &JobSpec) -> Vec<String> {
    let mut found = Differences(Vec::new());
    source(old, new, &mut found);
    match (&old.step, &new.step) {
        (Some(Step::Transform(old)), Some(Step::Transform(new))) => {
            found.compare("transform.sql", &old.sql, &new.sql);
            found.compare("transform.scope", &old.scope(), &new.scope());
        }
        (Some(Step::Command(old)), Some(Step::Command(new))) => {
            found.compare("command.argv", &old.argv, &new.argv);
            found.compare("command.timeout", &old.timeout_ms, &new.timeout_ms);
            found.compare("command.input", &old.input(), &new.input());
            found.compare("command.output", &old.output(), &new.output());
            found.compare("command.env", &old.env, &new.env);
            // Values may be secret.
            if old.set != new.set {
                found.0.push("command.set".to_owned());
            }
            if old.schema != new.schema {
                found.0.push("command.schema".to_owned());
            }
            found.compare("command.memory", &old.memory_len_max, &new.memory_len_max);
            files(&old.files, &new.files, &mut found);
        }
        (old, new) if old != new => found.0.push("[transform] or [command]".to_owned()),
        _ => {}
    }
    match (&old.sink, &new.sink) {
        (Some(Sink::Merge(old)), Some(Sink::Merge(new))) => {
            found.compare("merge.store", &old.store, &new.store);
            found.compare("merge.key", &old.key, &new.key);
            if old.values != new.values {
                found.0.push("merge.values".to_owned());
            }
            found.compare(
                "merge.into_existing",
                &old.into_existing,
                &new.into_existing,
            );
        }
        (Some(Sink::Upsert(old)), Some(Sink::Upsert(new))) => {
            found.compare("upsert.store", &old.store, &new.store);
            found.compare("upsert.key", &old.key, &new.key);
            found.compare("upsert.version", &old.version, &new.version);
            found.compare(
                "upsert.into_existing",
                &old.into_existing,
                &new.into_existing,
            );
        }
        (Some(Sink::Answer(old)), Some(Sink::Answer(new))) => {
            found.compare("result.store", &old.store, &new.store);
        }
        (Some(Sink::Delete(old)), Some(Sink::Delete(new))) => {
            found.compare("delete.store", &old.store, &new.store);
            found.compare("delete.key", &old.key, &new.key);
            found.compare("delete.version", &old.version, &new.version);
        }
        (Some(Sink::Export(old)), Some(Sink::Export(new))) => {
            found.compare("export.to", &old.to, &new.to);
            found.compare("export.format", &old.format(), &new.format());
            found.compare("export.partition_by", &old.partition_by, &new.partition_by);
        }
        (old, new) if old != new => {
            found
                .0
                .push("[merge], [upsert], [export] or [result]".to_owned());
        }
        _ => {}
    }
    let run = |spec: &JobSpec| spec.run.clone().unwrap_or_default();
    let (old_run, new_run) = (run(old), run(new));
    found.compare(
        "run.max_attempts",
        &old_run.max_attempts,
        &new_run.max_attempts,
    );
    found.compare("run.lease", &old_run.lease_ms, &new_run.lease_ms);
    found.compare("run.timeout", &old_run.timeout_ms, &new_run.timeout_ms);
    found.compare("run.deadline", &old_run.deadline_ms, &new_run.deadline_ms);
    found.compare("run.priority", &old_run.priority, &new_run.priority);
    let max_failed = |run: &RunSpec| (run.max_failed, run.max_failed_ppm);
    found.compare(
        "run.max_failed",
        &max_failed(&old_run),
        &max_failed(&new_run),
    );
    found.compare(
        "run.final_exit_codes",
        &old_run.final_exit_codes,
        &new_run.final_exit_codes,
    );
    if old_run.retry_on != new_run.retry_on {
        found.0.push("run.retry_on".to_owned());
    }
    found.compare("run.after", &old_run.after, &new_run.after);
    found.compare("run.mode", &old_run.mode(), &new_run.mode());
    if old_run.needs != new_run.needs {
        found.0.push("run.needs".to_owned());
    }
    found.0
}

/// Names the files whose contents differ.
fn files(old: &[CommandFile], new: &[CommandFile], found: &mut Differences) {
    if old == new {
        return;
    }
    let other = |file: &&CommandFile| !old.contains(file);
    let changed: Vec<&str> = new
        .iter()
        .filter(other)
        .map(|file| file.name.as_str())
        .collect();
    found.0.push(match changed.is_empty() {
        true => "command.files".to_owned(),
        false => format!("command.files ({})", changed.join(", ")),
    });
}

fn source(old: &JobSpec, new: &JobSpec, found: &mut Differences) {
    let old = old.source.clone().unwrap_or_default();
    let new = new.source.clone().unwrap_or_default();
    found.compare("source.format", &old.format(), &new.format());
    found.compare("source.paths", &old.paths, &new.paths);
    found.compare("source.shard_size", &old.shard_size, &new.shard_size);
    found.compare("source.null_values", &old.null_values, &new.null_values);
    found.compare("source.on_error", &old.on_error(), &new.on_error());
    found.compare("source.verify", &old.verify(), &new.verify());
    found.compare(
        "source.on_new_columns",
        &old.on_new_columns(),
        &new.on_new_columns(),
    );
    found.compare("source.header", &old.header, &new.header);
    found.compare("source.delimiter", &old.delimiter, &new.delimiter);
    found.compare("source.quote", &old.quote, &new.quote);
    found.compare(
        "source.newlines_in_values",
        &old.newlines_in_values,
        &new.newlines_in_values,
    );
    if old.schema != new.schema {
        found.0.push("source.schema".to_owned());
    }
    found.compare("source.from", &old.from, &new.from);
    found.compare("source.to", &old.to, &new.to);
    found.compare("source.shard_len", &old.shard_len, &new.shard_len);
    found.compare("source.store", &old.store, &new.store);
}

struct Differences(Vec<String>);

impl Differences {
    fn compare<T: PartialEq + std::fmt::Debug>(&mut self, key: &str, old: &T, new: &T) {
        if old == new {
            return;
        }
        let values = format!("{old:?}, now {new:?}");
        if values.len() <= SHOWN_LEN_MAX {
            self.0.push(format!("{key} (was {values})"));
        } else {
            self.0.push(key.to_owned());
        }
    }
}
