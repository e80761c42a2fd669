//! Least request: the exact minimum of (in flight + 1) / weight.

use whippletree::Context;
use whippletree::policy::LeastRequest;

use crate::cluster;
use crate::strict::statistics::drawn_in_proportion;
use crate::strict::{Seed, hold, index, pick, shares};

/// Picks once with these loads held, for several seeds, and answers who was picked.
fn under(weights: &[u16], loads: &[usize]) -> Vec<usize> {
    let pick = |seed| {
        let cluster = cluster(LeastRequest::new(), seed, weights);
        let _held = hold(&cluster, loads);
        pick(&cluster)
    };
    let mut picked: Vec<usize> = (0..12).map(pick).collect();
    picked.sort_unstable();
    picked.dedup();
    picked
}

/// Caddy's tests of least_conn and of its helper, in both orders.
#[test]
fn least_loaded_is_picked_wherever_it_stands() {
    assert_eq!(under(&[1; 3], &[10, 10, 0]), [2]);
    assert_eq!(under(&[1; 3], &[10, 10, 100]), [0, 1]);
    assert_eq!(under(&[1; 3], &[10, 20, 30]), [0]);
    assert_eq!(under(&[1; 3], &[30, 20, 10]), [2]);
}

/// Envoy's table of weights with bias 1: weight, active requests, weight / (active + 1). Of two
/// endpoints the one of the higher value is picked.
#[test]
fn weights_count_as_in_envoys_table() {
    let table = [
        (1, 0, 1.0),
        (1, 1, 0.5),
        (1, 3, 0.25),
        (1, 9, 0.1),
        (2, 0, 2.0),
        (2, 1, 1.0),
        (2, 3, 0.5),
        (2, 9, 0.2),
        (10, 0, 10.0),
        (10, 1, 5.0),
        (10, 3, 2.5),
        (10, 9, 1.0),
    ];
    for (one_weight, one_active, one) in table {
        for (other_weight, other_active, other) in table {
            let picked = under(&[one_weight, other_weight], &[one_active, other_active]);
            let expected: &[usize] = match f64::total_cmp(&one, &other) {
                std::cmp::Ordering::Greater => &[0],
                std::cmp::Ordering::Less => &[1],
                std::cmp::Ordering::Equal => &[0, 1],
            };
            assert_eq!(
                picked, expected,
                "{one_active}/{one_weight}, {other_active}/{other_weight}"
            );
        }
    }
}

#[test]
fn minimum_is_exact_for_any_loads_and_weights() {
    let mut own = Seed(11);
    for _ in 0..300 {
        let n = 2 + own.below(9);
        let weights: Vec<u16> = (0..n).map(|_| 1 + own.below(6) as u16).collect();
        let loads: Vec<usize> = (0..n).map(|_| own.below(8)).collect();
        let cluster = cluster(LeastRequest::new(), own.below(1 << 30) as u64, &weights);
        let _held = hold(&cluster, &loads);
        let picked = pick(&cluster);
        // In whole numbers: a/b < c/d is a·d < c·b.
        let dearer = |at: usize| {
            (loads[picked] + 1) * usize::from(weights[at])
                <= (loads[at] + 1) * usize::from(weights[picked])
        };
        assert!((0..n).all(dearer), "{picked} with {loads:?} of {weights:?}");
    }
}

/// nginx's tests of least_conn.
#[test]
fn held_requests_are_shared_and_a_slow_peer_gets_none() {
    let two = cluster(LeastRequest::new(), 1, &[1, 1]);
    let held: Vec<_> = (0..10).map(|_| two.pick(&Context::new()).unwrap()).collect();
    assert_eq!(held.iter().filter(|lease| index(lease.id()) == 0).count(), 5);
    drop(held);
    let _slow = hold(&two, &[1, 0]);
    assert_eq!(shares(&two, 2, 10), [0, 10]);
}

#[test]
fn held_requests_follow_the_weights_to_the_request() {
    let cluster = cluster(LeastRequest::new(), 8, &[1, 2, 3, 10]);
    let _held: Vec<_> = (0..1_600).map(|_| cluster.pick(&Context::new()).unwrap()).collect();
    let in_flight: Vec<u32> =
        cluster.status().endpoints.iter().map(|endpoint| endpoint.in_flight).collect();
    assert_eq!(in_flight, [100, 200, 300, 1_000]);
}

#[test]
fn ties_are_broken_at_random_and_not_by_position() {
    for seed in 0..3 {
        let idle = cluster(LeastRequest::new(), seed, &[1; 7]);
        drawn_in_proportion(&shares(&idle, 7, 14_000), &[1.0; 7]);
        // 1/1 and 2/2 are a tie too; 3/1 is not in it.
        let tied = cluster(LeastRequest::new(), seed, &[1, 2, 1]);
        let _held = hold(&tied, &[0, 1, 2]);
        let counts = shares(&tied, 3, 10_000);
        assert_eq!(counts[2], 0);
        drawn_in_proportion(&counts[..2], &[1.0, 1.0]);
    }
}
