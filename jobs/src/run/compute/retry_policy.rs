//! Which failures of a program are tried again.

use eciton_proto::v1::{RetryOn, RunSpec};

use crate::command::{FailureClass, ProgramEnd};

/// What `run.retry_on` and `run.final_exit_codes` say.
#[derive(Clone, Debug, Default)]
pub(crate) struct RetryPolicy {
    /// Empty: all of them.
    classes: Vec<RetryOn>,
    final_codes: Vec<i32>,
}

impl RetryPolicy {
    pub(crate) fn of(run: &RunSpec) -> RetryPolicy {
        RetryPolicy {
            classes: run.retry_on().collect(),
            final_codes: run.final_exit_codes.clone(),
        }
    }

    /// Whether a shard is tried again after its program ended so.
    pub(crate) fn tries_again(&self, end: ProgramEnd) -> bool {
        let is_final = end
            .code()
            .is_some_and(|code| self.final_codes.contains(&code));
        let class = match end.class() {
            Some(FailureClass::Exit) => RetryOn::Exit,
            Some(FailureClass::Signal) => RetryOn::Signal,
            Some(FailureClass::Timeout) => RetryOn::Timeout,
            // The same input gives the same output.
            Some(FailureClass::Output) | None => return false,
        };
        !is_final && self.has(class)
    }

    /// Whether a shard is tried again whose program could not be run.
    pub(crate) fn tries_again_after_io(&self) -> bool {
        self.has(RetryOn::Io)
    }

    fn has(&self, class: RetryOn) -> bool {
        self.classes.is_empty() || self.classes.contains(&class)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn classes_and_codes_decide() {
        let run = |retry_on: &[RetryOn], final_exit_codes: &[i32]| {
            RetryPolicy::of(&RunSpec {
                retry_on: retry_on.iter().map(|class| i32::from(*class)).collect(),
                final_exit_codes: final_exit_codes.to_vec(),
                ..RunSpec::default()
            })
        };
        let ends = [
            ProgramEnd::Exited(1),
            ProgramEnd::Exited(64),
            ProgramEnd::Signaled(9),
            ProgramEnd::TimedOut(Duration::ZERO),
            ProgramEnd::Flooded(1),
        ];
        let tried = |policy: &RetryPolicy| ends.map(|end| policy.tries_again(end));
        assert_eq!(tried(&run(&[], &[])), [true, true, true, true, false]);
        assert_eq!(tried(&run(&[], &[64])), [true, false, true, true, false]);
        let signals = run(&[RetryOn::Signal], &[]);
        assert_eq!(tried(&signals), [false, false, true, false, false]);
        assert!(!signals.tries_again_after_io() && run(&[], &[]).tries_again_after_io());
        assert_eq!(tried(&run(&[RetryOn::Never], &[])), [false; 5]);
    }
}
