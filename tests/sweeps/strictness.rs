//! `StrictReady` itself: every breach of tower's contract is caught.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt;
use tower::{Service, ServiceExt, service_fn};

use crate::strict::StrictReady;

fn echo() -> StrictReady<impl Service<u8, Response = u8, Error = Infallible> + Clone> {
    StrictReady::new(service_fn(|request| ready(Ok::<u8, Infallible>(request))))
}

fn get_ready<S: Service<u8>>(service: &mut S) {
    let mut task = Context::from_waker(Waker::noop());
    assert!(matches!(service.poll_ready(&mut task), Poll::Ready(Ok(()))));
}

#[test]
fn correct_use_passes() {
    let mut service = echo();
    for request in 0..3 {
        get_ready(&mut service);
        get_ready(&mut service);
        assert_eq!(service.call(request).now_or_never(), Some(Ok(request)));
    }
    let clone = service.clone();
    assert_eq!(clone.oneshot(7).now_or_never(), Some(Ok(7)));
}

#[test]
#[should_panic = "called without poll_ready"]
fn call_without_readiness_is_caught() {
    drop(echo().call(1));
}

#[test]
#[should_panic = "called twice"]
fn second_call_for_one_readiness_is_caught() {
    let mut service = echo();
    get_ready(&mut service);
    drop(service.call(1));
    drop(service.call(2));
}

#[test]
#[should_panic = "called on a clone"]
fn call_on_a_clone_of_what_is_ready_is_caught() {
    let mut service = echo();
    get_ready(&mut service);
    drop(service.clone().call(1));
}

#[test]
#[should_panic = "polled after its future has completed"]
fn poll_after_completion_is_caught() {
    let mut service = echo();
    get_ready(&mut service);
    let mut future = service.call(1);
    let mut task = Context::from_waker(Waker::noop());
    assert!(future.poll_unpin(&mut task).is_ready());
    let _ = future.poll_unpin(&mut task);
}

#[derive(Clone)]
struct NeverReady;

impl Service<u8> for NeverReady {
    type Response = u8;
    type Error = &'static str;
    type Future = Ready<Result<u8, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(Err("broken"))
    }

    fn call(&mut self, request: u8) -> Self::Future {
        ready(Ok(request))
    }
}

#[test]
#[should_panic = "called though its readiness has failed"]
fn call_after_failed_readiness_is_caught() {
    let mut service = StrictReady::new(NeverReady);
    let mut task = Context::from_waker(Waker::noop());
    assert!(matches!(service.poll_ready(&mut task), Poll::Ready(Err("broken"))));
    drop(service.call(1));
}
