//! What the tests over real sockets share.

#![allow(dead_code, reason = "every test file uses its part of this")]

#[path = "../strict/ready.rs"]
pub(crate) mod ready;
pub(crate) mod server;

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tower::ServiceExt;
use whippletree::balance::{Addressed, Body};
use whippletree::cluster::EndpointStatus;
use whippletree::{Balance, Cluster, Error};

pub(crate) use self::ready::StrictReady;

/// How long anything may take that should happen at once. Only a failing test waits for so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client that panics where the balance breaks tower's contract.
pub(crate) type HttpClient = StrictReady<Client<HttpConnector, Empty<Bytes>>>;
pub(crate) type HttpBalance = Balance<Addressed<HttpClient>>;
pub(crate) type HttpResponse = Response<Body<hyper::body::Incoming>>;

/// Awaits what must come soon.
#[track_caller]
pub(crate) fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        let output = tokio::time::timeout(PATIENCE, future).await;
        output.unwrap_or_else(|_| panic!("nothing came of it within {PATIENCE:?}: {caller}"))
    }
}

pub(crate) fn client() -> HttpClient {
    StrictReady::new(Client::builder(TokioExecutor::new()).build_http())
}

pub(crate) fn get(path: &str) -> Request<Empty<Bytes>> {
    Request::get(path).body(Empty::new()).unwrap()
}

pub(crate) async fn send(
    balance: &HttpBalance,
    request: Request<Empty<Bytes>>,
) -> Result<HttpResponse, Error> {
    soon(balance.clone().oneshot(request)).await
}

/// Sends a request that must succeed and reads the response to its end.
pub(crate) async fn fetch(balance: &HttpBalance, path: &str) -> String {
    let response = send(balance, get(path)).await.unwrap();
    assert!(response.status().is_success(), "{}", response.status());
    text(response.into_body()).await
}

pub(crate) async fn text<B>(body: B) -> String
where
    B: http_body::Body<Error: std::fmt::Debug>,
{
    let bytes = soon(body.collect()).await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn status<S: Send + Sync + 'static>(cluster: &Cluster<S>, id: &str) -> EndpointStatus {
    let found = cluster.status().endpoints.into_iter();
    let mut found = found.filter(|status| status.endpoint.id().as_str() == id);
    found.next().expect("the endpoint is a member")
}

/// The ids of the members, in their order.
pub(crate) fn ids<S: Send + Sync + 'static>(cluster: &Cluster<S>) -> Vec<String> {
    let endpoints = cluster.status().endpoints.into_iter();
    endpoints.map(|status| status.endpoint.id().to_string()).collect()
}
