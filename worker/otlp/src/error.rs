//! Why spans cannot be exported.

/// Why spans cannot be exported as it was asked for. No message repeats what may be a secret.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// The address of the collector is none.
    #[error(
        "expected the gRPC address of a collector, like http://127.0.0.1:4317 or https://collector:4317"
    )]
    Address,
    /// The address has a user or a password.
    #[error(
        "the address has a user or a password; put credentials into OTEL_EXPORTER_OTLP_HEADERS"
    )]
    Credentials,
    /// The headers are none.
    #[error("OTEL_EXPORTER_OTLP_HEADERS: entry {0}: expected `name=value`, separated by commas")]
    Header(usize),
    /// The system has no thread for it.
    #[error("the thread that exports spans does not start: {0}")]
    Thread(#[from] std::io::Error),
}
