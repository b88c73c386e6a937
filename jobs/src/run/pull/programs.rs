//! The programs that pull, as far as they say who they are. Shown, never trusted.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use eciton_proto::limits::WORKER_TEXT_LEN_MAX;
use eciton_proto::v1::{Worker, WorkerInfo, WorkerJob, WorkerKind, WorkerState};
use parking_lot::Mutex;

use crate::run::records::clock::now_ms;
use crate::run::schedule::leases::LeaseHolder;

/// Programs that are remembered at most; who was heard of longest ago goes.
const PROGRAMS_MAX: usize = 1024;
/// How long one is remembered that says nothing and holds nothing.
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// Who pulls here.
#[derive(Default)]
pub(super) struct Programs(Mutex<ProgramTable>);

#[derive(Default)]
struct ProgramTable {
    next: u64,
    /// By their numbers here.
    programs: BTreeMap<u64, Program>,
    numbers: HashMap<(String, String), u64>,
    /// Whose a lease is.
    holders: HashMap<LeaseHolder, u64>,
    /// Leases of programs that do not say who they are.
    unnamed: HashMap<LeaseHolder, Lease>,
}

/// A lease that a program was given.
struct Lease {
    /// The job's name.
    job: String,
    until: Instant,
}

struct Program {
    info: WorkerInfo,
    started_ms: i64,
    seen_ms: i64,
    seen: Instant,
    shards_done: u64,
    leases: HashMap<LeaseHolder, Lease>,
}

impl Programs {
    /// A program pulls; its number, if it says who it is.
    pub(super) fn heard_of(&self, info: Option<&WorkerInfo>) -> Option<u64> {
        let mut inner = self.0.lock();
        inner.forget();
        let info = info.filter(|info| !info.name.is_empty())?;
        let name = (info.name.clone(), info.version.clone());
        if let Some(number) = inner.numbers.get(&name).copied() {
            if let Some(program) = inner.programs.get_mut(&number) {
                program.info = info.clone();
                program.hear();
            }
            return Some(number);
        }
        inner.make_room();
        inner.next += 1;
        let number = inner.next;
        inner.numbers.insert(name, number);
        let program = Program {
            info: info.clone(),
            started_ms: now_ms(),
            seen_ms: now_ms(),
            seen: Instant::now(),
            shards_done: 0,
            leases: HashMap::new(),
        };
        inner.programs.insert(number, program);
        inner.check();
        Some(number)
    }

    /// It was given a lease of a shard of a job.
    pub(super) fn took(&self, number: Option<u64>, holder: LeaseHolder, job: &str, until: Instant) {
        let job = job.to_owned();
        let lease = Lease { job, until };
        let mut inner = self.0.lock();
        if let Some(number) = number
            && let Some(program) = inner.programs.get_mut(&number)
        {
            program.leases.insert(holder, lease);
            inner.holders.insert(holder, number);
        } else {
            inner.unnamed.insert(holder, lease);
        }
    }

    /// It holds on to a lease, which another peer may have given.
    pub(super) fn held(&self, holder: LeaseHolder, job: &str, until: Instant) {
        let job = job.to_owned();
        let lease = Lease { job, until };
        let mut inner = self.0.lock();
        match inner.of(holder) {
            Some(program) => {
                program.hear();
                program.leases.insert(holder, lease);
            }
            None => {
                inner.unnamed.insert(holder, lease);
            }
        }
    }

    /// A lease has ended, perhaps with the shard done.
    pub(super) fn ended(&self, holder: LeaseHolder, is_done: bool) {
        let mut inner = self.0.lock();
        if let Some(program) = inner.of(holder) {
            program.hear();
            program.shards_done += u64::from(is_done);
            program.leases.remove(&holder);
        }
        inner.holders.remove(&holder);
        inner.unnamed.remove(&holder);
        inner.check();
    }

    /// What those are at that do not say who they are.
    pub(super) fn unnamed(&self) -> Vec<WorkerJob> {
        let mut inner = self.0.lock();
        inner.forget();
        by_job(inner.unnamed.values())
    }

    /// All that say who they are.
    pub(super) fn list(&self, peer: u64) -> Vec<Worker> {
        let mut inner = self.0.lock();
        inner.forget();
        let programs = inner.programs.iter();
        programs
            .map(|(number, program)| {
                let jobs = by_job(program.leases.values());
                let busy = jobs.iter().map(|job| job.running);
                Worker {
                    id: id(peer, *number, &program.info.name),
                    info: Some(program.info.clone()),
                    kind: WorkerKind::Pulling.into(),
                    state: WorkerState::Running.into(),
                    address: String::new(),
                    busy: busy.fold(0, u32::saturating_add),
                    started_ms: program.started_ms,
                    seen_ms: program.seen_ms,
                    shards_done: program.shards_done,
                    jobs,
                }
            })
            .collect()
    }
}

