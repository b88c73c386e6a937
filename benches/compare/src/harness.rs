//! Engines in turn, several times, and what comes of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::call::Call;
use crate::child::{self, MeasuredLine};
use crate::engine::{Result, text};
use crate::engines::{self, OURS};
use crate::floor::{self, Floor};
use crate::lines::{self, GROUPS, Group, Line};
use crate::records::{Key, VALUE_LEN};
use crate::report::{self, grid, median, number};
use crate::usage;

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// What went wrong. The other engines were measured all the same.
    pub(crate) failures: Vec<String>,
    items: u64,
    /// Engines with their versions, ours first.
    versions: Vec<(&'static str, String)>,
    floor: Floor,
    lines: Vec<Line>,
    taken: Taken,
}

/// Figures by line and engine, one of each run.
#[derive(Debug, Default)]
struct Taken {
    values: BTreeMap<(&'static str, &'static str), Vec<f64>>,
    /// Microseconds of processor time an operation.
    cpu_us: BTreeMap<(&'static str, &'static str), Vec<f64>>,
    /// What each line found: the same for all engines and runs.
    checksums: BTreeMap<&'static str, String>,
}

/// Runs everything that `call` asks for.
///
/// # Errors
/// A folder that cannot be used. What fails in an engine is told in [`Comparison::failures`].
pub(crate) fn measure(call: &Call) -> Result<Comparison> {
    let folder = tempfile::Builder::new()
        .prefix("eciton-compare-")
        .tempdir_in(&call.dir)
        .map_err(|error| format!("{}: {error}", call.dir.display()))?;
    if floor::is_in_memory(folder.path()) {
        let dir = call.dir.display();
        eprintln!("warning: {dir} lies in memory: being durable costs nothing there");
    }
    let mut running = Running {
        call,
        folder: folder.path(),
        taken: Taken::default(),
        failures: Vec::new(),
    };
    let mut floors = Vec::new();
    for run in 0..call.runs {
        floors.push(Floor::measure(folder.path())?);
        running.run(run);
    }
    let versions = call.engines.iter();
    let versions = versions.map(|name| Ok((*name, engines::version(name)?)));
    Ok(Comparison {
        items: call.items,
        versions: versions.collect::<Result<_>>()?,
        floor: Floor::median(&floors),
        lines: call.lines.clone(),
        taken: running.taken,
        failures: running.failures,
    })
}

struct Running<'a> {
    call: &'a Call,
    folder: &'a Path,
    taken: Taken,
    failures: Vec<String>,
}

