//! The shards of a job that are still to be done, handed out to the workers of one process.
//!
//! Alone, a process does them in their order. Among others each goes through them in an order of its own, block by
//! block, and leases what it is about to compute: a few at a time where shards are short, so that asking costs little,
//! and never more than a moment's work. Once nothing is left that nobody is at, it waits for what others are at:
//! it takes over what they let go of, and computes a second time what they are at for much longer than it takes here.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use eciton_engine::entropy::SystemEntropy;
use eciton_proto::v1::{Outcome, ShardState};
use parking_lot::Mutex;

use super::claims::Claims;
use super::untried_shards::{OpenShards, UntriedShards};
use crate::run::records::error::JobError;
use crate::run::records::ledger::Ledger;
use crate::run::settle::backoff::due_in;

/// Shards that are leased at the same time, at most.
const AHEAD_MAX: usize = 256;
/// How long the shards that are leased before they are begun take, at most, as far as one can tell.
const AHEAD: Duration = Duration::from_millis(20);
/// The same where a process is alone, and records which shards it is about to compute.
const UPCOMING_MAX: usize = 1024;
const UPCOMING: Duration = Duration::from_millis(100);
/// Leases that are asked for at once, where others may have let go of some.
const TOGETHER: usize = 16;
/// How long a process waits before it looks again at what others are at, at first and at most.
const LOOK_MIN: Duration = Duration::from_millis(20);
const LOOK_MAX: Duration = Duration::from_millis(500);
/// A shard at which another process is for so many times as long as one takes here is computed a second time.
const AGAIN_TIMES: u32 = 3;

/// Where a process gets its shards of one job from.
pub(crate) struct ShardQueue {
    queued: Mutex<QueuedShards>,
    /// One worker at a time looks for more, for all that wait.
    looking: tokio::sync::Mutex<Polling>,
    /// Workers that wait for a shard.
    waiting: AtomicUsize,
    /// As [`RunOptions::patience`](crate::run::RunOptions::patience).
    patience: Duration,
}

/// What there is to do.
struct QueuedShards {
    /// Leased, and not begun.
    ready: VecDeque<u64>,
    /// When one of them was last begun, or leased.
    moved: Instant,
    /// Not looked at so far.
    untried: UntriedShards,
    /// Failed before, and due then.
    held_back: BTreeSet<(Instant, u64)>,
    /// Others are at them.
    elsewhere: Vec<WatchedShard>,
    times: ShardTimes,
}

/// A shard that another process is at.
#[derive(Clone, Copy, Debug)]
struct WatchedShard {
    shard: u64,
    since: Instant,
    /// Whether it was computed here a second time.
    again: bool,
}

/// How long shards take here.
#[derive(Clone, Copy, Debug, Default)]
struct ShardTimes {
    /// From beginning one to its results, about.
    computed: Option<Duration>,
    /// From beginning one to its commit, about.
    settled: Option<Duration>,
}

/// When others were looked at.
struct Polling {
    last: Option<Instant>,
    pause: Duration,
}

/// What a worker is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NextShard {
    /// This shard.
    Shard(u64),
    /// Ask again after so long.
    Wait(Duration),
    /// Nothing: all have ended, or are at work here.
    Nothing,
}

/// A shard that turned out to have ended is told of here.
pub(crate) type OnEnded<'a> = &'a (dyn Fn(u64) + Sync);

impl ShardQueue {
    /// Of the shards that are open; in an order of its own where others may be at them.
    pub(crate) fn new(open: OpenShards, is_shared: bool, patience: Duration) -> ShardQueue {
        let untried = match is_shared {
            true => UntriedShards::in_own_order(open, &SystemEntropy),
            false => UntriedShards::in_order(open),
        };
        ShardQueue {
            queued: Mutex::new(QueuedShards {
                ready: VecDeque::new(),
                moved: Instant::now(),
                untried,
                held_back: BTreeSet::new(),
                elsewhere: Vec::new(),
                times: ShardTimes::default(),
            }),
            looking: tokio::sync::Mutex::new(Polling {
                last: None,
                pause: LOOK_MIN,
            }),
            waiting: AtomicUsize::new(0),
            patience,
        }
    }

    /// Shards that were not begun here.
    pub(crate) fn left(&self) -> usize {
        let queued = self.queued.lock();
        queued.ready.len() + queued.untried.len()
    }

