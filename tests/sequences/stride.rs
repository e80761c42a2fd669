//! Round robin over sums of weights that are too large for a table.

use whippletree::policy::RoundRobin;

use crate::cluster;
use crate::strict::{Seed, pick};

/// Checks two whole cycles: shares exact, turns well spread, the second like the first.
///
/// Well spread: no endpoint waits longer than three times its fair distance, which is the sum of
/// all weights divided by its own. Steps of the golden ratio leave at most 2.62 (φ²) times the
/// fair distance between two visits (the three-gap theorem); the rest is room for the step being
/// whole and coprime to the sum.
fn check(weights: &[u16]) {
    let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    assert!(sum * weights.len() as u64 > 1 << 18, "small enough for a table");
    let cluster = cluster(RoundRobin::new(), 9, weights);
    let first: Vec<usize> = (0..sum).map(|_| pick(&cluster)).collect();

    let mut counts = vec![0_u64; weights.len()];
    let mut last = vec![None; weights.len()];
    for (turn, at) in first.iter().chain(&first).enumerate() {
        let fair = sum as f64 / f64::from(weights[*at]);
        if let Some(last) = last[*at].replace(turn) {
            let gap = (turn - last) as f64;
            let weight = weights[*at];
            assert!(gap <= 3.0 * fair + 1.0, "weight {weight} of {sum} waited for {gap} turns");
        }
        counts[*at] += u64::from(turn < first.len());
    }
    let exact: Vec<u64> = weights.iter().map(|weight| u64::from(*weight)).collect();
    assert_eq!(counts, exact);
    let cycle = first.iter().take(5_000);
    assert!(cycle.into_iter().all(|at| *at == pick(&cluster)), "the second cycle differs");
}

/// Envoy's test of its round robin with many weights.
#[test]
fn weights_1_to_128_are_exact_over_8256_picks() {
    check(&(1..=128).collect::<Vec<_>>());
}

#[test]
fn large_sums_are_exact_over_a_cycle_and_well_spread() {
    check(&[65_535, 65_534, 65_533]);
    check(&[65_535, 1, 2, 3, 5_000]);
    check(&[50_021, 49_999, 30_011, 11, 3]);
    let mut own = Seed(4);
    let thousand: Vec<u16> = (0..1_000).map(|_| 1 + own.below(40) as u16).collect();
    check(&thousand);
    let mut one_heavy = [1; 600];
    one_heavy[300] = 500;
    check(&one_heavy);
}

/// The turns that are not the heavy endpoint's are a third of the rim in one piece, and steps of the
/// golden ratio come back to such a piece after 2, 3 or 5 turns: it never serves more than 4 times
/// in a row.
#[test]
fn heavy_endpoint_serves_in_short_rows() {
    let weights = [60_000, 20_011, 9_973];
    let cluster = cluster(RoundRobin::new(), 2, &weights);
    let turns: Vec<usize> = (0..89_984).map(|_| pick(&cluster)).collect();
    let longest = turns.chunk_by(|one, next| one == next).map(<[usize]>::len).max();
    assert!(longest <= Some(4), "{longest:?} in a row");
}
