//! How far a count may lie from what it should be.

/// Checks that `counts` are drawn in proportion to `weights`, by Pearson's chi-square at a
/// probability of error of 10⁻⁶. The limit is Wilson's and Hilferty's (1931), with the normal
/// quantile 4.753.
#[track_caller]
pub(crate) fn drawn_in_proportion(counts: &[u64], weights: &[f64]) {
    let total: u64 = counts.iter().sum();
    let sum: f64 = weights.iter().sum();
    let square = counts.iter().zip(weights).map(|(count, weight)| {
        let expected = total as f64 * weight / sum;
        (*count as f64 - expected).powi(2) / expected
    });
    let square: f64 = square.sum();
    let freedom = (counts.len() - 1) as f64;
    let spread = 2.0 / (9.0 * freedom);
    let limit = freedom * (1.0 - spread + 4.753 * spread.sqrt()).powi(3);
    assert!(square <= limit, "{counts:?} for {weights:?}: chi-square {square} above {limit}");
}

/// Checks each share within `tolerance` of the mean share: grpc-go's test of its weighted random
/// (`internal/wrr/wrr_test.go`) uses 5 %.
#[track_caller]
pub(crate) fn shares_within(counts: &[u64], weights: &[f64], tolerance: f64) {
    let total: u64 = counts.iter().sum();
    let sum: f64 = weights.iter().sum();
    let mean = total as f64 / counts.len() as f64;
    for (count, weight) in counts.iter().zip(weights) {
        let off = (*count as f64 - total as f64 * weight / sum).abs() / mean;
        assert!(off <= tolerance, "{counts:?} for {weights:?}: off by {off}");
    }
}

#[test]
fn counts_in_proportion_pass() {
    drawn_in_proportion(&[1010, 1990, 3000], &[1.0, 2.0, 3.0]);
    shares_within(&[1010, 1990, 3000], &[1.0, 2.0, 3.0], 0.05);
}

#[test]
#[should_panic = "chi-square"]
fn counts_out_of_proportion_fail() {
    drawn_in_proportion(&[1200, 1800, 3000], &[1.0, 2.0, 3.0]);
}
