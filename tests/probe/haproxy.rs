//! A real HAProxy configuration, translated, over real sockets:
//!
//! ```text
//! backend web
//!     balance roundrobin
//!     option httpchk GET /api/v1/health
//!     default-server inter 5s fall 3 rise 2
//!     server a 127.0.0.1:8081 check
//!     server b 127.0.0.1:8082 check
//! ```
//!
//! Every check of `a` waits for the test, so that nothing is guessed by time: when one begins, what
//! those before it found has been told, and the state has to be what the integer says.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tower::{Service, ServiceExt};
use whippletree::balance::Addressed;
use whippletree::cluster::State;
use whippletree::health::Thresholds;
use whippletree::policy::RoundRobin;
use whippletree::probe::Probe;
use whippletree::{Balance, Endpoint};

use crate::support::{HttpClient, client, get, soon, status, text};

const HEALTH: &str = "/api/v1/health";

/// All of HAProxy's times are divided by this.
const FACTOR: u32 = 20;

/// How a server behaves on its health path; everything else it always serves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Well,
    Failing,
    Hanging,
}

struct Server {
    address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(name: &'static str, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mood = Arc::new(Mutex::new(Mood::Well));
        let moods = Arc::clone(&mood);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let moods = Arc::clone(&moods);
                let service = service_fn(move |request| {
                    let mood = *moods.lock().unwrap();
                    serve(name, request, mood)
                });
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move { drop(connection.await) });
            }
        });
        Self { address, mood, task }
    }

    fn becomes(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// Its port and its connections are closed when this returns.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

async fn serve(
    name: &'static str,
    request: Request<Incoming>,
    mood: Mood,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::from(name));
    match mood {
        _ if request.uri().path() != HEALTH => {}
        Mood::Well => {}
        Mood::Failing => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
        Mood::Hanging => pending().await,
    }
    Ok(response)
}

/// A check of `a` that waits to be let go on.
type Arrival = oneshot::Sender<()>;

/// What the checks of `a` found, `S` or `F`.
type Log = Arc<Mutex<String>>;

/// The endpoint's service; checks of `a` wait for the test.
#[derive(Clone)]
struct Gate {
    inner: Addressed<HttpClient>,
    arrivals: Option<mpsc::UnboundedSender<Arrival>>,
    log: Log,
}

impl Service<Request<Empty<Bytes>>> for Gate {
    type Response = Response<Incoming>;
    type Error = hyper_util::client::legacy::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, task: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<Empty<Bytes>>>::poll_ready(&mut self.inner, task)
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        let gated = self.arrivals.clone().filter(|_| request.uri().path() == HEALTH);
        let call = self.inner.call(request);
        let Some(arrivals) = gated else {
            return Box::pin(call);
        };
        let mut entry = Entry { log: Arc::clone(&self.log), result: 'F' };
        Box::pin(async move {
            let (go, gone) = oneshot::channel();
            // At the end of the test there is nobody to wait for.
            if arrivals.send(go).is_ok() {
                let _ = gone.await;
            }
            let response = call.await?;
            entry.of(&response);
            Ok(response)
        })
    }
}

/// Stands in the log when the check is over, also by its timeout.
struct Entry {
    log: Log,
    result: char,
}

impl Entry {
    fn of(&mut self, response: &Response<Incoming>) {
        self.result = if response.status().is_success() { 'S' } else { 'F' };
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.log.lock().unwrap().push(self.result);
    }
}

/// HAProxy's integer, rise 2 fall 3, after these results: up from 2 on, and the first one decides
/// alone.
fn integer(results: &str) -> u32 {
    let step = |(nth, value): (usize, u32), result| match (result, value) {
        ('S', value) => {
            (nth + 1, if nth == 0 || value + 1 >= 2 { 4.min(value.max(3) + 1) } else { 1 })
        }
        (_, value) if value <= 2 => (nth + 1, 0),
        (_, value) => (nth + 1, value - 1),
    };
    results.chars().fold((0, 0), step).1
}

struct World {
    balance: Balance<Gate>,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    held: Option<Arrival>,
    log: Log,
    a: Option<Server>,
    _b: Server,
}

impl World {
    async fn new() -> Self {
        let anywhere: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (a, b) = (Server::start("a", anywhere).await, Server::start("b", anywhere).await);
        let probe = Probe::http(HEALTH)
            .unwrap()
            .through::<Gate, Empty<Bytes>>()
            .interval(Duration::from_secs(5) / FACTOR)
            .timeout(Duration::from_secs(5) / FACTOR)
            .thresholds(Thresholds::new().fall(3).rise(2));
        let (sender, arrivals) = mpsc::unbounded_channel();
        let log = Log::default();
        let entries = Arc::clone(&log);
        let client = client();
        let endpoint = |server: &Server, id| Endpoint::from(server.address).with_id(id).unwrap();
        let balance = Balance::builder()
            .endpoint(endpoint(&a, "a"))
            .endpoint(endpoint(&b, "b"))
            .policy(RoundRobin::new())
            .probe(probe)
            .connect(move |endpoint| Gate {
                inner: Addressed::new(client.clone(), endpoint),
                arrivals: Some(sender.clone()).filter(|_| endpoint.id().as_str() == "a"),
                log: Arc::clone(&entries),
            })
            .unwrap();
        let mut events = balance.cluster().subscribe();
        let mut world = Self { balance, arrivals, held: None, log, a: Some(a), _b: b };
        world.until(State::Up, 0).await;
        while world.balance.cluster().status().available() < 2 {
            soon(events.next()).await.unwrap();
        }
        world
    }

