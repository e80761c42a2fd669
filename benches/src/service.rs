//! Services that answer at once, and a way to drive one without a runtime.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use tower::Service;

/// Always ready; the answer is `()`, whatever the request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unit;

impl<R> Service<R> for Unit {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: R) -> Self::Future {
        ready(Ok(()))
    }
}

/// Always ready; the answer is `200 OK` with an empty body.
#[derive(Clone, Copy, Debug, Default)]
pub struct Http;

impl<B> Service<Request<B>> for Http {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        drop(black_box(request));
        ready(Ok(Response::new(Empty::new())))
    }
}

/// The request that the `request` bench sends: `GET /` with an empty body, no allocation.
pub fn request() -> Request<Empty<Bytes>> {
    Request::new(Empty::new())
}

/// One whole request: ready, call, response, response dropped.
///
/// # Panics
///
/// If the service is not ready at once or fails: the bench would measure something else.
pub fn exchange<R, S>(service: &mut S, request: R)
where
    S: Service<R>,
{
    let mut context = Context::from_waker(Waker::noop());
    assert_ready(service.poll_ready(&mut context));
    let response = pin!(service.call(request));
    drop(black_box(assert_ready(response.poll(&mut context))));
}

/// Makes the service ready, calls it and drops the future, as a pick drops its lease.
///
/// # Panics
///
/// If the service is not ready at once.
pub fn call_and_drop<S: Service<()>>(service: &mut S) {
    let mut context = Context::from_waker(Waker::noop());
    assert_ready(service.poll_ready(&mut context));
    drop(black_box(service.call(())));
}

fn assert_ready<T, E>(poll: Poll<Result<T, E>>) -> T {
    match poll {
        Poll::Ready(Ok(value)) => value,
        Poll::Ready(Err(_)) => panic!("a service that cannot fail has failed"),
        Poll::Pending => panic!("a service that is always ready was pending"),
    }
}
