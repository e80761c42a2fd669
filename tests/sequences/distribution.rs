//! Shares of idle endpoints in proportion to their weights.

use std::sync::Arc;

use whippletree::policy::{P2c, Policy, Random};

use crate::cluster;
use crate::strict::statistics::{drawn_in_proportion, shares_within};
use crate::strict::{excluding, index, shares};

fn policies() -> [Arc<dyn Policy>; 3] {
    [Arc::new(Random::new()), Arc::new(P2c::new()), Arc::new(P2c::new().choices(4))]
}

fn floats(weights: &[u16]) -> Vec<f64> {
    weights.iter().map(|weight| f64::from(*weight)).collect()
}

/// grpc-go's weights and its tolerance of 5 % of the mean share; over four times its 10 000 picks,
/// which makes the tolerance seven standard deviations instead of three and a half.
#[test]
fn idle_endpoints_get_their_weights_shares() {
    for policy in policies() {
        for weights in [&[1, 1, 1][..], &[1, 2, 3], &[5, 3, 2], &[17, 23, 37]] {
            for seed in 0..3 {
                let cluster = cluster(Arc::clone(&policy), seed, weights);
                let counts = shares(&cluster, weights.len(), 40_000);
                drawn_in_proportion(&counts, &floats(weights));
                shares_within(&counts, &floats(weights), 0.05);
            }
        }
    }
}

#[test]
fn shares_hold_for_many_endpoints_and_uneven_weights() {
    for policy in policies() {
        for weights in [vec![1; 64], (1..=64).collect::<Vec<_>>(), vec![65_535, 1_000, 20_000, 9]] {
            let cluster = cluster(Arc::clone(&policy), 6, &weights);
            let counts = shares(&cluster, weights.len(), 120_000);
            drawn_in_proportion(&counts, &floats(&weights));
        }
    }
}

#[test]
fn those_left_by_exclusions_keep_their_proportions() {
    for policy in policies() {
        let weights = [4, 1, 2, 3, 0, 6];
        let cluster = cluster(Arc::clone(&policy), 2, &weights);
        // Most of the weight is excluded, then all but a little of it.
        for (excluded, left) in [(&[0, 5][..], &[1, 2, 3][..]), (&[0, 3, 5], &[1, 2])] {
            let context = excluding(excluded.iter().copied());
            let mut counts = [0; 6];
            for _ in 0..20_000 {
                counts[index(cluster.pick(&context).unwrap().id())] += 1;
            }
            let counts: Vec<u64> = left.iter().map(|at| counts[*at]).collect();
            let weights: Vec<f64> = left.iter().map(|at| f64::from(weights[*at])).collect();
            drawn_in_proportion(&counts, &weights);
        }
    }
}
