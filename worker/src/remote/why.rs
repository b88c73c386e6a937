//! Why a peer did not answer, where the connection broke before it could say so.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};
use tonic::transport::Uri;

use crate::settings::PeerSettings;

/// How long finding out may take.
const WITHIN: Duration = Duration::from_secs(2);
/// What begins HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The first byte of a TLS alert.
const ALERT: u8 = 0x15;

/// What is shown to peers, to find out what they make of it.
pub(super) struct Presented {
    roots: Arc<RootCertStore>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Presented {
    /// The certificate of the settings; `None` where none is shown, or where it cannot be read, which is told elsewhere.
    pub(super) fn of(peers: &PeerSettings) -> Option<Presented> {
        let (certificate, key) = peers.certificate.as_ref()?;
        let read = |path: &Path| std::fs::read(path).ok();
        let mut roots = RootCertStore::empty();
        let trusted = CertificateDer::pem_slice_iter(&read(peers.ca.as_ref()?)?)
            .collect::<Result<Vec<_>, _>>();
        roots.add_parsable_certificates(trusted.ok()?);
        Some(Presented {
            roots: Arc::new(roots),
            certificate: read(certificate)?,
            key: read(key)?,
        })
    }

    fn config(&self) -> Option<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().ok()?;
        let chain =
            CertificateDer::pem_slice_iter(&self.certificate).collect::<Result<Vec<_>, _>>();
        let key = PrivateKeyDer::from_pem_slice(&self.key).ok()?;
        let builder = builder.with_root_certificates(Arc::clone(&self.roots));
        let mut config = builder.with_client_auth_cert(chain.ok()?, key).ok()?;
        config.alpn_protocols.push(b"h2".to_vec());
        Some(config)
    }
}

/// What to say behind a failure that says little; nothing where it is clear, or nothing is found out.
pub(super) async fn hint(uri: &Uri, shown: Option<&Presented>, failure: &str) -> String {
    let has = |words: &[&str]| words.iter().any(|word| failure.contains(word));
    let is_secure = uri.scheme_str() == Some("https");
    if is_secure && has(&["InvalidContentType", "corrupt message"]) {
        return "; it does not speak TLS: write http:// in front of its address".to_owned();
    }
    let broke = [
        "h2",
        "http2",
        "frame",
        "closed",
        "cancel",
        "reset",
        "broken",
        "transport",
    ];
    if !has(&broke) || has(&["refused"]) {
        return String::new();
    }
    let found = match (is_secure, shown) {
        (false, _) => timeout(WITHIN, speaks_tls(uri)).await.ok().flatten(),
        (true, Some(shown)) => timeout(WITHIN, refusal(uri, shown)).await.ok().flatten(),
        (true, None) => None,
    };
    found.unwrap_or_default()
}

/// Whether a peer that was spoken to without TLS answers with TLS.
async fn speaks_tls(uri: &Uri) -> Option<String> {
    let mut stream = connect(uri).await?;
    stream.write_all(PREFACE).await.ok()?;
    let first = stream.read_u8().await.ok()?;
    let told = "; it speaks TLS: write https:// in front of its address";
    (first == ALERT).then(|| told.to_owned())
}

/// What a peer says to the certificate that it is shown. In TLS 1.3 that comes after the handshake.
async fn refusal(uri: &Uri, shown: &Presented) -> Option<String> {
    let stream = connect(uri).await?;
    let name = ServerName::try_from(host(uri)?.to_owned()).ok()?;
    let connector = TlsConnector::from(Arc::new(shown.config()?));
    let error = match connector.connect(name, stream).await {
        Err(error) => error,
        Ok(mut stream) => stream.read_u8().await.err()?,
    };
    let told = error.to_string();
    let way = "--tls-client-cert has to be signed by the authority of its --tls-client-ca";
    told.contains("alert")
        .then(|| format!("; it refused the certificate that it was shown ({told}): {way}"))
}

async fn connect(uri: &Uri) -> Option<TcpStream> {
    TcpStream::connect((host(uri)?, uri.port_u16()?)).await.ok()
}

/// The host, without the brackets of an IPv6 address.
fn host(uri: &Uri) -> Option<&str> {
    let host = uri.host()?;
    Some(host.trim_start_matches('[').trim_end_matches(']'))
}
