//! The application's own hand-over of a session, kept from doing harm.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::session::SessionId;
use crate::endpoint::EndpointId;
use crate::error::{BoxError, Error};

/// Whether a session was handed over.
pub(super) type HandOver = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// The hook of [`Builder::on_move`](super::Builder::on_move).
#[derive(Clone)]
pub(super) struct Hook(Arc<dyn Fn(SessionId, EndpointId, EndpointId) -> HandOver + Send + Sync>);

impl Hook {
    pub(super) fn new<F, T>(hook: F) -> Self
    where
        F: Fn(SessionId, EndpointId, EndpointId) -> T + Send + Sync + 'static,
        T: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        Self(Arc::new(move |session, from, to| Box::pin(hook(session, from, to))))
    }

    /// Calls the hook; a panic, and more time than `limit`, is an error.
    pub(super) fn call(
        &self,
        session: SessionId,
        from: EndpointId,
        to: EndpointId,
        limit: Duration,
    ) -> HandOver {
        let hook = Arc::clone(&self.0);
        let called = Contained(Some(Box::pin(async move { hook(session, from, to).await })));
        // Where there is no timer, tokio panics at the first poll: contained like any other.
        let limited = async move {
            let ended = tokio::time::timeout(limit, called).await;
            ended.unwrap_or_else(|_| Err(format!("on_move took more than {limit:?}").into()))
        };
        Box::pin(Contained(Some(Box::pin(limited))))
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

/// The user's code, whose panics are errors, in its drop too.
struct Contained(Option<HandOver>);

impl Future for Contained {
    type Output = Result<(), BoxError>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = &mut self.0 else {
            return Poll::Ready(Err("polled after its end".into()));
        };
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(task)));
        polled.unwrap_or_else(|panic| Poll::Ready(Err(Error::panicked("on_move", &*panic).into())))
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        let future = self.0.take();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(future))) {
            let error = Error::panicked("drop of on_move", &*panic);
            tracing::error!(target: "whippletree", "{error}");
        }
    }
}