/// Leases that run, by job.
fn by_job<'a>(leases: impl Iterator<Item = &'a Lease>) -> Vec<WorkerJob> {
    let now = Instant::now();
    let mut jobs: BTreeMap<&str, u32> = BTreeMap::new();
    for lease in leases.filter(|lease| lease.until > now) {
        let running = jobs.entry(&lease.job).or_default();
        *running = running.saturating_add(1);
    }
    let told = jobs.into_iter().map(|(name, running)| WorkerJob {
        name: name.to_owned(),
        running,
        ..WorkerJob::default()
    });
    told.collect()
}

/// Tells a program at a peer from all others.
fn id(peer: u64, number: u64, name: &str) -> String {
    let mut id = format!("{name}-{peer:016x}-{number}");
    if id.len() > WORKER_TEXT_LEN_MAX {
        id = format!("{peer:016x}-{number}");
    }
    id
}

impl ProgramTable {
    /// What is remembered hangs together.
    fn check(&self) {
        assert!(
            self.programs.len() <= PROGRAMS_MAX,
            "{} programs",
            self.programs.len()
        );
        assert_eq!(
            self.numbers.len(),
            self.programs.len(),
            "each program has a number"
        );
    }

    fn of(&mut self, holder: LeaseHolder) -> Option<&mut Program> {
        let number = self.holders.get(&holder)?;
        self.programs.get_mut(number)
    }

    /// Forgets who has gone.
    fn forget(&mut self) {
        let now = Instant::now();
        let stays = |program: &Program| {
            now.duration_since(program.seen) < SILENCE_MAX
                || program.leases.values().any(|lease| lease.until > now)
        };
        self.unnamed.retain(|_, lease| lease.until > now);
        let gone = self.programs.iter().filter(|(_, program)| !stays(program));
        let gone: Vec<u64> = gone.map(|(number, _)| *number).collect();
        self.remove(&gone);
    }

    /// Forgets who was heard of longest ago, if there is no room for another one.
    fn make_room(&mut self) {
        if self.programs.len() >= PROGRAMS_MAX {
            let oldest = self.programs.iter().min_by_key(|(_, program)| program.seen);
            let oldest: Vec<u64> = oldest.map(|(number, _)| *number).into_iter().collect();
            self.remove(&oldest);
        }
        assert!(
            self.programs.len() < PROGRAMS_MAX,
            "{} programs leave no room",
            self.programs.len()
        );
    }

    fn remove(&mut self, gone: &[u64]) {
        if gone.is_empty() {
            return;
        }
        self.programs.retain(|number, _| !gone.contains(number));
        self.numbers.retain(|_, number| !gone.contains(number));
        self.holders.retain(|_, number| !gone.contains(number));
    }
}

impl Program {
    fn hear(&mut self) {
        self.seen = Instant::now();
        self.seen_ms = now_ms();
        let now = self.seen;
        // What ran out long ago was lost.
        self.leases
            .retain(|_, lease| now.duration_since(lease.until) < SILENCE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_known_by_what_it_says() {
        let programs = Programs::default();
        let info = |name: &str| WorkerInfo {
            name: name.to_owned(),
            version: "1".to_owned(),
            slots: 2,
        };
        assert_eq!(programs.heard_of(None), None);
        assert_eq!(programs.heard_of(Some(&info(""))), None);
        let one = programs.heard_of(Some(&info("one")));
        assert_eq!(programs.heard_of(Some(&info("one"))), one);
        assert_ne!(programs.heard_of(Some(&info("two"))), one);
        let (first, second) = (LeaseHolder::new(), LeaseHolder::new());
        let late = Instant::now() + Duration::from_hours(1);
        programs.took(one, first, "a", late);
        programs.took(one, second, "a", late);
        programs.ended(first, true);
        let listed = programs.list(7);
        let shown: Vec<_> = listed
            .iter()
            .map(|worker| (worker.busy, worker.shards_done))
            .collect();
        assert_eq!(shown, [(1, 1), (0, 0)]);
        assert_eq!(listed[0].jobs, [job("a", 1)]);
        assert!(
            listed
                .iter()
                .all(|worker| worker.kind() == WorkerKind::Pulling)
        );
        for n in 0..2 * PROGRAMS_MAX {
            programs.heard_of(Some(&info(&format!("n{n}"))));
        }
        assert_eq!(programs.list(7).len(), PROGRAMS_MAX);
    }

    fn job(name: &str, running: u32) -> WorkerJob {
        WorkerJob {
            name: name.to_owned(),
            running,
            ..WorkerJob::default()
        }
    }

    /// Also what they were given elsewhere, and go on with here.
    #[test]
    fn shards_of_programs_without_a_name_are_counted() {
        let programs = Programs::default();
        let late = Instant::now() + Duration::from_hours(1);
        let [first, second, elsewhere, over] = std::array::from_fn(|_| LeaseHolder::new());
        programs.took(None, first, "a", late);
        programs.took(None, second, "b", late);
        programs.took(None, over, "a", Instant::now());
        programs.held(elsewhere, "b", late);
        programs.held(elsewhere, "b", late);
        assert_eq!(programs.unnamed(), [job("a", 1), job("b", 2)]);
        assert!(programs.list(7).is_empty());
        programs.ended(elsewhere, true);
        programs.ended(first, false);
        assert_eq!(programs.unnamed(), [job("b", 1)]);
    }
}
