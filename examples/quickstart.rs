//! Two thousand requests over real sockets, while one endpoint joins and another one leaves:
//! none fails.
//!
//! ```text
//! cargo run --example quickstart
//! ```

use std::collections::BTreeMap;
use std::convert::Infallible;

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
use tower::ServiceExt;
use whippletree::balance::Addressed;
use whippletree::{Balance, BoxError, Endpoint, Weight};

const REQUESTS: usize = 2000;
const AT_ONCE: usize = 50;

type HttpClient = Client<HttpConnector, Empty<Bytes>>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (a, _) = start_server("a").await?;
    let (b, b_server) = start_server("b").await?;
    let (c, _) = start_server("c").await?;
    let (d, _) = start_server("d").await?;
    let leaving = b.id().clone();

    // All it takes: endpoints, and a client that they share.
    let client: HttpClient = Client::builder(TokioExecutor::new()).build_http();
    let balance = Balance::builder().endpoint(a).endpoint(b).endpoint(c).shared(client)?;

    let mut report = Report::default();
    let mut answers =
        stream::iter(0..REQUESTS).map(|_| get(balance.clone())).buffer_unordered(AT_ONCE);
    let cluster = balance.cluster();
    while let Some(answer) = answers.next().await {
        report.count(answer);
        let done = report.done();
        if done == REQUESTS / 4 {
            cluster.insert(d.clone())?;
            report.note("d", format!("joined after {done}"));
        }
        if done == REQUESTS / 2 {
            // Weight 0: no new requests. Those under way may finish.
            cluster.set_weight(&leaving, Weight::new(0)?)?;
            report.note("b", format!("drained after {done}"));
        }
        let status = cluster.status();
        let idle = |id| status.endpoints.iter().any(|e| e.endpoint.id() == id && e.in_flight == 0);
        if done > REQUESTS / 2 && idle(&leaving) {
            cluster.remove(&leaving);
            b_server.abort();
            report.note("b", format!("drained after {}, gone after {done}", REQUESTS / 2));
        }
    }
    report.print();
    if report.failed > 0 {
        return Err(format!("{} requests failed", report.failed).into());
    }
    Ok(())
}

/// Sends one request and reads the whole answer: the name of the server that gave it.
async fn get(balance: Balance<Addressed<HttpClient>>) -> Result<String, BoxError> {
    let request = Request::get("/whoami").body(Empty::new())?;
    let response = balance.oneshot(request).await?;
    let body = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(body.to_vec())?)
}

/// Starts a hyper server that answers with its name, until it is aborted.
async fn start_server(name: &'static str) -> Result<(Endpoint, AbortHandle), BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = Endpoint::from(listener.local_addr()?).with_id(name)?;
    let answer = move |_: Request<Incoming>| async move {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(name))))
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

/// Who served what.
#[derive(Default)]
struct Report {
    served: BTreeMap<String, usize>,
    notes: BTreeMap<String, String>,
    failed: usize,
}

impl Report {
    fn count(&mut self, answer: Result<String, BoxError>) {
        match answer {
            Ok(server) => *self.served.entry(server).or_default() += 1,
            Err(error) => {
                eprintln!("failed: {error}");
                self.failed += 1;
            }
        }
    }

    fn done(&self) -> usize {
        self.served.values().sum::<usize>() + self.failed
    }

    fn note(&mut self, server: &str, note: String) {
        self.notes.insert(server.to_owned(), note);
    }

    fn print(&self) {
        println!("server  served  note");
        for (server, served) in &self.served {
            let note = self.notes.get(server).map_or("", String::as_str);
            println!("{server:<6}  {served:>6}  {note}");
        }
        println!("failed  {:>6}", self.failed);
    }
}
