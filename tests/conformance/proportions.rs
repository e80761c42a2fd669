//! Shares over many endpoints, uneven weights and several threads.

use std::sync::Barrier;
use std::thread;

use whippletree::Context;
use whippletree::load::Cost;

use crate::strict::statistics::drawn_in_proportion;
use crate::strict::{Case, cases, excluding, fleet, in_flight, index, shares};

/// Least request is the exception among the policies: idle, its minimum of 1 / weight is always
/// the heaviest endpoint. Its shares are in proportion when requests are held, which
/// `sequences::least_request` tests.
const EXCEPTION: &str = "least_request";

/// By requests in flight alone: a latency cost follows what the endpoints take, not the weights
/// alone. The tolerance is that of chi-square with a probability of error of 10⁻⁶; a round robin lies far
/// within it.
#[test]
fn shares_are_in_proportion_to_weights_when_every_lease_is_dropped_at_once() {
    let in_flight = |case: &Case| case.cost == Cost::InFlight && case.policy.name() != EXCEPTION;
    for mut case in cases().filter(Case::spreads).filter(in_flight) {
        for weights in [&[1, 1, 1, 1][..], &[1, 2, 3, 4, 0], &[100, 1, 10]] {
            for seed in 0..3 {
                case.seed = seed;
                let cluster = case.cluster(&fleet(weights));
                let counts = shares(&cluster, weights.len(), 30_000);
                let served: Vec<usize> = (0..weights.len()).filter(|at| weights[*at] > 0).collect();
                let got: Vec<u64> = served.iter().map(|at| counts[*at]).collect();
                let want: Vec<f64> = served.iter().map(|at| f64::from(weights[*at])).collect();
                assert_eq!(got.iter().sum::<u64>(), 30_000, "weight 0 was picked: {counts:?}");
                drawn_in_proportion(&got, &want);
            }
        }
    }
}

#[test]
fn thousand_endpoints_of_extreme_weights_are_picked_without_a_panic() {
    const EXTREMES: [u16; 3] = [1, 2, 65_535];
    let weights: Vec<u16> = (0..1_000).map(|at| EXTREMES[at % 3]).collect();
    for case in cases() {
        let cluster = case.cluster(&fleet(&weights));
        let mut events = cluster.subscribe();
        let held: Vec<_> = (0..1_000).map(|_| cluster.pick(&Context::new()).unwrap()).collect();
        // One request at a time on endpoints that have not answered: weights come second there.
        let by_weight = case.cost == Cost::InFlight && case.spreads();
        let heavy = held.iter().filter(|lease| index(lease.id()) % 3 == 2).count();
        // They have 99.995 % of the weight; the light ones can have a pick or two.
        assert!(heavy >= 990 || !by_weight, "{heavy} of 1000 for the heavy ones");
        // All but two light ones excluded: beyond what draws find by themselves.
        let two = excluding((0..1_000).filter(|at| ![3, 4].contains(at)));
        for _ in 0..20 {
            assert!([3, 4].contains(&index(cluster.pick(&two).unwrap().id())));
        }
        // The cluster contains a panic of the policy and tells of it.
        assert_eq!(events.try_next(), None);
        assert_eq!(in_flight(&cluster), 1_000);
        drop(held);
        assert_eq!(in_flight(&cluster), 0);
    }
}

#[test]
fn requests_of_two_threads_add_up_when_leases_are_dropped_at_once() {
    const EACH: usize = 5_000;
    for case in cases() {
        let cluster = case.cluster(&fleet(&[1, 2, 3]));
        let start = Barrier::new(2);
        let picks = || {
            start.wait();
            shares(&cluster, 3, EACH)
        };
        let counted = thread::scope(|scope| {
            let threads = [scope.spawn(picks), scope.spawn(picks)];
            threads.map(|thread| thread.join().unwrap())
        });
        for (at, endpoint) in cluster.status().endpoints.iter().enumerate() {
            let expected = counted[0][at] + counted[1][at];
            let cancelled = endpoint.cancelled;
            assert_eq!((endpoint.in_flight, endpoint.requests, cancelled), (0, expected, expected));
        }
        assert_eq!(counted.iter().flatten().sum::<u64>(), 2 * EACH as u64);
    }
}
