//! One endpoint of several dies, stops or is slow, at a thousand requests a second.
//!
//! Every test begins with a quiet phase. If that is late already, the machine is too busy to say
//! anything: the result is void, which is printed.

use std::time::Duration;

use tower::Layer;
use whippletree::Balance;
use whippletree::failover::{Failover, FailoverLayer, Hedge};
use whippletree::load::{Cost, PeakEwma};

use crate::backend::Backend;
use crate::load::{Report, Service, client, run};

const RATE: u32 = 1_000;
const QUIET: Duration = Duration::from_secs(3);
const OUTAGE: Duration = Duration::from_secs(5);

/// A quiet p99 beyond this says that the machine is busy with other things.
const LATE: Duration = Duration::from_millis(25);

/// Latencies have three tries: the machine may be busy in between. Failures of requests have one.
async fn judged(attempt: impl AsyncFn() -> Result<(), String>) {
    let _alone = ALONE.lock().await;
    for _ in 0..2 {
        match attempt().await {
            Ok(()) => return,
            Err(late) => println!("late, once more: {late}"),
        }
    }
    attempt().await.unwrap();
}

fn within(limit: Duration, percent: f64, report: &Report) -> Result<(), String> {
    let late = report.percentile(percent) > limit;
    if late { Err(format!("p{percent} above {limit:?}: {report}")) } else { Ok(()) }
}

/// Unless they took turns, these tests would measure one another.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Bench {
    backends: Vec<Backend>,
    balance: Balance<whippletree::balance::Addressed<crate::load::HttpClient>>,
    failover: Failover,
    service: Service,
}

impl Bench {
    fn new(backends: Vec<Backend>, cost: Cost, hedge: Option<Hedge>) -> Self {
        let endpoints = backends.iter().map(Backend::endpoint);
        let builder = Balance::builder().endpoints(endpoints).unwrap().cost(cost);
        let balance = builder.shared(client()).unwrap();
        let failover = Failover::new();
        let service = FailoverLayer::new(failover.clone()).hedge(hedge).layer(balance.clone());
        Self { backends, balance, failover, service }
    }

    /// The quiet phase, after a warm-up; `None` if it is late.
    async fn quiet(&self, what: &str) -> Option<Report> {
        run(&self.service, RATE, Duration::from_millis(500)).await;
        let quiet = run(&self.service, RATE, QUIET).await;
        println!("{what}, quiet: {quiet}");
        assert_eq!(quiet.failures, [""; 0]);
        if quiet.percentile(99.0) > LATE {
            println!("{what}: void, the machine is busy");
            return None;
        }
        Some(quiet)
    }

    async fn outage(&self, what: &str) -> Report {
        let report = run(&self.service, RATE, OUTAGE).await;
        println!("{what}: {report}, {:?}", self.failover.stats());
        let in_flight = self.balance.cluster().status().endpoints;
        assert!(in_flight.iter().all(|status| status.in_flight == 0), "{in_flight:#?}");
        report
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_endpoint_costs_no_idempotent_request() {
    judged(async || {
        let bench = Bench::new(Backend::several(5, Duration::ZERO), Cost::InFlight, None);
        let quiet = bench.quiet("killed").await;
        // In the midst of the load, not between two phases of it.
        let kill = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            bench.backends[2].signal("KILL");
        };
        let (report, ()) = tokio::join!(bench.outage("killed"), kill);
        assert_eq!(report.failures, [""; 0]);
        assert!(bench.failover.stats().retries > 0);
        quiet.map_or(Ok(()), |quiet| within(twice(&quiet), 99.0, &report))
    })
    .await;
}

/// Twice the quiet p99. On an idle machine that is a millisecond or two, which is as coarse as
/// timers are: 5 ms at least.
fn twice(quiet: &Report) -> Duration {
    quiet.percentile(99.0).max(Duration::from_millis(5)) * 2
}

async fn stopped(what: &str, cost: Cost) {
    judged(async || {
        let bench = Bench::new(Backend::several(5, Duration::ZERO), cost, None);
        let quiet = bench.quiet(what).await;
        bench.backends[2].signal("STOP");
        let report = bench.outage(what).await;
        assert_eq!(report.failures, [""; 0], "{what}");
        quiet.map_or(Ok(()), |quiet| within(twice(&quiet), 99.0, &report))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_endpoint_costs_no_request_and_no_p99() {
    stopped("stopped", Cost::InFlight).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_endpoint_costs_no_request_and_no_p99_with_peak_ewma() {
    stopped("stopped, peak ewma", Cost::PeakEwma(PeakEwma::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_hedges_a_stopped_endpoint_costs_no_p999_either() {
    judged(async || {
        let hedge = Hedge::percentile(95.0).unwrap();
        let bench = Bench::new(Backend::several(5, Duration::ZERO), Cost::InFlight, Some(hedge));
        let quiet = bench.quiet("stopped, hedged").await;
        bench.backends[2].signal("STOP");
        let report = bench.outage("stopped, hedged").await;
        assert_eq!(report.failures, [""; 0]);
        let Some(quiet) = quiet else {
            return Ok(());
        };
        // Found out, and not only hidden.
        let status = bench.balance.cluster().status();
        assert!(status.endpoints.iter().any(|status| status.ejections > 0), "{report}");
        within(Duration::from_millis(100), 99.9, &report)?;
        within(twice(&quiet), 99.0, &report)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_endpoint_gets_next_to_nothing_with_peak_ewma() {
    judged(async || {
        let mut backends = Backend::several(9, Duration::from_millis(2));
        backends.push(Backend::start(Duration::from_millis(100)));
        let slow = backends[9].endpoint().id().clone();
        let bench = Bench::new(backends, Cost::PeakEwma(PeakEwma::new()), None);
        let quiet = bench.quiet("slow").await;
        let report = bench.outage("slow").await;
        // From the first request on, before anything was known of it.
        let status = bench.balance.cluster().status().endpoints;
        let all: u64 = status.iter().map(|status| status.requests).sum();
        let slow = status.iter().find(|status| *status.endpoint.id() == slow).unwrap().requests;
        println!("slow: {slow} of {all} requests to the slow endpoint");
        assert_eq!(report.failures, [""; 0]);
        let limit = Duration::from_millis(12);
        if quiet.is_none_or(|quiet| quiet.percentile(99.0) > limit * 3 / 4) {
            println!("slow: void, the machine is busy");
            return Ok(());
        }
        if slow * 1000 >= all {
            return Err(format!("{slow} of {all} requests to the slow endpoint"));
        }
        within(limit, 99.0, &report)
    })
    .await;
}
