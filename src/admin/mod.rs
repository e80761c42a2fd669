//! Health, statistics and the operator's verbs, as one tower service (feature `admin`).
//!
//! | call | answer |
//! |---|---|
//! | `GET /healthz` | 200 while an endpoint is available and the process [serves](Admin::serving), else 503 |
//! | `GET /stats.json` | the policy, every endpoint, the totals |
//! | `GET /endpoints/{id}` | the endpoint; with `?wait=drained&timeout=30s` when its drain is over, or then |
//! | `POST /endpoints/{id}/drain?deadline=30s` | 202, and the drain begins |
//! | `POST /endpoints/{id}/ready`, `/maintenance` | 200 |
//! | `PUT /endpoints/{id}/weight`, body `3` | 200 |
//! | `PUT /endpoints/{id}`, body an [endpoint](crate::config::EndpointConfig) as JSON | 200, or 201 if it is new |
//! | `DELETE /endpoints/{id}?deadline=30s` | 202: it is drained, then removed |
//!
//! All but `GET` changes something and is off until [`writes`](Admin::writes) says otherwise: 403.
//! An unknown path or id is 404, a bad value 400 with the field named, another method 405. Ids stand
//! percent-encoded in the path.
//!
//! Who may reach it is up to where it is mounted: put it on a listener of its own. Against pages of
//! other sites, which a browser lets send what they like, it guards itself: a write whose `origin` is
//! another host than the one asked, or whose `sec-fetch-site` is other than `same-origin` or
//! `none`, is refused with 403, and a body has to come as `application/json`.
//!
//! ```
//! use http::{Request, StatusCode};
//! use tower::ServiceExt;
//! use whippletree::admin::{Admin, Writes};
//! use whippletree::{Cluster, Endpoint};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let cluster = Cluster::builder().connect(|_| ());
//! cluster.insert(Endpoint::new("10.0.0.1:80")?.with_id("web-1")?)?;
//! let admin = Admin::new(cluster.clone()).writes(Writes::Allowed);
//!
//! let drain = Request::post("/endpoints/web-1/drain?deadline=10s").body(String::new())?;
//! let response = admin.oneshot(drain).await?;
//! assert_eq!(response.status(), StatusCode::ACCEPTED);
//! assert_eq!(cluster.status().endpoints[0].state.as_str(), "drain");
//! # Ok::<(), whippletree::BoxError>(())
//! # }).unwrap();
//! ```

mod answer;
mod guard;
mod json;
mod path;
mod verbs;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, Request, Response, StatusCode};
use tower_service::Service;

use crate::cluster::Cluster;
use crate::error::BoxError;

use self::answer::{not_allowed, text};
use self::path::{Call, Verb};

pub use self::answer::Body;
pub use self::json::Totals;

/// The service. Clones are the same; see the [module](self).
pub struct Admin<S> {
    cluster: Cluster<S>,
    writes: Writes,
    serving: Arc<dyn Fn() -> bool + Send + Sync>,
    totals: Arc<dyn Fn() -> Totals + Send + Sync>,
}

/// Whether the operator's verbs may change anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Writes {
    /// 403 to all but `GET` and `HEAD`.
    #[default]
    Refused,
    /// Whoever reaches the service may use them.
    Allowed,
}

impl<S: Send + Sync + 'static> Admin<S> {
    /// Of this cluster: read only, always serving, without totals.
    #[must_use]
    pub fn new(cluster: Cluster<S>) -> Self {
        let (serving, totals) = (Arc::new(|| true), Arc::new(Totals::default));
        Self { cluster, writes: Writes::default(), serving, totals }
    }

    /// Sets whether the verbs may change anything. Default [`Writes::Refused`].
    #[must_use]
    pub fn writes(mut self, writes: Writes) -> Self {
        self.writes = writes;
        self
    }

    /// Asks this, too, whether `/healthz` is 200: a process that is about to stop says no, and who
    /// watches it sends its traffic elsewhere.
    #[must_use]
    pub fn serving(mut self, serving: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.serving = Arc::new(serving);
        self
    }

    /// Asks this for the totals of `/stats.json`, which only the program around the cluster knows.
    #[must_use]
    pub fn totals(mut self, totals: impl Fn() -> Totals + Send + Sync + 'static) -> Self {
        self.totals = Arc::new(totals);
        self
    }

    async fn answer<B>(self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Error: Into<BoxError>>,
    {
        let (head, body) = request.into_parts();
        let reads = matches!(head.method, Method::GET | Method::HEAD);
        match path::parse(head.uri.path()) {
            None => text(StatusCode::NOT_FOUND, "not found"),
            Some(Call::Health) if reads => self.healthz(),
            Some(Call::Stats) if reads => self.stats(),
            Some(Call::Endpoint(id, Verb::Itself)) if reads => self.show(&id, &head.uri).await,
            Some(Call::Endpoint(id, verb)) if verb.takes(&head.method) => {
                match guard::refuse(self.writes, &head) {
                    Some(reason) => text(StatusCode::FORBIDDEN, reason),
                    None => self.change(&id, verb, &head, body).await,
                }
            }
            Some(call) => not_allowed(call.methods()),
        }
    }

    fn healthz(&self) -> Response<Body> {
        if !(self.serving)() {
            text(StatusCode::SERVICE_UNAVAILABLE, "shutting down")
        } else if !self.cluster.is_available() {
            text(StatusCode::SERVICE_UNAVAILABLE, "no endpoint is available")
        } else {
            text(StatusCode::OK, "ok")
        }
    }
}

impl<S, B> Service<Request<B>> for Admin<S>
where
    S: Send + Sync + 'static,
    B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        ResponseFuture(Box::pin(self.clone().answer(request)))
    }
}

/// The answer of an [`Admin`], to be awaited.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture(Pin<Box<dyn Future<Output = Response<Body>> + Send>>);

impl Future for ResponseFuture {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(task).map(Ok)
    }
}

impl<S> Clone for Admin<S> {
    fn clone(&self) -> Self {
        Self {
            cluster: self.cluster.clone(),
            writes: self.writes,
            serving: Arc::clone(&self.serving),
            totals: Arc::clone(&self.totals),
        }
    }
}

impl<S> fmt::Debug for Admin<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("cluster", &self.cluster)
            .field("writes", &self.writes)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
