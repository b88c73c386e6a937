//! Faults on order: a crash after so many changes, an error of the next matching operation.

use std::io;

use super::inode::coin;
use crate::base::entropy::SeededEntropy;
use crate::base::{Error, Result};
use crate::storage::Operation;

/// What is to go wrong.
#[derive(Debug)]
pub(super) struct Faults {
    /// Changes that still succeed before the crash.
    changes_left: Option<u64>,
    crashed: bool,
    /// Failures for the next operation of their kind, in order.
    injected: Vec<(Operation, i32)>,
    /// Decides what is left of an operation that failed half-way.
    pub(super) entropy: SeededEntropy,
}

/// How an operation that changes something ends.
#[derive(Debug)]
pub(super) enum Fate {
    /// As it should.
    Done,
    /// With an error of the medium.
    Refused(Error),
    /// In the crash, anywhere between nothing and done.
    Crashed(Error),
}

impl Fate {
    /// The result, given what success returns.
    pub(super) fn result<T>(self, value: T) -> Result<T> {
        match self {
            Fate::Done => Ok(value),
            Fate::Refused(failure) | Fate::Crashed(failure) => Err(failure),
        }
    }

    /// Whether an all-or-nothing change takes place.
    pub(super) fn lands(&self, entropy: &SeededEntropy) -> bool {
        match self {
            Fate::Done => true,
            Fate::Refused(_) => false,
            Fate::Crashed(_) => coin(entropy),
        }
    }
}

impl Faults {
    pub(super) fn none() -> Faults {
        let entropy = SeededEntropy::new(0);
        Faults {
            changes_left: None,
            crashed: false,
            injected: Vec::new(),
            entropy,
        }
    }

    pub(super) fn crash_after(&mut self, changes: u64, seed: u64) {
        self.changes_left = Some(changes);
        self.entropy = SeededEntropy::new(seed);
    }

    pub(super) fn inject(&mut self, operation: Operation, errno: i32) {
        assert!(errno > 0, "{operation} is to fail with errno {errno}");
        self.injected.push((operation, errno));
    }

    pub(super) fn is_crashed(&self) -> bool {
        self.crashed
    }

    /// Before an operation that changes nothing.
    pub(super) fn before_look(&mut self, operation: Operation, object: &str) -> Result<()> {
        self.alive(operation, object)?;
        self.take_injected(operation, object).map_or(Ok(()), Err)
    }

    /// Before an operation that changes something.
    pub(super) fn before_change(&mut self, operation: Operation, object: &str) -> Result<Fate> {
        self.alive(operation, object)?;
        if let Some(failure) = self.take_injected(operation, object) {
            return Ok(Fate::Refused(failure));
        }
        match &mut self.changes_left {
            Some(0) => {
                assert!(!self.crashed, "{operation} of {object}: a second crash");
                self.crashed = true;
                Ok(Fate::Crashed(crash(operation, object)))
            }
            Some(left) => {
                *left -= 1;
                Ok(Fate::Done)
            }
            None => Ok(Fate::Done),
        }
    }

    fn alive(&self, operation: Operation, object: &str) -> Result<()> {
        if self.crashed {
            Err(crash(operation, object))
        } else {
            Ok(())
        }
    }

    fn take_injected(&mut self, operation: Operation, object: &str) -> Option<Error> {
        let at = self
            .injected
            .iter()
            .position(|(wanted, _)| *wanted == operation)?;
        let (_, errno) = self.injected.remove(at);
        Some(operation.error(object, &io::Error::from_raw_os_error(errno)))
    }
}

fn crash(operation: Operation, object: &str) -> Error {
    operation.error(object, &io::Error::other("crashed"))
}
