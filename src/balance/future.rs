use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::Edge;
use crate::cluster::{Acquire, Attempt, Lease, LeaseGuard, Verdict};
use crate::error::{BoxError, Error};
use crate::health::{Failure, Outcome};

pin_project! {
    /// The response of a [`Balance`](super::Balance), to be awaited.
    ///
    /// # Cancel safety
    ///
    /// Dropping it gives the request up: it is no longer in flight and counts as cancelled.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, E, Request>
    where
        S: Service<Request>,
    {
        #[pin]
        state: State<S, E, Request, S::Future>,
    }

    impl<S, E, Request> PinnedDrop for ResponseFuture<S, E, Request>
    where
        S: Service<Request>,
    {
        fn drop(this: Pin<&mut Self>) {
            match this.project().state.project() {
                StateProjection::Ready { flight, .. } | StateProjection::Called { flight, .. } => {
                    flight.iter_mut().for_each(Flight::give_up);
                }
                StateProjection::Queued { .. } | StateProjection::Failed { .. } => {}
            }
        }
    }
}

/// A request that has no endpoint yet.
pub(super) type Call<E, Request> = (E, Option<Attempt>, Request);

pin_project! {
    #[project = StateProjection]
    enum State<S, E, Request, F> {
        /// Awaits an endpoint, in the cluster's queue.
        Queued { acquire: Acquire<S>, call: Option<Call<E, Request>> },
        /// Awaits the readiness of the endpoint's service.
        Ready { service: S, request: Option<Request>, flight: Option<Flight<E>> },
        /// Awaits its response.
        Called { #[pin] response: F, flight: Option<Flight<E>> },
        /// No endpoint was found.
        Failed { error: Option<Error> },
    }
}

/// What accompanies a request from its pick to its response.
struct Flight<E> {
    edge: E,
    guard: LeaseGuard,
    attempt: Option<Attempt>,
}

impl<S: Service<Request>, E, Request> ResponseFuture<S, E, Request> {
    pub(super) fn new(lease: Lease<S>, call: Call<E, Request>) -> Self
    where
        S: Clone + Send + Sync + 'static,
    {
        Self { state: State::begun(lease, call) }
    }

    pub(super) fn queued(acquire: Acquire<S>, call: Call<E, Request>) -> Self {
        Self { state: State::Queued { acquire, call: Some(call) } }
    }

    pub(super) fn failed(error: Error) -> Self {
        Self { state: State::Failed { error: Some(error) } }
    }
}

impl<S: Clone + Send + Sync + 'static, E, Request, F> State<S, E, Request, F> {
    #[inline]
    fn begun(lease: Lease<S>, (edge, attempt, request): Call<E, Request>) -> Self {
        if let Some(attempt) = &attempt {
            attempt.pick(lease.id());
        }
        let service = lease.service().clone();
        let flight = Some(Flight { edge, guard: lease.into_guard(), attempt });
        Self::Ready { service, request: Some(request), flight }
    }
}

impl<S, E, Request> Future for ResponseFuture<S, E, Request>
where
    S: Service<Request> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    E: Edge<Request, S::Response>,
{
    type Output = Result<E::Response, Error>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let polled = this.state.as_mut().poll(task);
        let cut = polled.is_pending() && this.state.as_mut().is_forced(task);
        if !cut {
            return polled;
        }
        let flight = this.state.as_mut().abandon();
        Poll::Ready(Err(flight.expect(POLLED).cut()))
    }
}

impl<S, E, Request> State<S, E, Request, S::Future>
where
    S: Service<Request> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    E: Edge<Request, S::Response>,
{
    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Result<E::Response, Error>> {
        let mut state = self;
        loop {
            match state.as_mut().project() {
                StateProjection::Queued { acquire, call } => {
                    let lease = match ready!(Pin::new(acquire).poll(task)) {
                        Ok(lease) => lease,
                        Err(error) => return Poll::Ready(Err(error)),
                    };
                    let call = call.take().expect(POLLED);
                    state.set(State::begun(lease, call));
                }
                StateProjection::Ready { service, request, flight } => {
                    let ready = ready!(service.poll_ready(task));
                    let mut flight = flight.take().expect(POLLED);
                    if let Err(error) = ready {
                        return Poll::Ready(Err(flight.unready(error.into())));
                    }
                    let request = request.take().expect(POLLED);
                    flight.edge.sending(&request);
                    let response = service.call(request);
                    state.set(State::Called { response, flight: Some(flight) });
                }
                StateProjection::Called { response, flight } => {
                    let response = ready!(response.poll(task));
                    let flight = flight.take().expect(POLLED);
                    return Poll::Ready(match response {
                        Ok(response) => Ok(flight.edge.respond(response, flight.guard)),
                        Err(error) => {
                            let error = error.into();
                            let outcome = flight.edge.error(&error);
                            Err(flight.fail(outcome, error))
                        }
                    });
                }
                StateProjection::Failed { error } => {
                    return Poll::Ready(Err(error.take().expect(POLLED)));
                }
            }
        }
    }
}

impl<S, E, Request, F> State<S, E, Request, F> {
    /// Whether the request has lasted too long for its endpoint's drain.
    fn is_forced(self: Pin<&mut Self>, task: &Context<'_>) -> bool {
        match self.project() {
            StateProjection::Ready { flight: Some(flight), .. }
            | StateProjection::Called { flight: Some(flight), .. } => {
                flight.guard.poll_forced(task)
            }
            _ => false,
        }
    }

    /// Drops the request, wherever it stands.
    fn abandon(mut self: Pin<&mut Self>) -> Option<Flight<E>> {
        let flight = match self.as_mut().project() {
            StateProjection::Ready { flight, .. } | StateProjection::Called { flight, .. } => {
                flight.take()
            }
            StateProjection::Queued { .. } | StateProjection::Failed { .. } => None,
        };
        self.set(State::Failed { error: None });
        flight
    }
}

/// Why the `expect`s of this file hold, unless the caller breaks the contract of futures.
const POLLED: &str = "a future is not polled after it has completed";

impl<E> Flight<E> {
    /// The request is dropped before its response.
    #[inline]
    fn give_up(&mut self) {
        match self.attempt.as_ref().and_then(Attempt::verdict) {
            Some(Verdict::TimedOut) => self.guard.report(Outcome::Failure(Failure::Timeout)),
            Some(Verdict::Overtaken) => self.guard.overtaken(),
            None => {}
        }
    }

    /// Ends the request for the sake of its endpoint's drain: it says nothing of the endpoint.
    #[cold]
    fn cut(mut self) -> Error {
        self.guard.report_slow(Outcome::Ignored, None);
        Error::drained(self.guard.id().clone())
    }

    fn unready(mut self, error: BoxError) -> Error {
        self.guard.report(Outcome::Failure(Failure::Connect));
        Error::unready(self.guard.id().clone(), error)
    }

    fn fail(mut self, outcome: Outcome, error: BoxError) -> Error {
        match outcome {
            // The endpoint has not answered.
            Outcome::Ignored => self.guard.report_slow(outcome, None),
            _ => self.guard.report(outcome),
        }
        Error::service(self.guard.id().clone(), error)
    }
}

impl<S: Service<Request>, E, Request> fmt::Debug for ResponseFuture<S, E, Request> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Queued { .. } => "awaits an endpoint with room",
            State::Ready { .. } => "awaits the endpoint's readiness",
            State::Called { .. } => "awaits the response",
            State::Failed { .. } => "failed",
        };
        f.debug_struct("ResponseFuture").field("state", &state).finish_non_exhaustive()
    }
}
