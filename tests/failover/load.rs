//! A steady load, and what became of it.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tower::ServiceExt;
use whippletree::Balance;
use whippletree::balance::Addressed;
use whippletree::failover::{FailoverService, Replay};

pub(crate) type HttpClient = Client<HttpConnector, Replay<Empty<Bytes>>>;
pub(crate) type Service = FailoverService<Balance<Addressed<HttpClient>>>;

pub(crate) fn client() -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(Duration::from_secs(1)));
    Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector)
}

/// What became of a phase of load.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// From the moment at which a request was due, so that a stall counts for all it delayed.
    latencies: Vec<Duration>,
    pub(crate) failures: Vec<String>,
}

impl Report {
    pub(crate) fn requests(&self) -> usize {
        self.latencies.len() + self.failures.len()
    }

    /// The latency that this share of the requests stays within.
    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        let place = (self.latencies.len() as f64 * percent / 100.0).ceil() as usize;
        self.latencies[place.clamp(1, self.latencies.len()) - 1]
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} requests, {} failed, p50 {:.1?}, p99 {:.1?}, p99.9 {:.1?}, max {:.1?}",
            self.requests(),
            self.failures.len(),
            self.percentile(50.0),
            self.percentile(99.0),
            self.percentile(99.9),
            self.percentile(100.0),
        )
    }
}

/// Sends `GET`s at this rate, each when it is due, whatever became of those before.
pub(crate) async fn run(service: &Service, per_second: u32, time: Duration) -> Report {
    let mut tasks = JoinSet::new();
    let mut ticks = interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let start = Instant::now();
    let total = (time.as_secs_f64() * f64::from(per_second)) as u32;
    let mut sent = 0;
    while sent < total {
        ticks.tick().await;
        let wanted = (start.elapsed().as_secs_f64() * f64::from(per_second)) as u32;
        while sent < wanted.min(total) {
            let due = start + Duration::from_secs_f64(f64::from(sent) / f64::from(per_second));
            let service = service.clone();
            tasks.spawn(async move {
                let result = get(service).await;
                result.map(|()| due.elapsed())
            });
            sent += 1;
        }
    }
    let mut report = Report::default();
    while let Some(done) = tasks.join_next().await {
        match done.unwrap() {
            Ok(latency) => report.latencies.push(latency),
            Err(reason) => report.failures.push(reason),
        }
    }
    report.latencies.sort_unstable();
    report
}

async fn get(service: Service) -> Result<(), String> {
    let request = Request::get("/").body(Empty::new()).unwrap();
    let response = service.oneshot(request).await.map_err(|error| format!("{error:?}"))?;
    if !response.status().is_success() {
        return Err(response.status().to_string());
    }
    let body = response.into_body().collect().await.map_err(|error| error.to_string())?;
    (body.to_bytes() == "well").then_some(()).ok_or_else(|| "a wrong body".into())
}
