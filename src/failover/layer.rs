use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower::retry::Retry;
use tower::retry::future::ResponseFuture;
use tower_layer::Layer;
use tower_service::Service;

use super::{Failover, Hedge, HedgeService, Replay, TryTimeout};
use crate::cluster::Attempt;
use crate::error::Error;

/// Sends what fails on one endpoint of a [`Balance`](crate::Balance) to another; see the
/// [module](super).
///
/// From the outside in: [`Replay`] for the body, tower's retry with [`Failover`], a [`Hedge`] if one is
/// set, [`TryTimeout`]. The balance gets requests with the body `Replay<B>`.
#[derive(Clone, Debug, Default)]
pub struct FailoverLayer {
    failover: Failover,
    hedge: Option<Hedge>,
}

impl FailoverLayer {
    /// By these rules.
    #[must_use]
    pub fn new(failover: Failover) -> Self {
        Self { failover, hedge: None }
    }

    /// Sends slow requests to a second endpoint too, from the same budget. Default `None`.
    #[must_use]
    pub fn hedge(mut self, hedge: impl Into<Option<Hedge>>) -> Self {
        self.hedge = hedge.into();
        self
    }
}

impl<S> Layer<S> for FailoverLayer {
    type Service = FailoverService<S>;

    fn layer(&self, inner: S) -> FailoverService<S> {
        let failover = self.failover.clone();
        let timeout = TryTimeout::new(inner, failover.rules.per_try_timeout);
        let hedge = HedgeService::new(timeout, self.hedge.clone(), Arc::clone(&failover.purse));
        FailoverService {
            replay_limit: failover.rules.replay_limit,
            inner: Retry::new(failover, hedge),
        }
    }
}

type Tries<S> = HedgeService<TryTimeout<S>>;

/// A service with failover. Made by [`FailoverLayer`].
#[derive(Clone)]
pub struct FailoverService<S> {
    inner: Retry<Failover, Tries<S>>,
    replay_limit: usize,
}

impl<S, B, R> Service<Request<B>> for FailoverService<S>
where
    S: Service<Request<Replay<B>>, Response = Response<R>, Error = Error> + Clone,
    B: Body,
{
    type Response = Response<R>;
    type Error = Error;
    type Future = FailoverFuture<S, B, R>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut request = Replay::wrap(request, self.replay_limit);
        request.extensions_mut().insert(Attempt::new());
        FailoverFuture { inner: self.inner.call(request) }
    }
}

impl<S> fmt::Debug for FailoverService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailoverService")
            .field("replay_limit", &self.replay_limit)
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// The response of a [`FailoverService`], to be awaited.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the tries that are under way; none is in flight any more. A retry that
    /// was decided on and not made has spent its part of the budget.
    #[must_use = "futures do nothing unless polled"]
    pub struct FailoverFuture<S, B, R>
    where
        S: Service<Request<Replay<B>>, Response = Response<R>, Error = Error>,
        S: Clone,
    {
        #[pin]
        inner: ResponseFuture<Failover, Tries<S>, Request<Replay<B>>>,
    }
}

impl<S, B, R> Future for FailoverFuture<S, B, R>
where
    S: Service<Request<Replay<B>>, Response = Response<R>, Error = Error> + Clone,
{
    type Output = Result<Response<R>, Error>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().inner.poll(task)
    }
}

impl<S, B, R> fmt::Debug for FailoverFuture<S, B, R>
where
    S: Service<Request<Replay<B>>, Response = Response<R>, Error = Error> + Clone,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailoverFuture").finish_non_exhaustive()
    }
}
