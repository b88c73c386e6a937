//! TLS on the connections of a listener: certificates that can be replaced while it serves.
//!
//! tonic makes one configuration and keeps it; here each new connection takes the present one. Those that are open stay.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use parking_lot::RwLock;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto::ring};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::connections::{Connection, Connections};
use crate::failure::{Failure, with_sources};
use crate::reload::Reload;

/// How long a client that was refused may take to read why.
const LINGER: Duration = Duration::from_secs(1);

/// What a listener shows, and whom it asks for a certificate.
pub(super) struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    /// Who signs the certificates of clients; `None`: they need none.
    client_ca: Option<PathBuf>,
    config: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads certificate, key and the authority of clients.
    ///
    /// # Errors
    /// [`Failure::Usage`] naming the file that cannot be used.
    pub(super) fn read(
        certificate: &Path,
        key: &Path,
        client_ca: Option<&Path>,
    ) -> Result<Tls, Failure> {
        Ok(Tls {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            client_ca: client_ca.map(Path::to_owned),
            config: RwLock::new(Arc::new(config(certificate, key, client_ca)?)),
        })
    }

    fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config.read())
    }
}

impl Reload for Tls {
    fn files(&self) -> Vec<PathBuf> {
        let pair = [self.certificate.clone(), self.key.clone()];
        pair.into_iter().chain(self.client_ca.clone()).collect()
    }

    /// All of them or none: a certificate is never shown with the key of another one.
    fn reload(&self) -> Result<String, Failure> {
        let read = config(&self.certificate, &self.key, self.client_ca.as_deref())?;
        *self.config.write() = Arc::new(read);
        Ok(format!("the certificate {}", self.certificate.display()))
    }
}

/// What TLS is made of.
fn config(
    certificate: &Path,
    key: &Path,
    client_ca: Option<&Path>,
) -> Result<ServerConfig, Failure> {
    let wrong = |path: &Path, what: &dyn std::error::Error| {
        Failure::Usage(format!("{}: {}", path.display(), with_sources(what)))
    };
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(certificate, &error))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for root in certificates(path)? {
                roots.add(root).map_err(|error| wrong(path, &error))?;
            }
            let provider = Arc::new(ring::default_provider());
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            let verifier = verifier.build().map_err(|error| wrong(path, &error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = certificates(certificate)?;
    let text = read(key)?;
    let secret = PrivateKeyDer::from_pem_slice(&text).map_err(|error| wrong(key, &error))?;
    let mut config = builder.with_single_cert(chain, secret).map_err(|error| {
        let (certificate, key) = (certificate.display(), key.display());
        let why = with_sources(&error);
        Failure::Usage(format!(
            "--tls-cert {certificate} and --tls-key {key}: no certificate and its key: {why}"
        ))
    })?;
    config.alpn_protocols.push(b"h2".to_vec());
    Ok(config)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let cannot = |error| Failure::Usage(format!("{}: cannot be read: {error}", path.display()));
    std::fs::read(path).map_err(cannot)
}

/// The certificates of a file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(Failure::Usage(format!(
            "{}: expected a certificate in PEM, found none",
            path.display()
        ))),
        Err(error) => Err(Failure::Usage(format!("{}: {error}", path.display()))),
    }
}

/// Connections that are ready to be spoken on.
pub(super) struct Handshakes {
    incoming: Connections,
    /// `None`: without TLS.
    tls: Option<Arc<Tls>>,
    /// How long a handshake may take.
    within: Duration,
    running: JoinSet<Option<Transport>>,
    has_ended: bool,
}

impl Handshakes {
    pub(super) fn new(incoming: Connections, tls: Option<Arc<Tls>>, within: Duration) -> Self {
        Handshakes {
            incoming,
            tls,
            within,
            running: JoinSet::new(),
            has_ended: false,
        }
    }
}

impl Stream for Handshakes {
    type Item = io::Result<Transport>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        while !this.has_ended {
            match Pin::new(&mut this.incoming).poll_next(context) {
                Poll::Ready(Some(Ok(connection))) => match &this.tls {
                    None => return Poll::Ready(Some(Ok(Transport::Plain(connection)))),
                    Some(tls) => {
                        let shaken = shaken(tls.config(), connection, this.within);
                        this.running.spawn(shaken);
                    }
                },
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => this.has_ended = true,
                Poll::Pending => break,
            }
        }
        loop {
            match this.running.poll_join_next(context) {
                Poll::Ready(Some(Ok(Some(transport)))) => return Poll::Ready(Some(Ok(transport))),
                // One that did not come about says nothing of the others.
                Poll::Ready(Some(_)) => {}
                Poll::Ready(None) if this.has_ended => return Poll::Ready(None),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// A connection after its handshake, if that came about.
async fn shaken(
    config: Arc<ServerConfig>,
    connection: Connection,
    within: Duration,
) -> Option<Transport> {
    let accepting = TlsAcceptor::from(config).accept(connection).into_fallible();
    match timeout(within, accepting).await {
        Ok(Ok(stream)) => Some(Transport::Tls(Box::new(stream))),
        Ok(Err((error, connection))) => {
            tracing::debug!(%error, "a TLS handshake failed");
            // What the client has sent meanwhile is read: closed over it, the connection would be reset, and the client
            // never learn why.
            timeout(LINGER, linger(connection)).await.ok();
            None
        }
        Err(_) => None,
    }
}

async fn linger(mut connection: Connection) {
    let mut rest = [0; 1024];
    if connection.shutdown().await.is_ok() {
        while matches!(connection.read(&mut rest).await, Ok(len) if len > 0) {}
    }
}

/// A connection, with or without TLS.
pub(super) enum Transport {
    Plain(Connection),
    Tls(Box<TlsStream<Connection>>),
}

impl Connected for Transport {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        match self {
            Transport::Plain(connection) => connection.connect_info(),
            Transport::Tls(stream) => stream.get_ref().0.connect_info(),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(connection) => Pin::new(connection).poll_read(context, buffer),
            Transport::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Plain(connection) => Pin::new(connection).poll_write(context, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(connection) => Pin::new(connection).poll_flush(context),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(connection) => Pin::new(connection).poll_shutdown(context),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Plain(connection) => {
                Pin::new(connection).poll_write_vectored(context, bytes)
            }
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Transport::Plain(connection) => connection.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
