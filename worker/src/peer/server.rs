//! The listener, the services behind it, and how they end.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use eciton_jobs::run::CancellationToken;
use eciton_proto::FILE_DESCRIPTOR_SET;
use eciton_proto::limits::{REQUEST_LEN_MAX, RESPONSE_LEN_MAX};
use eciton_proto::v1::shards_server::ShardsServer;
use eciton_proto::v1::swarm_server::SwarmServer;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::{Router, TcpIncoming};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::Peer;
use super::connections::{Bounds, Connections};
use super::guard::Guarded;
use super::tls::{Handshakes, Tls};
use super::workers::reached_at;
use crate::access::Access;
use crate::failure::{Failure, with_sources};
use crate::reload::Reload;
use crate::settings::Listen;

/// Services that health is told of, beside the process as a whole.
const SERVICES: [&str; 3] = ["", "eciton.v1.Swarm", "eciton.v1.Shards"];
/// Calls at a time on one connection; more of them wait.
const CALLS_AT_ONCE_MAX: u32 = 256;
/// How long calls that are at work when everything else has ended may take to end.
const END_WITHIN: Duration = Duration::from_secs(5);

/// An address that this process listens at; connections wait until somebody [serves](Listener::serve).
pub(crate) struct Listener {
    incoming: TcpIncoming,
    bounds: Bounds,
    address: SocketAddr,
    /// Where others reach it, as they are told.
    advertised: String,
    tls: Option<Arc<Tls>>,
    access: Arc<Access>,
}

impl Listener {
    /// Listens where and as the settings say.
    ///
    /// # Errors
    /// [`Failure::Usage`] where nobody can listen there, where certificates or tokens cannot be read, and beyond this
    /// machine where callers would not be known or anybody could listen in.
    pub(crate) fn bind(listen: &Listen) -> Result<Listener, Failure> {
        let connections = listen.connections;
        let bounds = Bounds {
            connections,
            ..Bounds::default()
        };
        Listener::bind_within(listen, bounds)
    }

    /// The same, with bounds of its own.
    pub(super) fn bind_within(listen: &Listen, bounds: Bounds) -> Result<Listener, Failure> {
        let said = &listen.address;
        let wrong =
            |what: &dyn std::fmt::Display| Failure::Usage(format!("--listen {said}: {what}"));
        let expected = "expected an address like 127.0.0.1:7711";
        let found = said
            .to_socket_addrs()
            .map_err(|error| wrong(&format!("{expected}: {error}")))?;
        let addresses: Vec<SocketAddr> = found.collect();
        let is_beyond = addresses.iter().any(|address| !address.ip().is_loopback());
        if let Some(open) = unsafe_beyond(listen).filter(|_| is_beyond && !listen.insecure) {
            return Err(wrong(&open));
        }
        let access = match &listen.tokens {
            Some(path) => Access::read(path)?,
            None => Access::open(),
        };
        let tls = tls(listen)?.map(Arc::new);
        let mut bound = Err(wrong(&expected));
        for address in addresses {
            bound = TcpIncoming::bind(address)
                .map_err(|error| wrong(&format!("cannot listen there: {error}")));
            if bound.is_ok() {
                break;
            }
        }
        let incoming = bound?.with_nodelay(Some(true));
        let address = incoming.local_addr().map_err(|error| wrong(&error))?;
        let advertised = listen.advertise.clone();
        Ok(Listener {
            incoming,
            bounds,
            address,
            advertised: advertised.unwrap_or_else(|| reached_at(address)),
            tls,
            access: Arc::new(access),
        })
    }

    /// What it is made of that can be read again.
    pub(crate) fn reloads(&self) -> Vec<Arc<dyn Reload>> {
        let access = Arc::clone(&self.access);
        let access = access.is_guarded().then_some(access as Arc<dyn Reload>);
        let tls = self.tls.clone().map(|tls| tls as Arc<dyn Reload>);
        access.into_iter().chain(tls).collect()
    }

    /// Where it listens, with the port that it got.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where others reach it, as they are told: what the settings say, else where it listens.
    pub(crate) fn advertised(&self) -> &str {
        &self.advertised
    }

