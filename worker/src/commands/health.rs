//! `health`: asks a worker on this machine whether it is ready.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::json;

use crate::cli::{Global, Health};
use crate::failure::Failure;
use crate::output::Output;
use crate::settings;

/// Time limit for connecting and for each read: longer than a worker waits for its storage.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// Bytes of an answer that are read.
const ANSWER_LEN_MAX: u64 = 4096;

/// Prints that the worker is ready, or alive.
///
/// # Errors
/// [`Failure::Usage`] where no address is named; [`Failure::Work`] where nobody answers, or not with "yes".
pub(super) fn health(global: &Global, args: &Health) -> Result<(), Failure> {
    let address = match args.address {
        Some(address) => Some(address),
        None => settings::metrics_address()?,
    };
    let address = reachable(address.ok_or_else(|| {
        let ways = "give the address of --metrics of the worker, or set ECITON_METRICS";
        Failure::Usage(format!("no worker named: {ways}"))
    })?);
    let (path, state) = match args.alive {
        true => ("/healthz", "alive"),
        false => ("/readyz", "ready"),
    };
    let answer = ask(address, path).map_err(|error| {
        Failure::Work(format!("the worker at {address} does not answer: {error}"))
    })?;
    match answer {
        (200, _) => {
            let mut output = Output::new(global);
            let json = json!({"address": address.to_string(), "state": state});
            output.either(&json, &format!("the worker at {address} is {state}"))?;
            Ok(output.finish()?)
        }
        (status, reason) => Err(Failure::Work(format!(
            "the worker at {address} is not {state}: {reason} (HTTP status {status})"
        ))),
    }
}

/// Where a process on this machine reaches whoever listens everywhere.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// The status and the body of an answer.
fn ask(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut told = String::new();
    stream.take(ANSWER_LEN_MAX).read_to_string(&mut told)?;
    let parts = told.split_once("\r\n\r\n").and_then(|(head, body)| {
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.trim().to_owned()))
    });
    parts.ok_or_else(|| {
        io::Error::other("the answer is not HTTP; expected the address of --metrics")
    })
}
