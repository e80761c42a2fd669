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

/// Not one after the other, these tests would measure one another.
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
    let _alone = ALONE.lock().await;
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
    if let Some(quiet) = quiet {
        let limit = quiet.percentile(99.0).max(Duration::from_millis(5)) * 4;
        assert!(report.percentile(99.0) <= limit, "{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_endpoint_costs_no_request_and_no_p99() {
    let _alone = ALONE.lock().await;
    for cost in [Cost::InFlight, Cost::PeakEwma(PeakEwma::new())] {
        let what =
            format!("stopped, {}", if cost == Cost::InFlight { "in flight" } else { "ewma" });
        let bench = Bench::new(Backend::several(5, Duration::ZERO), cost, None);
        let quiet = bench.quiet(&what).await;
        bench.backends[2].signal("STOP");
        let report = bench.outage(&what).await;
        assert_eq!(report.failures, [""; 0], "{what}");
        if let Some(quiet) = quiet {
            // On a quiet machine the p99 is a millisecond or two: timers alone are that coarse.
            let limit = quiet.percentile(99.0).max(Duration::from_millis(5)) * 2;
            assert!(report.percentile(99.0) <= limit, "{what}: {report}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_hedges_a_stopped_endpoint_costs_no_p999_either() {
    let _alone = ALONE.lock().await;
    let hedge = Hedge::percentile(95.0).unwrap();
    let bench = Bench::new(Backend::several(5, Duration::ZERO), Cost::InFlight, Some(hedge));
    let quiet = bench.quiet("stopped, hedged").await;
    bench.backends[2].signal("STOP");
    let report = bench.outage("stopped, hedged").await;
    assert_eq!(report.failures, [""; 0]);
    if quiet.is_some() {
        assert!(report.percentile(99.9) < Duration::from_millis(100), "{report}");
        // Found out, and not only hidden.
        let status = bench.balance.cluster().status();
        assert!(status.endpoints.iter().any(|status| status.ejections > 0), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_endpoint_gets_next_to_nothing_with_peak_ewma() {
    let _alone = ALONE.lock().await;
    let mut backends = Backend::several(9, Duration::from_millis(2));
    let bench = {
        let cost = Cost::PeakEwma(PeakEwma::new());
        backends.push(Backend::start(Duration::from_millis(100)));
        Bench::new(backends, cost, None)
    };
    let slow = bench.backends[9].endpoint().id().clone();
    let served = || {
        let status = bench.balance.cluster().status();
        let counts = status.endpoints.iter().map(|e| (e.endpoint.id() == &slow, e.requests));
        counts.fold((0, 0), |(slow, all), (is_slow, count)| {
            (slow + if is_slow { count } else { 0 }, all + count)
        })
    };
    let quiet = bench.quiet("slow").await;
    let before = served();
    let report = bench.outage("slow").await;
    let after = served();
    let (slow, all) = (after.0 - before.0, after.1 - before.1);
    println!(
        "slow: {slow} of {all} requests to the slow endpoint, {:.3} %",
        slow as f64 * 100.0 / all as f64
    );
    if quiet.is_some() {
        assert!((slow as f64) < all as f64 / 1000.0 * 1.0 + 1.0, "{slow} of {all}");
        assert!(report.percentile(99.0) <= Duration::from_millis(12), "{report}");
    }
}
