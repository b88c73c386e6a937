//! How a server does, so that each change is told once: in the log, and as a metric.
//!
//! A server that can be reached may still be of no use: it is full, it is a replica, or the user may not do what is asked
//! of it. Nothing is shared then, as if it were away, and that is what is told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::base::metric;

/// How the server of a link does.
#[derive(Default)]
pub(super) struct Health {
    state: Mutex<HealthState>,
    /// It can be reached and refuses what is asked of it.
    refuses: AtomicBool,
    /// Something is known of it: it was reached, or could not be.
    is_known: AtomicBool,
}

#[derive(Default)]
struct HealthState {
    is_connected: bool,
    /// Scripts that it refuses.
    refused: BTreeMap<&'static str, String>,
    trouble: Option<Trouble>,
}

/// What was told last, and has not ended.
struct Trouble {
    code: Option<String>,
    cause: String,
}

impl HealthState {
    /// Takes notice of a trouble; whether it is to be told.
    fn meets(&mut self, code: Option<&str>, cause: &str) -> bool {
        // Of one outage several things may be seen; what the server itself says is news.
        let is_news = match &self.trouble {
            None => true,
            Some(told) => code.is_some() && told.code.as_deref() != code,
        };
        if is_news {
            self.trouble = Some(Trouble {
                code: code.map(str::to_owned),
                cause: cause.to_owned(),
            });
        }
        is_news
    }

    /// What has ended, if all is well now.
    fn mended(&mut self) -> Option<Trouble> {
        match self.is_connected && self.refused.is_empty() {
            true => self.trouble.take(),
            false => None,
        }
    }
}

impl Health {
    /// Whether anything is known of the server so far.
    pub(super) fn is_known(&self) -> bool {
        self.is_known.load(Ordering::SeqCst)
    }

    /// Whether it can be reached and is of no use.
    pub(super) fn refuses(&self) -> bool {
        self.refuses.load(Ordering::SeqCst)
    }

    /// It cannot be reached, or no more: why, and the server's word for that, if it said one.
    pub(super) fn away(&self, code: Option<&str>, cause: &str) {
        let mut state = self.state.lock();
        state.is_connected = false;
        state.refused.clear();
        self.refuses.store(false, Ordering::SeqCst);
        self.is_known.store(true, Ordering::SeqCst);
        self.check(&state);
        metric::set_coordinator_up(false);
        if state.meets(code, cause) {
            tracing::warn!(
                code,
                cause,
                "Redis is away; commits go on over the folder alone, slower"
            );
        }
    }

    /// It was reached.
    pub(super) fn connected(&self) {
        let mut state = self.state.lock();
        state.is_connected = true;
        self.tell_mended(&mut state);
    }

    /// It refuses a script: the server's word for why, and what it says.
    pub(super) fn refused(&self, script: &'static str, code: &str, cause: &str) {
        let mut state = self.state.lock();
        state.refused.insert(script, code.to_owned());
        self.refuses.store(true, Ordering::SeqCst);
        self.is_known.store(true, Ordering::SeqCst);
        self.check(&state);
        metric::set_coordinator_up(false);
        if state.meets(Some(code), cause) {
            tracing::warn!(
                code,
                cause,
                script,
                "Redis refuses what it is asked for; commits go on over the folder alone, slower"
            );
        }
    }

    /// It takes a script that it may have refused before.
    pub(super) fn took(&self, script: &'static str) {
        if !self.refuses() {
            return;
        }
        let mut state = self.state.lock();
        if let Some(code) = state.refused.remove(script) {
            // Others that it refused for the same reason may not be called again for long.
            state.refused.retain(|_, other| *other != code);
        }
        self.tell_mended(&mut state);
    }

    /// What is known at a glance is what is written down.
    fn check(&self, state: &HealthState) {
        assert_eq!(
            self.refuses(),
            !state.refused.is_empty(),
            "scripts that the server refuses: {:?}",
            state.refused
        );
        assert!(
            state.is_connected || !self.refuses() || self.is_known(),
            "a server of which nothing is known refuses {:?}",
            state.refused
        );
    }

    fn tell_mended(&self, state: &mut HealthState) {
        if !state.refused.is_empty() {
            self.check(state);
            return;
        }
        self.refuses.store(false, Ordering::SeqCst);
        self.check(state);
        if state.is_connected {
            self.is_known.store(true, Ordering::SeqCst);
            metric::set_coordinator_up(true);
        }
        if let Some(Trouble { code, cause }) = state.mended() {
            tracing::info!(code, cause, "Redis is back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_and_again_where_the_server_says_something_else() {
        let mut state = HealthState::default();
        assert!(state.meets(None, "the connection was closed"));
        assert!(!state.meets(None, "connection refused"));
        assert!(state.meets(Some("WRONGPASS"), "wrong password"));
        assert!(!state.meets(Some("WRONGPASS"), "wrong password"));
        assert!(!state.meets(None, "connection refused"));
        assert!(state.mended().is_none(), "it is not there");
        state.is_connected = true;
        state.refused.insert("claim", "NOPERM".to_owned());
        assert!(state.meets(Some("NOPERM"), "no permissions"));
        assert!(state.mended().is_none(), "it is of no use");
        state.refused.clear();
        let ended = state.mended().map(|trouble| trouble.code);
        assert_eq!(ended, Some(Some("NOPERM".to_owned())));
        assert!(state.mended().is_none(), "it was told");
    }

    #[test]
    fn it_is_of_use_once_all_that_was_refused_is_taken() {
        let health = Health::default();
        assert!(!health.is_known());
        health.refused("put", "OOM", "full");
        health.refused("claim", "OOM", "full");
        health.refused("stand", "NOPERM", "no permissions");
        health.connected();
        assert!(health.refuses() && health.is_known());
        health.took("get");
        health.took("claim");
        assert!(health.refuses());
        health.took("stand");
        assert!(!health.refuses());
        health.away(None, "gone");
        assert!(!health.refuses(), "that is something else");
    }
}
