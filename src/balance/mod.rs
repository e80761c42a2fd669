//! The tower edge: a [`Service`] that sends every request to an endpoint of a
//! [`Cluster`].
//!
//! # Three ways to a balanced client
//!
//! | you have | write |
//! |---|---|
//! | one client for all endpoints (hyper-util, reqwest) | [`Builder::shared`]: its requests are readdressed per endpoint |
//! | a client or channel per endpoint (tonic) | [`Builder::connect`] with a closure |
//! | a client at the bottom of a [`ServiceBuilder`](https://docs.rs/tower/0.5/tower/struct.ServiceBuilder.html) stack | [`BalanceLayer`] |
//!
//! ```
//! use http::{Request, Response};
//! use whippletree::Balance;
//! # #[derive(Clone)] struct Client;
//! # impl tower::Service<Request<()>> for Client {
//! #     type Response = Response<String>;
//! #     type Error = std::convert::Infallible;
//! #     type Future = std::future::Ready<Result<Response<String>, Self::Error>>;
//! #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>)
//! #         -> std::task::Poll<Result<(), Self::Error>> { std::task::Poll::Ready(Ok(())) }
//! #     fn call(&mut self, request: Request<()>) -> Self::Future {
//! #         std::future::ready(Ok(Response::new(request.uri().to_string())))
//! #     }
//! # }
//! use tower::ServiceExt;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! # let client = Client;
//! let users = Balance::builder().endpoints(["10.0.0.1:80", "10.0.0.2:80"])?.shared(client)?;
//! let response = users.clone().oneshot(Request::get("http://users/42").body(())?).await?;
//! # assert!(response.into_body().into_inner().starts_with("http://10.0.0."));
//! # Ok::<(), whippletree::BoxError>(())
//! # }).unwrap();
//! ```
//!
//! # What it does with a request
//!
//! ```text
//! poll_ready  waits until an endpoint is available, at most `fail_fast`; reserves nothing
//! call        reads the request's Context extension, picks, counts the request in flight
//! future      awaits the endpoint's own readiness, then its response
//! body        keeps the request in flight until its end (`Completion`)
//! ```
//!
//! The endpoint is picked in `call` because hashing and stickiness have to read the request, and
//! nothing is reserved in `poll_ready`, so a caller that gets ready and then does not call holds
//! nothing up. `Balance` is `Clone + Send + Sync`, with no buffer and no task behind it: clones
//! are the same cluster, and a panic in one request is the business of that request alone.
//!
//! `poll_ready` never fails. When no endpoint has come within `fail_fast`, the service is ready to
//! *say so*: `call` then fails with [`Error::is_no_endpoint`](crate::Error::is_no_endpoint). Tower
//! lets callers discard a service whose `poll_ready` failed, and this one recovers.
//!
//! The wait takes a timer of tokio. Without one `poll_ready` does not wait, as if `fail_fast` were
//! zero: outside a tokio runtime, and in one whose builder did not `enable_time`. In the latter the
//! panic hook sees tokio's panic each time, for there is no other way to ask; with `panic = "abort"`
//! the process ends there. None of this matters while an endpoint is available.
//!
//! # What it learns from a response
//!
//! Statuses count as [`Outcome`](crate::Outcome) says: 5xx and errors are failures, 4xx say
//! nothing. What kind of failure an error is, and how to have outcomes read otherwise, say
//! [`HttpOutcomes`](crate::health::HttpOutcomes) and [`Builder::classify`]. A response whose body
//! is dropped unread is a success of the endpoint; a request that is dropped before its response
//! head is cancelled.
//!
//! The latency is the time to the response head, also of a 404 and its like: they are answers. A
//! failure, and a 429 that does not count as a success, counts for the
//! [penalty](crate::load::PeakEwma::penalty) at least, so that an endpoint that refuses at once
//! does not look fast; and for the time of its `Retry-After`, up to 300 s, if that is longer. An
//! error that is ignored is no answer: it only says that one would have taken longer.

mod body;
mod builder;
mod edge;
mod future;
mod layer;
mod shared;
mod wait;

use std::fmt;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use tower_service::Service;

use crate::cluster::{Cluster, Context};
use crate::error::{BoxError, Error};
use crate::health::Classify;
use crate::load::Completion;

use self::wait::Wait;

