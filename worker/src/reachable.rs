//! Whether the store of a bucket answers at all, before a client is made that tries again and again.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::codegen::http::Uri;

/// How long a connection may take to come about.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// Variables that name the address of an S3 store, the first that is set.
const ENDPOINTS: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
/// Variables that name a proxy: what it reaches cannot be told from here.
const PROXIES: [&str; 7] = [
    "AWS_PROXY_URL",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Connects to the store of an S3 bucket whose address is set, and hangs up. Other stores are not asked.
///
/// # Errors
/// Which address does not answer, and what sets it.
pub(crate) async fn check(
    url: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<(), String> {
    let is_set = |name: &&str| environment(name).is_some_and(|value| !value.is_empty());
    let named = ENDPOINTS.iter().find(|name| is_set(name));
    let (true, Some(name)) = (url.starts_with("s3"), named) else {
        return Ok(());
    };
    if PROXIES.iter().any(is_set) {
        return Ok(());
    }
    let endpoint = environment(name).unwrap_or_default();
    let parsed = endpoint.parse::<Uri>().ok();
    let host = parsed
        .as_ref()
        .and_then(|uri| uri.host().map(str::to_owned));
    let (Some(uri), Some(host)) = (parsed, host) else {
        return Err(format!(
            "{url}: {name} is {endpoint}, expected an address as http://127.0.0.1:9000"
        ));
    };
    let is_plain = uri.scheme_str() == Some("http");
    let port = uri.port_u16().unwrap_or(if is_plain { 80 } else { 443 });
    let host = host.trim_matches(['[', ']']).to_owned();
    let why = match timeout(PATIENCE, TcpStream::connect((host.as_str(), port))).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
    };
    Err(format!(
        "{url}: the store at {endpoint} ({name}) cannot be reached: {why}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_nobody_listens_at_is_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let at = |address: String| {
            move |name: &str| (name == "AWS_ENDPOINT_URL").then(|| address.clone())
        };
        assert_eq!(check("s3://b/p", at(address.clone())).await, Ok(()));
        drop(listener);
        let told = check("s3://b/p", at(address)).await.unwrap_err();
        assert!(
            told.contains("cannot be reached") && told.contains("AWS_ENDPOINT_URL"),
            "{told}"
        );
        assert_eq!(
            check("gs://b", at("http://127.0.0.1:1".to_owned())).await,
            Ok(())
        );
        let told = check("s3://b", at("/nowhere".to_owned()))
            .await
            .unwrap_err();
        assert!(told.contains("expected an address"), "{told}");
    }
}
