//! Addresses, TLS and tokens; which peer answers.

use std::path::Path;
use std::time::Duration;

use eciton_proto::limits::RESPONSE_LEN_MAX;
use eciton_proto::v1::swarm_client::SwarmClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Response, Status};

use super::why::{self, Presented};
use crate::failure::{Failure, with_sources};
use crate::settings::PeerSettings;

/// How long a peer is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// What reaching it may take before the next one is tried.
    pub(super) connect_within: Duration,
    /// One that says nothing is asked so often whether it is there...
    pub(super) asked_apart: Duration,
    /// ...and given up where no answer comes for so long.
    pub(super) answer_within: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            connect_within: Duration::from_secs(5),
            asked_apart: Duration::from_secs(10),
            answer_within: Duration::from_secs(10),
        }
    }
}

/// The peers that were named: the first that answers is asked, and the next one where it does not.
pub(crate) struct Remote {
    peers: Vec<Endpoint>,
    /// The one that answered last.
    at: usize,
    token: Option<MetadataValue<Ascii>>,
    /// What peers are shown, where that is a certificate.
    shown: Option<Presented>,
    /// The span of whoever started this process, for peers that trace.
    caller: Option<MetadataValue<Ascii>>,
}

/// The environment variable that names it, as the header does: `00-TRACE-SPAN-01`.
const TRACEPARENT: &str = "TRACEPARENT";

impl Remote {
    /// The peers of the settings. Connects to none yet.
    ///
    /// # Errors
    /// [`Failure::Usage`] for what is no address, for certificates that cannot be read, and for a token that cannot
    /// be one.
    pub(crate) fn new(peers: &PeerSettings) -> Result<Remote, Failure> {
        Remote::with(peers, Patience::default())
    }

    /// The same, with a patience of its own.
    pub(super) fn with(peers: &PeerSettings, patience: Patience) -> Result<Remote, Failure> {
        let tls = tls(peers)?;
        let shown = Presented::of(peers);
        let named = peers.addresses.split(',').map(str::trim);
        let endpoints: Result<Vec<Endpoint>, Failure> = named
            .filter(|address| !address.is_empty())
            .map(|address| endpoint(address, tls.as_ref(), patience))
            .collect();
        let token = peers.token.as_ref().map(|token| {
            let header = format!("Bearer {token}").parse::<MetadataValue<Ascii>>();
            header.map_err(|_| {
                Failure::Usage("the token: expected visible ASCII characters".to_owned())
            })
        });
        let peers = endpoints?;
        if peers.is_empty() {
            return Err(Failure::Usage(
                "--peer: expected an address like http://host:7711".to_owned(),
            ));
        }
        Ok(Remote {
            peers,
            at: 0,
            token: token.transpose()?,
            shown,
            caller: std::env::var(TRACEPARENT)
                .ok()
                .and_then(|named| named.parse().ok()),
        })
    }

    /// Calls the first peer that answers.
    ///
    /// # Errors
    /// [`Failure::Peer`]: what the peer refused, or that none answers.
    pub(super) async fn call<M: Clone, T>(
        &mut self,
        message: M,
        call: impl AsyncFn(&mut SwarmClient<Channel>, Request<M>) -> Result<Response<T>, Status>,
    ) -> Result<T, Failure> {
        let mut silent = Vec::new();
        for _ in 0..self.peers.len() {
            let peer = &self.peers[self.at];
            let told = match peer.connect().await {
                Ok(channel) => {
                    let mut client =
                        SwarmClient::new(channel).max_decoding_message_size(RESPONSE_LEN_MAX);
                    match call(&mut client, self.request(message.clone())).await {
                        Ok(response) => return Ok(response.into_inner()),
                        Err(status) if is_silence(&status) => silence(&status),
                        Err(status) => return Err(refused(&status)),
                    }
                }
                Err(error) => with_sources(&error),
            };
            let hint = why::hint(peer.uri(), self.shown.as_ref(), &told).await;
            silent.push(format!("{}: {told}{hint}", peer.uri()));
            self.next();
        }
        Err(Failure::Peer {
            code: Code::Unavailable,
            message: format!("no peer answers: {}", silent.join("; ")),
        })
    }

