use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::Edge;
use crate::cluster::{Acquire, Lease, LeaseGuard};
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
}

pin_project! {
    #[project = StateProjection]
    enum State<S, E, Request, F> {
        /// Awaits an endpoint, in the cluster's queue.
        Queued { acquire: Acquire<S>, call: Option<(E, Request)> },
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
}

impl<S: Service<Request>, E, Request> ResponseFuture<S, E, Request> {
    pub(super) fn new(lease: Lease<S>, edge: E, request: Request) -> Self
    where
        S: Clone + Send + Sync + 'static,
    {
        Self { state: State::begun(lease, edge, request) }
    }

    pub(super) fn queued(acquire: Acquire<S>, edge: E, request: Request) -> Self {
        Self { state: State::Queued { acquire, call: Some((edge, request)) } }
    }

    pub(super) fn failed(error: Error) -> Self {
        Self { state: State::Failed { error: Some(error) } }
    }
}

impl<S: Clone + Send + Sync + 'static, E, Request, F> State<S, E, Request, F> {
    #[inline]
    fn begun(lease: Lease<S>, edge: E, request: Request) -> Self {
        let service = lease.service().clone();
        let flight = Some(Flight { edge, guard: lease.into_guard() });
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
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProjection::Queued { acquire, call } => {
                    let lease = match ready!(Pin::new(acquire).poll(task)) {
                        Ok(lease) => lease,
                        Err(error) => return Poll::Ready(Err(error)),
                    };
                    let (edge, request) = call.take().expect(POLLED);
                    state.set(State::begun(lease, edge, request));
                }
                StateProjection::Ready { service, request, flight } => {
                    let ready = ready!(service.poll_ready(task));
                    let mut flight = flight.take().expect(POLLED);
                    if let Err(error) = ready {
                        let outcome = Outcome::Failure(Failure::Connect);
                        return Poll::Ready(Err(flight.fail(outcome, error.into())));
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

/// Why the `expect`s of this file hold, unless the caller breaks the contract of futures.
const POLLED: &str = "a future is not polled after it has completed";

impl<E> Flight<E> {
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
