//! Logs, to stderr: `RUST_LOG` filters them, warnings and worse by default.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use indicatif::ProgressBar;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The bar that is on the screen: a line of the log goes above it, not through it.
static BAR: OnceLock<ProgressBar> = OnceLock::new();

/// Starts logging. Colours only on a terminal, and not against `NO_COLOR`.
pub(crate) fn start() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into());
    tracing_subscriber::fmt()
        .with_env_filter(filter.from_env_lossy())
        .with_ansi(io::stderr().is_terminal() && colours_wanted())
        .with_writer(|| AboveBar)
        .init();
}

/// Whether the environment allows colours: <https://no-color.org>.
pub(crate) fn colours_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// From now on lines go above this bar.
pub(crate) fn keep_above(bar: &ProgressBar) {
    BAR.get_or_init(|| bar.clone());
}

struct AboveBar;

impl Write for AboveBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match BAR.get() {
            Some(bar) => bar.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
