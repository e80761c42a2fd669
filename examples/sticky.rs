//! The morning of the exam: affinity makes load uneven, and safe points make it even again.
//!
//! Two hundred pupils of one large school come first, when one server of five is up, and are at home
//! there. Then all five are up, and everybody works: each asks once a second and says, by a response
//! header of the application, when a page is handed in. Sessions move then, and only then.
//!
//! ```sh
//! cargo run --example sticky --features cookie
//! ```

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{COOKIE, SET_COOKIE};
use http::{Request, Response};
use http_body_util::{Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt};
use whippletree::balance::{Addressed, ServedBy};
use whippletree::sticky::{Session, SessionState, Sticky, StickyLayer};
use whippletree::{Balance, BoxError, Cluster, Endpoint};

const PUPILS: usize = 200;

/// So many requests end a page.
const PAGE: usize = 10;

/// The example's second, so that it does not take a minute.
const SECOND: Duration = Duration::from_millis(100);

type HttpClient = Addressed<Client<HttpConnector, Empty<Bytes>>>;
type Front = Sticky<Balance<HttpClient>>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut servers = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        servers.push(Endpoint::from(serve().await?).with_id(name)?);
    }
    let client = Client::builder(TokioExecutor::new()).build_http();
    let balance = Balance::builder().endpoint(servers[0].clone()).shared(client)?;
    let cluster = balance.cluster().clone();
    let layer = StickyLayer::builder()
        .key("32 bytes of a random generator..")
        // Ten a second, in the example's seconds.
        .migrate_rate(100)
        .on_move(
            |session, _from, to| async move { hand_over(&session.to_string(), to.as_str()).await },
        )
        .build(&cluster)?;
    let front = layer.layer(balance);

    let mut pupils: Vec<Pupil> = (0..PUPILS).map(Pupil::new).collect();
    println!(
        "{:<34}{:>5}{:>5}{:>5}{:>5}{:>5}{:>10}{:>7}",
        "", "a", "b", "c", "d", "e", "peak", "cut"
    );
    everybody_asks(&mut pupils, &front, Speaks::No).await?;
    cluster.replace(servers)?;
    print("the school is here first", &cluster, &pupils);
    for _ in 0..5 {
        everybody_asks(&mut pupils, &front, Speaks::No).await?;
    }
    print("five seconds without safe points", &cluster, &pupils);
    for second in 1..=20 {
        everybody_asks(&mut pupils, &front, Speaks::Yes).await?;
        tokio::time::sleep(SECOND).await;
        if second % 4 == 0 {
            print(&format!("{second} seconds with safe points"), &cluster, &pupils);
        }
    }
    let counts = layer.counts();
    println!(
        "\n{} sessions began, {} moved, {} were deferred to keep to the rate, {} could not move.",
        counts.new, counts.moved, counts.deferred, counts.stayed
    );
    let cut: usize = pupils.iter().map(|pupil| pupil.cut).sum();
    assert!(peak(&cluster) < 1.25 && cut == 0 && counts.new == PUPILS as u64);
    Ok(())
}

/// Whether the application says when a page is handed in.
#[derive(Clone, Copy, PartialEq)]
enum Speaks {
    Yes,
    No,
}

/// A pupil's browser.
struct Pupil {
    cookie: Option<String>,
    /// The requests so far; not all begin a page at once.
    requests: usize,
    server: Option<ServedBy>,
    at_safe_point: bool,
    /// How often another server answered within a page.
    cut: usize,
}

impl Pupil {
    fn new(number: usize) -> Self {
        let (cookie, server) = (None, None);
        Self { cookie, requests: number, server, at_safe_point: true, cut: 0 }
    }

    async fn ask(&mut self, front: &Front, speaks: Speaks) -> Result<(), BoxError> {
        self.requests += 1;
        let page_ends = speaks == Speaks::Yes && self.requests % PAGE == 0;
        let path = if page_ends { "/hand-in" } else { "/work" };
        let mut request = Request::get(format!("http://exam{path}"));
        if let Some(cookie) = &self.cookie {
            request = request.header(COOKIE, cookie);
        }
        let response = front.clone().oneshot(request.body(Empty::new())?).await?;
        let served = response.extensions().get::<ServedBy>().cloned();
        let elsewhere = self.server.is_some() && self.server != served;
        self.cut += usize::from(elsewhere && !self.at_safe_point);
        if let Some(set) = response.headers().get(SET_COOKIE) {
            self.cookie = set.to_str()?.split(';').next().map(str::to_owned);
        }
        let session = response.extensions().get::<Session>();
        let moved = session.is_some_and(|session| session.state == SessionState::Moved);
        assert!(page_ends || !moved, "a session moved within a page");
        (self.server, self.at_safe_point) = (served, page_ends);
        Ok(())
    }
}

async fn everybody_asks(
    pupils: &mut [Pupil],
    front: &Front,
    speaks: Speaks,
) -> Result<(), BoxError> {
    for pupil in pupils {
        pupil.ask(front, speaks).await?;
    }
    Ok(())
}

/// What the application does so that the next server knows the session: here, nothing.
async fn hand_over(_session: &str, _to: &str) -> Result<(), BoxError> {
    Ok(())
}

/// The busiest server beside the mean.
fn peak(cluster: &Cluster<HttpClient>) -> f64 {
    let sessions = sessions(cluster);
    let most = sessions.iter().max().copied().unwrap_or(0);
    f64::from(most) * sessions.len() as f64 / f64::from(sessions.iter().sum::<u32>())
}

fn sessions(cluster: &Cluster<HttpClient>) -> Vec<u32> {
    let endpoints = cluster.status().endpoints;
    endpoints.iter().map(|endpoint| endpoint.sessions.unwrap_or(0)).collect()
}

fn print(what: &str, cluster: &Cluster<HttpClient>, pupils: &[Pupil]) {
    print!("{what:<34}");
    sessions(cluster).iter().for_each(|sessions| print!("{sessions:>5}"));
    let cut: usize = pupils.iter().map(|pupil| pupil.cut).sum();
    println!("{:>9.2}x{cut:>7}", peak(cluster));
}

/// A server of the application: it says when the page is handed in.
async fn serve() -> Result<SocketAddr, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: Request<Incoming>| async move {
                let mut response = Response::new(Full::new(Bytes::from("done")));
                if request.uri().path() == "/hand-in" {
                    let header = http::HeaderValue::from_static("1");
                    response.headers_mut().insert("x-session-safe-point", header);
                }
                Ok::<_, Infallible>(response)
            });
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(
                async move { server.serve_connection(TokioIo::new(stream), service).await },
            );
        }
    });
    Ok(address)
}
