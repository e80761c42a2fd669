//! The estimate itself, as the status tells it, on tokio's paused clock.

use std::time::Duration;

use tokio::time::{Instant, advance};
use whippletree::health::{Failure, Outcome};
use whippletree::load::{Cost, PeakEwma};
use whippletree::{Cluster, Context};

use crate::simulation::ms;
use crate::strict::fleet;

fn cluster(parameters: PeakEwma) -> Cluster<()> {
    let cluster = Cluster::builder().cost(Cost::PeakEwma(parameters)).connect(|_| ());
    cluster.replace(fleet(&[1])).unwrap();
    cluster
}

fn latency(cluster: &Cluster<()>) -> Option<f64> {
    cluster.status().endpoints[0].latency.map(|latency| latency.as_secs_f64())
}

/// A request that is answered now, after it took so long.
fn answer(cluster: &Cluster<()>, took: Duration, outcome: Outcome) {
    let now = Instant::now().into_std();
    let mut lease = cluster.pick_at(&Context::new(), now - took).unwrap();
    lease.report_at(outcome, now);
}

#[track_caller]
fn close(latency: Option<f64>, expected: f64) {
    let latency = latency.unwrap();
    // 2·10⁻⁴ is the resolution of the stamp, 1/65536 of the decay, several times over.
    assert!((latency - expected).abs() <= 2e-4 * expected + 1e-6, "{latency}, not {expected}");
}

/// Start 1 s, then 100 responses of 100 ms spread over 10 s, decay 10 s: 431 ms.
#[tokio::test(start_paused = true)]
async fn reading_never_stores() {
    for reads in [0, 99] {
        let cluster = cluster(PeakEwma::new());
        advance(ms(1_000)).await;
        answer(&cluster, ms(1_000), Outcome::Success);
        for _ in 0..100 {
            advance(ms(100)).await;
            for _ in 0..reads {
                latency(&cluster);
            }
            answer(&cluster, ms(100), Outcome::Success);
        }
        let latency = latency(&cluster).unwrap();
        assert!((latency - 0.431).abs() < 0.000_5, "{latency} with {reads} reads");
    }
}

/// linkerd2-proxy's rows for its peak EWMA with a decay of 10 s: samples as (at, took) in
/// milliseconds, then when it is read, and the estimate in seconds.
#[tokio::test(start_paused = true)]
async fn peaks_replace_and_lower_samples_decay_in() {
    type Row = (&'static [(u64, u64)], u64, f64);
    let rows: [Row; 6] = [
        (&[(1_000, 1_000)], 1_000, 1.0),
        (&[(1_000, 1_000)], 11_000, 0.367_879_441_171),
        (&[(1_000, 1_000), (1_500, 2_000)], 1_500, 2.0),
        (&[(1_000, 10_000), (26_000, 1_000)], 26_000, 1.0),
        (&[(1_000, 10_000), (1_100, 1_000)], 1_100, 9.910_448_503_742),
        (&[(1_000, 1_000)], 7_931, 0.5),
    ];
    for (samples, read, expected) in rows {
        let cluster = cluster(PeakEwma::new());
        assert_eq!(latency(&cluster), None);
        // The longest sample begins before its cluster does; so let time pass first.
        let start = Instant::now();
        let base = ms(10_000);
        for (at, took) in samples {
            advance(base + ms(*at) - start.elapsed()).await;
            answer(&cluster, ms(*took), Outcome::Success);
        }
        advance(base + ms(read) - start.elapsed()).await;
        close(latency(&cluster), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn failure_counts_as_the_penalty_or_longer() {
    let failure = Outcome::Failure(Failure::Server);
    let default = cluster(PeakEwma::new());
    advance(ms(20_000)).await;
    answer(&default, ms(1), failure);
    close(latency(&default), 5.0);
    answer(&default, ms(7_000), failure);
    close(latency(&default), 7.0);

    let own = cluster(PeakEwma::new().penalty(ms(300)));
    advance(ms(1_000)).await;
    answer(&own, ms(1), failure);
    close(latency(&own), 0.3);
}

#[tokio::test(start_paused = true)]
async fn body_that_breaks_off_is_penalised_after_its_answer() {
    let cluster = cluster(PeakEwma::new());
    advance(ms(1_000)).await;
    let mut lease = cluster.pick(&Context::new()).unwrap();
    advance(ms(20)).await;
    lease.report(Outcome::Success);
    close(latency(&cluster), 0.02);
    lease.report(Outcome::Failure(Failure::Body));
    close(latency(&cluster), 5.0);
}

#[tokio::test(start_paused = true)]
async fn moments_out_of_order_do_no_harm() {
    let cluster = cluster(PeakEwma::new());
    advance(ms(10_000)).await;
    let now = Instant::now().into_std();
    // Reported before it began, and begun before the cluster.
    let mut lease = cluster.pick_at(&Context::new(), now).unwrap();
    lease.report_at(Outcome::Success, now - ms(5_000));
    let mut lease = cluster.pick_at(&Context::new(), now - ms(60_000)).unwrap();
    lease.report_at(Outcome::Success, now);
    close(latency(&cluster), 10.0);
}
