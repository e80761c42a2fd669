//! Kills one of three servers under load: no request fails.
//!
//! ```text
//! cargo run --example failover
//! ```

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tower::{Layer, ServiceExt};
use whippletree::balance::Addressed;
use whippletree::failover::{Failover, FailoverLayer, FailoverService, Replay};
use whippletree::{Balance, BoxError, Endpoint};

const REQUESTS: usize = 3000;
const AT_ONCE: usize = 30;

/// The client sees bodies that can be sent again.
type HttpClient = Client<HttpConnector, Replay<Empty<Bytes>>>;
type Service = FailoverService<Balance<Addressed<HttpClient>>>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let servers = [start_server().await?, start_server().await?, start_server().await?];
    let endpoints = servers.iter().map(|(endpoint, _)| endpoint.clone());
    let client: HttpClient = Client::builder(TokioExecutor::new()).build_http();
    let balance = Balance::builder().endpoints(endpoints)?.shared(client)?;

    // All it takes: a layer on the balance.
    let failover = Failover::new();
    let service = FailoverLayer::new(failover.clone()).layer(balance.clone());

    let mut answers =
        stream::iter(0..REQUESTS).map(|_| get(service.clone())).buffer_unordered(AT_ONCE);
    let (mut served, mut failed) = (0, 0);
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(()) => served += 1,
            Err(error) => {
                eprintln!("failed: {error}");
                failed += 1;
            }
        }
        if served + failed == REQUESTS / 3 {
            println!("{served} served; killing {}", servers[1].0.id());
            servers[1].1.abort();
        }
    }
    println!("{served} served, {failed} failed, {} sent again", failover.stats().retries);
    for status in balance.cluster().status().endpoints {
        let (id, requests, failures) = (status.endpoint.id(), status.requests, status.failures);
        println!("{id}: {}, {requests} requests, {failures} failures", status.state.as_str());
    }
    if failed > 0 {
        return Err(format!("{failed} requests failed").into());
    }
    Ok(())
}

/// Sends one request and reads the whole answer.
async fn get(service: Service) -> Result<(), BoxError> {
    let request = Request::get("/").body(Empty::new())?;
    let response = service.oneshot(request).await?;
    if !response.status().is_success() {
        return Err(response.status().to_string().into());
    }
    response.into_body().collect().await?;
    Ok(())
}

/// Starts a hyper server, which lives until it is aborted.
async fn start_server() -> Result<(Endpoint, AbortHandle), BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = Endpoint::from(listener.local_addr()?);
    let answer = |_: Request<Incoming>| async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("well"))))
    };
    let server = tokio::spawn(async move {
        // The connections end with the server, because the set is dropped with this task.
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let io = TokioIo::new(stream);
            connections.spawn(http1::Builder::new().serve_connection(io, service_fn(answer)));
        }
    });
    Ok((endpoint, server.abort_handle()))
}
