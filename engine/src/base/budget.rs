//! Bytes of memory that several share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts what all of its shares hold.
#[derive(Debug, Default)]
pub struct Budget(AtomicUsize);

/// What one of them holds; given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    len: usize,
}

impl Budget {
    /// A share that holds nothing yet.
    pub fn share(self: &Arc<Budget>) -> Share {
        Share {
            budget: Arc::clone(self),
            len: 0,
        }
    }
}

impl Share {
    /// Holds `len` bytes from now on.
    pub fn set(&mut self, len: usize) {
        let all = &self.budget.0;
        if len == self.len {
            return;
        }
        if len > self.len {
            all.fetch_add(len - self.len, Ordering::Relaxed);
        } else {
            all.fetch_sub(self.len - len, Ordering::Relaxed);
        }
        self.len = len;
    }

    /// What all shares of the budget hold.
    pub fn of_all(&self) -> usize {
        self.budget.0.load(Ordering::Relaxed)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_are_given_back() {
        let budget = Arc::new(Budget::default());
        let (mut one, mut other) = (budget.share(), budget.share());
        one.set(70);
        other.set(30);
        assert_eq!(one.of_all(), 100);
        one.set(10);
        assert_eq!(other.of_all(), 40);
        drop(one);
        assert_eq!(other.of_all(), 30);
    }
}
