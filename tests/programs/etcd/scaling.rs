//! A fleet that grows and shrinks under load.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tower::ServiceExt;
use whippletree::balance::Addressed;
use whippletree::discover::Registration;
use whippletree::health::SlowStart;
use whippletree::{Balance, Endpoint};

use super::*;

/// A server that announces itself.
struct Instance {
    registration: Registration,
    served: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Instance {
    async fn start(etcd: &Etcd) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let served = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&served);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let count = Arc::clone(&count);
                let service = service_fn(move |_| {
                    count.fetch_add(1, Ordering::Relaxed);
                    async {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("ok"))))
                    }
                });
                connections.spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        let registration = etcd.register(Endpoint::from(address)).unwrap();
        Self { registration, served, task }
    }

    /// Leaves as a server should: says so, answers what is on its way, goes.
    async fn stop(self) {
        self.registration.leave().await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.registration.deregister().await.unwrap();
        self.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs etcd"]
async fn fleet_grows_to_forty_and_shrinks_without_a_failed_request() {
    let server = Server::start().await;
    let etcd = etcd(&server.url());
    let mut fleet = vec![Instance::start(&etcd).await];
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let slow = SlowStart::new(Duration::from_secs(1));
    let cluster = Cluster::builder()
        .slow_start(slow)
        .connect(move |endpoint| Addressed::new(client.clone(), endpoint));
    tokio::spawn(cluster.discover("etcd", etcd.clone().watch()));
    let balance = Balance::new(cluster);
    eventually(|| balance.cluster().len() == 1).await;

    let stop = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for _ in 0..8 {
        let (balance, stop) = (balance.clone(), Arc::clone(&stop));
        load.spawn(async move {
            let mut requests = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let request = Request::get("http://web/").body(Full::default()).unwrap();
                let response = balance.clone().oneshot(request).await.unwrap();
                assert!(response.status().is_success());
                response.into_body().collect().await.unwrap();
                requests += 1;
            }
            requests
        });
    }
    while fleet.len() < 40 {
        fleet.push(Instance::start(&etcd).await);
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    eventually(|| balance.cluster().len() == 40).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let served = fleet.iter().filter(|one| one.served.load(Ordering::Relaxed) > 0).count();
    assert_eq!(served, 40);
    let mut leaving = JoinSet::new();
    for instance in fleet.drain(1..) {
        leaving.spawn(instance.stop());
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    while let Some(left) = leaving.join_next().await {
        left.unwrap();
    }
    eventually(|| balance.cluster().len() == 1).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let mut requests = 0;
    while let Some(done) = load.join_next().await {
        requests += done.unwrap();
    }
    assert!(requests > 1000, "{requests} requests");
}
