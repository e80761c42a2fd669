//! Random operations on a cluster, checked against a simple model after every step.
#![allow(clippy::unwrap_used, reason = "tests")]

mod operations;
mod oracle;
mod run;
#[path = "../strict/mod.rs"]
mod strict;

use proptest::test_runner::{Config, RngSeed, TestRunner};

use crate::strict::Seed;

/// Checks so many random runs of each policy. The same seed gives the same runs; proptest prints
/// the shortest run that fails.
#[test]
fn cluster_behaves_as_its_model() {
    for (number, case) in strict::cases().enumerate() {
        let seed = Seed(1_000 + number as u64);
        let config = Config {
            cases: 120,
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(seed.0),
            ..Config::default()
        };
        let runs = operations::runs(60);
        let outcome = TestRunner::new(config).run(&runs, |operations| {
            run::run(&case, &operations);
            Ok(())
        });
        outcome.unwrap_or_else(|failure| panic!("{case:?}: {failure}"));
    }
}