    /// From now on the next peer is asked first.
    pub(super) fn next(&mut self) {
        self.at = (self.at + 1) % self.peers.len();
    }

    fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request
                .metadata_mut()
                .insert("authorization", token.clone());
        }
        if let Some(caller) = &self.caller {
            request.metadata_mut().insert("traceparent", caller.clone());
        }
        request
    }
}

/// Whether another peer may answer where this one did not: it goes, or the connection broke. What a peer says itself
/// has no cause here.
pub(super) fn is_silence(status: &Status) -> bool {
    let is_broken = std::error::Error::source(status).is_some();
    is_broken
        || matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Cancelled
        )
}

/// Why a call was not answered, in one line.
fn silence(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(cause) => format!("{}: {}", status.message(), with_sources(cause)),
        None => status.message().to_owned(),
    }
}

/// What a peer refused.
pub(super) fn refused(status: &Status) -> Failure {
    let way = match status.code() {
        Code::Unauthenticated => "; --token, --token-file or ECITON_TOKEN brings one",
        _ => "",
    };
    Failure::Peer {
        code: status.code(),
        message: format!("{}{way}", status.message()),
    }
}

fn endpoint(
    address: &str,
    tls: Option<&ClientTlsConfig>,
    patience: Patience,
) -> Result<Endpoint, Failure> {
    let wrong = |why: &str| {
        let expected = "expected http://host:port, https://host:port or host:port";
        Failure::Usage(format!("--peer {address}: {expected}{why}"))
    };
    let url = match (address.contains("://"), tls) {
        (true, _) => address.to_owned(),
        (false, None) => format!("http://{address}"),
        (false, Some(_)) => format!("https://{address}"),
    };
    let endpoint = Endpoint::from_shared(url).map_err(|error| wrong(&format!(": {error}")))?;
    let uri = endpoint.uri().clone();
    let is_secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(wrong("")),
    };
    if uri.host().is_none_or(str::is_empty) || uri.path() != "/" || uri.query().is_some() {
        return Err(wrong(""));
    }
    if uri.port().is_none() {
        return Err(wrong(", with its port"));
    }
    let endpoint = endpoint
        .connect_timeout(patience.connect_within)
        .http2_keep_alive_interval(patience.asked_apart)
        .keep_alive_timeout(patience.answer_within)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    match (is_secure, tls) {
        (false, None) => Ok(endpoint),
        (false, Some(_)) => Err(wrong(": certificates are for https")),
        (true, tls) => {
            let tls = tls
                .cloned()
                .unwrap_or_else(|| ClientTlsConfig::new().with_native_roots());
            endpoint.tls_config(tls).map_err(|error| {
                Failure::Usage(format!("--peer {address}: TLS: {}", with_sources(&error)))
            })
        }
    }
}

/// Whom to trust and what to show, where the settings say anything about it.
fn tls(peers: &PeerSettings) -> Result<Option<ClientTlsConfig>, Failure> {
    let read = |path: &Path| {
        std::fs::read(path)
            .map_err(|error| Failure::Usage(format!("{}: cannot be read: {error}", path.display())))
    };
    if peers.ca.is_none() && peers.certificate.is_none() {
        return Ok(None);
    }
    let mut tls = match &peers.ca {
        Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    if let Some((certificate, key)) = &peers.certificate {
        tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(Some(tls))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        for good in ["http://a:1", "a:1", "127.0.0.1:7711", "http://[::1]:7711/"] {
            assert!(endpoint(good, None, Patience::default()).is_ok(), "{good}");
        }
        for bad in [
            "ftp://a:1",
            "http://a",
            "a",
            "http://a:1/path",
            "http://a:1?x=1",
            "http://:1",
            "a b:1",
            "a:99999",
        ] {
            let refused = endpoint(bad, None, Patience::default());
            let told = refused.unwrap_err().to_string();
            assert!(
                told.starts_with(&format!("--peer {bad}: expected http://")),
                "{told}"
            );
        }
    }
}
