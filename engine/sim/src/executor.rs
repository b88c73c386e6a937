//! Runs the tasks of all processes on one thread, in an order that a seed decides.
//!
//! A process is a set of tasks. Each step polls one task that can go on, chosen among those of all
//! processes that are not paused. Nothing here knows an address, a hash or the wall clock, so the
//! same random numbers give the same run.
//!
//! Time is virtual: a step takes a millisecond, or nothing ([`Pace`]), and when nothing can go on until a timer, time
//! jumps there.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::future::BoxFuture;

use crate::kernel::{Kernel, TaskKey, TaskWaker};
use crate::random::Random;

/// A process, or what runs in its place: numbers from 0 on, one a seat. A process that was killed
/// leaves its seat to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub u16);

impl ProcessId {
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl std::fmt::Display for ProcessId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p{}", self.0)
    }
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It polled a task of this process.
    Polled(ProcessId),
    /// Nothing could go on, so time went on to the next timer, or to the end of a pause.
    Waited,
    /// Nothing can go on, ever, unless something is spawned.
    Idle,
}

/// What a step takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// A millisecond, so that whoever goes on for ever gets to its deadlines: for finding out what is wrong.
    Millisecond,
    /// Nothing, as if processors were infinitely fast: for finding out what waiting alone costs.
    Nothing,
}

/// The executor: owns every task.
pub struct Executor {
    kernel: Arc<Kernel>,
    tasks: Vec<Task>,
    free: Vec<u32>,
    seats: Vec<Seat>,
    /// When the first pause ends; no less than that, so that most steps need not look.
    pause_next: u64,
    /// Keeps its memory from step to step.
    due: Vec<Waker>,
}

#[derive(Default)]
struct Task {
    process: u16,
    generation: u32,
    running: Option<Running>,
}

struct Running {
    future: BoxFuture<'static, ()>,
    waker: Waker,
    /// The same waker, as what it is.
    own: Arc<TaskWaker>,
}

/// A process as the executor sees it.
#[derive(Default)]
struct Seat {
    /// The end of its pause, in virtual milliseconds.
    paused_until: Option<u64>,
    /// Tasks that could go on but for the pause.
    parked: Vec<TaskKey>,
    tasks: usize,
}

impl Executor {
    /// An executor for so many processes, at time 0.
    pub fn new(processes: usize, pace: Pace) -> Executor {
        Executor {
            kernel: Arc::new(Kernel::new(processes, pace)),
            tasks: Vec::new(),
            free: Vec::new(),
            seats: (0..processes).map(|_| Seat::default()).collect(),
            pause_next: u64::MAX,
            due: Vec::new(),
        }
    }

    /// What tasks use of the executor.
    pub(crate) fn kernel(&self) -> &Arc<Kernel> {
        &self.kernel
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.kernel.steps()
    }

    /// Virtual milliseconds so far.
    pub fn now_ms(&self) -> u64 {
        self.kernel.now_ms()
    }

    /// Adds a task to a process. May be called while a task is being polled, through
    /// [`Kernel`], too.
    pub fn spawn(&mut self, process: ProcessId, future: impl Future<Output = ()> + Send + 'static) {
        self.insert(process, Box::pin(future));
    }

    /// Ends a process where it is: all of its tasks are dropped at whatever they await. What they
    /// drop may wake others, and what they spawn meanwhile is dropped, too.
    pub fn kill(&mut self, process: ProcessId) {
        self.kernel.end_incarnation(process);
        let index = process.index();
        self.seats[index].parked.clear();
        self.seats[index].paused_until = None;
        let mut ended = Vec::new();
        for (at, task) in self.tasks.iter_mut().enumerate() {
            if usize::from(task.process) == index
                && let Some(running) = task.running.take()
            {
                task.generation += 1;
                self.free.push(u32::try_from(at).unwrap_or(u32::MAX));
                ended.push(running);
            }
        }
        self.seats[index].tasks = 0;
        // Only now: what a task drops must find none of the others.
        drop(ended);
        self.admit();
    }

    /// Lets nothing of a process go on for so many virtual milliseconds.
    pub fn pause(&mut self, process: ProcessId, ms: u64) {
        let until = self.kernel.now_ms() + ms;
        let seat = &mut self.seats[process.index()];
        seat.paused_until = Some(seat.paused_until.map_or(until, |old| old.max(until)));
        self.pause_next = self.pause_next.min(until);
    }

    /// Ends the pause of a process.
    pub fn resume(&mut self, process: ProcessId) {
        self.seats[process.index()].paused_until = None;
        let parked = std::mem::take(&mut self.seats[process.index()].parked);
        self.kernel.ready(parked);
    }