    fn results(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Awaits the next check of `a`, and finds the state to be what all before it come to.
    async fn arrival(&mut self) -> Arrival {
        if let Some(held) = self.held.take() {
            return held;
        }
        let arrival = soon(self.arrivals.recv()).await.unwrap();
        let results = self.results();
        if !results.is_empty() {
            let expected = if integer(&results) >= 2 { State::Up } else { State::Down };
            assert_eq!(status(self.balance.cluster(), "a").state, expected, "after {results}");
        }
        arrival
    }

    /// Lets the next check of `a` go on once `change` is made.
    async fn check_after(&mut self, change: impl AsyncFnOnce(&mut Self)) {
        let arrival = self.arrival().await;
        change(self).await;
        // If the machine is so busy that it has failed meanwhile, that is in the log.
        let _ = arrival.send(());
    }

    async fn check(&mut self) {
        self.check_after(async |_| {}).await;
    }

    /// Lets checks be made until `a` is in this state; answers what those since `from` found. The
    /// next one is held.
    async fn until(&mut self, state: State, from: usize) -> String {
        loop {
            let arrival = self.arrival().await;
            if status(self.balance.cluster(), "a").state == state {
                self.held = Some(arrival);
                return self.results()[from..].to_owned();
            }
            let _ = arrival.send(());
        }
    }

    async fn served_by(&self) -> BTreeSet<String> {
        let mut served = BTreeSet::new();
        for _ in 0..10 {
            let response = soon(self.balance.clone().oneshot(get("/"))).await.unwrap();
            served.insert(text(response.into_body()).await);
        }
        served
    }
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

/// Out after three checks that failed, in after two that passed, and requests go where they can.
async fn falls_and_rises(sicken: impl AsyncFnOnce(&mut World), heal: impl AsyncFnOnce(&mut World)) {
    let mut world = World::new().await;
    assert_eq!(world.served_by().await, names(["a", "b"]));
    world.check_after(sicken).await;
    let seen = world.until(State::Down, 1).await;
    assert!(seen.ends_with("FFF"), "{seen}");
    assert_eq!(
        integer(&format!("S{}", &seen[..seen.len() - 1])),
        2,
        "not before the third: {seen}"
    );
    assert_eq!(world.served_by().await, names(["b"]));

    let before = world.results().len();
    world.check_after(heal).await;
    let seen = world.until(State::Up, before).await;
    assert!(seen.ends_with("SS") && !seen.ends_with("SSS"), "{seen}");
    assert_eq!(world.served_by().await, names(["a", "b"]));
}

#[tokio::test]
async fn a_killed_server_is_out_after_three_checks_and_back_after_two() {
    let address = Mutex::new(None);
    falls_and_rises(
        async |world| {
            let server = world.a.take().unwrap();
            *address.lock().unwrap() = Some(server.address);
            server.kill().await;
        },
        async |world| {
            let address = address.lock().unwrap().unwrap();
            world.a = Some(Server::start("a", address).await);
        },
    )
    .await;
}

async fn mood(mood: Mood) {
    let set = async move |world: &mut World| world.a.as_ref().unwrap().becomes(mood);
    let well = async |world: &mut World| world.a.as_ref().unwrap().becomes(Mood::Well);
    falls_and_rises(set, well).await;
}

#[tokio::test]
async fn a_hanging_server_is_out_after_three_checks_and_back_after_two() {
    mood(Mood::Hanging).await;
}

#[tokio::test]
async fn a_server_that_answers_500_is_out_after_three_checks_and_back_after_two() {
    mood(Mood::Failing).await;
}

#[tokio::test]
async fn a_flapping_server_is_in_the_state_that_the_integer_says() {
    let mut world = World::new().await;
    for result in "FSFSFFSFFSFSFFFSFSFFSSFFSFSS".chars() {
        let mood = if result == 'S' { Mood::Well } else { Mood::Failing };
        world.check_after(async |world| world.a.as_ref().unwrap().becomes(mood)).await;
    }
    world.check().await;
    let results = world.results();
    assert!(results.contains("FFFS") && results.len() >= 28, "{results}");
}

#[test]
fn the_integer_is_haproxys() {
    let values = |results: &str| -> Vec<u32> {
        (2..=results.len()).map(|end| integer(&results[..end])).collect()
    };
    // From the top, and from the bottom.
    assert_eq!(values("SFFSFFF"), [3, 2, 4, 3, 2, 0]);
    assert_eq!(values("FSFSS"), [1, 0, 1, 4]);
}
