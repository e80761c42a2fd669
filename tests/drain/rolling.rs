//! A rolling restart: ten servers, one after the other, under load of every kind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;
use tokio_stream::StreamExt;
use tower::ServiceExt;
use whippletree::balance::{Addressed, HeldLease};
use whippletree::cluster::{Admin, DrainOptions};
use whippletree::{Balance, BoxError};

use crate::support::server::{Server, ServerBody, full};
use crate::support::soon;

const NAMES: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

type Rolling = Balance<Addressed<Client<HttpConnector, Full<Bytes>>>>;

/// Answers at once, after a while, by a stream, or by a tunnel.
async fn server(name: &'static str) -> Server {
    Server::with(name, |mut request| async move {
        match request.uri().path() {
            "/slow" => {
                sleep(Duration::from_millis(150)).await;
                Response::new(full("slow"))
            }
            "/stream" => Response::new(stream()),
            "/tunnel" => {
                let upgrade = hyper::upgrade::on(&mut request);
                tokio::spawn(async move {
                    let io = TokioIo::new(upgrade.await.unwrap());
                    let (mut reader, mut writer) = tokio::io::split(io);
                    let _ = tokio::io::copy(&mut reader, &mut writer).await;
                });
                let response = Response::builder().status(101).header(header::UPGRADE, "echo");
                response.header(header::CONNECTION, "upgrade").body(full("")).unwrap()
            }
            _ => Response::new(full("at once")),
        }
    })
    .await
}

fn stream() -> ServerBody {
    let frames = tokio_stream::iter(0..10).then(|_| async {
        sleep(Duration::from_millis(15)).await;
        Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"0123456789")))
    });
    StreamBody::new(frames).boxed_unsync()
}

async fn request(balance: &Rolling, method: Method, path: &str) -> Result<(), BoxError> {
    let body = Full::new(Bytes::from_static(b"a body"));
    let request = Request::builder().method(method).uri(format!("http://x{path}")).body(body)?;
    let response = soon(balance.clone().oneshot(request)).await?;
    let status = response.status();
    let length = soon(response.into_body().collect()).await?.to_bytes().len();
    let whole = status == 200 && (path != "/stream" || length == 100);
    if whole { Ok(()) } else { Err(format!("{path}: {status}, {length} bytes").into()) }
}

async fn tunnel(balance: &Rolling) -> Result<(), BoxError> {
    let request = Request::get("http://x/tunnel").header(header::CONNECTION, "upgrade");
    let request = request.header(header::UPGRADE, "echo").body(Full::default())?;
    let mut response = soon(balance.clone().oneshot(request)).await?;
    let lease = response.extensions_mut().remove::<HeldLease>().ok_or("no tunnel")?;
    let mut stream = TokioIo::new(soon(hyper::upgrade::on(response)).await?);
    for _ in 0..10 {
        stream.write_all(b"ping").await?;
        let mut answer = [0; 4];
        soon(stream.read_exact(&mut answer)).await?;
        sleep(Duration::from_millis(10)).await;
    }
    drop((stream, lease));
    Ok(())
}

async fn one(balance: &Rolling, number: u64) -> Result<(), BoxError> {
    let methods = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH];
    let method = methods[number as usize % methods.len()].clone();
    match number % 4 {
        0 => tunnel(balance).await,
        1 => request(balance, method, "/slow").await,
        2 => request(balance, method, "/stream").await,
        _ => request(balance, method, "/").await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_restart_of_ten_servers_loses_nothing_of_any_kind() {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let balance: Rolling = Balance::builder().shared(client).unwrap();
    let mut servers = Vec::new();
    for name in NAMES {
        let server = server(name).await;
        balance.cluster().insert(server.endpoint()).unwrap();
        servers.push(server);
    }
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..40_u64)
        .map(|first| {
            let (balance, stop, done) = (balance.clone(), Arc::clone(&stop), Arc::clone(&done));
            tokio::spawn(async move {
                let mut number = first;
                while !stop.load(Ordering::Relaxed) {
                    one(&balance, number).await.unwrap_or_else(|error| panic!("{error:?}"));
                    done.fetch_add(1, Ordering::Relaxed);
                    number += 1;
                }
            })
        })
        .collect();
    for (place, name) in NAMES.into_iter().enumerate() {
        while done.load(Ordering::Relaxed) < 50 * (place as u64 + 1) {
            sleep(Duration::from_millis(5)).await;
        }
        let id = servers[place].endpoint().id().clone();
        let cluster = balance.cluster();
        let drain = cluster.drain(&id, DrainOptions::new().deadline(Duration::from_secs(20)));
        let report = soon(drain.unwrap()).await;
        assert!(report.is_empty() && report.forced == 0, "{name}: {report}");
        // The old one goes with all its connections, another takes its place.
        servers[place] = server(name).await;
        cluster.insert(servers[place].endpoint()).unwrap();
        let _ = cluster.set_admin(&id, Admin::Ready, "test");
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let status = balance.cluster().status();
    assert!(status.endpoints.iter().all(|endpoint| endpoint.in_flight == 0));
    assert!(status.endpoints.iter().all(|endpoint| endpoint.failures == 0));
}
