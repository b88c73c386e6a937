//! The collector that spans go to.

use std::time::Duration;

use crate::proto::opentelemetry::proto::collector::trace::v1::trace_service_client::TraceServiceClient;
use eciton_trace::EndedSpan;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, Uri};
use tonic::{Code, Request, Status};

use crate::error::OtlpError;
use crate::headers::Headers;
use crate::message::{Process, request};

/// How long an export may take, connecting included.
const EXPORT_WITHIN: Duration = Duration::from_secs(5);

/// Where spans go, and from whom.
pub(crate) struct Target {
    endpoint: Endpoint,
    headers: Headers,
    process: Process,
}

/// What a collector did with spans.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It took them, but for so many.
    Took { refused: u64 },
    /// It refused them, and would again.
    Refused(Status),
    /// It is away, or has no room now.
    Away(Status),
}

impl Target {
    /// A target at this address; nothing is connected yet.
    pub(crate) fn new(url: &str, headers: Headers, process: Process) -> Result<Target, OtlpError> {
        let uri: Uri = url.parse().map_err(|_| OtlpError::Address)?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(OtlpError::Address),
        };
        let authority = uri.authority().ok_or(OtlpError::Address)?;
        if authority.as_str().contains('@') {
            return Err(OtlpError::Credentials);
        }
        let mut endpoint = Endpoint::from(uri)
            .connect_timeout(EXPORT_WITHIN)
            .timeout(EXPORT_WITHIN);
        if is_tls {
            let roots = ClientTlsConfig::new().with_native_roots();
            endpoint = endpoint.tls_config(roots).map_err(|_| OtlpError::Address)?;
        }
        Ok(Target {
            endpoint,
            headers,
            process,
        })
    }

    /// A connection, made when it is needed first, and again after it broke. Needs a runtime.
    pub(crate) fn connect(self) -> Collector {
        let client = TraceServiceClient::new(self.endpoint.connect_lazy());
        Collector {
            client,
            headers: self.headers,
            process: self.process,
        }
    }
}

/// A collector.
pub(crate) struct Collector {
    client: TraceServiceClient<Channel>,
    headers: Headers,
    process: Process,
}

impl Collector {
    /// Sends spans, once.
    pub(crate) async fn export(&mut self, spans: &[EndedSpan]) -> Answer {
        let mut request = Request::new(request(&self.process, spans));
        self.headers.add_to(request.metadata_mut());
        match self.client.export(request).await {
            Ok(response) => {
                let partial = response.into_inner().partial_success;
                let refused = partial.map_or(0, |partial| partial.rejected_spans);
                let refused = u64::try_from(refused).unwrap_or(0);
                Answer::Took {
                    refused: refused.min(spans.len() as u64),
                }
            }
            Err(status) if is_passing(status.code()) => Answer::Away(status),
            Err(status) => Answer::Refused(status),
        }
    }
}

/// Whether the same call may succeed later: the list of the protocol, and a connection that broke.
fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
            | Code::ResourceExhausted
            | Code::Unknown
    )
}
