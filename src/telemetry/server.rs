//! The status page over HTTP: `/metrics`, `/healthz`, `/readyz`, and `/` as an index.
//!
//! Read-only: it takes no body, changes nothing and shows no event, no configuration and no secret. It has
//! no authentication, which is why it listens on 127.0.0.1 unless the pipeline file says otherwise.
//! Invariants: at most [`MAX_CONNECTIONS`] connections; each serves one request and ends within
//! [`CONNECTION_TIMEOUT`], however slowly its client reads or writes. The caller spawns [`serve`].

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use super::health::Health;
use super::metrics::Metrics;

/// Connections at one time. Prometheus, a load balancer and a person need three; each costs about 16 KiB.
pub const MAX_CONNECTIONS: usize = 32;

/// All the time a connection has, from being accepted to the last byte of the answer. Prometheus gives up
/// after 10 s by default.
pub const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// The content type of Prometheus's text format.
const METRICS_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

const INDEX: &str = "\
tunnelog status

/metrics   Prometheus metrics
/healthz   200 while the process lives; restart it otherwise
/readyz    200 while every source and sink works; otherwise 503 and what does not
";

/// The status page cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on `{address}` for the status page: {source}; {}", remedy(.source))]
pub struct BindError {
    /// Where it should have listened.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "choose another port in `status.listen`, or stop the process that has this one",
        io::ErrorKind::PermissionDenied => "choose a port of 1024 or above in `status.listen`",
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address: use 127.0.0.1, or 0.0.0.0 for all, in `status.listen`"
        }
        _ => "choose another address in `status.listen`",
    }
}

/// Takes the address; apart from [`serve`] so that a wrong one is known before anything starts.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address, source })
}

/// Answers until `shutdown`, then finishes what is being answered: at most [`CONNECTION_TIMEOUT`] more.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let router = Router::new()
        .route("/", get(INDEX))
        .route("/metrics", get(render_metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .layer(axum::middleware::map_response(finish))
        .with_state(Shown { health, metrics });
    let listener = Bounded { listener, slots: Arc::new(Semaphore::new(MAX_CONNECTIONS)) };
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

/// What the page shows.
#[derive(Clone)]
struct Shown {
    health: Health,
    metrics: Metrics,
}

async fn render_metrics(State(shown): State<Shown>) -> Response {
    ([(header::CONTENT_TYPE, METRICS_TYPE)], shown.metrics.render()).into_response()
}

async fn healthz(State(shown): State<Shown>) -> Response {
    if shown.health.is_live() {
        return "live\n".into_response();
    }
    let text = format!("the engine has been silent for {} s\n", shown.health.silence().as_secs());
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn readyz(State(shown): State<Shown>) -> Response {
    let (ready, text) = shown.health.readiness();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, text).into_response()
}

/// Headers of every answer. Closing after each bounds a connection's life without a rule for idle ones.
async fn finish(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Accepts at most [`MAX_CONNECTIONS`] at a time; more wait in the system's backlog.
struct Bounded {
    listener: TcpListener,
    slots: Arc<Semaphore>,
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let deadline = Box::pin(tokio::time::sleep(CONNECTION_TIMEOUT));
        (Connection { stream, deadline, _slot: slot }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails once its time is up, whichever side was slow.
struct Connection {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    /// Free again when the connection is dropped. `None` only if the semaphore were closed, which nobody does.
    _slot: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// The stream, unless the time is up. Registers the task for the deadline too.
    fn in_time(&mut self, cx: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        match self.deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(Pin::new(&mut self.stream)),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.in_time(cx)?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.in_time(cx)?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.in_time(cx)?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.in_time(cx)?.poll_shutdown(cx)
    }
}