    /// Whether a process has any task left.
    pub fn is_alive(&self, process: ProcessId) -> bool {
        self.seats[process.index()].tasks > 0 || self.kernel.has_spawned(process)
    }

    /// Whether nothing can go on, ever, unless something is spawned.
    pub fn is_idle(&self) -> bool {
        self.kernel.is_idle() && self.seats.iter().all(|seat| seat.parked.is_empty())
    }

    /// One step: polls one task that can go on, or lets time pass.
    pub fn step(&mut self, random: &mut Random) -> Step {
        let now = self.kernel.tick();
        self.kernel.take_due(now, &mut self.due);
        for waker in self.due.drain(..) {
            waker.wake();
        }
        if now >= self.pause_next {
            self.end_pauses(now);
        }
        self.admit();
        while let Some(key) = self.kernel.pick(random) {
            let Some(task) = self.tasks.get_mut(key.index()) else {
                continue;
            };
            if task.generation != key.generation {
                continue;
            }
            let seat = &mut self.seats[usize::from(task.process)];
            if seat.paused_until.is_some() {
                seat.parked.push(key);
                continue;
            }
            let Some(running) = task.running.take() else {
                continue;
            };
            let process = ProcessId(task.process);
            self.poll(key, process, running);
            return Step::Polled(process);
        }
        self.wait(now)
    }

    fn poll(&mut self, key: TaskKey, process: ProcessId, mut running: Running) {
        running.own.begin_poll();
        let mut context = Context::from_waker(&running.waker);
        let polled = Pin::new(&mut running.future).poll(&mut context);
        let task = &mut self.tasks[key.index()];
        match polled {
            Poll::Pending => task.running = Some(running),
            Poll::Ready(()) => {
                task.generation += 1;
                self.free.push(key.index);
                self.seats[process.index()].tasks -= 1;
                // It may hold whatever its process shares; dropping that may wake and spawn.
                drop(running);
            }
        }
    }

    fn wait(&mut self, now: u64) -> Step {
        let pauses = self.seats.iter().filter(|seat| !seat.parked.is_empty());
        let pause = pauses.filter_map(|seat| seat.paused_until).min();
        match [self.kernel.timer_next(), pause]
            .into_iter()
            .flatten()
            .min()
        {
            Some(next) => {
                self.kernel.jump(next.max(now));
                Step::Waited
            }
            None => Step::Idle,
        }
    }

    fn end_pauses(&mut self, now: u64) {
        self.pause_next = u64::MAX;
        for index in 0..self.seats.len() {
            let seat = &mut self.seats[index];
            match seat.paused_until {
                Some(until) if until <= now => {
                    seat.paused_until = None;
                    let parked = std::mem::take(&mut seat.parked);
                    self.kernel.ready(parked);
                }
                Some(until) => self.pause_next = self.pause_next.min(until),
                None => {}
            }
        }
    }

    /// Takes in what was spawned since the last step.
    fn admit(&mut self) {
        for (process, future) in self.kernel.take_spawned() {
            self.insert(process, future);
        }
    }