pub use self::body::Body;
pub use self::builder::Builder;
pub use self::edge::{Edge, HeldLease, Http, Plain, ServedBy};
pub use self::future::ResponseFuture;
pub use self::layer::BalanceLayer;
pub use self::shared::Addressed;

/// How long a request waits for an endpoint by default, as linkerd2's balancer does before it
/// fails fast (3 s) and a little more: long enough for a restart, short enough for a user.
const FAIL_FAST: Duration = Duration::from_secs(5);

/// Sends every request to an endpoint of a cluster. See the [module](self).
///
/// `S` is the service per endpoint. `E` says how a request is read and a response is taken:
/// [`Http`] (the default) for HTTP, [`Plain`] for any other request.
pub struct Balance<S, E = Http> {
    cluster: Cluster<S>,
    edge: E,
    fail_fast: Duration,
    wait: Wait,
}

impl Balance<()> {
    /// Starts with the default parameters and no endpoint.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }
}

impl<S> Balance<S> {
    /// Balances HTTP requests over a cluster, with the default parameters.
    #[must_use]
    pub fn new(cluster: Cluster<S>) -> Self {
        Self { cluster, edge: Http::new(), fail_fast: FAIL_FAST, wait: Wait::default() }
    }
}

impl<S> Balance<S, Http> {
    /// Sets when a request stops being in flight. Default [`Completion::End`].
    #[must_use]
    pub fn completion(mut self, completion: Completion) -> Self {
        self.edge.completion = completion;
        self
    }

    /// Sets who reads from responses and errors what they say of their endpoint. Default
    /// [`HttpOutcomes`](crate::health::HttpOutcomes); for gRPC,
    /// [`GrpcOutcomes`](crate::health::GrpcOutcomes).
    #[must_use]
    pub fn classify(mut self, classify: impl Classify) -> Self {
        self.edge.classify(classify);
        self
    }

    /// Lets every response say who served it; see [`Builder::tag_responses`].
    #[must_use]
    pub fn tag_responses(mut self) -> Self {
        self.edge.tag = true;
        self
    }
}

impl<S> Balance<S, Plain> {
    /// Balances requests that are not HTTP over a cluster, with the default parameters.
    ///
    /// A request is in flight until its response is there. An error of the service is a failure
    /// of the endpoint, any response a success.
    #[must_use]
    pub fn plain(cluster: Cluster<S>) -> Self {
        Self { cluster, edge: Plain::new(), fail_fast: FAIL_FAST, wait: Wait::default() }
    }
}

impl<S, E> Balance<S, E> {
    /// Sets how long `poll_ready` waits for an available endpoint. Default 5 s; zero does not
    /// wait, nor does it without [timers](self#what-it-does-with-a-request).
    #[must_use]
    pub fn fail_fast(mut self, time: Duration) -> Self {
        self.fail_fast = time;
        self
    }

    /// The cluster, to change its endpoints and to look at them.
    #[must_use]
    pub fn cluster(&self) -> &Cluster<S> {
        &self.cluster
    }
}

impl<S, E, Request> Service<Request> for Balance<S, E>
where
    S: Service<Request> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    E: Edge<Request, S::Response> + Clone,
{
    type Response = E::Response;
    type Error = Error;
    type Future = ResponseFuture<S, E, Request>;

    fn poll_ready(&mut self, task: &mut TaskContext<'_>) -> Poll<Result<(), Error>> {
        self.wait.poll(&self.cluster, self.fail_fast, task).map(Ok)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        const NOTHING: &Context = &Context::new();
        let context = self.edge.context(&request).unwrap_or(NOTHING);
        match self.cluster.pick_now(context) {
            Ok(lease) => ResponseFuture::new(lease, self.edge.clone(), request),
            Err(error) => ResponseFuture::failed(error),
        }
    }
}

impl<S, E: Clone> Clone for Balance<S, E> {
    fn clone(&self) -> Self {
        Self {
            cluster: self.cluster.clone(),
            edge: self.edge.clone(),
            fail_fast: self.fail_fast,
            wait: Wait::default(),
        }
    }
}

impl<S, E: fmt::Debug> fmt::Debug for Balance<S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balance")
            .field("cluster", &self.cluster)
            .field("edge", &self.edge)
            .field("fail_fast", &self.fail_fast)
            .finish_non_exhaustive()
    }
}
