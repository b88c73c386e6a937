//! The part of the executor that tasks share: the run queue, timers, virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Wake, Waker};

use futures::future::BoxFuture;
use parking_lot::Mutex;

use crate::executor::{Pace, ProcessId};
use crate::random::Random;

/// A task: its place, and how many tasks had that place before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskKey {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl TaskKey {
    pub(crate) fn index(self) -> usize {
        self.index as usize
    }
}

/// Virtual time, timers and the run queue of one executor. It holds no task that has begun, so a task
/// may hold it.
pub struct Kernel {
    steps: AtomicU64,
    now_ms: AtomicU64,
    pace: Pace,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    ready: Vec<TaskKey>,
    spawned: Vec<(ProcessId, BoxFuture<'static, ()>)>,
    /// By due time, then by registration.
    timers: BTreeMap<(u64, u64), Waker>,
    timers_begun: u64,
    /// When the first timer is due.
    timer_next: Option<u64>,
    /// How often each process has been killed.
    incarnations: Vec<u32>,
}

impl Kernel {
    pub(crate) fn new(processes: usize, pace: Pace) -> Kernel {
        let queue = Queue {
            incarnations: vec![0; processes],
            ..Queue::default()
        };
        Kernel {
            steps: AtomicU64::new(0),
            now_ms: AtomicU64::new(0),
            pace,
            queue: Mutex::new(queue),
        }
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Virtual milliseconds so far.
    pub fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    /// How often a process has been killed.
    pub fn incarnation(&self, process: ProcessId) -> u32 {
        self.queue.lock().incarnations[process.index()]
    }

    /// Adds a task to a process, unless that has been killed since `incarnation`.
    pub fn spawn(&self, process: ProcessId, incarnation: u32, future: BoxFuture<'static, ()>) {
        let mut queue = self.queue.lock();
        if queue.incarnations[process.index()] == incarnation {
            queue.spawned.push((process, future));
        } else {
            drop(queue);
            drop(future);
        }
    }

    pub(crate) fn end_incarnation(&self, process: ProcessId) {
        let mut queue = self.queue.lock();
        queue.incarnations[process.index()] += 1;
        let spawned = std::mem::take(&mut queue.spawned);
        let (ended, others) = spawned.into_iter().partition(|(of, _)| *of == process);
        queue.spawned = others;
        drop(queue);
        drop::<Vec<_>>(ended);
    }

    pub(crate) fn has_spawned(&self, process: ProcessId) -> bool {
        self.queue
            .lock()
            .spawned
            .iter()
            .any(|(of, _)| *of == process)
    }

    pub(crate) fn take_spawned(&self) -> Vec<(ProcessId, BoxFuture<'static, ()>)> {
        std::mem::take(&mut self.queue.lock().spawned)
    }

    pub(crate) fn is_idle(&self) -> bool {
        let queue = self.queue.lock();
        queue.ready.is_empty() && queue.spawned.is_empty() && queue.timers.is_empty()
    }

    /// One step on, and what that takes.
    pub(crate) fn tick(&self) -> u64 {
        self.steps.fetch_add(1, Ordering::Relaxed);
        let ms = match self.pace {
            Pace::Millisecond => 1,
            Pace::Nothing => 0,
        };
        self.now_ms.fetch_add(ms, Ordering::Relaxed) + ms
    }

    pub(crate) fn jump(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Adds a timer; the number says which.
    pub(crate) fn add_timer(&self, due: u64, waker: Waker) -> u64 {
        let mut queue = self.queue.lock();
        queue.timers_begun += 1;
        let number = queue.timers_begun;
        queue.timers.insert((due, number), waker);
        queue.timer_next = Some(queue.timer_next.map_or(due, |next| next.min(due)));
        number
    }

    pub(crate) fn remove_timer(&self, due: u64, number: u64) {
        let mut queue = self.queue.lock();
        if queue.timers.remove(&(due, number)).is_some() && queue.timer_next == Some(due) {
            queue.timer_next = queue.timers.keys().next().map(|(due, _)| *due);
        }
    }

    pub(crate) fn timer_next(&self) -> Option<u64> {
        self.queue.lock().timer_next
    }

    /// Moves the wakers of all timers that are due to `due`, in order.
    pub(crate) fn take_due(&self, now: u64, due: &mut Vec<Waker>) {
        let mut queue = self.queue.lock();
        if queue.timer_next.is_none_or(|next| next > now) {
            return;
        }
        let later = queue.timers.split_off(&(now + 1, 0));
        due.extend(std::mem::replace(&mut queue.timers, later).into_values());
        queue.timer_next = queue.timers.keys().next().map(|(due, _)| *due);
    }

    /// Puts tasks back into the queue.
    pub(crate) fn ready(&self, keys: Vec<TaskKey>) {
        self.queue.lock().ready.extend(keys);
    }

    /// Takes a random task out of the queue.
    pub(crate) fn pick(&self, random: &mut Random) -> Option<TaskKey> {
        let mut queue = self.queue.lock();
        match queue.ready.len() {
            0 => None,
            1 => queue.ready.pop(),
            len => {
                let at = random.index(len);
                Some(queue.ready.swap_remove(at))
            }
        }
    }

    /// What wakes a new task.
    pub(crate) fn waker(self: &Arc<Self>, key: TaskKey) -> Arc<TaskWaker> {
        Arc::new(TaskWaker {
            key,
            queued: AtomicBool::new(false),
            kernel: Arc::downgrade(self),
        })
    }
}

pub(crate) struct TaskWaker {
    key: TaskKey,
    /// It stands in the queue already.
    queued: AtomicBool,
    /// Weak, since the kernel keeps wakers.
    kernel: std::sync::Weak<Kernel>,
}

impl TaskWaker {
    /// From here on a wake puts the task into the queue again.
    pub(crate) fn begin_poll(&self) {
        self.queued.store(false, Ordering::Relaxed);
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed)
            && let Some(kernel) = self.kernel.upgrade()
        {
            kernel.queue.lock().ready.push(self.key);
        }
    }
}