    fn insert(&mut self, process: ProcessId, future: BoxFuture<'static, ()>) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.tasks.push(Task::default());
            u32::try_from(self.tasks.len() - 1).unwrap_or(u32::MAX)
        });
        let task = &mut self.tasks[index as usize];
        task.process = process.0;
        let key = TaskKey {
            index,
            generation: task.generation,
        };
        let own = self.kernel.waker(key);
        let waker = Waker::from(Arc::clone(&own));
        self.seats[process.index()].tasks += 1;
        waker.wake_by_ref();
        task.running = Some(Running { future, waker, own });
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // Tasks hold the core and the core holds what was spawned: no circle may stay behind.
        for index in 0..self.seats.len() {
            self.kill(ProcessId(u16::try_from(index).unwrap_or(u16::MAX)));
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::clock::{sleep, yield_now};

    const A: ProcessId = ProcessId(0);
    const B: ProcessId = ProcessId(1);

    type Log = Arc<Mutex<Vec<ProcessId>>>;

    /// Writes down that it goes on, so many times.
    async fn count(log: Log, process: ProcessId, times: usize) {
        for _ in 0..times {
            log.lock().push(process);
            yield_now().await;
        }
    }

    fn run(executor: &mut Executor, seed: u64, steps_max: usize) -> usize {
        let mut random = Random::new(seed, 0);
        let mut steps = 0;
        while steps < steps_max && executor.step(&mut random) != Step::Idle {
            steps += 1;
        }
        steps
    }

    #[test]
    fn everybody_gets_on_in_an_order_that_the_seed_decides() {
        let order = |seed| {
            let (mut executor, log) = (Executor::new(2, Pace::Millisecond), Log::default());
            for process in [A, A, B, B] {
                executor.spawn(process, count(Arc::clone(&log), process, 100));
            }
            assert_eq!(run(&mut executor, seed, 10_000), 404, "one step a poll");
            assert!(executor.is_idle() && !executor.is_alive(A));
            drop(executor);
            Arc::into_inner(log).unwrap().into_inner()
        };
        let first = order(1);
        assert_eq!(first, order(1));
        assert_ne!(first, order(2));
        let early = first[..200].iter().filter(|process| **process == A).count();
        assert!(
            (60..140).contains(&early),
            "{early} of the first 200 are A's"
        );
    }

    #[test]
    fn a_killed_process_is_dropped_where_it_is() {
        struct Spawns(Arc<Kernel>, Log);
        impl Drop for Spawns {
            fn drop(&mut self) {
                let task = count(Arc::clone(&self.1), A, 1);
                self.0.spawn(A, 0, Box::pin(task));
                self.1.lock().push(B);
            }
        }
        let (mut executor, log) = (Executor::new(2, Pace::Millisecond), Log::default());
        let held = Spawns(Arc::clone(executor.kernel()), Arc::clone(&log));
        let kernel = Arc::clone(executor.kernel());
        executor.spawn(A, async move {
            sleep(&kernel, 1_000_000).await;
            drop(held);
        });
        run(&mut executor, 1, 1);
        executor.kill(A);
        assert_eq!(*log.lock(), [B], "dropped, and what it spawned never ran");
        assert!(
            !executor.is_alive(A) && executor.is_idle(),
            "no timer is left"
        );
        executor.spawn(A, count(Arc::clone(&log), A, 1));
        run(&mut executor, 1, 10);
        assert_eq!(*log.lock(), [B, A], "the seat is free again");
    }

    #[test]
    fn a_paused_process_stands_still_and_goes_on() {
        let (mut executor, log) = (Executor::new(2, Pace::Millisecond), Log::default());
        executor.spawn(A, count(Arc::clone(&log), A, 50));
        executor.spawn(B, count(Arc::clone(&log), B, 50));
        executor.pause(A, 500);
        run(&mut executor, 1, 51);
        assert!(log.lock().iter().all(|process| *process == B));
        assert_eq!(log.lock().len(), 50);
        run(&mut executor, 1, 1_000);
        assert_eq!(log.lock().len(), 100);
        assert!(
            executor.now_ms() >= 550,
            "time jumped to the end of the pause"
        );
        executor.pause(A, u64::MAX / 2);
        executor.spawn(A, count(Arc::clone(&log), A, 1));
        executor.resume(A);
        run(&mut executor, 1, 10);
        assert_eq!(log.lock().len(), 101);
    }

    #[test]
    fn time_jumps_to_the_next_timer_and_timers_end_in_order() {
        let (mut executor, log) = (Executor::new(2, Pace::Millisecond), Log::default());
        for (process, ms) in [(A, 300_000), (B, 100_000)] {
            let (kernel, log) = (Arc::clone(executor.kernel()), Arc::clone(&log));
            executor.spawn(process, async move {
                sleep(&kernel, ms).await;
                assert!(kernel.now_ms() >= ms);
                log.lock().push(process);
            });
        }
        assert!(run(&mut executor, 1, 100) < 10);
        assert_eq!(*log.lock(), [B, A]);
        assert!((300_000..300_100).contains(&executor.now_ms()));
    }

    #[test]
    fn what_production_code_waits_with_wakes_its_tasks() {
        let (mut executor, log) = (Executor::new(2, Pace::Millisecond), Log::default());
        let (sender, receiver) = futures::channel::oneshot::channel::<ProcessId>();
        let result = Arc::clone(&log);
        executor.spawn(A, async move {
            let received = receiver.await;
            result.lock().extend(received);
        });
        run(&mut executor, 1, 5);
        assert!(
            executor.is_idle() && executor.is_alive(A),
            "it waits, without a timer"
        );
        executor.spawn(B, async move {
            assert_eq!(sender.send(B), Ok(()));
        });
        run(&mut executor, 1, 5);
        assert_eq!(*log.lock(), [B]);
    }

    #[test]
    fn nothing_is_left_behind() {
        let log = Log::default();
        let mut executor = Executor::new(1, Pace::Millisecond);
        let kernel = Arc::clone(executor.kernel());
        let inner = Arc::clone(&log);
        let weak = Arc::downgrade(&kernel);
        executor.spawn(A, async move {
            let task = count(inner, A, 1);
            kernel.spawn(A, 0, Box::pin(task));
            sleep(&kernel, 10).await;
        });
        run(&mut executor, 1, 1);
        drop(executor);
        assert_eq!(weak.strong_count(), 0);
        assert_eq!(Arc::strong_count(&log), 1);
    }
}
