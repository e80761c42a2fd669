//! A request that fails on one endpoint is sent to another one.
//!
//! [`FailoverLayer`] does all of it; put it on a [`Balance`](crate::Balance):
//!
//! ```
//! use http::{Request, Response};
//! use http_body_util::Empty;
//! use tower::{Layer, ServiceExt, service_fn};
//! use whippletree::failover::{Failover, FailoverLayer, Replay};
//! use whippletree::{Balance, BoxError};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! type Body = Replay<Empty<bytes::Bytes>>;
//! let balance = Balance::builder().endpoints(["10.0.0.1:80", "10.0.0.2:80"])?.connect(|endpoint| {
//!     let dead = endpoint.address().host() == "10.0.0.1";
//!     service_fn(move |_: Request<Body>| async move {
//!         if dead { Err(std::io::ErrorKind::ConnectionRefused) } else { Ok("well".to_owned()) }
//!             .map(Response::new)
//!             .map_err(std::io::Error::from)
//!     })
//! })?;
//! let failover = Failover::new();
//! let service = FailoverLayer::new(failover.clone()).layer(balance);
//! for _ in 0..20 {
//!     let response = service.clone().oneshot(Request::get("/").body(Empty::new())?).await?;
//!     assert_eq!(response.into_body().into_inner(), "well");
//! }
//! assert!(failover.stats().retries > 0);
//! # Ok::<(), BoxError>(())
//! # }).unwrap();
//! ```
//!
//! # What is sent again
//!
//! | what happened to the try | GET, HEAD, OPTIONS, TRACE, PUT, DELETE | POST, PATCH and others |
//! |---|---|---|
//! | [certainly not executed](crate::Error::is_not_executed): the connect failed, HTTP/2 refused the stream | again | again |
//! | an error before the response head: reset, closed, garbage | again | error |
//! | no response head within [`per_try_timeout`](Failover::per_try_timeout) | again | error |
//! | no response head when its endpoint's [drain](crate::Cluster::drain) came to its deadline | again | error |
//! | 502, 503, 504 | again | passed on |
//! | any other response | passed on | passed on |
//! | the response's body breaks off | passed on: the caller has seen a part of it | the same |
//! | no endpoint is available, overload | error | error |
//!
//! A request that is not idempotent is never sent twice once a byte of it may have been read. Who
//! knows better marks it with the extension [`Idempotent`].
//!
//! Again means: [elsewhere](crate::Context::with_exclude). Endpoints that were tried are excluded; when
//! that leaves none, once more without the exclusion. At most [`attempts`](Failover::attempts) in
//! all; the first retry at once, the others after a random [`backoff`](Failover::backoff). An endpoint
//! that answers with `Retry-After` is not asked again before that, and if that is later than
//! [`patience`](Failover::patience), not at all; another one is asked at once. A retry that is
//! refused, for whatever reason, leaves the response or error as it was, but that an error tells
//! how many tries there were.
//!
//! # Why it cannot make things worse
//!
//! Retries multiply load when there is least to spare. A [budget](Failover::budget) that all clones
//! share bounds them: 20 % of the requests of the last 10 s, and 10 per second. In a panic, when so
//! many endpoints are out that health is no longer believed, only what was certainly not executed
//! is sent again: that costs no endpoint any work. What an overloaded cluster turns away is not
//! sent again at all.
//!
//! # Bodies
//!
//! A body is kept while it is sent, up to [`replay_limit`](Failover::replay_limit), in a [`Replay`].
//! One that is longer, whatever its `content-length` said, streams on and is not kept: such a request
//! is sent again only if its body was not begun. What is sent again is the whole body, never a rest
//! of it.
//!
//! # Each try for itself
//!
//! Every try has a place in the count of requests in flight of its own endpoint, and an outcome
//! of its own there: a request that two endpoints have seen counts once on each. A try that ran into
//! the timeout is a failure of the endpoint that did not answer. A hedge that lost says nothing
//! but that an answer would have taken longer.
//!
//! # With tower's own layers
//!
//! [`Failover`] is a [`tower::retry::Policy`], for those who compose the layers themselves. Then the
//! request's body has to be `Clone` (or [wrapped](Replay::wrap)), and the builder needs
//! [`tag_responses`](crate::balance::Builder::tag_responses) to know which endpoint has answered a 503.
//!
//! ```
//! use http::Request;
//! use http_body_util::Full;
//! use tower::ServiceBuilder;
//! use tower::retry::RetryLayer;
//! use whippletree::failover::{Failover, TryTimeoutLayer};
//! use whippletree::{Balance, BoxError};
//! # #[derive(Clone)] struct Client;
//! # impl tower::Service<Request<Full<bytes::Bytes>>> for Client {
//! #     type Response = http::Response<String>;
//! #     type Error = std::convert::Infallible;
//! #     type Future = std::future::Ready<Result<http::Response<String>, Self::Error>>;
//! #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>)
//! #         -> std::task::Poll<Result<(), Self::Error>> { std::task::Poll::Ready(Ok(())) }
//! #     fn call(&mut self, _: Request<Full<bytes::Bytes>>) -> Self::Future {
//! #         std::future::ready(Ok(http::Response::new(String::new())))
//! #     }
//! # }
//! use tower::ServiceExt;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! # let client = Client;
//! let balance = Balance::builder().endpoints(["10.0.0.1:80"])?.tag_responses().shared(client)?;
//! let service = ServiceBuilder::new()
//!     .layer(RetryLayer::new(Failover::new()))
//!     .layer(TryTimeoutLayer::new(std::time::Duration::from_secs(1)))
//!     .service(balance);
//! let response = service.oneshot(Request::get("/").body(Full::<bytes::Bytes>::default())?).await?;
//! assert!(response.status().is_success());
//! # Ok::<(), BoxError>(())
//! # }).unwrap();
//! ```

mod hedge;
mod hedging;
mod layer;
mod pause;
mod policy;
mod purse;
mod quantile;
mod replay;
mod rules;
mod timeout;

use http::{Method, Request, StatusCode};

pub use self::hedge::{Hedge, HedgeLayer, HedgeService};
pub use self::hedging::HedgeFuture;
pub use self::layer::{FailoverFuture, FailoverLayer, FailoverService};
pub use self::pause::Pause;
pub use self::purse::FailoverStats;
pub use self::replay::Replay;
pub use self::rules::Failover;
pub use self::timeout::{TryFuture, TryTimeout, TryTimeoutLayer};

/// Request extension: this request may be executed more than once, whatever its method says.
///
/// ```
/// use whippletree::failover::Idempotent;
///
/// let search = http::Request::post("/search").extension(Idempotent).body(())?;
/// # assert!(search.extensions().get::<Idempotent>().is_some());
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Idempotent;

/// Request extension: nobody waits for the response after this moment. No try begins then, and none
/// lasts longer.
///
/// ```
/// use std::time::{Duration, Instant};
/// use whippletree::failover::Deadline;
///
/// let deadline = Deadline(Instant::now() + Duration::from_millis(300));
/// let request = http::Request::get("/").extension(deadline).body(())?;
/// # assert_eq!(request.extensions().get(), Some(&deadline));
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(pub std::time::Instant);

fn is_idempotent<B>(request: &Request<B>) -> bool {
    Method::is_idempotent(request.method()) || request.extensions().get::<Idempotent>().is_some()
}

/// Statuses by which a gateway, or an endpoint, says that the request was not served: they may be
/// another one's success (HAProxy's `retry-on`, Envoy's `gateway-error`).
fn asks_for_another(status: StatusCode) -> bool {
    (502..=504).contains(&status.as_u16())
}
