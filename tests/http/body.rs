//! In flight until the end of the body.

use http::{Method, Response, header};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use whippletree::Balance;
use whippletree::balance::{Builder, HeldLease};
use whippletree::load::Completion;

use crate::balance_of;
use crate::support::server::{Feed, Server};
use crate::support::{HttpBalance, HttpResponse, client, fetch, get, send, soon, status, text};

/// One request to one server whose response body the test feeds.
pub(crate) struct Exchange {
    pub(crate) balance: HttpBalance,
    response: HttpResponse,
    pub(crate) feed: Feed,
    _server: Server,
}

impl Exchange {
    async fn begin(builder: Builder, head: http::response::Builder) -> Self {
        let (server, feed) = Server::fed("fed", head).await;
        let builder = builder.endpoint(server.endpoint());
        let balance = builder.shared(client()).unwrap();
        let mut request = get("/");
        let trailers = header::HeaderValue::from_static("trailers");
        request.headers_mut().insert(header::TE, trailers);
        let response = send(&balance, request).await.unwrap();
        Self { balance, response, feed, _server: server }
    }

    pub(crate) async fn chunked() -> Self {
        Self::begin(Balance::builder(), Response::builder()).await
    }

    /// Requests in flight, successes and failures.
    fn counts(&self) -> [u64; 3] {
        counts(&self.balance)
    }

    /// Reads a frame of data.
    pub(crate) async fn read(&mut self) -> String {
        let frame = soon(self.response.body_mut().frame()).await;
        let data = frame.unwrap().unwrap().into_data().unwrap();
        String::from_utf8(data.to_vec()).unwrap()
    }
}

fn counts(balance: &HttpBalance) -> [u64; 3] {
    let status = status(balance.cluster(), "fed");
    assert_eq!(status.cancelled, 0);
    [status.in_flight.into(), status.successes, status.failures]
}

#[tokio::test]
async fn empty_body_is_over_once_it_is_looked_at() {
    let head = Response::builder().header(header::CONTENT_LENGTH, 0);
    let mut exchange = Exchange::begin(Balance::builder(), head).await;
    assert!(soon(exchange.response.body_mut().frame()).await.is_none());
    assert_eq!(exchange.counts(), [0, 1, 0]);
}

#[tokio::test]
async fn empty_body_is_over_though_nobody_polls_it() {
    let head = Response::builder().header(header::CONTENT_LENGTH, 0);
    let exchange = Exchange::begin(Balance::builder(), head).await;
    assert!(http_body::Body::is_end_stream(exchange.response.body()));
    assert_eq!(exchange.counts(), [0, 1, 0]);
}

#[tokio::test]
async fn body_of_known_length_is_over_with_its_last_byte() {
    let head = Response::builder().header(header::CONTENT_LENGTH, 8);
    let mut exchange = Exchange::begin(Balance::builder(), head).await;
    exchange.feed.data("half");
    assert_eq!(exchange.read().await, "half");
    assert_eq!(exchange.counts(), [1, 0, 0]);
    // Nobody polls for the end, as hyper does not; the server even keeps the stream open.
    exchange.feed.data("half");
    assert_eq!(exchange.read().await, "half");
    assert_eq!(exchange.counts(), [0, 1, 0]);
}

#[tokio::test]
async fn chunked_body_is_over_with_its_end() {
    let mut exchange = Exchange::chunked().await;
    exchange.feed.data("all of it");
    assert_eq!(exchange.read().await, "all of it");
    assert_eq!(exchange.counts(), [1, 0, 0]);
    drop(exchange.feed);
    assert_eq!(text(exchange.response.into_body()).await, "");
    assert_eq!(counts(&exchange.balance), [0, 1, 0]);
}

#[tokio::test]
async fn body_with_trailers_is_over_with_them() {
    let head = Response::builder().header(header::TRAILER, "x-sum");
    let mut exchange = Exchange::begin(Balance::builder(), head).await;
    exchange.feed.data("data");
    assert_eq!(exchange.read().await, "data");
    assert_eq!(exchange.counts(), [1, 0, 0]);
    exchange.feed.trailer("x-sum", "42");
    drop(exchange.feed);
    let frame = soon(exchange.response.body_mut().frame()).await;
    let trailers = frame.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["x-sum"], "42");
    assert_eq!(counts(&exchange.balance), [0, 1, 0]);
}

