use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::future::ResponseFuture;
use super::layer::{OnMiss, Shared};
use super::visit::{Aim, Renew};
use crate::error::Error;

/// Keeps sessions at home. Made by [`StickyLayer`](super::StickyLayer); see the [module](super).
///
/// Ready when the service beneath is; holds nothing itself.
#[derive(Clone)]
pub struct Sticky<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Sticky<S> {
    pub(super) fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }

    /// The service beneath.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, A, B> Service<Request<A>> for Sticky<S>
where
    S: Service<Request<A>, Response = Response<B>, Error: From<Error>> + Clone,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = ResponseFuture<S, A>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let shared = &self.shared;
        let mut visit = shared.receive(&mut request);
        if let (Aim::Divert(home), OnMiss::Fail) = (&visit.aim, shared.on_miss) {
            shared.counters.missed.count();
            let error = Error::not_preferred(home.clone());
            return ResponseFuture::failed(Arc::clone(shared), visit, error.into());
        }
        if let Some(moving) = shared.leave_idle(&visit) {
            match moving.hand_over() {
                None => {
                    visit.aim = Aim::Moved(moving.settle());
                    visit.renew = Renew::Now;
                }
                Some(hand_over) => {
                    // The one that is ready goes along; its clone has to get ready itself.
                    let clone = self.inner.clone();
                    let ready = std::mem::replace(&mut self.inner, clone);
                    let shared = Arc::clone(shared);
                    let before = (hand_over, moving, ready, request);
                    return ResponseFuture::handing_over(shared, visit, before);
                }
            }
        }
        shared.steer(&visit, request.extensions_mut());
        let response = self.inner.call(request);
        ResponseFuture::called(Arc::clone(&self.shared), visit, response)
    }
}

impl<S: fmt::Debug> fmt::Debug for Sticky<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sticky").field("inner", &self.inner).field("shared", &self.shared).finish()
    }
}