impl Running<'_> {
    /// Every group, each with every engine in turn. Nobody is first every time.
    fn run(&mut self, run: usize) {
        let mut turn = self.call.engines.clone();
        let first = run % turn.len().max(1);
        turn.rotate_left(first);
        let mut memory: BTreeMap<&str, f64> = BTreeMap::new();
        let mut broken: Vec<&str> = Vec::new();
        for (group, name) in wanted(&self.call.lines) {
            for &engine in &turn {
                // What fails once has nothing to go on with in this run.
                if broken.contains(&engine) {
                    continue;
                }
                let start = Instant::now();
                let told = match self.group(group, name, engine) {
                    Ok(peak_mb) => {
                        let peak = memory.entry(engine).or_default();
                        *peak = peak.max(peak_mb);
                        "done"
                    }
                    Err(message) => {
                        self.failures.push(message);
                        broken.push(engine);
                        "failed"
                    }
                };
                let seconds = start.elapsed().as_secs_f64();
                eprintln!(
                    "run {}, {name}, {engine}: {told} in {seconds:.1} s",
                    run + 1
                );
            }
        }
        for (engine, peak_mb) in memory {
            if !broken.contains(&engine) {
                self.take(lines::MEMORY, engine, peak_mb);
            }
        }
        for engine in turn {
            self.remove(&self.folder.join(engine));
        }
    }

    /// One group with one engine: its peak of memory.
    fn group(&mut self, group: Group, name: &str, engine: &'static str) -> Result<f64> {
        let folder = match group.needs_load() || group == Group::Load {
            true => self.folder.join(engine),
            false => self.folder.join(format!("{engine}-{name}")),
        };
        let measured = child::measure(engine, group, self.call.items, &folder)?;
        for line in measured.lines {
            self.line(engine, line)?;
        }
        let size_mb = megabytes(&folder)?;
        match group {
            Group::Load => {
                self.take(lines::SIZE_LOADED, engine, size_mb);
                self.take(lines::MEMORY_LOAD, engine, measured.peak_mb);
            }
            Group::Delete => self.take(lines::SIZE_END, engine, size_mb),
            Group::LoadSorted | Group::KeysOnly => self.remove(&folder),
            _ => {}
        }
        Ok(measured.peak_mb)
    }

    fn line(&mut self, engine: &'static str, measured: MeasuredLine) -> Result<()> {
        let MeasuredLine {
            name,
            rate,
            cpu_us,
            checksum,
        } = measured;
        let line = lines::LINES.iter().find(|line| line.name == name);
        let line = line.ok_or(format!("{engine} measured `{name}`, which is no line"))?;
        let seen = self
            .taken
            .checksums
            .entry(line.name)
            .or_insert(checksum.clone());
        if *seen != checksum {
            return Err(format!("{engine}, {name}: found {checksum}, others {seen}"));
        }
        self.take(line.name, engine, rate);
        let cpu = self.taken.cpu_us.entry((line.name, engine)).or_default();
        cpu.push(cpu_us);
        Ok(())
    }

    fn take(&mut self, line: &'static str, engine: &'static str, value: f64) {
        let values = self.taken.values.entry((line, engine)).or_default();
        values.push(value);
    }

    fn remove(&mut self, folder: &PathBuf) {
        if folder.exists()
            && let Err(error) = std::fs::remove_dir_all(folder)
        {
            self.failures.push(format!("{}: {error}", folder.display()));
        }
    }
}

/// The groups that measure any of `lines`, and what they need.
fn wanted(lines: &[Line]) -> Vec<(Group, &'static str)> {
    let measures = |group: Group| {
        let of = |line: &Line| line.group.is_none_or(|own| own == group);
        lines.iter().any(of)
    };
    let needs_load = GROUPS
        .iter()
        .any(|(group, _)| group.needs_load() && measures(*group));
    let mut wanted = GROUPS.to_vec();
    wanted.retain(|(group, _)| measures(*group) || (*group == Group::Load && needs_load));
    wanted
}

#[allow(clippy::cast_precision_loss, reason = "megabytes for people")]
fn megabytes(folder: &Path) -> Result<f64> {
    let len = usage::disc_len(folder).map_err(text)?;
    Ok(len as f64 / 1024.0 / 1024.0)
}

impl Comparison {
    fn median(&self, line: &Line, engine: &'static str) -> Option<f64> {
        let values = self.taken.values.get(&(line.name, engine))?;
        Some(median(values.clone()))
    }

