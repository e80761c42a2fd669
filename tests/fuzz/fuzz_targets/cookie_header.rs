//! Any `Cookie` headers, a line each: the request is served, and no token passes that was not set.
//!
//! `cargo fuzz run --fuzz-dir tests/fuzz cookie_header`, or without cargo-fuzz as `.ci/run` does.

#![no_main]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::LazyLock;
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use futures_util::FutureExt;
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderValue, Request, Response};
use libfuzzer_sys::fuzz_target;
use tower_layer::Layer;
use tower_service::Service;
use whippletree::sticky::{Session, SessionState, Sticky, StickyLayer};
use whippletree::{Balance, Cluster, Endpoint};

#[derive(Clone)]
struct Serves;

impl Service<Request<()>> for Serves {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let ours = |value: &HeaderValue| {
            let mut pairs = value.as_bytes().split(|byte| *byte == b';');
            pairs.any(|pair| pair.trim_ascii().starts_with(b"SRV="))
        };
        assert!(!request.headers().get_all(COOKIE).iter().any(ours), "endpoints do not see it");
        ready(Ok(Response::new(String::new())))
    }
}

/// A layer, and a token that it has set.
static FRONT: LazyLock<(Sticky<Balance<Serves>>, String)> = LazyLock::new(|| {
    let cluster = Cluster::builder().seed(1).connect(|_| Serves);
    for address in ["a:80", "b:80"] {
        let endpoint = Endpoint::new(address).expect("an address");
        cluster.insert(endpoint).expect("a payload for everybody");
    }
    let layer = StickyLayer::builder()
        .key("0123456789abcdef0123456789abcdef")
        .clock(|| UNIX_EPOCH + Duration::from_secs(1_780_000_000))
        .build(&cluster)
        .expect("good parameters");
    let front = layer.layer(Balance::new(cluster));
    let response = send(&front, Request::new(()));
    let set = response.headers()[SET_COOKIE].to_str().expect("ASCII");
    let token = set["SRV=".len()..].split(';').next().unwrap_or_default().to_owned();
    (front, token)
});

fn send(front: &Sticky<Balance<Serves>>, request: Request<()>) -> Response<()> {
    let response = front.clone().call(request).now_or_never().expect("nothing to wait for");
    response.expect("both endpoints are up").map(drop)
}

fuzz_target!(|bytes: &[u8]| {
    let (front, token) = &*FRONT;
    let mut request = Request::new(());
    // `@` stands for the token, so that the fuzzer finds good ones too.
    let lines = bytes.split(|byte| *byte == b'\n').map(|line| {
        let parts: Vec<&[u8]> = line.split(|byte| *byte == b'@').collect();
        parts.join(token.as_bytes())
    });
    for line in lines {
        if let Ok(value) = HeaderValue::from_bytes(&line) {
            request.headers_mut().append(COOKIE, value);
        }
    }
    let holds = |value: &HeaderValue| {
        value.as_bytes().windows(token.len()).any(|window| window == token.as_bytes())
    };
    let good = request.headers().get_all(COOKIE).iter().any(holds);
    let response = send(front, request);
    let session: &Session = response.extensions().get().expect("every response tells");
    assert!(good || session.state == SessionState::New, "a token that was never set");
    assert_eq!(session.state == SessionState::New, response.headers().contains_key(SET_COOKIE));
});