    /// The next shard, if there is one.
    ///
    /// # Errors
    /// What reading the shards' records refuses.
    pub(crate) async fn next(
        &self,
        ledger: &Ledger,
        name: &str,
        claims: Option<&Claims>,
        ended: OnEnded<'_>,
    ) -> Result<NextShard, JobError> {
        let Some(claims) = claims else {
            return Ok(self.next_alone());
        };
        loop {
            if let Some(shard) = self.queued.lock().begin_ready() {
                return Ok(NextShard::Shard(shard));
            }
            let _waits = WaitingWorker::begin(&self.waiting);
            let mut polling = self.looking.lock().await;
            if !self.queued.lock().ready.is_empty() {
                continue;
            }
            let (candidates, wait) = self.candidates();
            if !candidates.is_empty() {
                polling.pause = LOOK_MIN;
                claims.look().await?;
                self.lease(ledger, name, claims, candidates, ended).await?;
                continue;
            }
            if self.queued.lock().elsewhere.is_empty() {
                return Ok(wait.map_or(NextShard::Nothing, NextShard::Wait));
            }
            let pause = polling.pause;
            let since = polling.last.map_or(pause, |last| last.elapsed());
            let rest = pause.saturating_sub(since);
            if !rest.is_zero() {
                return Ok(NextShard::Wait(wait.map_or(rest, |wait| wait.min(rest))));
            }
            polling.last = Some(Instant::now());
            claims.look().await?;
            self.look_elsewhere(ledger, name, claims, (ended, true))
                .await?;
            // Where one was let go of there are more: whoever was killed had several.
            polling.pause = match self.queued.lock().ready.is_empty() {
                true => (pause * 2).clamp(LOOK_MIN, LOOK_MAX),
                false => Duration::ZERO,
            };
            assert!(polling.pause <= LOOK_MAX, "a pause of {:?}", polling.pause);
        }
    }

    fn next_alone(&self) -> NextShard {
        let now = Instant::now();
        let mut queued = self.queued.lock();
        if let Some(shard) = queued.ready.pop_front() {
            return NextShard::Shard(shard);
        }
        match queued.held_back.first().copied() {
            Some((due, shard)) if due <= now => {
                queued.held_back.pop_first();
                NextShard::Shard(shard)
            }
            first => match (queued.untried.pop(), first) {
                (Some(shard), _) => NextShard::Shard(shard),
                (None, Some((due, _))) => NextShard::Wait(due - now),
                (None, None) => NextShard::Nothing,
            },
        }
    }

    /// The shards that are handed out next: those that are leased, or, where a process is `alone`, those of the next
    /// moment.
    pub(crate) fn upcoming(&self, alone: bool) -> Vec<u64> {
        let mut queued = self.queued.lock();
        if alone {
            let count = queued.times.within(UPCOMING).min(UPCOMING_MAX);
            while queued.ready.len() < count {
                let Some(shard) = queued.untried.pop() else {
                    break;
                };
                queued.ready.push_back(shard);
            }
        }
        queued.ready.iter().copied().collect()
    }

    /// Some shards that nobody may be at, and else how long to wait for one that failed before.
    fn candidates(&self) -> (Vec<u64>, Option<Duration>) {
        let now = Instant::now();
        let waiting = self.waiting.load(Ordering::Relaxed);
        let mut queued = self.queued.lock();
        let count = queued.times.ahead(waiting);
        let mut candidates = Vec::with_capacity(count);
        while candidates.len() < count {
            match queued.held_back.first().copied() {
                Some((due, shard)) if due <= now => {
                    queued.held_back.pop_first();
                    candidates.push(shard);
                }
                _ => break,
            }
        }
        while candidates.len() < count {
            let Some(shard) = queued.untried.pop() else {
                break;
            };
            candidates.push(shard);
        }
        assert!(
            candidates.len() <= count,
            "{} candidates, {count} were to be leased",
            candidates.len()
        );
        // With room for more, whatever is due is among them.
        let next = queued.held_back.first();
        assert!(
            candidates.len() == count || next.is_none_or(|(due, _)| *due > now),
            "shard {next:?} is due and was left"
        );
        let wait = next.map(|(due, _)| due.saturating_duration_since(now));
        (candidates, wait)
    }