    fn peers(&self) -> impl Iterator<Item = &'static str> {
        let names = self.versions.iter().map(|(name, _)| *name);
        names.filter(|name| *name != OURS)
    }

    fn report(&self) -> Vec<report::Line> {
        let lines = self.lines.iter().map(|line| report::Line {
            workload: line.name.to_owned(),
            unit: line.unit,
            higher_is_better: line.higher_is_better,
            ours: self.median(line, OURS),
            peers: self
                .peers()
                .filter_map(|name| Some((name, self.median(line, name)?)))
                .collect(),
            floor: self.floor_of(line),
        });
        lines.collect()
    }

    /// What the machine can do, where that says something about a line: syncs by themselves bound one
    /// thread's commits, the disc's bandwidth the loading of what is not compressed.
    #[allow(clippy::cast_precision_loss, reason = "bytes of one record")]
    fn floor_of(&self, line: &Line) -> Option<f64> {
        match line.group {
            Some(Group::Commits) if line.name == lines::COMMIT_ONE => Some(self.floor.commits()),
            Some(Group::Load | Group::LoadSorted) if line.higher_is_better => {
                let record_len = size_of::<Key>() + VALUE_LEN;
                Some(self.floor.sequential_mb_s * 1e6 / record_len as f64)
            }
            _ => None,
        }
    }

    /// Everything, for people.
    pub(crate) fn table(&self) -> String {
        let mut out = report::table(&self.report());
        let cpu_us = self.cpu_us();
        if !cpu_us.is_empty() {
            out.push_str(
                "\nprocessor time, microseconds for each, background threads included\n\n",
            );
            let mut head = vec!["workload".to_owned()];
            head.extend(self.versions.iter().map(|(name, _)| (*name).to_owned()));
            let mut rows = vec![head];
            for (line, of) in &cpu_us {
                let cell = |name: &str| {
                    let found = of.iter().find(|(engine, _)| *engine == name);
                    found.map_or("-".to_owned(), |(_, value)| number(*value))
                };
                let mut row = vec![(*line).to_owned()];
                row.extend(self.versions.iter().map(|(name, _)| cell(name)));
                rows.push(row);
            }
            out.push_str(&grid(&rows));
        }
        let floor = self.floor.named();
        let floor = floor.map(|(name, value)| format!("{name} {}", number(value)));
        let versions = self.versions.iter();
        let versions: Vec<_> = versions.map(|(name, is)| format!("{name} {is}")).collect();
        let (floor, items) = (floor.join(", "), self.items);
        let foot = format!(
            "the machine's floor: {floor}\n{items} records; {}\n",
            versions.join(", ")
        );
        [out, foot].join("\n")
    }

    fn cpu_us(&self) -> Vec<(&'static str, Vec<(&'static str, f64)>)> {
        let of = |line: &Line| {
            let engines = self.versions.iter();
            let of: Vec<_> = engines
                .filter_map(|(name, _)| {
                    let values = self.taken.cpu_us.get(&(line.name, *name))?;
                    Some((*name, median(values.clone())))
                })
                .collect();
            (!of.is_empty()).then_some((line.name, of))
        };
        self.lines.iter().filter_map(of).collect()
    }

    /// Everything, for programs.
    pub(crate) fn json(&self) -> Value {
        let mut json = report::json(&self.report());
        let cpu_us: BTreeMap<_, _> = self.cpu_us().into_iter().collect();
        let lines = json["lines"].as_array_mut();
        for (fields, line) in lines.into_iter().flatten().zip(&self.lines) {
            let runs = self.versions.iter().filter_map(|(name, _)| {
                let values = self.taken.values.get(&(line.name, *name))?;
                Some(((*name).to_owned(), json!(values)))
            });
            fields["runs"] = Value::Object(runs.collect::<Map<_, _>>());
            if let Some(cpu_us) = cpu_us.get(line.name) {
                fields["cpu_us"] = report::object(cpu_us).into();
            }
            if let Some(checksum) = self.taken.checksums.get(line.name) {
                fields["checksum"] = json!(checksum);
            }
        }
        json["items"] = json!(self.items);
        json["versions"] = report::object(&self.versions).into();
        json["floor"] = self.floor.json();
        json["failures"] = json!(self.failures);
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::LINES;

    fn groups(name: &str) -> Vec<Group> {
        let mut lines = LINES.to_vec();
        lines.retain(|line| line.name == name);
        assert_eq!(lines.len(), 1, "{name}");
        wanted(&lines).iter().map(|(group, _)| *group).collect()
    }

    #[test]
    fn a_group_runs_after_what_it_needs() {
        assert_eq!(groups("get_1_thread"), [Group::Load, Group::Reads]);
        assert_eq!(groups("load_sorted"), [Group::LoadSorted]);
        assert_eq!(groups("peak_memory").len(), GROUPS.len());
        assert_eq!(wanted(&LINES).len(), GROUPS.len());
    }
}
