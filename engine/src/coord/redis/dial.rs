//! Connecting: to the node that has the database's keys, wherever it is by now.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo, ProtocolVersion, PushInfo, RedisError, RedisResult, ServerErrorKind,
    TlsCertificates, cmd,
};

use super::options::RedisOptions;
use crate::base::{Error, Result};

/// What an address looks like.
const EXPECTED: &str = "`redis://[user[:password]@]host[:port][/database]`, or `rediss://` for TLS";
/// Ways to a server.
const SCHEMES: [&str; 6] = ["redis", "rediss", "valkey", "valkeys", "redis+unix", "unix"];
/// Redirections that are followed in a row.
const REDIRECTIONS_MAX: u32 = 5;

/// Where Redis may be.
pub(super) struct Dialer {
    seeds: Vec<ConnectionInfo>,
    connect_max: Duration,
    response_max: Duration,
}

/// Where a node is that another one names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    host: String,
    port: u16,
}

/// What is done with what a server sends unasked.
pub(super) type Pushed = Arc<dyn Fn(PushInfo) + Send + Sync>;

impl Dialer {
    /// # Errors
    /// [`Error::Invalid`]: an address or a certificate that cannot be read.
    pub(super) fn new(options: &RedisOptions) -> Result<Dialer> {
        let certificates = certificates(options)?;
        let seed = |url: &String| {
            seed(url, options, certificates.as_ref()).map_err(|error| no_address(url, &error))
        };
        let seeds: Vec<_> = options.urls.iter().map(seed).collect::<Result<_>>()?;
        if seeds.is_empty() {
            let message = format!("no address of Redis was given: expected {EXPECTED}");
            return Err(Error::Invalid(message));
        }
        Ok(Dialer {
            seeds,
            connect_max: Duration::from_millis(options.connect_ms_max.max(1)),
            response_max: Duration::from_millis(options.response_ms_max.max(1)),
        })
    }

    /// Connects to the node that has `key`: first to `known`, or to one of the seeds, another one from
    /// attempt to attempt, and from there to wherever it is said to be.
    pub(super) async fn dial(
        &self,
        known: Option<&Address>,
        attempt: usize,
        key: &str,
        pushed: &Pushed,
    ) -> RedisResult<MultiplexedConnection> {
        let seed = &self.seeds[attempt % self.seeds.len()];
        let mut info = match known {
            Some(address) => elsewhere(seed, address),
            None => seed.clone(),
        };
        let mut redirections = 0;
        loop {
            let mut connection = self.connect(info.clone(), pushed).await?;
            let asked = cmd("EXISTS")
                .arg(key)
                .query_async::<i64>(&mut connection)
                .await;
            let Err(error) = asked else {
                return Ok(connection);
            };
            match Address::named_by(&error) {
                Some(address) if redirections < REDIRECTIONS_MAX => {
                    info = elsewhere(&info, &address);
                    redirections += 1;
                }
                _ => return Err(error),
            }
        }
    }

    async fn connect(
        &self,
        info: ConnectionInfo,
        pushed: &Pushed,
    ) -> RedisResult<MultiplexedConnection> {
        let pushed = Arc::clone(pushed);
        let send = move |info| -> std::result::Result<(), ()> {
            pushed(info);
            Ok(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_max))
            .set_response_timeout(Some(self.response_max))
            .set_push_sender(send);
        Client::open(info)?
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }
}

impl Address {
    /// Where a redirection leads to. An empty host is the one that was asked.
    pub(super) fn named_by(error: &RedisError) -> Option<Address> {
        if error.kind() != ErrorKind::Server(ServerErrorKind::Moved) {
            return None;
        }
        let (address, _) = error.redirect_node()?;
        let (host, port) = address.rsplit_once(':')?;
        Some(Address {
            host: host.to_owned(),
            port: port.parse().ok()?,
        })
    }
}

