//! Keys that are pressed while something is shown on a terminal, each at once and without an echo.

use std::io;

use tokio::sync::mpsc;

/// Keys that are kept until they are asked for.
const KEYS_MAX: usize = 16;

/// The keyboard of the terminal. Dropping it makes the terminal what it was.
pub(crate) struct Keyboard {
    keys: mpsc::Receiver<u8>,
    #[cfg(unix)]
    before: rustix::termios::Termios,
}

impl Keyboard {
    /// Takes over the keyboard; `None` where standard input is no terminal, or this process is in the background of it.
    #[cfg(unix)]
    pub(crate) fn open() -> Option<Keyboard> {
        use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex};
        use std::io::{IsTerminal, Read};
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let foreground = rustix::termios::tcgetpgrp(&stdin).ok()?;
        if foreground != rustix::process::getpgrp() {
            // Whoever reads there from the background is stopped.
            return None;
        }
        let before = rustix::termios::tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        // Ctrl-C and Ctrl-Z stay signals.
        raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        rustix::termios::tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        let (sender, keys) = mpsc::channel(KEYS_MAX);
        // It waits for a key when the process ends, which does not wait for it.
        std::thread::spawn(move || {
            for key in io::stdin().lock().bytes() {
                let Ok(key) = key else {
                    return;
                };
                if sender.blocking_send(key).is_err() {
                    return;
                }
            }
        });
        Some(Keyboard { keys, before })
    }

    #[cfg(not(unix))]
    pub(crate) fn open() -> Option<Keyboard> {
        None
    }

    /// The next key. Waits for ever once there can be none.
    pub(crate) async fn next(&mut self) -> u8 {
        match self.keys.recv().await {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }
}

#[cfg(unix)]
impl Drop for Keyboard {
    fn drop(&mut self) {
        let now = rustix::termios::OptionalActions::Now;
        // A terminal that is gone needs nothing.
        rustix::termios::tcsetattr(io::stdin(), now, &self.before).ok();
    }
}
