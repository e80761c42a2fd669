//! One request: made ready for the next hop, handed to the balancer, the answer passed on.
//!
//! Bodies are never touched: hyper pulls a frame from one side when the other has room for it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower::ServiceExt;
use whippletree::balance::{self, Addressed, Balance, ServedBy};
use whippletree::{Cluster, Error};

use crate::refusal::Refusal;
use crate::shutdown::Guard;
use crate::{headers, tunnel};

/// One client, and with it one pool of connections, for all endpoints.
pub(crate) type Shared = Addressed<Client<HttpConnector, Incoming>>;

/// What goes out to a client: an endpoint's body, or a line of our own.
type Body = Either<balance::Body<Incoming>, Full<Bytes>>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Below the five seconds after which common servers (Node, Apache, uvicorn) close an idle
/// connection: a request sent into that moment is lost.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// The balancer behind the listener, and what passed through.
pub(crate) struct Proxy {
    balance: Balance<Shared>,
    expose_endpoint: bool,
    pub(crate) totals: Totals,
}

/// Counted since the start.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Requests that came in.
    pub(crate) requests: AtomicU64,
    /// Answered with a 5xx, an endpoint's or ours; without those that were rejected.
    pub(crate) failures: AtomicU64,
    /// Turned away without being sent to any endpoint: none available, or overload.
    pub(crate) rejected: AtomicU64,
}

impl Proxy {
    /// Puts an HTTP client behind the balancer that `builder` describes.
    pub(crate) fn new(builder: balance::Builder, expose_endpoint: bool) -> Result<Self, Error> {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        let balance = builder.tag_responses().shared(client)?;
        Ok(Self { balance, expose_endpoint, totals: Totals::default() })
    }

    pub(crate) fn cluster(&self) -> &Cluster<Shared> {
        self.balance.cluster()
    }

    /// Answers `request` of the client at `peer`, whatever happens.
    pub(crate) async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: IpAddr,
        guard: Guard,
    ) -> Response<Body> {
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        count(&self.totals.requests);
        match self.forward(request, peer, guard).await {
            Ok(response) => {
                if response.status().is_server_error() {
                    count(&self.totals.failures);
                }
                response
            }
            Err(refusal) => {
                match refusal.status() {
                    StatusCode::SERVICE_UNAVAILABLE => count(&self.totals.rejected),
                    status if status.is_server_error() => count(&self.totals.failures),
                    _ => 0,
                };
                refusal.into_response().map(Either::Right)
            }
        }
    }

    async fn forward(
        &self,
        mut request: Request<Incoming>,
        peer: IpAddr,
        guard: Guard,
    ) -> Result<Response<Body>, Refusal> {
        let protocol = prepare(&mut request, peer)?;
        // Only who asked may be switched: the handle of the client's connection is the permit.
        let client = protocol.map(|_| hyper::upgrade::on(&mut request));

        let mut response = self.balance.clone().oneshot(request).await?;

        let protocol = tunnel::protocol(response.version(), response.headers());
        headers::remove_hop_by_hop(response.headers_mut());
        *response.version_mut() = Version::HTTP_11;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let (Some(client), Some(protocol)) = (client, protocol) else {
                return Err(Refusal::BAD_GATEWAY);
            };
            tunnel::mark(response.headers_mut(), protocol);
            tunnel::open(client, &mut response, guard);
        }
        if self.expose_endpoint {
            expose(&mut response);
        }
        Ok(response.map(Either::Left))
    }
}

/// Makes a client's request one for the next hop, over HTTP/1.1. Returns the protocol that the
/// client asks to switch to.
fn prepare(request: &mut Request<Incoming>, peer: IpAddr) -> Result<Option<HeaderValue>, Refusal> {
    if request.method() == Method::CONNECT {
        return Err(Refusal::CONNECT);
    }
    let host = headers::host(request.version(), request.uri(), request.headers())
        .map_err(Refusal::bad_request)?;
    let protocol = tunnel::protocol(request.version(), request.headers());
    *request.version_mut() = Version::HTTP_11;

    let headers = request.headers_mut();
    let accepts_trailers = headers::accepts_trailers(headers);
    headers::remove_hop_by_hop(headers);
    headers::join_cookies(headers);
    if let Some(host) = host {
        headers.insert(header::HOST, host);
    }
    if accepts_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = &protocol {
        tunnel::mark(headers, protocol.clone());
    }
    headers::append_forwarded_for(headers, peer);
    Ok(protocol)
}

fn expose<B>(response: &mut Response<B>) {
    let served_by = response.extensions().get::<ServedBy>();
    let id =
        served_by.and_then(|ServedBy(id)| HeaderValue::from_bytes(id.as_str().as_bytes()).ok());
    if let Some(id) = id {
        response.headers_mut().insert(HeaderName::from_static("x-served-by"), id);
    }
}
