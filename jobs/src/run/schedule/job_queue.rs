//! The open jobs of a database in the order in which they are worked on: those of the largest priority first, and of
//! equal ones those whose turn it is, then the oldest.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use crate::run::records::age::Age;
use crate::run::records::cancel::cancel_late;
use crate::run::records::error::JobError;
use crate::run::records::ledger::Ledger;

/// A job that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Queued {
    /// `u64::MAX` of one whose record is damaged.
    pub(crate) number: u64,
    pub(crate) name: String,
    pub(crate) priority: i32,
    deadline_ms: u64,
    /// Whether it comes after other jobs.
    pub(crate) has_inputs: bool,
}

#[cfg(test)]
impl Queued {
    pub(crate) fn test(name: &str, priority: i32) -> Queued {
        Queued {
            number: 1,
            name: name.to_owned(),
            priority,
            deadline_ms: 0,
            has_inputs: false,
        }
    }
}

/// The priority and the deadline of a job, and whether it comes after others.
type KnownJob = (i32, u64, bool);

/// What is known of open jobs. It is forgotten with the job's end, so it is as large as the number of open jobs.
#[derive(Default)]
pub(crate) struct Queue {
    known: HashMap<u64, KnownJob>,
    /// When a job had its last turn: those with smaller numbers come first among their equals.
    turns: HashMap<u64, u64>,
    turn: u64,
    ages: HashMap<u64, Age>,
}

impl Queue {
    /// The open jobs, in their order. Reads each job's specification once.
    ///
    /// # Errors
    /// What reading the ledger refuses.
    pub(crate) async fn look(&mut self, ledger: &Ledger) -> Result<Vec<Queued>, JobError> {
        let mut queue = Vec::new();
        for (number, name) in ledger.open_jobs().await? {
            let (priority, deadline_ms, has_inputs) = match self.known.get(&number) {
                Some(known) => *known,
                None => match ledger.spec(&name).await {
                    Ok(Some(spec)) => {
                        let run = spec.run.unwrap_or_default();
                        let known = (run.priority, run.deadline_ms, !run.after.is_empty());
                        self.known.insert(number, known);
                        known
                    }
                    // Whoever opens it is told why.
                    Ok(None) | Err(_) => (0, 0, false),
                },
            };
            queue.push(Queued {
                number,
                name,
                priority,
                deadline_ms,
                has_inputs,
            });
        }
        let open: HashSet<u64> = queue.iter().map(|job| job.number).collect();
        self.known.retain(|number, _| open.contains(number));
        self.turns.retain(|number, _| open.contains(number));
        self.ages.retain(|number, _| open.contains(number));
        let (known, turns) = (self.known.len(), self.turns.len());
        assert!(
            known <= open.len() && turns <= open.len(),
            "{known}, {turns} of {}",
            open.len()
        );
        self.sort(&mut queue);
        let falls = queue
            .windows(2)
            .find(|pair| pair[0].priority < pair[1].priority);
        assert!(falls.is_none(), "{falls:?} are out of their order");
        Ok(queue)
    }

    fn sort(&self, queue: &mut [Queued]) {
        let turn = |job: &Queued| self.turns.get(&job.number).copied().unwrap_or(0);
        queue.sort_by_key(|job| (Reverse(job.priority), turn(job), job.number));
    }

    /// These jobs have had their turn: their equals come first from now on.
    pub(crate) fn had_turn(&mut self, jobs: impl IntoIterator<Item = u64>) {
        self.turn += 1;
        self.turns
            .extend(jobs.into_iter().map(|number| (number, self.turn)));
        let later = self.turns.values().find(|turn| **turn > self.turn);
        debug_assert!(later.is_none(), "turn {later:?} comes after {}", self.turn);
    }

    /// Measures how long jobs have been open that nobody works on here, and cancels those that have come to their
    /// deadlines. `at_work`: others see to that.
    ///
    /// # Errors
    /// What the database refuses.
    pub(crate) async fn keep_deadlines(
        &mut self,
        ledger: &Ledger,
        queue: &[Queued],
        at_work: impl Fn(&str) -> bool,
    ) -> Result<(), JobError> {
        for job in queue
            .iter()
            .filter(|job| job.deadline_ms > 0 && job.number != u64::MAX)
        {
            if at_work(&job.name) {
                self.ages.remove(&job.number);
                continue;
            }
            let Some(state) = ledger.state_now(&job.name).await? else {
                continue;
            };
            let age = self
                .ages
                .get(&job.number)
                .filter(|age| age.now().retries == state.retries);
            let Some(age) = age else {
                let recorded = ledger.age(&job.name, &state).await?;
                let age = Age::new(recorded, false, job.deadline_ms);
                self.ages.insert(job.number, age);
                continue;
            };
            if age.is_late(job.deadline_ms) {
                cancel_late(ledger, &job.name, job.deadline_ms).await?;
            } else if age.is_due() {
                age.hear(&ledger.age(&job.name, &state).await?);
                let mut tx = ledger.db.begin();
                ledger.put_age(&mut tx, &job.name, &age.now())?;
                // One that loses is recorded the next time.
                drop(tx.commit().await);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_urgent_come_first_and_equals_in_turn() {
        let job = |number, priority| Queued {
            number,
            name: number.to_string(),
            priority,
            deadline_ms: 0,
            has_inputs: false,
        };
        let mut queue = Queue::default();
        let mut jobs = vec![
            job(1, -5),
            job(2, 0),
            job(3, 9),
            job(4, 0),
            job(5, i32::MAX),
        ];
        let mut order = |queue: &Queue| {
            queue.sort(&mut jobs);
            jobs.iter().map(|job| job.number).collect::<Vec<u64>>()
        };
        assert_eq!(order(&queue), [5, 3, 2, 4, 1]);
        queue.had_turn([2]);
        assert_eq!(order(&queue), [5, 3, 4, 2, 1]);
        queue.had_turn([4, 3]);
        assert_eq!(order(&queue), [5, 3, 2, 4, 1]);
    }
}
