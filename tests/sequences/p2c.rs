//! The power of two choices.

use std::collections::VecDeque;

use whippletree::policy::P2c;
use whippletree::{Cluster, Context};

use crate::cluster;
use crate::strict::statistics::drawn_in_proportion;
use crate::strict::{excluding, hold, id, index, pick, shares};

const PICKS: usize = 10_000;

/// Picks with these loads held and answers how often each endpoint was picked.
fn under(policy: P2c, seed: u64, weights: &[u16], loads: &[usize]) -> Vec<u64> {
    let cluster = cluster(policy, seed, weights);
    let _held = hold(&cluster, loads);
    shares(&cluster, weights.len(), PICKS)
}

#[test]
fn heaviest_of_three_is_never_picked() {
    for seed in 0..5 {
        for loads in [[0, 1, 5], [5, 0, 1], [1, 5, 0]] {
            let counts = under(P2c::new(), seed, &[1; 3], &loads);
            let heaviest = loads.iter().position(|load| *load == 5).unwrap();
            assert_eq!(counts[heaviest], 0, "seed {seed}: {counts:?}");
        }
    }
}

/// The rank of a pick is that of the lightest of two distinct draws: of five with different loads
/// (n−1−rank) of the 10 pairs.
#[test]
fn ranks_are_those_of_two_distinct_draws() {
    for seed in 0..5 {
        let counts = under(P2c::new(), seed, &[1; 5], &[0, 1, 2, 3, 4]);
        assert_eq!(counts[4], 0);
        drawn_in_proportion(&counts[..4], &[4.0, 3.0, 2.0, 1.0]);
    }
}

/// tonic-xds: loads 100 and 0 give index 1 in 100 of 100 picks.
#[test]
fn of_two_endpoints_the_lighter_always_wins() {
    for seed in 0..20 {
        assert_eq!(under(P2c::new(), seed, &[1, 1], &[100, 0]), [0, PICKS as u64]);
        assert_eq!(under(P2c::new(), seed, &[1, 1], &[0, 1]), [PICKS as u64, 0]);
        // Load per weight: 3/4 against 1, then 5/4 against 1.
        assert_eq!(under(P2c::new(), seed, &[4, 1], &[3, 1]), [PICKS as u64, 0]);
        assert_eq!(under(P2c::new(), seed, &[4, 1], &[5, 1]), [0, PICKS as u64]);
    }
}

/// Caddy's random choice of 2 among those available: always the idle one of the two left.
#[test]
fn choice_is_among_those_that_the_request_allows() {
    let cluster = cluster(P2c::new(), 1, &[1; 3]);
    let _held = hold(&cluster, &[0, 30, 0]);
    for _ in 0..100 {
        assert_eq!(cluster.pick(&excluding([0])).unwrap().id(), &id(2));
    }
}

#[test]
fn ties_are_broken_at_random() {
    for loads in [[0, 0], [7, 7]] {
        drawn_in_proportion(&under(P2c::new(), 3, &[1, 1], &loads), &[1.0, 1.0]);
    }
}

#[test]
fn of_more_choices_the_lightest_of_so_many_wins() {
    for seed in 0..5 {
        // The lightest of 3 distinct draws of 5: 6, 3 and 1 of the 10 triples.
        let counts = under(P2c::new().choices(3), seed, &[1; 5], &[4, 0, 1, 2, 3]);
        assert_eq!([counts[0], counts[4]], [0, 0], "two are never the lightest of three");
        drawn_in_proportion(&counts[1..4], &[6.0, 3.0, 1.0]);
        for choices in [5, 16, usize::MAX] {
            let counts =
                under(P2c::new().choices(choices), seed, &[1, 9, 2, 1, 1], &[1, 8, 1, 1, 2]);
            assert_eq!(counts, [0, 0, PICKS as u64, 0, 0], "{choices} choices see all");
        }
        let counts = under(P2c::new().choices(0), seed, &[1; 3], &[0, 1, 5]);
        assert!(counts[2] == 0 && counts[1] > 0, "fewer than two are two: {counts:?}");
    }
}

/// One endpoint answers at once (with errors, for all we know) while the others take long. With
/// the cost in flight it wins whenever it is drawn, which is 2 of n times and not more.
#[test]
fn black_hole_gets_two_nths_at_most() {
    for n in [3, 5, 10, 20] {
        for seed in 0..3 {
            let cluster = cluster(P2c::new(), seed, &vec![1; n]);
            let mut slow = VecDeque::new();
            let mut swallowed = 0;
            for _ in 0..PICKS {
                let lease = cluster.pick(&Context::new()).unwrap();
                if index(lease.id()) == 0 {
                    swallowed += 1;
                    continue;
                }
                slow.push_back(lease);
                if slow.len() > 3 * n {
                    slow.pop_front();
                }
            }
            let bound = 2.0 / n as f64;
            // Four standard deviations above the bound.
            let limit = PICKS as f64 * bound + 4.0 * (PICKS as f64 * bound).sqrt();
            assert!(f64::from(swallowed) <= limit, "{swallowed} of {PICKS} with {n}, seed {seed}");
            assert!(f64::from(swallowed) >= limit / 2.0, "no black hole: {swallowed}, {n}");
        }
    }
}

#[test]
fn held_requests_lie_as_even_as_two_choices_make_them() {
    // Mitzenmacher: the fullest of n exceeds the mean by about log log n, here by 4 at most.
    for seed in 0..3 {
        let cluster: Cluster<()> = cluster(P2c::new(), seed, &[1; 100]);
        let _held: Vec<_> = (0..PICKS).map(|_| cluster.pick(&Context::new()).unwrap()).collect();
        let fullest = cluster.status().endpoints.iter().map(|at| at.in_flight).max();
        assert!(fullest <= Some(104), "{fullest:?}");
        assert!(pick(&cluster) < 100);
    }
}
