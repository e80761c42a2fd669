//! The order in which nginx's smooth weighted round robin takes its turns.

/// The whole cycle for `weights`, by index: every turn each endpoint gains its weight, and the one
/// that has gained most (the first of several) serves and pays back the sum of all.
///
/// Takes time in proportion to the number of endpoints times the sum of the weights.
pub(super) fn cycle(weights: &[u64]) -> Box<[u32]> {
    let sum: i64 = weights.iter().map(|&weight| weight as i64).sum();
    let mut gained = vec![0_i64; weights.len()];
    (0..sum)
        .map(|_| {
            let mut best = 0;
            for (index, weight) in weights.iter().enumerate() {
                gained[index] += *weight as i64;
                if gained[index] > gained[best] {
                    best = index;
                }
            }
            gained[best] -= sum;
            best as u32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(weights: &[u64], expected: &str) {
        let order: String =
            cycle(weights).iter().map(|&index| char::from(b'a' + index as u8)).collect();
        assert_eq!(order, expected, "{weights:?}");
    }

    /// The first is the example in nginx's commit 52327e0627f4; the others follow from its rule.
    #[test]
    fn order_is_that_of_nginx() {
        check(&[5, 1, 1], "aabacaa");
        check(&[1, 1], "ab");
        check(&[2, 1], "aba");
        check(&[3, 2, 1], "abacba");
        check(&[4, 2, 1], "abacaba");
        check(&[4, 3, 2, 1], "abcabdacba");
        check(&[11, 3], "aabaaaabaaabaa");
        check(&[1, 2, 3], "cbacbc");
        check(&[10, 1, 1, 1], "aaabaacaadaaa");
        check(&[5, 5, 5, 1], "abcabcdabcabcabc");
    }
}
