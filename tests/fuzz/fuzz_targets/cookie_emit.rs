//! Any name and attributes: refused, or a header that reads back as that one cookie.
//!
//! `cargo fuzz run --fuzz-dir tests/fuzz cookie_emit`, or without cargo-fuzz as `.ci/run` does.

#![no_main]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::FutureExt;
use http::header::SET_COOKIE;
use http::{Request, Response};
use libfuzzer_sys::fuzz_target;
use tower_layer::Layer;
use tower_service::Service;
use whippletree::sticky::{Secure, StickyLayer};
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

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(String::new())))
    }
}

fuzz_target!(|fields: (String, String, Option<String>, String)| {
    let (name, path, domain, id) = fields;
    let cluster = Cluster::builder().seed(1).connect(|_| Serves);
    let endpoint = Endpoint::new("a:80").expect("an address");
    let Ok(endpoint) = endpoint.with_id(&id) else {
        return;
    };
    cluster.insert(endpoint).expect("a payload for everybody");
    let mut builder = StickyLayer::builder().cookie(&name).path(&path).secure(Secure::Always);
    if let Some(domain) = &domain {
        builder = builder.domain(domain);
    }
    let Ok(layer) = builder.key("0123456789abcdef").build(&cluster) else {
        return;
    };
    let mut front = layer.layer(Balance::new(cluster));
    let response = front.call(Request::new(())).now_or_never().expect("nothing to wait for");
    let response = response.expect("the endpoint is up");
    let set: Vec<_> = response.headers().get_all(SET_COOKIE).iter().collect();
    assert_eq!(set.len(), 1);
    // RFC 6265, section 5.2, as a browser reads it.
    let text = set[0].to_str().expect("printable");
    let mut parts = text.split(';').map(str::trim);
    let (read, value) = parts.next().and_then(|pair| pair.split_once('=')).expect("a pair");
    assert_eq!((read, value.len()), (name.as_str(), 72));
    let attributes: Vec<&str> = parts.collect();
    let path = format!("Path={}", path.trim());
    let mut expected = vec![path.as_str()];
    let domain = domain.map(|domain| format!("Domain={domain}"));
    expected.extend(domain.as_deref());
    expected.extend(["HttpOnly", "SameSite=Lax", "Secure"]);
    assert_eq!(attributes, expected);
});
