//! Callers that trace what they do: their submissions are a part of their traces.

use eciton_proto::v1::SubmitJobResponse;
use tonic::Status;
use tonic::metadata::MetadataMap;
use tracing::field::Empty;
use tracing::{Span, debug_span};

/// The header that names the caller's span: <https://www.w3.org/TR/trace-context/>.
const TRACEPARENT: &str = "traceparent";

/// The span of a submission; none of a caller that names no span of its own.
pub(super) fn submission(metadata: &MetadataMap) -> Span {
    let named = metadata.get(TRACEPARENT);
    let named = named.and_then(|header| header.to_str().ok());
    named.map_or_else(Span::none, |traceparent| {
        debug_span!(
            parent: None,
            "submit",
            traceparent,
            job = Empty,
            number = Empty,
            error = Empty
        )
    })
}

/// What came of it.
pub(super) fn note(span: &Span, submitted: &Result<SubmitJobResponse, Status>) {
    match submitted {
        Ok(submitted) => {
            let (job, number) = (submitted.name.as_str(), submitted.number);
            span.record("job", job).record("number", number);
            span.in_scope(|| tracing::debug!(job, number, "submitted"));
        }
        Err(refused) => {
            span.record("error", refused.message());
        }
    }
}
