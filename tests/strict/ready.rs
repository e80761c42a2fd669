//! A guard over tower's contract.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower::Service;

/// Wraps a service and panics where the caller breaks tower's contract: a call without readiness,
/// two calls for one readiness, a call on a clone of what was ready, a poll of a future that has
/// completed.
#[derive(Debug)]
pub(crate) struct StrictReady<S> {
    inner: S,
    state: Readiness,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Readiness {
    Fresh,
    Cloned,
    Ready,
    Called,
    Failed,
}

impl<S> StrictReady<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, state: Readiness::Fresh }
    }

    pub(crate) fn inner(&self) -> &S {
        &self.inner
    }
}

impl<S: Clone> Clone for StrictReady<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), state: Readiness::Cloned }
    }
}

impl<S, Request> Service<Request> for StrictReady<S>
where
    S: Service<Request>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = StrictFuture<S::Future>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        assert!(self.state != Readiness::Failed, "polled after its readiness has failed");
        let ready = self.inner.poll_ready(task);
        match &ready {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => self.state = Readiness::Ready,
            Poll::Ready(Err(_)) => self.state = Readiness::Failed,
        }
        ready
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match std::mem::replace(&mut self.state, Readiness::Called) {
            Readiness::Ready => {}
            Readiness::Fresh => panic!("called without poll_ready"),
            Readiness::Called => panic!("called twice for one poll_ready"),
            Readiness::Cloned => panic!("called on a clone that was never ready"),
            Readiness::Failed => panic!("called though its readiness has failed"),
        }
        StrictFuture { inner: Box::pin(self.inner.call(request)), done: false }
    }
}

/// The future of a [`StrictReady`].
#[derive(Debug)]
pub(crate) struct StrictFuture<F> {
    inner: Pin<Box<F>>,
    done: bool,
}

impl<F: Future> Future for StrictFuture<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<F::Output> {
        assert!(!self.done, "polled after its future has completed");
        let output = self.inner.as_mut().poll(task);
        self.done = output.is_ready();
        output
    }
}