/// The same user at another node.
fn elsewhere(info: &ConnectionInfo, address: &Address) -> ConnectionInfo {
    let host_or = |host: &String| match address.host.is_empty() {
        true => host.clone(),
        false => address.host.clone(),
    };
    let addr = match info.addr() {
        ConnectionAddr::Tcp(host, _) => ConnectionAddr::Tcp(host_or(host), address.port),
        ConnectionAddr::TcpTls {
            host,
            insecure,
            tls_params,
            ..
        } => ConnectionAddr::TcpTls {
            host: host_or(host),
            port: address.port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        other => other.clone(),
    };
    info.clone().set_addr(addr)
}

fn seed(
    url: &str,
    options: &RedisOptions,
    certificates: Option<&TlsCertificates>,
) -> RedisResult<ConnectionInfo> {
    let mut info = url.into_connection_info()?;
    let is_tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
    if let Some(certificates) = certificates.filter(|_| is_tls) {
        let client = Client::build_with_tls(info, certificates.clone())?;
        info = client.get_connection_info().clone();
    }
    let mut redis = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3);
    if let (None, Some(username)) = (redis.username(), &options.username) {
        redis = redis.set_username(username);
    }
    if let (None, Some(password)) = (redis.password(), &options.password) {
        redis = redis.set_password(password);
    }
    Ok(info.set_redis_settings(redis))
}

/// What is wrong with an address, which is shown without its user and password.
fn no_address(url: &str, error: &RedisError) -> Error {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, url),
    };
    // Whatever comes before it may be secret.
    let bare = rest.rsplit_once('@').map_or(rest, |(_, bare)| bare);
    let (host, after) = bare.split_once('/').unwrap_or((bare, ""));
    let port = host.rsplit_once(':').map(|(_, port)| port);
    let wrong = match scheme {
        None => "it has no `redis://` or `rediss://` before the host".to_owned(),
        Some(scheme) if !SCHEMES.contains(&scheme) => {
            format!("`{scheme}` is no way to Redis")
        }
        Some(_) if host.is_empty() || host.starts_with(':') => "it names no host".to_owned(),
        Some(_)
            if port.is_some_and(|port| !host.ends_with(']') && port.parse::<u16>().is_err()) =>
        {
            "its port is no number from 0 to 65535".to_owned()
        }
        Some(_) if !after.is_empty() && after.parse::<i64>().is_err() => {
            "its database is no number".to_owned()
        }
        Some(_) => error.to_string(),
    };
    let shown = match (scheme, rest.contains('@')) {
        (Some(scheme), true) => format!("{scheme}://…@{bare}"),
        (Some(scheme), false) => format!("{scheme}://{bare}"),
        (None, true) => format!("…@{bare}"),
        (None, false) => bare.to_owned(),
    };
    Error::Invalid(format!(
        "`{shown}` is no address of Redis: {wrong}; expected {EXPECTED}"
    ))
}

fn certificates(options: &RedisOptions) -> Result<Option<TlsCertificates>> {
    if !options.urls.iter().any(|url| url.starts_with("rediss:")) {
        return Ok(None);
    }
    // Another provider that the program has installed before is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let read = |path: &std::path::PathBuf| {
        std::fs::read(path)
            .map_err(|cause| Error::Invalid(format!("{} cannot be read: {cause}", path.display())))
    };
    let client_tls = match (&options.cert_file, &options.key_file) {
        (Some(cert), Some(key)) => Some(ClientTlsConfig {
            client_cert: read(cert)?,
            client_key: read(key)?,
        }),
        (None, None) => None,
        _ => {
            let message = "`cert_file` and `key_file` go together".to_owned();
            return Err(Error::Invalid(message));
        }
    };
    let root_cert = options.ca_file.as_ref().map(read).transpose()?;
    Ok(Some(TlsCertificates {
        client_tls,
        root_cert,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_address_says_what_is_wrong_and_nothing_secret() {
        for (url, wrong) in [
            ("localhost:6379", "it has no `redis://`"),
            ("me:hidden@host:6379", "it has no `redis://`"),
            ("http://me:hidden@host", "`http` is no way to Redis"),
            ("redis://me:hidden@:1", "it names no host"),
            ("redis://me:hidden@host:port", "its port is no number"),
            ("redis://me:hidden@host:99999", "its port is no number"),
            (
                "redis://me:hidden@host:1/first",
                "its database is no number",
            ),
        ] {
            let options = RedisOptions::at(url);
            let Err(Error::Invalid(told)) = Dialer::new(&options) else {
                panic!("{url} is taken")
            };
            assert!(told.contains(wrong) && told.contains("expected"), "{told}");
            assert!(!told.contains("hidden") && !told.contains("me:"), "{told}");
        }
    }
}
