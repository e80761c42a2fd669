//! Three servers with room for ten requests at once each, and a burst of eight times what they bear.
//!
//! ```sh
//! cargo run --release --example overload
//! ```
//!
//! The same burst is sent four times, each time with one means more: no protection, limits, limits
//! and a queue, and all that behind a throttle on the side of the caller. See `whippletree::limit`.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Layer, Service, ServiceExt};
use whippletree::balance::{Balance, Builder};
use whippletree::limit::{Queue, ThrottleLayer, too_busy};
use whippletree::{BoxError, Endpoint};

/// Requests that a server works on at once, and how long it needs for each if it has no more.
const ROOM: u32 = 10;
const WORK: Duration = Duration::from_millis(20);

/// Requests a second that three servers bear.
const CAPACITY: u32 = 3 * 10 * 1000 / 20;

/// Nobody waits for an answer longer than this.
const PATIENCE: Duration = Duration::from_millis(500);

/// A server that gets slower with every request beyond its room: they all share its processors, and
/// switching between them costs some of what there is.
#[derive(Clone, Default)]
struct Server {
    inside: Arc<AtomicU32>,
}

impl Service<Request<()>> for Server {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<String>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let guest = Guest::enter(&self.inside);
        Box::pin(async move {
            let crowd = f64::from(guest.0.load(Ordering::Relaxed)) / f64::from(ROOM);
            sleep(WORK.mul_f64(crowd.powf(1.2).max(1.0))).await;
            Ok(Response::new(String::new()))
        })
    }
}

/// A request inside a server, until it is answered or given up.
struct Guest(Arc<AtomicU32>);

impl Guest {
    fn enter(inside: &Arc<AtomicU32>) -> Self {
        inside.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(inside))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let burst = CAPACITY * 8;
    println!("{CAPACITY} requests a second are possible, {burst} come, for 2 s:\n");
    println!("{:<28} {:>8} {:>8} {:>8} {:>8}", "with", "served/s", "p99", "refused", "gave up");
    let none = balance(Balance::builder(), 0)?;
    report("no protection", storm(none, burst).await);
    let limits = balance(Balance::builder(), ROOM)?;
    report("limits", storm(limits, burst).await);
    let queue = Queue::new().size(100).timeout(Duration::from_millis(200));
    let queued = balance(Balance::builder().queue(queue), ROOM)?;
    report("limits and a queue", storm(queued.clone(), burst).await);
    let throttle = ThrottleLayer::new().window(Duration::from_secs(2));
    report("and a throttle before them", storm(throttle.layer(queued), burst).await);
    Ok(())
}

fn balance(builder: Builder, limit: u32) -> Result<Balance<Server>, BoxError> {
    let endpoints = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"].map(Endpoint::new);
    let mut builder = builder;
    for endpoint in endpoints {
        builder = builder.endpoint(endpoint?.with_max_in_flight(limit));
    }
    Ok(builder.connect(|_| Server::default())?)
}

/// What a client sees.
enum Seen {
    Served(Duration),
    Refused,
    GaveUp,
}

/// Sends so many requests a second for two seconds, whatever becomes of them.
async fn storm<S, B>(service: S, rate: u32) -> (Vec<Seen>, Duration)
where
    S: Service<Request<()>, Response = Response<B>, Future: Send> + Clone + Send + 'static,
    S::Error: Into<BoxError> + Send,
    B: Send + 'static,
{
    let begin = Instant::now();
    let mut clients = JoinSet::new();
    for number in 0..rate * 2 {
        sleep_until(begin + Duration::from_secs(1) * number / rate).await;
        clients.spawn(client(service.clone()));
    }
    let seen = clients.join_all().await;
    (seen, begin.elapsed())
}

async fn client<S, B>(service: S) -> Seen
where
    S: Service<Request<()>, Response = Response<B>>,
    S::Error: Into<BoxError>,
{
    let begin = Instant::now();
    let answer = tokio::time::timeout(PATIENCE, service.oneshot(Request::new(()))).await;
    let status = match answer {
        Err(_) => return Seen::GaveUp,
        Ok(Ok(response)) => response.status(),
        // What an HTTP server would answer: 503 with Retry-After.
        Ok(Err(error)) => {
            let answer = too_busy::<()>(&*error.into(), Duration::from_secs(1));
            answer.map_or(StatusCode::BAD_GATEWAY, |response| response.status())
        }
    };
    if status.is_success() { Seen::Served(begin.elapsed()) } else { Seen::Refused }
}

fn report(with: &str, (seen, took): (Vec<Seen>, Duration)) {
    let mut times: Vec<Duration> = Vec::new();
    let (mut refused, mut gave_up) = (0, 0);
    for seen in seen {
        match seen {
            Seen::Served(time) => times.push(time),
            Seen::Refused => refused += 1,
            Seen::GaveUp => gave_up += 1,
        }
    }
    times.sort_unstable();
    let rate = times.len() as f64 / took.as_secs_f64();
    let p99 = times.get(times.len() * 99 / 100).map_or(0, Duration::as_millis);
    println!("{with:<28} {rate:>8.0} {:>8} {refused:>8} {gave_up:>8}", format!("{p99} ms"));
}