    /// Leases what has not ended of some shards.
    async fn lease(
        &self,
        ledger: &Ledger,
        name: &str,
        claims: &Claims,
        candidates: Vec<u64>,
        ended: OnEnded<'_>,
    ) -> Result<(), JobError> {
        let snapshot = ledger.db.snapshot();
        let mut open = Vec::with_capacity(candidates.len());
        let mut later = Vec::new();
        for shard in candidates {
            let state = ledger.shard_seen(&snapshot, name, shard).await?;
            match readiness(&state) {
                Readiness::Ended => ended(shard),
                Readiness::Due => open.push(shard),
                Readiness::Later(wait) => later.push((Instant::now() + wait, shard)),
            }
        }
        let taken = claims.take(&open).await;
        assert_eq!(taken.len(), open.len(), "an answer for each shard");
        let mut queued = self.queued.lock();
        queued.moved = Instant::now();
        queued.held_back.extend(later);
        for (shard, taken) in open.into_iter().zip(taken) {
            if taken {
                queued.ready.push_back(shard);
            } else {
                // One that was computed here a second time, and did not end by that, is watched anew.
                queued.elsewhere.retain(|watched| watched.shard != shard);
                queued.elsewhere.push(WatchedShard {
                    shard,
                    since: Instant::now(),
                    again: false,
                });
            }
        }
        debug_assert!(
            {
                let mut seen = HashSet::new();
                queued.elsewhere.iter().all(|at| seen.insert(at.shard))
            },
            "a shard that others are at is watched twice: {:?}",
            queued.elsewhere
        );
        Ok(())
    }

    /// Leases something that nobody is at, if there is any, for a worker that is to break off a copy.
    ///
    /// # Errors
    /// What reading the shards' records refuses.
    pub(crate) async fn find_unbegun(
        &self,
        ledger: &Ledger,
        name: &str,
        claims: &Claims,
        ended: OnEnded<'_>,
    ) -> Result<(), JobError> {
        let Ok(_polling) = self.looking.try_lock() else {
            // A worker looks, which is to do then whatever it finds.
            return Ok(());
        };
        if !self.queued.lock().ready.is_empty() {
            return Ok(());
        }
        claims.look().await?;
        let (candidates, _) = self.candidates();
        match candidates.is_empty() {
            true => {
                self.look_elsewhere(ledger, name, claims, (ended, false))
                    .await
            }
            false => self.lease(ledger, name, claims, candidates, ended).await,
        }
    }

