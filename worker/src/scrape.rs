//! The HTTP end that Prometheus scrapes: `/metrics`, to whoever may read them, and whether the process lives and is ready.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tonic::Code;

use crate::access::{Access, Role};
use crate::failure::Failure;
use crate::health::Health;
use crate::series::Series;

/// Connections at the same time; more are closed at once.
const CONNECTIONS_MAX: usize = 64;
/// Within this a request has to come, also the next one on a connection.
const REQUEST_WITHIN: Duration = Duration::from_secs(20);
/// Time between two looks for what is over.
const TENDED_APART: Duration = Duration::from_secs(5);
/// How long nobody is taken after that has failed.
const REST: Duration = Duration::from_millis(100);
/// What Prometheus asks for.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Roles that may read metrics.
const ROLES: [Role; 2] = [Role::Metrics, Role::Read];

/// Serves metrics from now on.
///
/// # Errors
/// [`Failure::Usage`] where nobody can listen there.
pub(crate) fn serve(
    address: SocketAddr,
    series: Arc<Series>,
    access: Arc<Access>,
    health: Arc<Health>,
) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| {
        Failure::Usage(format!("--metrics {address}: cannot listen there: {error}"))
    };
    let listener = std::net::TcpListener::bind(address).map_err(cannot)?;
    listener.set_nonblocking(true).map_err(cannot)?;
    let listener = TcpListener::from_std(listener).map_err(cannot)?;
    let tended = Arc::clone(&series);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(TENDED_APART).await;
            tended.tend();
        }
    });
    let page = Page {
        series,
        access,
        health,
    };
    tokio::spawn(accept(listener, Arc::new(page)));
    Ok(())
}

async fn accept(listener: TcpListener, page: Arc<Page>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(REST).await;
            continue;
        };
        // Closed at once where there is no room.
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            continue;
        };
        let page = Arc::clone(&page);
        tokio::spawn(async move {
            page.answer(stream).await;
            drop(place);
        });
    }
}

/// What is served, and to whom.
struct Page {
    series: Arc<Series>,
    access: Arc<Access>,
    health: Arc<Health>,
}

impl Page {
    async fn answer(self: Arc<Page>, stream: TcpStream) {
        let service = service_fn(|request: Request<Incoming>| {
            let page = Arc::clone(&self);
            async move { Ok::<_, Infallible>(page.response(&request).await) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_WITHIN)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = served.await {
            tracing::debug!(%error, "a connection for metrics ended");
        }
    }

    async fn response(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return told(StatusCode::METHOD_NOT_ALLOWED, "expected GET\n");
        }
        match request.uri().path() {
            "/health" | "/healthz" => told(StatusCode::OK, "OK"),
            "/readyz" => match self.health.check().await {
                Ok(()) => told(StatusCode::OK, "OK"),
                Err(reason) => told(StatusCode::SERVICE_UNAVAILABLE, &format!("{reason}\n")),
            },
            "/metrics" => self.metrics(request).await,
            _ => {
                let known = "there is /metrics, /healthz and /readyz\n";
                told(StatusCode::NOT_FOUND, known)
            }
        }
    }

    async fn metrics(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let brought = request.headers().get(AUTHORIZATION);
        let allowed = self
            .access
            .check(brought.map(HeaderValue::as_bytes), &ROLES);
        if let Err(refused) = allowed {
            let status = match refused.code() {
                Code::PermissionDenied => StatusCode::FORBIDDEN,
                _ => StatusCode::UNAUTHORIZED,
            };
            let mut response = told(status, &format!("{}\n", refused.message()));
            if status == StatusCode::UNAUTHORIZED {
                let scheme = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
            }
            return response;
        }
        let series = Arc::clone(&self.series);
        match tokio::task::spawn_blocking(move || series.render()).await {
            Ok(page) => {
                let mut response = Response::new(Full::from(page));
                let format = HeaderValue::from_static(FORMAT);
                response.headers_mut().insert(CONTENT_TYPE, format);
                response
            }
            Err(_) => told(StatusCode::INTERNAL_SERVER_ERROR, "cannot be told\n"),
        }
    }
}

fn told(status: StatusCode, words: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(words.to_owned()));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response
}
