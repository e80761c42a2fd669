//! Real servers, real balancers in front of them, real browsers as far as cookies go.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tower::{Layer, ServiceExt};
use whippletree::balance::{Addressed, Balance};
use whippletree::cluster::State;
use whippletree::health::Thresholds;
use whippletree::probe::Probe;
use whippletree::sticky::StickyLayer;
use whippletree::{Cluster, Endpoint};

use crate::world::KEY;

/// A server that answers with its name, and can be stopped and started again at its address.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    task: Option<JoinHandle<()>>,
    served: Arc<AtomicU32>,
}

impl Server {
    pub(crate) async fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = Arc::new(AtomicU32::new(0));
        let task = Some(serve(listener, name.to_owned(), Arc::clone(&served)));
        Self { name: name.to_owned(), address, task, served }
    }

    pub(crate) async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    pub(crate) async fn restart(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.task = Some(serve(listener, self.name.clone(), Arc::clone(&self.served)));
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::from(self.address).with_id(&self.name).unwrap()
    }
}

fn serve(listener: TcpListener, name: String, served: Arc<AtomicU32>) -> JoinHandle<()> {
    on_each(listener, move |_| {
        served.fetch_add(1, Ordering::Relaxed);
        let response = Response::new(Full::new(Bytes::from(name.clone())));
        async { response }
    })
}

fn on_each<H, F, B>(listener: TcpListener, handle: H) -> JoinHandle<()>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<whippletree::BoxError>> + Send + 'static,
{
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let handle = handle.clone();
            connections.spawn(async move {
                let service = service_fn(move |request| {
                    let response = handle(request);
                    async { Ok::<_, Infallible>(response.await) }
                });
                let server = hyper::server::conn::http1::Builder::new();
                // How a connection ends is the client's affair.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

type Shared = Addressed<Client<HttpConnector, Incoming>>;

/// A balancer with sticky sessions. Dropping it ends it, with all it knows.
pub(crate) struct Balancer {
    pub(crate) cluster: Cluster<Shared>,
    pub(crate) layer: StickyLayer,
    pub(crate) url: String,
    tasks: Vec<JoinHandle<()>>,
}

/// How long a home may be out in these tests: a tenth of the default's proportions, so that they end
/// soon.
pub(crate) const REBIND_AFTER: Duration = Duration::from_secs(3);

impl Balancer {
    pub(crate) async fn start(endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let builder = endpoints
            .into_iter()
            .fold(Balance::builder(), |builder, endpoint| builder.endpoint(endpoint));
        let balance = builder.shared(client).unwrap();
        let cluster = balance.cluster().clone();
        let probe = Probe::custom(|target| async move {
            let address = target.endpoint().address().authority().to_string();
            TcpStream::connect(address).await.map(drop)
        });
        let probe =
            probe.interval(Duration::from_millis(50)).thresholds(Thresholds::new().fall(1).rise(1));
        let probing = tokio::spawn(cluster.probe(probe));
        let layer =
            StickyLayer::builder().key(KEY).rebind_after(REBIND_AFTER).build(&cluster).unwrap();
        let sticky = layer.layer(balance);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let serving = on_each(listener, move |request| {
            let response = sticky.clone().oneshot(request);
            async { response.await.unwrap_or_else(|error| panic!("{error}: {error:?}")) }
        });
        cluster.available().await;
        Self { cluster, layer, url, tasks: vec![probing, serving] }
    }

    /// Waits until the endpoint is in this state, and all others are up.
    pub(crate) async fn settle(&self, id: &str, state: State) {
        let settled = || {
            let endpoints = self.cluster.status().endpoints;
            endpoints.iter().all(|endpoint| {
                let expected =
                    if endpoint.endpoint.id().as_str() == id { state } else { State::Up };
                endpoint.state == expected
            })
        };
        for _ in 0..1000 {
            if settled() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{id} is not {state}: {:?}", self.cluster.status());
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// A browser with a cookie jar.
pub(crate) fn browser() -> reqwest::Client {
    let builder = reqwest::Client::builder().cookie_store(true).pool_max_idle_per_host(0);
    builder.build().unwrap()
}

/// Who serves this user now.
pub(crate) async fn visit(browser: &reqwest::Client, balancer: &Balancer) -> String {
    browser.get(&balancer.url).send().await.unwrap().text().await.unwrap()
}
