//! Sending spans to a collector, in programs that were built for it.

use std::sync::Arc;

use eciton_trace::SpanSink;

use crate::failure::Failure;

/// How long sending what waits may hold up the end of the process.
#[cfg(feature = "otlp")]
const END_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Spans on their way to a collector.
#[cfg(feature = "otlp")]
pub(crate) struct Sending(eciton_otlp::Exporter);

/// Spans on their way to a collector: this program was built without the way.
#[cfg(not(feature = "otlp"))]
pub(crate) struct Sending(std::convert::Infallible);

#[cfg(feature = "otlp")]
impl Sending {
    /// Sends spans to the collector at `url` from now on.
    ///
    /// # Errors
    /// [`Failure::Usage`] for what is no address of a collector, and for headers in the environment that are none;
    /// [`Failure::Work`] where the system has no thread for it.
    pub(crate) fn start(url: &str) -> Result<Sending, Failure> {
        use eciton_otlp::{Exporter, HEADERS, Headers, OtlpError, Process};
        let told = |error: OtlpError| match error {
            OtlpError::Thread(_) => Failure::Work(error.to_string()),
            OtlpError::Header(_) => Failure::Usage(error.to_string()),
            OtlpError::Address | OtlpError::Credentials => {
                Failure::Usage(format!("--otlp: {error}"))
            }
        };
        let headers = std::env::var(HEADERS).unwrap_or_default();
        let headers = Headers::parse(&headers).map_err(told)?;
        let process = Process {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            name: crate::process_name::worker_name(),
        };
        let exporter = Exporter::start(url, headers, process).map_err(told)?;
        Ok(Sending(exporter))
    }

    /// Where spans go.
    pub(crate) fn sink(&self) -> Arc<dyn SpanSink> {
        self.0.sink()
    }

    /// Sends what waits, for a moment at most.
    pub(crate) fn end(mut self) {
        self.0.end(END_WITHIN);
    }
}

#[cfg(not(feature = "otlp"))]
impl Sending {
    /// Says how to get a program that sends spans.
    ///
    /// # Errors
    /// [`Failure::Usage`], always.
    pub(crate) fn start(_url: &str) -> Result<Sending, Failure> {
        Err(Failure::Usage(
            "--otlp (ECITON_OTLP): this program was built without it; build one with `cargo build --release \
             --features otlp`"
                .to_owned(),
        ))
    }

    /// Where spans go.
    pub(crate) fn sink(&self) -> Arc<dyn SpanSink> {
        match self.0 {}
    }

    /// Sends what waits, for a moment at most.
    pub(crate) fn end(self) {
        let Sending(never) = self;
        match never {}
    }
}
