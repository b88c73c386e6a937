//! Flags of gRPC: where a worker serves it, and which one is asked.

use std::path::PathBuf;

use clap::Args;

/// Where a worker serves gRPC, and to whom.
#[derive(Debug, Default, Args)]
pub(crate) struct Listening {
    #[arg(
        long,
        value_name = "ADDR",
        help = "Serves gRPC at this address, as 127.0.0.1:7711; port 0 takes a free one, which is logged \
                [env: ECITON_LISTEN]"
    )]
    pub(crate) listen: Option<String>,
    #[arg(
        long,
        value_name = "PEM",
        help = "Serves gRPC over TLS with this certificate and its chain [env: ECITON_TLS_CERT]"
    )]
    pub(crate) tls_cert: Option<PathBuf>,
    #[arg(
        long,
        value_name = "PEM",
        help = "The key of --tls-cert [env: ECITON_TLS_KEY]"
    )]
    pub(crate) tls_key: Option<PathBuf>,
    #[arg(
        long,
        value_name = "PEM",
        help = "Answers only clients with a certificate that this authority has signed [env: ECITON_TLS_CLIENT_CA]"
    )]
    pub(crate) tls_client_ca: Option<PathBuf>,
    #[arg(
        long,
        value_name = "FILE",
        help = "Answers only callers with a token of this file: lines `ROLE[,ROLE...] TOKEN` with the roles read, \
                submit and work [env: ECITON_TOKENS]"
    )]
    pub(crate) tokens: Option<PathBuf>,
    /// Serves gRPC beyond this machine without TLS, or to anybody
    #[arg(long)]
    pub(crate) insecure: bool,
}

/// A worker that is asked over gRPC.
#[derive(Debug, Default, Args)]
pub(crate) struct Peers {
    #[arg(
        long,
        value_name = "ADDR",
        help = "Asks a worker over gRPC, which opens the database for everybody: http://host:port, https://host:port or \
                host:port; of several, with commas, the first that answers"
    )]
    pub(crate) peer: Option<String>,
    #[arg(
        long,
        value_name = "TOKEN",
        requires = "peer",
        help = "The token that the peer asks for; others see it in the list of processes [env: ECITON_TOKEN]"
    )]
    pub(crate) token: Option<String>,
    /// A file that has nothing but the token
    #[arg(long, value_name = "FILE", requires = "peer", conflicts_with = "token")]
    pub(crate) token_file: Option<PathBuf>,
    /// Trusts peers whose certificates this authority has signed, and no others
    #[arg(long, value_name = "PEM", requires = "peer")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// The certificate that is shown to the peer
    #[arg(
        long,
        value_name = "PEM",
        requires = "peer",
        requires = "tls_client_key"
    )]
    pub(crate) tls_client_cert: Option<PathBuf>,
    /// The key of --tls-client-cert
    #[arg(
        long,
        value_name = "PEM",
        requires = "peer",
        requires = "tls_client_cert"
    )]
    pub(crate) tls_client_key: Option<PathBuf>,
}
