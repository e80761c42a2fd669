use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Request;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};
use tower_layer::Layer;
use tower_service::Service;

use super::Deadline;
use super::replay::Recording;
use crate::cluster::Attempt;
use crate::error::Error;

/// Limits how long one try may take, below whatever makes the tries; see
/// [`Failover::per_try_timeout`](super::Failover::per_try_timeout).
///
/// Unlike tower's timeout it tells the balance: a try that took too long is a
/// [`Timeout`](crate::health::Failure::Timeout) of the endpoint that it was with.
#[derive(Clone, Copy, Debug)]
pub struct TryTimeoutLayer {
    limit: Option<Duration>,
}

/// A service that limits its tries. Made by [`TryTimeoutLayer`].
#[derive(Clone, Debug)]
pub struct TryTimeout<S> {
    inner: S,
    limit: Option<Duration>,
}

pin_project! {
    /// The response of a [`TryTimeout`], to be awaited.
    ///
    /// # Panics
    ///
    /// Without tokio's timers.
    #[must_use = "futures do nothing unless polled"]
    pub struct TryFuture<F> {
        #[pin]
        inner: Option<F>,
        #[pin]
        watch: Option<Watch>,
    }
}

pin_project! {
    struct Watch {
        #[pin]
        sleep: Sleep,
        limit: Duration,
        // When the endpoint's time is over; never, if only the caller's is limited.
        due: Option<Instant>,
        // When the caller stops waiting.
        end: Option<Instant>,
        line: Line,
        attempt: Attempt,
        body: Option<Recording>,
    }
}

/// Whether the request stands in a cluster's queue, which has a limit of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Line {
    Unknown,
    Waits,
    Over,
}

impl TryTimeoutLayer {
    /// With this limit.
    #[must_use]
    pub const fn new(limit: Duration) -> Self {
        Self { limit: Some(limit) }
    }
}

impl<S> Layer<S> for TryTimeoutLayer {
    type Service = TryTimeout<S>;

    fn layer(&self, inner: S) -> TryTimeout<S> {
        TryTimeout::new(inner, self.limit)
    }
}

impl<S> TryTimeout<S> {
    pub(super) fn new(inner: S, limit: Option<Duration>) -> Self {
        Self { inner, limit }
    }

    fn watch<B>(&self, request: &mut Request<B>) -> Option<Watch> {
        let now = Instant::now();
        let extensions = request.extensions_mut();
        let end = extensions.get().map(|Deadline(end)| Instant::from_std(*end));
        let left = end.map(|end| end.saturating_duration_since(now));
        let limit = self.limit.into_iter().chain(left).min()?;
        let body = extensions.get().cloned();
        let attempt = extensions.get_or_insert_with(Attempt::new).clone();
        let due = self.limit.and_then(|limit| now.checked_add(limit));
        let (sleep, line) = (tokio::time::sleep(limit), Line::Unknown);
        Some(Watch { sleep, limit, due, end, line, attempt, body })
    }
}

impl<S, B> Service<Request<B>> for TryTimeout<S>
where
    S: Service<Request<B>, Error = Error>,
{
    type Response = S::Response;
    type Error = Error;
    type Future = TryFuture<S::Future>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let watch = self.watch(&mut request);
        TryFuture { inner: Some(self.inner.call(request)), watch }
    }
}

impl<F, R> Future for TryFuture<F>
where
    F: Future<Output = Result<R, Error>>,
{
    type Output = Result<R, Error>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let inner = this.inner.as_mut().as_pin_mut();
        let inner = inner.expect("a future is not polled after it has completed");
        if let Poll::Ready(result) = inner.poll(task) {
            this.inner.set(None);
            return Poll::Ready(result);
        }
        let Some(watch) = this.watch.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        let error = ready!(watch.poll(task));
        this.inner.set(None);
        Poll::Ready(Err(error))
    }
}

impl Watch {
    /// Lets the try begin once an endpoint has been found for it.
    fn look(self: Pin<&mut Self>) {
        let mut this = self.project();
        if *this.line == Line::Over {
            return;
        }
        let now = if this.attempt.is_in_line() { Line::Waits } else { Line::Over };
        if (std::mem::replace(this.line, now), now) == (Line::Waits, Line::Over) {
            let due = Instant::now().checked_add(*this.limit);
            *this.due = this.due.and(due);
            let until = due.into_iter().chain(*this.end).min();
            until.into_iter().for_each(|until| this.sleep.as_mut().reset(until));
        }
    }

    /// Ready when the endpoint has had its time, which it is then told.
    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Error> {
        self.as_mut().look();
        let mut this = self.project();
        loop {
            ready!(this.sleep.as_mut().poll(task));
            let now = Instant::now();
            let over = this.end.is_some_and(|end| end <= now);
            if *this.line == Line::Waits && !over {
                this.sleep.as_mut().reset(this.end.unwrap_or(now + *this.limit));
                continue;
            }
            let moved = this.body.as_ref().map(Recording::moved);
            match moved.map(|moved| moved + *this.limit).filter(|until| *until > now && !over) {
                None => {
                    // That a caller is in a hurry is no fault of the endpoint.
                    if this.due.is_some_and(|due| due <= now) {
                        this.attempt.time_out();
                    }
                    return Poll::Ready(Error::silent(this.attempt.endpoint(), *this.limit));
                }
                Some(until) => {
                    let until = this.end.map_or(until, |end| until.min(end));
                    this.sleep.as_mut().reset(until);
                }
            }
        }
    }
}

impl<F> fmt::Debug for TryFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self.watch.as_ref().map(|watch| watch.limit);
        f.debug_struct("TryFuture").field("limit", &limit).finish_non_exhaustive()
    }
}
