//! Threads that begin together.

use std::sync::Barrier;
use std::thread;

use crate::engine::Result;
use crate::usage::{Spent, Stopwatch};

/// Lets each of `count` threads `prepare`, and then all of them `work` at once: what each gave, and what
/// the work took.
pub(super) fn together<S, T: Send>(
    count: u64,
    prepare: impl Fn(u64) -> Result<S> + Sync,
    work: impl Fn(u64, S) -> Result<T> + Sync,
) -> Result<(Vec<T>, Spent)> {
    let waiting = usize::try_from(count).map_or(usize::MAX, |count| count + 1);
    let (ready, go) = (&Barrier::new(waiting), &Barrier::new(waiting));
    let (prepare, work) = (&prepare, &work);
    thread::scope(|scope| {
        let started = (0..count).map(|number| {
            scope.spawn(move || {
                let prepared = prepare(number);
                // Waits even if it cannot go on: the others would wait for ever.
                ready.wait();
                go.wait();
                work(number, prepared?)
            })
        });
        let threads: Vec<_> = started.collect();
        ready.wait();
        // Before the others go: they may be done before this thread runs again.
        let watch = Stopwatch::start();
        go.wait();
        let mut gave = Vec::new();
        for thread in threads {
            gave.push(thread.join().map_err(|_| "a thread panicked")??);
        }
        Ok((gave, watch.stop()))
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_time_is_that_of_all_the_work_and_of_nothing_else() {
        const REST: Duration = Duration::from_millis(20);
        let begun = Instant::now();
        let prepare = |_| {
            thread::sleep(4 * REST);
            Ok(())
        };
        let work = |number, ()| {
            thread::sleep(REST);
            Ok(number)
        };
        let (gave, spent) = together(3, prepare, work).unwrap();
        assert_eq!(gave, [0, 1, 2]);
        let all = begun.elapsed().as_secs_f64();
        assert!(spent.seconds >= REST.as_secs_f64(), "{spent:?}");
        assert!(
            spent.seconds <= all - 4.0 * REST.as_secs_f64(),
            "{spent:?} of {all}"
        );
    }

    #[test]
    fn one_that_fails_holds_up_nobody() {
        let prepare = |number| match number {
            0 => Err("no connection".to_owned()),
            _ => Ok(()),
        };
        let failed = together(2, prepare, |_, ()| Ok(()));
        assert_eq!(failed.unwrap_err(), "no connection");
    }
}
