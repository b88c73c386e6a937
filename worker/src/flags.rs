//! Flags of gRPC: where a worker serves it, and which one is asked.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use eciton_jobs::spec::parse_duration_ms;
use eciton_proto::limits::WORKER_TEXT_LEN_MAX;
use tonic::codegen::http::uri::Authority;

/// Connections that a listener may be told to take at the same time.
pub(crate) const CONNECTIONS_MAX: u32 = 1_000_000;

/// Connections at the same time where nothing is said.
pub(crate) const CONNECTIONS_DEFAULT: usize = 1024;

/// Where a worker serves gRPC, and to whom.
#[derive(Debug, Default, Args)]
pub(crate) struct Listening {
    #[arg(
        long,
        value_name = "ADDR",
        help = "Serve gRPC at this address, such as 127.0.0.1:7711. Port 0 takes a free port, which is logged \
                [env: ECITON_LISTEN]"
    )]
    pub(crate) listen: Option<String>,
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_parser = advertised,
        help = "The address that other processes are told, if it differs from --listen: in a container, behind a \
                proxy [env: ECITON_ADVERTISE] [default: the address of --listen; for 0.0.0.0, the host name and the port]"
    )]
    pub(crate) advertise: Option<String>,
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(CONNECTIONS_MAX)),
        help = "Maximum number of connections; further ones are closed at once. A connection is also closed if it is silent \
                for its first 10 s, or for 50 s later on [env: ECITON_CONNECTIONS] [default: 1024]"
    )]
    pub(crate) connections: Option<u32>,
    #[arg(
        long,
        value_name = "PEM",
        help = "Serve gRPC over TLS with this certificate and its chain [env: ECITON_TLS_CERT]"
    )]
    pub(crate) tls_cert: Option<PathBuf>,
    #[arg(
        long,
        value_name = "PEM",
        help = "The private key of --tls-cert [env: ECITON_TLS_KEY]"
    )]
    pub(crate) tls_key: Option<PathBuf>,
    #[arg(
        long,
        value_name = "PEM",
        help = "Answer only clients whose certificate this authority has signed [env: ECITON_TLS_CLIENT_CA]"
    )]
    pub(crate) tls_client_ca: Option<PathBuf>,
    #[arg(
        long,
        value_name = "FILE",
        help = "Answer only callers with a token in this file. Its lines are `ROLE[,ROLE...] TOKEN`, with the roles read, \
                submit, work, command and metrics. It is read again when it changes, and on SIGHUP [env: ECITON_TOKENS]"
    )]
    pub(crate) tokens: Option<PathBuf>,
    #[arg(
        long = "data-root",
        value_name = "DIR",
        help = "Let jobs that come over gRPC read files below this folder. Can be repeated. Without it, they \
                read no files [env: ECITON_DATA_ROOT, separated by `:`]"
    )]
    pub(crate) data_roots: Vec<PathBuf>,
    #[arg(
        long = "allow-remote",
        value_name = "PREFIX",
        value_delimiter = ',',
        help = "Let jobs that come over gRPC read what lies below these addresses, as s3://bucket/folder. Separated \
                by `,`, or repeated. Without it, they read nothing over the network [env: ECITON_ALLOW_REMOTE]"
    )]
    pub(crate) allow_remote: Vec<String>,
    /// Permit gRPC beyond this machine without TLS or without authentication, and metrics without a token
    #[arg(long)]
    pub(crate) insecure: bool,
}

/// An address that others are told: a host and its port.
pub(crate) fn advertised(text: &str) -> Result<String, String> {
    let parsed = text.parse::<Authority>().ok().filter(|address| {
        let has_port = address.port_u16().is_some_and(|port| port > 0);
        has_port && !address.host().is_empty() && !text.contains('@')
    });
    match parsed {
        Some(_) if text.len() <= WORKER_TEXT_LEN_MAX => Ok(text.to_owned()),
        _ => Err(format!(
            "expected host:port, at most {WORKER_TEXT_LEN_MAX} bytes"
        )),
    }
}

/// A worker that is asked over gRPC.
#[derive(Debug, Default, Args)]
pub(crate) struct Peers {
    #[arg(
        long,
        value_name = "ADDR",
        help = "Call a worker over gRPC instead of opening the database: http://host:port, https://host:port or \
                host:port. Of several, separated by commas, the first one that responds is used"
    )]
    pub(crate) peer: Option<String>,
    #[arg(
        long,
        value_name = "TOKEN",
        requires = "peer",
        help = "The token that the peer requires. Other users can see it in the list of processes [env: ECITON_TOKEN]"
    )]
    pub(crate) token: Option<String>,
    /// A file that contains only the token
    #[arg(long, value_name = "FILE", requires = "peer", conflicts_with = "token")]
    pub(crate) token_file: Option<PathBuf>,
    /// Trust only peers whose certificate this authority has signed
    #[arg(long, value_name = "PEM", requires = "peer")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// The client certificate to present to the peer
    #[arg(
        long,
        value_name = "PEM",
        requires = "peer",
        requires = "tls_client_key"
    )]
    pub(crate) tls_client_cert: Option<PathBuf>,
    /// The private key of --tls-client-cert
    #[arg(
        long,
        value_name = "PEM",
        requires = "peer",
        requires = "tls_client_cert"
    )]
    pub(crate) tls_client_key: Option<PathBuf>,
}

/// A time as job files write it.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    parse_duration_ms(text)
        .map(Duration::from_millis)
        .ok_or_else(|| "expected a time like 500ms, 2s or 0s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_others_are_told_has_a_host_and_a_port() {
        let longest = format!("{}:7711", "h".repeat(WORKER_TEXT_LEN_MAX - 5));
        for good in [
            "a:1",
            "node-1.swarm.local:7711",
            "10.0.0.7:65535",
            "[::1]:7711",
            &longest,
        ] {
            assert_eq!(advertised(good).as_deref(), Ok(good));
        }
        let long = format!("h{longest}");
        for bad in [
            "",
            "a",
            ":1",
            "a:",
            "a:0",
            "a:65536",
            "a:x",
            "a b:1",
            "http://a:1",
            "a:1/path",
            "me@a:1",
            "::1:7711",
            &long,
        ] {
            assert!(advertised(bad).is_err(), "{bad}");
        }
    }
}
