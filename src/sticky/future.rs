use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::hand_over::HandOver;
use super::layer::Shared;
use super::migration::Move;
use super::session::{Session, SessionState};
use super::visit::{Aim, Renew, Visit};

pin_project! {
    /// The response of a [`Sticky`](super::Sticky), to be awaited.
    ///
    /// # Cancel safety
    ///
    /// Dropping it gives the request up. A session that was being handed over stays where it is; what
    /// the application has done by then is its own.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, A>
    where
        S: Service<Request<A>>,
    {
        shared: Arc<Shared>,
        visit: Visit,
        #[pin]
        state: State<S, A, S::Future, S::Response, S::Error>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, A, F, R, E> {
        /// An idle session moves before its request is sent.
        Before { hand_over: HandOver, moving: Option<Move>, ready: S, request: Option<Request<A>> },
        /// Awaits the response.
        Called { #[pin] response: F },
        /// The session moves before its response goes on.
        After { hand_over: HandOver, moving: Option<Move>, response: Option<R> },
        Failed { error: Option<E> },
    }
}

impl<S: Service<Request<A>>, A> ResponseFuture<S, A> {
    pub(super) fn called(shared: Arc<Shared>, visit: Visit, response: S::Future) -> Self {
        Self { shared, visit, state: State::Called { response } }
    }

    pub(super) fn failed(shared: Arc<Shared>, visit: Visit, error: S::Error) -> Self {
        Self { shared, visit, state: State::Failed { error: Some(error) } }
    }

    pub(super) fn handing_over(
        shared: Arc<Shared>,
        visit: Visit,
        (hand_over, moving, ready, request): (HandOver, Move, S, Request<A>),
    ) -> Self {
        let (moving, request) = (Some(moving), Some(request));
        Self { shared, visit, state: State::Before { hand_over, moving, ready, request } }
    }
}

impl<S, A, B> Future for ResponseFuture<S, A>
where
    S: Service<Request<A>, Response = Response<B>>,
{
    type Output = Result<Response<B>, S::Error>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (shared, visit) = (this.shared, this.visit);
        loop {
            match this.state.as_mut().project() {
                StateProjection::Before { hand_over, moving, ready, request } => {
                    let handed_over = ready!(hand_over.as_mut().poll(task));
                    let moving = moving.take().expect(POLLED);
                    match handed_over {
                        Ok(()) => {
                            visit.aim = Aim::Moved(moving.settle());
                            visit.renew = Renew::Now;
                        }
                        Err(error) => moving.stay(&error),
                    }
                    let mut request = request.take().expect(POLLED);
                    shared.steer(visit, request.extensions_mut());
                    let response = ready.call(request);
                    this.state.set(State::Called { response });
                }
                StateProjection::Called { response } => {
                    let mut response = ready!(response.poll(task))?;
                    let Some(moving) = shared.answered(visit, &mut response) else {
                        return Poll::Ready(Ok(response));
                    };
                    let Some(hand_over) = moving.hand_over() else {
                        shared.moved(visit, moving, &mut response);
                        return Poll::Ready(Ok(response));
                    };
                    let (moving, response) = (Some(moving), Some(response));
                    this.state.set(State::After { hand_over, moving, response });
                }
                StateProjection::After { hand_over, moving, response } => {
                    let handed_over = ready!(hand_over.as_mut().poll(task));
                    let moving = moving.take().expect(POLLED);
                    let mut response = response.take().expect(POLLED);
                    match handed_over {
                        Ok(()) => shared.moved(visit, moving, &mut response),
                        Err(error) => moving.stay(&error),
                    }
                    return Poll::Ready(Ok(response));
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

impl Shared {
    /// Sees to the response; answers with the move of its session, if that is to leave.
    fn answered<B>(self: &Arc<Self>, visit: &Visit, response: &mut Response<B>) -> Option<Move> {
        let home = self.answer(visit, response)?;
        self.leave(visit, &home, visit.counted(self.refresh))
    }

    /// Ends a move: the browser is told of the new home.
    fn moved<B>(&self, visit: &Visit, moving: Move, response: &mut Response<B>) {
        let home = moving.settle();
        self.set(visit, &home, response.headers_mut());
        let (id, state) = (visit.id, SessionState::Moved);
        response.extensions_mut().insert(Session { id, state, home: Some(home) });
    }
}

impl<S: Service<Request<A>>, A> fmt::Debug for ResponseFuture<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Before { .. } | State::After { .. } => "awaits the hand-over of its session",
            State::Called { .. } => "awaits the response",
            State::Failed { .. } => "failed",
        };
        f.debug_struct("ResponseFuture").field("state", &state).finish_non_exhaustive()
    }
}
