//! Round robin's turns, shared by threads and over changes of the endpoints.

use std::collections::BTreeSet;
use std::thread;

use whippletree::policy::RoundRobin;

use crate::cluster;
use crate::strict::{endpoint, id, index, pick, shares};

/// Far too large for a table: 4 endpoints times 135 613 turns is more than 2^18.
const LARGE: [u16; 4] = [65_535, 40_000, 30_001, 77];

fn sum(weights: &[u16]) -> usize {
    weights.iter().map(|weight| usize::from(*weight)).sum()
}

#[test]
fn large_sum_is_exact_over_a_cycle_from_any_turn_on_and_every_gap_is_bounded() {
    for seed in 0..2 {
        let cluster = cluster(RoundRobin::new(), seed, &LARGE);
        let length = sum(&LARGE);
        // Off the beginning of the cycle: any window of its length holds every endpoint's weight.
        shares(&cluster, 4, 12_345);
        let turns: Vec<usize> = (0..length).map(|_| pick(&cluster)).collect();
        let mut longest = [0; 4];
        let mut last = [None; 4];
        // Twice, so that the gaps over the end of the cycle are seen.
        for (turn, at) in turns.iter().chain(&turns).enumerate() {
            if let Some(last) = last[*at].replace(turn) {
                longest[*at] = longest[*at].max(turn - last);
            }
        }
        for (at, weight) in LARGE.iter().enumerate() {
            let count = turns.iter().filter(|turn| **turn == at).count();
            assert_eq!(count, usize::from(*weight), "endpoint {at}, seed {seed}");
            // φ² = 2.62 times the fair distance by the three-gap theorem, and room to 3.
            let fair = length as f64 / f64::from(*weight);
            let gap = longest[at] as f64;
            assert!(gap <= 3.0 * fair + 1.0, "endpoint {at} waited {gap}, {fair} would be fair");
        }
    }
}

#[test]
fn large_sum_is_exact_over_a_cycle_with_many_threads() {
    // An odd sum: threads take whole shares of a cycle of 4 rounds.
    let cluster = cluster(RoundRobin::new(), 8, &LARGE);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| shares(&cluster, 4, sum(&LARGE)));
        }
    });
    for (endpoint, weight) in cluster.status().endpoints.iter().zip(LARGE) {
        assert_eq!(endpoint.requests, 4 * u64::from(weight));
    }
}

/// Whatever joins, before the others by id or after them, with whatever weight: the order goes on.
#[test]
fn a_change_after_every_pick_spreads_evenly_wherever_the_newcomer_stands() {
    for newcomer in [0, 2, 5] {
        for weight in [1, 2, 7] {
            for seed in 0..10 {
                let cluster = cluster(RoundRobin::new(), seed, &[0; 6]);
                for at in (0..6).filter(|at| *at != newcomer) {
                    cluster.insert(endpoint(at)).unwrap();
                }
                cluster.remove(&id(newcomer));
                let mut counts = [0; 6];
                for _ in 0..500 {
                    counts[pick(&cluster)] += 1;
                    cluster.insert(endpoint(newcomer).with_weight(weight)).unwrap();
                    counts[pick(&cluster)] += 1;
                    cluster.remove(&id(newcomer));
                }
                // Half of the picks are shared by five, half by five and the newcomer.
                let fair = 500.0 / 5.0 + 500.0 / (5.0 + f64::from(weight));
                for at in (0..6).filter(|at| *at != newcomer) {
                    let got = f64::from(counts[at]);
                    let even = (0.6 * fair..=1.4 * fair).contains(&got);
                    assert!(even, "{newcomer} of weight {weight}: {counts:?}, {fair} is fair");
                }
            }
        }
    }
}

#[test]
fn different_seeds_start_large_sums_at_different_phases() {
    let start = |seed| {
        let cluster = cluster(RoundRobin::new(), seed, &LARGE);
        (0..40).map(|_| pick(&cluster)).collect::<Vec<_>>()
    };
    let starts: BTreeSet<Vec<usize>> = (0..20).map(start).collect();
    assert!(starts.len() >= 15, "{} different starts of 20", starts.len());
    assert_eq!(start(3), start(3));
    // Nor do equal weights all begin with the first.
    let first = |seed| index(&id(pick(&cluster(RoundRobin::new(), seed, &[1; 10]))));
    assert!((0..50).map(first).collect::<BTreeSet<_>>().len() >= 8);
}
