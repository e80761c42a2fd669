use std::sync::Arc;

use http::{Request, Response, StatusCode};

use super::Body;
use crate::cluster::{Context, LeaseGuard};
use crate::endpoint::EndpointId;
use crate::health::Outcome;
use crate::load::Completion;

/// How a [`Balance`](super::Balance) reads a request and takes a response: [`Http`] or [`Plain`].
///
/// Sealed: it may grow with what the crate needs.
pub trait Edge<Request, Response>:
    sealed::Edge<Request, Response, Output = <Self as Edge<Request, Response>>::Response>
{
    /// What the caller gets.
    type Response;
}

pub(super) mod sealed {
    use super::{Context, LeaseGuard};

    pub trait Edge<Request, Response> {
        type Output;

        /// What the request asks of the pick.
        fn context<'a>(&self, request: &'a Request) -> Option<&'a Context>;

        /// Takes note of the request that is about to be sent.
        fn sending(&mut self, request: &Request);

        /// Reports what the response says and hands the guard on, or drops it.
        fn respond(&self, response: Response, guard: LeaseGuard) -> Self::Output;
    }
}

impl<E, Request, Response> Edge<Request, Response> for E
where
    E: sealed::Edge<Request, Response>,
{
    type Response = E::Output;
}

/// Takes requests and responses as HTTP.
#[derive(Clone, Copy, Debug, Default)]
pub struct Http {
    pub(super) completion: Completion,
    /// Whether responses say who served them.
    pub(super) tag: bool,
    /// Whether the request was a CONNECT, whose success is a tunnel.
    connect: bool,
}

/// Takes requests and responses as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain {}

/// Response extension: the endpoint that served the request.
///
/// Set if the request carried a [`Context`], or on every response if the builder's
/// [`tag_responses`](super::Builder::tag_responses) says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedBy(pub EndpointId);

/// Response extension of a `101 Switching Protocols`, or of a success of CONNECT: the request is
/// in flight until the last clone of it is dropped.
///
/// Whoever takes the upgraded connection takes this out of the response's extensions and keeps
/// it as long as the connection is open.
#[derive(Clone, Debug)]
#[must_use = "dropping the last clone ends the request"]
pub struct HeldLease(#[allow(dead_code, reason = "held for its drop")] Arc<LeaseGuard>);

impl Http {
    pub(super) const fn new() -> Self {
        Self { completion: Completion::End, tag: false, connect: false }
    }
}

impl Plain {
    pub(super) const fn new() -> Self {
        Self {}
    }
}

impl<A, B: http_body::Body> sealed::Edge<Request<A>, Response<B>> for Http {
    type Output = Response<Body<B>>;

    fn context<'a>(&self, request: &'a Request<A>) -> Option<&'a Context> {
        request.extensions().get()
    }

    fn sending(&mut self, request: &Request<A>) {
        self.connect = request.method() == http::Method::CONNECT;
        self.tag |= request.extensions().get::<Context>().is_some();
    }

    fn respond(&self, mut response: Response<B>, mut guard: LeaseGuard) -> Self::Output {
        let outcome = Outcome::from(response.status());
        if self.tag {
            response.extensions_mut().insert(ServedBy(guard.id().clone()));
        }
        let tunnel = response.status() == StatusCode::SWITCHING_PROTOCOLS
            || (self.connect && response.status().is_success());
        if tunnel {
            guard.report(outcome);
            response.extensions_mut().insert(HeldLease(Arc::new(guard)));
            return response.map(Body::untracked);
        }
        // A body that says that it has ended may never be polled: its request ends here.
        if self.completion == Completion::Head || response.body().is_end_stream() {
            guard.report(outcome);
            return response.map(Body::untracked);
        }
        if outcome == Outcome::Success && self.completion == Completion::End {
            // Whether it is one, the end of the body decides.
            guard.answered();
        } else {
            guard.report(outcome);
        }
        response.map(|body| Body::new(body, guard, self.completion))
    }
}

impl<Request, Response> sealed::Edge<Request, Response> for Plain {
    type Output = Response;

    fn context<'a>(&self, _: &'a Request) -> Option<&'a Context> {
        None
    }

    fn sending(&mut self, _: &Request) {}

    fn respond(&self, response: Response, mut guard: LeaseGuard) -> Response {
        guard.report(Outcome::Success);
        response
    }
}