    /// Looks at what others are at: what has ended, what they have let go of, and, `with_copies`, what takes them too long.
    async fn look_elsewhere(
        &self,
        ledger: &Ledger,
        name: &str,
        claims: &Claims,
        (ended, with_copies): (OnEnded<'_>, bool),
    ) -> Result<(), JobError> {
        let (watched, again_after) = {
            let queued = self.queued.lock();
            let again_after = queued.times.again_after().max(self.patience);
            (queued.elsewhere.clone(), again_after)
        };
        let snapshot = ledger.db.snapshot();
        let (mut open, mut later, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for watched in watched {
            if watched.again {
                // It is at work here: handed out again it would be computed twice by this process, and whoever is at it
                // tells when it has ended.
                rest.push(watched);
                continue;
            }
            let state = ledger.shard_seen(&snapshot, name, watched.shard).await?;
            match readiness(&state) {
                Readiness::Ended => ended(watched.shard),
                Readiness::Due => open.push(watched),
                Readiness::Later(wait) => later.push((Instant::now() + wait, watched.shard)),
            }
        }
        // Those that were watched for longest are taken over first; more than a moment's work is not.
        let waiting = self.waiting.load(Ordering::Relaxed);
        let count = self.queued.lock().times.ahead(waiting).min(open.len());
        let (mut ready, mut waiting) = (Vec::new(), Vec::new());
        take_over(claims, &open[..count], &mut ready, &mut waiting).await;
        let late = |watched: &WatchedShard| with_copies && watched.since.elapsed() >= again_after;
        let mut others = open.split_off(count);
        // Before one is computed twice, whatever nobody is at any more is asked for.
        if waiting.iter().chain(&others).any(late) {
            let end = waiting.len() + AHEAD_MAX;
            while ready.is_empty() && !others.is_empty() && waiting.len() < end {
                let more = others.split_off(others.len().min(TOGETHER));
                let asked = std::mem::replace(&mut others, more);
                take_over(claims, &asked, &mut ready, &mut waiting).await;
            }
        }
        let asked = waiting.len();
        waiting.extend(others);
        for watched in &mut waiting {
            if late(watched) && ready.len() < count {
                watched.again = claims.take_again(watched.shard).await;
                if watched.again {
                    tracing::debug!(job = name, shard = watched.shard, "computed a second time");
                    ready.push(watched.shard);
                }
                watched.since = Instant::now();
            }
        }
        // Who was asked for goes last, so that all are asked for in turn.
        waiting.rotate_left(asked);
        rest.extend(waiting);
        let mut queued = self.queued.lock();
        queued.moved = Instant::now();
        queued.ready.extend(ready);
        queued.held_back.extend(later);
        // What has ended here meanwhile is not there any more.
        let still: HashSet<u64> = queued
            .elsewhere
            .iter()
            .map(|watched| watched.shard)
            .collect();
        rest.retain(|watched| still.contains(&watched.shard));
        assert!(
            rest.len() <= still.len(),
            "{} shards are watched of {}",
            rest.len(),
            still.len()
        );
        queued.elsewhere = rest;
        Ok(())
    }

    /// An attempt failed: the shard is due again after so long. Another process may take it earlier.
    pub(crate) fn hold_back(&self, shard: u64, wait: Duration) {
        self.queued
            .lock()
            .held_back
            .insert((Instant::now() + wait, shard));
    }

    /// What was leased and not begun: it is nobody's from now on.
    pub(crate) fn take_back(&self) -> Vec<u64> {
        self.queued.lock().take_back()
    }

    /// What was leased and not begun, once no worker has come for it for so long: all are at shards that take longer than
    /// was expected. Others may begin it, or whoever here comes first.
    pub(crate) fn take_back_left(&self, for_long: Duration) -> Vec<u64> {
        let mut queued = self.queued.lock();
        match queued.moved.elapsed() >= for_long {
            true => queued.take_back(),
            false => Vec::new(),
        }
    }

    /// Shards that are computed here a second time.
    pub(crate) fn copies(&self) -> Vec<u64> {
        let queued = self.queued.lock();
        let copies = queued.elsewhere.iter().filter(|watched| watched.again);
        copies.map(|watched| watched.shard).collect()
    }

    /// Whether something is leased and not begun, and no worker has come for it for so long.
    pub(crate) fn has_left(&self, for_long: Duration) -> bool {
        let queued = self.queued.lock();
        !queued.ready.is_empty() && queued.moved.elapsed() >= for_long
    }

    /// A shard is left to another process, which is at it.
    pub(crate) fn watch(&self, shard: u64) {
        let mut queued = self.queued.lock();
        queued.elsewhere.retain(|watched| watched.shard != shard);
        queued.elsewhere.push(WatchedShard {
            shard,
            since: Instant::now(),
            again: false,
        });
    }

    /// Shards that were begun and have to be computed again, those of them that have not ended.
    pub(crate) fn again(&self, shards: &[u64]) {
        self.queued.lock().untried.put_back(shards);
    }

    /// How long the next shard takes to compute, as far as one can tell.
    pub(crate) fn expected(&self) -> Option<Duration> {
        self.queued.lock().times.computed
    }

    /// A shard took so long to compute.
    pub(crate) fn computed(&self, took: Duration) {
        let mut queued = self.queued.lock();
        let (before, now) = (queued.times.computed, average(queued.times.computed, took));
        assert!(
            now <= before.map_or(took, |before| before.max(took)),
            "{now:?} on average, of {before:?} and {took:?}"
        );
        queued.times.computed = Some(now);
    }

    /// A shard has ended, here so long after its beginning.
    pub(crate) fn ended(&self, shard: u64, took: Option<Duration>) {
        let mut queued = self.queued.lock();
        if let Some(took) = took {
            queued.times.settled = Some(average(queued.times.settled, took));
        }
        queued.elsewhere.retain(|watched| watched.shard != shard);
    }
}

impl QueuedShards {
    fn begin_ready(&mut self) -> Option<u64> {
        self.moved = Instant::now();
        self.ready.pop_front()
    }

    fn take_back(&mut self) -> Vec<u64> {
        let left = self.ready.len() + self.untried.len();
        let unbegun: Vec<u64> = self.ready.drain(..).collect();
        self.untried.put_back(&unbegun);
        debug_assert!(
            self.untried.len() <= left,
            "{} shards are left of {left}: {unbegun:?}",
            self.untried.len()
        );
        unbegun
    }
}

impl ShardTimes {
    /// Shards of a moment's work, and one for each of so many workers that wait, at least one.
    fn ahead(&self, waiting: usize) -> usize {
        self.within(AHEAD).max(waiting).clamp(1, AHEAD_MAX)
    }

    /// Shards of so much time's work.
    fn within(&self, time: Duration) -> usize {
        let count = self
            .computed
            .map_or(1, |computed| time.as_nanos() / computed.as_nanos().max(1));
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    /// How long others may be at a shard before it is computed here, too.
    fn again_after(&self) -> Duration {
        self.settled.map_or(Duration::ZERO, |settled| {
            settled.saturating_mul(AGAIN_TIMES)
        })
    }
}

/// Asks for the leases of shards that others were at: which are ready now, and which still have to be waited for.
async fn take_over(
    claims: &Claims,
    asked: &[WatchedShard],
    ready: &mut Vec<u64>,
    waiting: &mut Vec<WatchedShard>,
) {
    let numbers: Vec<u64> = asked.iter().map(|watched| watched.shard).collect();
    let taken = claims.take(&numbers).await;
    assert_eq!(taken.len(), asked.len(), "an answer for each shard");
    for (watched, taken) in asked.iter().zip(taken) {
        match taken {
            true => ready.push(watched.shard),
            false => waiting.push(*watched),
        }
    }
}

/// A worker that waits, until this is dropped.
struct WaitingWorker<'a>(&'a AtomicUsize);

impl WaitingWorker<'_> {
    fn begin(waiting: &AtomicUsize) -> WaitingWorker<'_> {
        waiting.fetch_add(1, Ordering::Relaxed);
        WaitingWorker(waiting)
    }
}

