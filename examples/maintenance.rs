//! Maintenance that nobody notices: three live servers under load, each in its turn drained,
//! restarted and put back.
//!
//! ```sh
//! cargo run --example maintenance
//! ```

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::ServiceExt;
use whippletree::balance::Addressed;
use whippletree::cluster::{Admin, DrainOptions, Then};
use whippletree::{Balance, BoxError, Endpoint};

type Users = Balance<Addressed<Client<HttpConnector, Full<Bytes>>>>;

/// What the clients have seen.
#[derive(Default)]
struct Seen {
    served: AtomicU64,
    lost: AtomicU64,
    over: AtomicBool,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let users: Users = Balance::builder().shared(client)?;
    let cluster = users.cluster();
    let mut servers = Vec::new();
    for name in ["web-1", "web-2", "web-3"] {
        let (address, server) = start(None).await?;
        cluster.insert(Endpoint::from(address).with_id(name)?)?;
        servers.push((name, address, server));
    }

    let seen = Arc::new(Seen::default());
    let mut clients = JoinSet::new();
    (0..8).for_each(|_| drop(clients.spawn(load(users.clone(), Arc::clone(&seen)))));

    for (name, address, server) in &mut servers {
        let endpoint = Endpoint::from(*address).with_id(*name)?;
        let options = DrainOptions::new().deadline(Duration::from_secs(10)).then(Then::Maintenance);
        let report = cluster.drain(endpoint.id(), options.by("maintenance"))?.await;
        println!("{name}: {report}");
        // Nobody is there any more: now it may be stopped, with all its connections.
        server.shutdown().await;
        sleep(Duration::from_millis(100)).await;
        (_, *server) = start(Some(*address)).await?;
        cluster.set_admin(endpoint.id(), Admin::Ready, "maintenance")?;
        sleep(Duration::from_millis(100)).await;
    }

    seen.over.store(true, Ordering::Relaxed);
    while clients.join_next().await.is_some() {}
    let (served, lost) = (seen.served.load(Ordering::Relaxed), seen.lost.load(Ordering::Relaxed));
    println!("three servers restarted under load: {served} requests served, {lost} lost");
    if lost > 0 { Err("requests were lost".into()) } else { Ok(()) }
}

/// Sends one request after the other.
async fn load(users: Users, seen: Arc<Seen>) {
    while !seen.over.load(Ordering::Relaxed) {
        let counter = match post(&users).await {
            Ok(()) => &seen.served,
            Err(error) => {
                eprintln!("lost: {error}");
                &seen.lost
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// A request that nobody may send twice.
async fn post(users: &Users) -> Result<(), BoxError> {
    let request = Request::post("http://users/").body(Full::new(Bytes::from_static(b"order")))?;
    let response = users.clone().oneshot(request).await?;
    let body = response.into_body().collect().await?.to_bytes();
    if body == "order" { Ok(()) } else { Err("half an answer".into()) }
}

/// Starts a server that takes 5 ms per request; its connections end with the set that is returned.
async fn start(address: Option<SocketAddr>) -> Result<(SocketAddr, JoinSet<()>), BoxError> {
    let address = address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let connection =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
            connections.spawn(async { drop(connection.await) });
        }
    });
    Ok((address, server))
}

async fn answer(request: Request<Incoming>) -> Result<Response<Incoming>, Infallible> {
    sleep(Duration::from_millis(5)).await;
    Ok(Response::new(request.into_body()))
}