    /// Serves calls from now on; health is told as serving until `stop` is requested.
    ///
    /// # Errors
    /// [`Failure::Work`] where what the services are described by is broken.
    pub(crate) fn serve(self, peer: Peer, stop: CancellationToken) -> Result<Serving, Failure> {
        let health = HealthReporter::new();
        let access = self.access;
        let server = Server::builder()
            .http2_keepalive_interval(Some(self.bounds.asked_apart))
            .http2_keepalive_timeout(Some(self.bounds.answer_within))
            .max_concurrent_streams(CALLS_AT_ONCE_MAX);
        let router = services(server, &peer, &health, &access)?;
        let ended = CancellationToken::new();
        let end = ended.clone();
        let within = self.bounds.begin_within;
        let incoming = Connections::new(self.incoming, self.bounds);
        let incoming = Handshakes::new(incoming, self.tls, within);
        let serving = tokio::spawn(async move {
            for service in SERVICES {
                health
                    .set_service_status(service, ServingStatus::Serving)
                    .await;
            }
            let draining = async move {
                stop.cancelled().await;
                for service in SERVICES {
                    health
                        .set_service_status(service, ServingStatus::NotServing)
                        .await;
                }
            };
            let telling = tokio::spawn(draining);
            let served = router
                .serve_with_incoming_shutdown(incoming, async move { end.cancelled().await })
                .await;
            telling.abort();
            if let Err(error) = served {
                tracing::error!("no calls are served any more: {}", with_sources(&error));
            }
        });
        Ok(Serving {
            peer,
            calls: serving,
            ended,
        })
    }
}

/// Every service there is: here is where another one comes in.
fn services(
    mut server: Server,
    peer: &Peer,
    health: &HealthReporter,
    access: &Arc<Access>,
) -> Result<Router, Failure> {
    let swarm = SwarmServer::new(peer.clone())
        .max_decoding_message_size(REQUEST_LEN_MAX)
        .max_encoding_message_size(RESPONSE_LEN_MAX);
    let shards = ShardsServer::new(peer.clone())
        .max_decoding_message_size(REQUEST_LEN_MAX)
        .max_encoding_message_size(RESPONSE_LEN_MAX);
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let broken = |error| {
        Failure::Work(format!(
            "the descriptors of the services are broken: {error}"
        ))
    };
    let v1 = described().build_v1().map_err(broken)?;
    let v1alpha = described().build_v1alpha().map_err(broken)?;
    // Health is asked by those who start and stop processes, and tells nothing else.
    let health = tonic_health::server::HealthService::from_health_reporter(health.clone());
    let health = tonic_health::pb::health_server::HealthServer::new(health);
    Ok(server
        .add_service(Guarded::new(swarm, access))
        .add_service(Guarded::new(shards, access))
        .add_service(Guarded::new(v1, access))
        .add_service(Guarded::new(v1alpha, access))
        .add_service(health))
}

/// Calls being served.
pub(crate) struct Serving {
    peer: Peer,
    calls: JoinHandle<()>,
    ended: CancellationToken,
}

impl Serving {
    /// Takes no more calls, has watches end, and waits a little for whatever is at work.
    pub(crate) async fn end(self) {
        self.peer.leave();
        self.ended.cancel();
        let abort = self.calls.abort_handle();
        if tokio::time::timeout(END_WITHIN, self.calls).await.is_err() {
            tracing::warn!("calls that take longer are cut off");
            abort.abort();
        }
    }
}

/// Why it is not safe to listen beyond this machine as the settings say, if so.
fn unsafe_beyond(listen: &Listen) -> Option<String> {
    let way_out = "or --insecure where the network itself keeps others out";
    if listen.certificate.is_none() {
        return Some(format!(
            "beyond this machine anybody could listen in: expected --tls-cert and --tls-key, {way_out}"
        ));
    }
    if listen.tokens.is_none() && listen.client_ca.is_none() {
        return Some(format!(
            "beyond this machine anybody could call: expected --tokens or --tls-client-ca, {way_out}"
        ));
    }
    None
}

/// What the server shows, and whom it asks for a certificate.
fn tls(listen: &Listen) -> Result<Option<Tls>, Failure> {
    match (&listen.certificate, &listen.client_ca) {
        (Some((certificate, key)), client_ca) => {
            Tls::read(certificate, key, client_ca.as_deref()).map(Some)
        }
        (None, None) => Ok(None),
        (None, Some(_)) => Err(Failure::Usage(
            "--tls-client-ca asks clients for certificates over TLS: expected --tls-cert and --tls-key, too"
                .to_owned(),
        )),
    }
}