#[tokio::test]
async fn body_that_breaks_off_is_a_failure_of_the_endpoint() {
    let mut exchange = Exchange::chunked().await;
    exchange.feed.data("half");
    assert_eq!(exchange.read().await, "half");
    exchange.feed.abort();
    let frame = soon(exchange.response.body_mut().frame()).await;
    assert!(frame.unwrap().is_err());
    assert_eq!(counts(&exchange.balance), [0, 0, 1]);
}

#[tokio::test]
async fn body_that_is_dropped_unread_is_over_and_a_success() {
    let exchange = Exchange::chunked().await;
    exchange.feed.data("never read");
    assert_eq!(exchange.counts(), [1, 0, 0]);
    drop(exchange.response);
    assert_eq!(counts(&exchange.balance), [0, 1, 0]);
}

#[tokio::test]
async fn body_that_nobody_polls_stays_in_flight_until_it_is_dropped() {
    let exchange = Exchange::chunked().await;
    drop(exchange.feed);
    let other = Server::named("other").await;
    let cluster = exchange.balance.cluster();
    cluster.insert(other.endpoint()).unwrap();
    for _ in 0..20 {
        // With one more request in flight on "fed", everybody goes elsewhere.
        assert_eq!(fetch(&exchange.balance, "/").await, "other");
    }
    assert_eq!(counts(&exchange.balance), [1, 0, 0]);
    drop(exchange.response);
    assert_eq!(counts(&exchange.balance), [0, 1, 0]);
}

#[tokio::test]
async fn completion_at_the_head_does_not_wait_for_the_body() {
    let builder = Balance::builder().completion(Completion::Head);
    let exchange = Exchange::begin(builder, Response::builder()).await;
    assert_eq!(exchange.counts(), [0, 1, 0]);
    exchange.feed.data("late");
    drop(exchange.feed);
    assert_eq!(text(exchange.response.into_body()).await, "late");
    assert_eq!(counts(&exchange.balance), [0, 1, 0]);
}

#[tokio::test]
async fn completion_at_the_first_data_does_not_wait_for_the_rest() {
    let builder = Balance::builder().completion(Completion::FirstData);
    let mut exchange = Exchange::begin(builder, Response::builder()).await;
    assert_eq!(exchange.counts()[0], 1);
    exchange.feed.data("first");
    assert_eq!(exchange.read().await, "first");
    assert_eq!(exchange.counts(), [0, 1, 0]);
}

#[tokio::test]
async fn tunnel_is_in_flight_until_the_held_lease_is_dropped() {
    for method in [Method::GET, Method::CONNECT] {
        let server = Server::upgrading("echo").await;
        let balance = balance_of([&server]);
        let mut request = get("/");
        if method == Method::GET {
            let headers = request.headers_mut();
            headers.insert(header::CONNECTION, "upgrade".parse().unwrap());
            headers.insert(header::UPGRADE, "echo".parse().unwrap());
        }
        *request.method_mut() = method;
        let mut response = send(&balance, request).await.unwrap();
        let held = response.extensions_mut().remove::<HeldLease>().unwrap();
        let copy = held.clone();
        let upgraded = soon(hyper::upgrade::on(&mut response)).await.unwrap();
        drop(response);

        let mut tunnel = TokioIo::new(upgraded);
        tunnel.write_all(b"ping").await.unwrap();
        let mut echo = [0; 4];
        soon(tunnel.read_exact(&mut echo)).await.unwrap();
        assert_eq!(&echo, b"ping");
        drop(held);
        assert_eq!(status(balance.cluster(), "echo").in_flight, 1);
        drop(copy);
        let status = status(balance.cluster(), "echo");
        assert_eq!((status.in_flight, status.successes), (0, 1));
    }
}
