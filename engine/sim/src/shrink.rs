//! Finds a few faults that are enough for a violation: delta debugging (Zeller, Hildebrandt, TSE 2002).

use std::collections::BTreeSet;

use crate::outcome::Outcome;

/// Leaves out as many faults as it can while some violation remains, in at most `runs_max` runs.
///
/// `run` repeats the run without the faults of these numbers. What follows a fault that is left out
/// is another run, so new faults may come up; an attempt counts if it ends in a violation, whichever,
/// with fewer faults than before.
pub fn shrink(
    first: Outcome,
    runs_max: usize,
    mut run: impl FnMut(&BTreeSet<u64>) -> Outcome,
) -> Outcome {
    assert!(first.violation.is_some(), "there is nothing to shrink");
    let mut best = first;
    let mut left_out: BTreeSet<u64> = BTreeSet::new();
    let mut active = ordinals(&best);
    let mut chunk_len = active.len().div_ceil(2).max(1);
    let mut at = 0;
    for _ in 0..runs_max {
        if active.is_empty() {
            break;
        }
        if at >= active.len() {
            if chunk_len == 1 {
                break;
            }
            (at, chunk_len) = (0, chunk_len.div_ceil(2));
        }
        // From the end: what comes late is mostly beside the point, and leaving it out changes least.
        let end = active.len() - at;
        let chunk = &active[end.saturating_sub(chunk_len)..end];
        let mut suppressed = left_out.clone();
        suppressed.extend(chunk);
        let attempt = run(&suppressed);
        let found = ordinals(&attempt);
        if attempt.violation.is_some() && found.len() < active.len() {
            (best, active, left_out) = (attempt, found, suppressed);
        } else {
            at += chunk_len;
        }
    }
    best
}

fn ordinals(outcome: &Outcome) -> Vec<u64> {
    outcome.active().map(|fault| fault.ordinal).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{FAULT_KINDS, FaultKind};
    use crate::plan::Fault;
    use crate::steer::RARE_POINTS;
    use crate::violation::Violation;

    /// A run of 40 faults that breaks a promise if it has both of two of them.
    fn planted(suppressed: &BTreeSet<u64>) -> Outcome {
        let faults = (0..40).map(|ordinal| Fault {
            ordinal,
            step: ordinal,
            process: None,
            kind: FaultKind::Pause,
            object: String::new(),
            suppressed: suppressed.contains(&ordinal),
        });
        let is_broken = [7, 23].iter().all(|needed| !suppressed.contains(needed));
        Outcome {
            seed: 0,
            like: None,
            violation: is_broken.then(|| Violation {
                what: "planted".to_owned(),
                step: 40,
                details: String::new(),
            }),
            faults: faults.collect(),
            counts: [0; FAULT_KINDS],
            reached: [0; RARE_POINTS],
            steps: 40,
            trace: Vec::new(),
        }
    }

    #[test]
    fn only_what_is_needed_is_left() {
        let mut runs = 0;
        let shrunk = shrink(planted(&BTreeSet::new()), 200, |suppressed| {
            runs += 1;
            planted(suppressed)
        });
        assert!(shrunk.violation.is_some());
        assert_eq!(ordinals(&shrunk), [7, 23]);
        assert!(runs < 60, "{runs} runs");
    }

    #[test]
    fn runs_are_bounded_and_the_violation_is_kept() {
        for runs_max in 0..20 {
            let mut runs = 0;
            let shrunk = shrink(planted(&BTreeSet::new()), runs_max, |suppressed| {
                runs += 1;
                planted(suppressed)
            });
            assert!(shrunk.violation.is_some());
            assert!(runs <= runs_max);
        }
    }
}
