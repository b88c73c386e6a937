//! Logs, to stderr: `RUST_LOG` filters them, warnings and worse by default.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use eciton_trace::{SpanSink, Spans, is_own};
use indicatif::ProgressBar;
use parking_lot::Mutex;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::prelude::*;

use crate::json_lines::JsonLines;
use crate::ops_flags::LogFormat;
use crate::process_name::worker_name;

/// The bar that is on the screen: a line of the log goes above it, not through it.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);
/// Whether log lines are JSON.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Starts logging. Colours only on a terminal, and not against `NO_COLOR`. Where nothing else is shown,
/// `telling`, what the program does is told as well. Spans have ids where lines name them, or a `sink` takes them; else
/// there are none.
pub(crate) fn start(telling: bool, format: LogFormat, sink: Option<Arc<dyn SpanSink>>) {
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    let mut filter = filter(&wanted);
    let understood = filter.is_some();
    if telling && wanted.trim().is_empty() {
        let own = ["eciton", "eciton_jobs", "eciton_engine"];
        let told = own.map(|target| (target, LevelFilter::INFO));
        filter = filter.map(|filter| filter.with_targets(told));
    }
    let filter = filter.unwrap_or_else(warnings);
    let has_spans = sink.is_some() || format == LogFormat::Json;
    let spans = has_spans.then(|| {
        let own = FilterFn::new(is_own).with_max_level_hint(LevelFilter::DEBUG);
        Spans::new(sink).with_filter(own)
    });
    let registry = tracing_subscriber::registry().with(spans);
    match format {
        LogFormat::Text => {
            let lines = tracing_subscriber::fmt::layer()
                .with_ansi(io::stderr().is_terminal() && colours_wanted())
                .with_writer(|| AboveBar);
            let lines = lines.with_filter(filter);
            registry.with(lines).init();
        }
        LogFormat::Json => {
            IS_JSON.store(true, Ordering::Relaxed);
            let lines = JsonLines::new(|| AboveBar, worker_name()).with_filter(AndSpans(filter));
            registry.with(lines).init();
        }
    }
    if !understood {
        tracing::warn!(
            "RUST_LOG={wanted} is not understood: `target=level,…` is; only warnings are shown"
        );
    }
}

/// What `RUST_LOG` asks for, as `target=level,…`; targets that it does not name log warnings. `None`
/// when it cannot be read.
fn filter(wanted: &str) -> Option<Targets> {
    // An empty text would be one directive that switches everything off.
    if wanted.trim().is_empty() {
        return Some(warnings());
    }
    let targets = wanted.parse::<Targets>().ok()?;
    match targets.default_level() {
        Some(_) => Some(targets),
        None => Some(targets.with_default(LevelFilter::WARN)),
    }
}

fn warnings() -> Targets {
    Targets::new().with_default(LevelFilter::WARN)
}

/// Events by their targets, and all spans of our own, so that lines can say where they are.
struct AndSpans(Targets);

impl<S: Subscriber> Filter<S> for AndSpans {
    fn enabled(&self, metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        is_own(metadata) || Filter::<S>::enabled(&self.0, metadata, context)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        match is_own(metadata) {
            true => Interest::always(),
            false => Filter::<S>::callsite_enabled(&self.0, metadata),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let events = Filter::<S>::max_level_hint(&self.0)?;
        Some(events.max(LevelFilter::DEBUG))
    }
}

/// Whether the environment allows colours: <https://no-color.org>.
pub(crate) fn colours_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether whatever goes to stderr is JSON, so that a line of another kind would break its reader.
pub(crate) fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

/// From now on lines go above this bar.
pub(crate) fn keep_above(bar: &ProgressBar) {
    *BAR.lock() = Some(bar.clone());
}

struct AboveBar;

impl Write for AboveBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &*BAR.lock() {
            Some(bar) => bar.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn what_is_not_named_logs_warnings() {
        for wanted in ["", "eciton_jobs=debug"] {
            let targets = filter(wanted).unwrap();
            assert!(targets.would_enable("datafusion", &Level::WARN), "{wanted}");
            assert!(
                !targets.would_enable("datafusion", &Level::INFO),
                "{wanted}"
            );
        }
        let targets = filter("eciton_jobs=debug").unwrap();
        assert!(targets.would_enable("eciton_jobs::run", &Level::DEBUG));
        assert!(
            filter("info")
                .unwrap()
                .would_enable("datafusion", &Level::INFO)
        );
    }

    #[test]
    fn nonsense_is_not_a_filter() {
        assert!(filter("eciton=loud").is_none());
    }
}
