//! Failing fast must not look fast.

use std::sync::Arc;
use std::time::Duration;

use whippletree::health::{Failure, Outcome};
use whippletree::load::{Cost, PeakEwma};
use whippletree::policy::{LeastRequest, P2c, Policy};

use crate::simulation::{Answer, Simulation, ms, success};
use crate::strict::Seed;

const SIZES: [usize; 5] = [2, 3, 5, 10, 20];
const MINUTE: Duration = Duration::from_secs(60);

fn policies() -> [Arc<dyn Policy>; 3] {
    [Arc::new(P2c::new()), Arc::new(P2c::new().choices(3)), Arc::new(LeastRequest::new())]
}

fn failing_fast() -> Answer {
    Answer::After(ms(1), Outcome::Failure(Failure::Server))
}

fn first_fails_fast(at: usize, _: Duration) -> Answer {
    if at == 0 { failing_fast() } else { success(ms(20)) }
}

fn first_fails_fast_from_10_s_on(at: usize, now: Duration) -> Answer {
    if at == 0 && now >= ms(10_000) { failing_fast() } else { success(ms(20)) }
}

/// Half of what the healthy ones serve one after the other.
fn gap(endpoints: usize) -> Duration {
    ms(40) / (endpoints as u32 - 1)
}

/// SEMANTICS of the peers: 95 % of two, 40 % of five. Here no more than the fair share, from
/// the first request on; and 1 % at most once it has failed for 2 s.
#[test]
fn endpoint_that_fails_fast_gets_no_more_than_its_fair_share() {
    for policy in policies() {
        for n in SIZES {
            for seed in 0..3 {
                let _seed = Seed(seed);
                let policy = Arc::clone(&policy);
                let cost = Cost::PeakEwma(PeakEwma::new());
                let mut simulation =
                    Simulation::new(policy, cost, seed, &vec![1; n], first_fails_fast);
                simulation.run(gap(n), MINUTE);
                let (got, all) = simulation.share_since(Duration::ZERO, 0);
                assert!(got * n <= all, "{got} of {all} with {n} endpoints");
                let (got, all) = simulation.share_since(ms(2_000), 0);
                assert!(got * 100 <= all, "{got} of {all} with {n} endpoints after 2 s");
            }
        }
    }
}

#[test]
fn endpoint_that_begins_to_fail_fast_loses_its_traffic() {
    for policy in policies() {
        for n in SIZES {
            let policy = Arc::clone(&policy);
            let cost = Cost::PeakEwma(PeakEwma::new());
            let mut simulation =
                Simulation::new(policy, cost, 5, &vec![1; n], first_fails_fast_from_10_s_on);
            simulation.run(gap(n), MINUTE);
            let (before, all) = simulation.share_since(Duration::ZERO, 0);
            let (got, late) = simulation.share_since(ms(10_000), 0);
            // It had its share while it was healthy: half of it at the least.
            assert!(2 * n * (before - got) >= all - late, "{before} of {all} with {n}");
            assert!(got * 100 <= late, "{got} of {late} with {n} endpoints after the onset");
        }
    }
}

/// The control: with the cost in flight the same endpoint takes far more than its share, so the
/// tests above do test something.
#[test]
fn by_requests_in_flight_alone_it_would_be_a_black_hole() {
    for n in [5, 10, 20] {
        let policy = Arc::new(P2c::new());
        let mut simulation =
            Simulation::new(policy, Cost::InFlight, 1, &vec![1; n], first_fails_fast);
        simulation.run(gap(n) / 4, MINUTE);
        let (got, all) = simulation.share_since(Duration::ZERO, 0);
        // Half more than its share at least; 2/n is the limit.
        assert!(got * n * 2 > all * 3, "{got} of {all} with {n} endpoints is its share");
    }
}

fn first_recovers_after_10_s(at: usize, now: Duration) -> Answer {
    if at == 0 && now < ms(10_000) { failing_fast() } else { success(ms(20)) }
}

/// 5 s of penalty have decayed to some 20 ms after 10 s · ln(5 s / 20 ms) = 55 s.
#[test]
fn endpoint_that_recovers_gets_its_traffic_back() {
    let mut simulation =
        Simulation::latency_aware(P2c::new(), 3, &[1; 5], first_recovers_after_10_s);
    simulation.run(gap(5), 3 * MINUTE);
    let (got, all) = simulation.share_since(2 * MINUTE, 0);
    assert!(got * 10 >= all, "{got} of {all}, a fifth would be fair");
}