impl Drop for WaitingWorker<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A moving average that follows within some ten values.
fn average(before: Option<Duration>, now: Duration) -> Duration {
    before.map_or(now, |before| (before * 7 + now) / 8)
}

/// How a shard stands, by its record.
enum Readiness {
    Ended,
    Due,
    Later(Duration),
}

fn readiness(state: &ShardState) -> Readiness {
    match state.outcome() {
        Outcome::Done | Outcome::Failed => Readiness::Ended,
        Outcome::Unspecified => due_in(state).map_or(Readiness::Due, Readiness::Later),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_shards_come_in_their_order_and_failed_ones_when_they_are_due() {
        let mut open = OpenShards::all(10);
        for shard in (0..9).filter(|shard| ![3, 4].contains(shard)) {
            open.remove(shard);
        }
        let queue = ShardQueue::new(open, false, Duration::ZERO);
        assert_eq!(queue.next_alone(), NextShard::Shard(3));
        queue.hold_back(3, Duration::from_hours(1));
        queue.hold_back(2, Duration::ZERO);
        assert_eq!(queue.next_alone(), NextShard::Shard(2));
        assert_eq!(queue.next_alone(), NextShard::Shard(4));
        assert_eq!(queue.next_alone(), NextShard::Shard(9));
        assert!(matches!(queue.next_alone(), NextShard::Wait(_)));
        let empty = ShardQueue::new(OpenShards::all(0), false, Duration::ZERO);
        assert_eq!(empty.next_alone(), NextShard::Nothing);
    }

    #[test]
    fn short_shards_are_leased_many_at_a_time_and_long_ones_one_by_one() {
        let of = |computed| ShardTimes {
            computed,
            settled: None,
        };
        assert_eq!(of(None).ahead(0), 1);
        assert_eq!(of(Some(Duration::from_secs(3))).ahead(1), 1);
        assert_eq!(of(Some(Duration::from_millis(5))).ahead(1), 4);
        assert_eq!(of(Some(Duration::from_nanos(1))).ahead(1), AHEAD_MAX);
        assert_eq!(of(Some(Duration::ZERO)).ahead(1), AHEAD_MAX);
        // Workers that wait begin theirs at once.
        assert_eq!(of(None).ahead(9), 9);
        assert_eq!(of(Some(Duration::from_secs(3))).ahead(1000), AHEAD_MAX);
    }
}
