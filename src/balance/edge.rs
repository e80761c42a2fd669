use std::fmt;
use std::sync::Arc;

use http::{Request, Response, StatusCode};

use super::Body;
use crate::cluster::{Attempt, Context, LeaseGuard};
use crate::endpoint::EndpointId;
use crate::error::BoxError;
use crate::health::{Classifier, Classify, HttpOutcomes, Outcome, retry_after};
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
    use super::{Attempt, BoxError, Context, HttpOutcomes, LeaseGuard, Outcome};
    use crate::health::Classify;

    pub trait Edge<Request, Response> {
        type Output;

        /// What the request asks of the pick.
        fn context<'a>(&self, request: &'a Request) -> Option<&'a Context>;

        /// Who wants to know of the pick before there is a response.
        fn attempt<'a>(&self, request: &'a Request) -> Option<&'a Attempt>;

        /// Takes note of the request that is about to be sent.
        fn sending(&mut self, request: &Request);

        /// Reports what the response says and hands the guard on, or drops it.
        fn respond(&self, response: Response, guard: LeaseGuard) -> Self::Output;

        /// What an error, which came instead of a response, says of the endpoint.
        fn error(&self, error: &BoxError) -> Outcome {
            HttpOutcomes.error(&**error)
        }
    }
}

impl<E, Request, Response> Edge<Request, Response> for E
where
    E: sealed::Edge<Request, Response>,
{
    type Response = E::Output;
}

/// Takes requests and responses as HTTP.
#[derive(Clone, Default)]
pub struct Http {
    pub(super) completion: Completion,
    /// Reads outcomes in place of [`HttpOutcomes`], which costs nothing.
    pub(super) classifier: Option<Arc<Classifier>>,
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
pub struct HeldLease(Arc<LeaseGuard>);

impl HeldLease {
    /// Resolves when the connection has to be closed, for its endpoint's
    /// [drain](crate::Cluster::drain) has come to its deadline; for ever pending, if that does not
    /// happen.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the future holds nothing.
    pub async fn forced(&self) {
        self.0.forced().await;
    }

    /// Who serves the connection.
    #[must_use]
    pub fn id(&self) -> &EndpointId {
        self.0.id()
    }
}

impl Http {
    pub(super) const fn new() -> Self {
        Self { completion: Completion::End, classifier: None, tag: false, connect: false }
    }

    pub(super) fn classify(&mut self, classify: impl Classify) {
        self.classifier = Some(Arc::new(Classifier::new(classify)));
    }

    fn head<B>(&self, response: &Response<B>) -> Outcome {
        let (status, headers) = (response.status(), response.headers());
        match &self.classifier {
            None => HttpOutcomes.head(status, headers),
            Some(classifier) => classifier.head(status, headers),
        }
    }

    fn is_tunnel(&self, status: StatusCode) -> bool {
        status == StatusCode::SWITCHING_PROTOCOLS || (self.connect && status.is_success())
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("completion", &self.completion)
            .field("classify", &self.classifier.is_some())
            .field("tag", &self.tag)
            .finish_non_exhaustive()
    }
}

/// Reports what the head says. A failure, and a refusal for want of capacity, counts as slow
/// however fast it came: else it would bring the endpoint more requests than the others.
fn report<B>(guard: &mut LeaseGuard, outcome: Outcome, response: &Response<B>) {
    let refused = response.status() == StatusCode::TOO_MANY_REQUESTS;
    match outcome {
        Outcome::Failure(_) => {}
        Outcome::Ignored if refused => {}
        _ => return guard.report(outcome),
    }
    guard.report_slow(outcome, Some(retry_after(response.headers())));
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

    fn attempt<'a>(&self, request: &'a Request<A>) -> Option<&'a Attempt> {
        request.extensions().get()
    }

    fn sending(&mut self, request: &Request<A>) {
        self.connect = request.method() == http::Method::CONNECT;
        self.tag |= request.extensions().get::<Context>().is_some();
    }

    fn respond(&self, mut response: Response<B>, mut guard: LeaseGuard) -> Self::Output {
        let outcome = self.head(&response);
        if self.tag {
            response.extensions_mut().insert(ServedBy(guard.id().clone()));
        }
        if self.is_tunnel(response.status()) {
            report(&mut guard, outcome, &response);
            response.extensions_mut().insert(HeldLease(Arc::new(guard)));
            return response.map(Body::untracked);
        }
        // A body that says that it has ended may never be polled: its request ends here.
        if self.completion == Completion::Head || response.body().is_end_stream() {
            report(&mut guard, outcome, &response);
            return response.map(Body::untracked);
        }
        if outcome == Outcome::Success && self.completion == Completion::End {
            // Whether it is one, the end of the body decides.
            guard.answered();
        } else {
            report(&mut guard, outcome, &response);
        }
        let classifier = self.classifier.clone();
        response.map(|body| Body::new(body, guard, self.completion, classifier))
    }

    fn error(&self, error: &BoxError) -> Outcome {
        match &self.classifier {
            None => HttpOutcomes.error(&**error),
            Some(classifier) => classifier.error(&**error),
        }
    }
}

impl<Request, Response> sealed::Edge<Request, Response> for Plain {
    type Output = Response;

    fn context<'a>(&self, _: &'a Request) -> Option<&'a Context> {
        None
    }

    fn attempt<'a>(&self, _: &'a Request) -> Option<&'a Attempt> {
        None
    }

    fn sending(&mut self, _: &Request) {}

    fn respond(&self, response: Response, mut guard: LeaseGuard) -> Response {
        guard.report(Outcome::Success);
        response
    }
}
