//! Eight times the load that there is room for, over real sockets.
//!
//! Three servers work on 8 requests at once each, 50 ms each: 480 requests a second. The burst lasts
//! 6 s here; `WHIPPLETREE_BURST_SECONDS` sets another length, 30 for the full one.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};
use tower::ServiceExt;
use whippletree::Balance;
use whippletree::limit::{Queue, too_busy};

use self::support::server::{Server, full};
use self::support::{HttpBalance, client};

const WORK: Duration = Duration::from_millis(50);
const LIMIT: u32 = 8;
const SERVERS: usize = 3;
/// Requests a second.
const CAPACITY: f64 = (LIMIT as usize * SERVERS) as f64 / 0.05;
const QUEUE_TIMEOUT: Duration = Duration::from_millis(200);

fn burst() -> Duration {
    let seconds = std::env::var("WHIPPLETREE_BURST_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or(6))
}

/// A server that works on as many requests at once as its limit says, however many it is sent.
async fn server(name: &'static str) -> Server {
    let room = Arc::new(Semaphore::new(LIMIT as usize));
    Server::with(name, move |_| {
        let room = Arc::clone(&room);
        async move {
            let _place = room.acquire().await.unwrap();
            sleep(WORK).await;
            Response::new(full("done"))
        }
    })
    .await
}

/// What became of one request.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// When it was sent, since the start of the phase.
    sent: Duration,
    took: Duration,
    status: StatusCode,
}

/// What a gateway does with a request: serves it, or says 503.
async fn edge(balance: HttpBalance, begin: Instant) -> Told {
    let sent = begin.elapsed();
    let request = Request::get("/").body(Empty::new()).unwrap();
    let status = match balance.oneshot(request).await {
        Ok(response) => {
            let status = response.status();
            response.into_body().collect().await.unwrap();
            status
        }
        Err(error) => {
            let response: Response<String> =
                too_busy(&error, Duration::from_secs(1)).expect("overload");
            assert_eq!(response.headers()["retry-after"], "1");
            response.status()
        }
    };
    Told { sent, took: begin.elapsed() - sent, status }
}

/// Sends so many requests a second for this long, whatever becomes of them.
async fn load(balance: &HttpBalance, rate: f64, time: Duration) -> Vec<Told> {
    let begin = Instant::now();
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut requests = tokio::task::JoinSet::new();
    for number in 0..(rate * time.as_secs_f64()) as u64 {
        sleep_until(begin + Duration::from_secs_f64(number as f64 / rate)).await;
        let (balance, told) = (balance.clone(), Arc::clone(&told));
        requests.spawn(async move {
            let one = edge(balance, begin).await;
            told.lock().unwrap().push(one);
        });
    }
    requests.join_all().await;
    Arc::into_inner(told).unwrap().into_inner().unwrap()
}

fn latency(told: impl Iterator<Item = Told>, percent: usize) -> Duration {
    let mut times: Vec<Duration> = told.map(|told| told.took).collect();
    times.sort_unstable();
    times.get(times.len() * percent / 100).copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_times_the_load_costs_no_goodput_and_is_over_when_it_is_over() {
    let servers = [server("a").await, server("b").await, server("c").await];
    let limited = servers.each_ref().map(|server| server.endpoint().with_max_in_flight(LIMIT));
    let queue = Queue::new().size(48).timeout(QUEUE_TIMEOUT);
    let balance = Balance::builder().queue(queue).endpoints(limited).unwrap().shared(client());
    let balance = balance.unwrap();

    // Half the capacity: nobody is turned away. If the machine is too busy for that, all is void.
    let quiet = load(&balance, CAPACITY / 2.0, Duration::from_secs(2)).await;
    let normal = latency(quiet.iter().copied(), 99);
    if normal > WORK * 3 {
        eprintln!("void: without overload p99 is {normal:?} already");
        return;
    }
    assert!(quiet.iter().all(|told| told.status.is_success()));

    let begin = Instant::now();
    let stormy = load(&balance, CAPACITY / 2.0 * 8.0, burst()).await;
    let took = begin.elapsed().as_secs_f64();
    let is_served = |told: &&Told| told.status.is_success();
    let served = stormy.iter().filter(is_served).count();
    let goodput = served as f64 / took;
    let accepted = latency(stormy.iter().filter(is_served).copied(), 99);
    let refused = stormy.iter().filter(|told| told.status == StatusCode::SERVICE_UNAVAILABLE);
    let refusal = latency(refused.clone().copied(), 99);
    let (all, refused) = (stormy.len(), refused.count());

    let after = load(&balance, CAPACITY / 2.0, Duration::from_secs(3)).await;
    let late = after.iter().filter(|told| told.sent >= Duration::from_secs(1)).copied();
    let recovered = latency(late.clone(), 99);
    println!(
        "{all} requests in {took:.1} s: {goodput:.0}/s served of {CAPACITY:.0}/s possible, p99 \
         {accepted:?}; {refused} refused, p99 {refusal:?}; normal p99 {normal:?}, a second after \
         the burst {recovered:?}"
    );
    assert_eq!(served + refused, all, "each was served or told");
    assert!(goodput >= 0.9 * CAPACITY, "goodput {goodput:.0} of {CAPACITY:.0}");
    assert!(accepted <= WORK + QUEUE_TIMEOUT + Duration::from_millis(100), "{accepted:?}");
    assert!(refusal <= QUEUE_TIMEOUT + Duration::from_millis(100), "{refusal:?}");
    assert!(late.clone().all(|told| told.status.is_success()));
    assert!(recovered <= normal * 2, "{recovered:?}, was {normal:?}");
    let status = balance.cluster().status();
    assert_eq!(status.queue.waiting, 0);
    assert!(status.endpoints.iter().all(|endpoint| endpoint.in_flight == 0), "{status:?}");
}
