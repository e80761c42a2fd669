//! Benchmarks of whippletree, with its peers measured in the same run.
//!
//! ```text
//! cargo bench -p whippletree-bench                            some four minutes
//! cargo bench -p whippletree-bench -- --quick                 rough numbers in two
//! cargo bench -p whippletree-bench --bench pick -- "1 thread"
//! cargo run --profile bench -p whippletree-bench --bin table        the results as Markdown
//! cargo run --profile bench -p whippletree-bench --bin table -- --check
//! ```
//!
//! | bench | measures | beside |
//! |---|---|---|
//! | `pick` | choosing an endpoint and ending the request | tower's `Balance`, alone and behind a `Buffer`; pingora's round robin and random; the memory traffic alone |
//! | `hashing` | choosing an endpoint by a key; building rings and tables | pingora's ketama, alone and in its load balancer; a bare table |
//! | `publish` | one endpoint added, removed, reweighted | pingora's `LoadBalancer::update`; a list copied into an `ArcSwap` |
//! | `request` | a whole request through `Balance` | the service called directly; tower's `Balance` |
//!
//! The program `affinity` measures no time but whose keys move and how even the shares are:
//!
//! ```text
//! cargo run --profile bench -p whippletree-bench --bin affinity
//! ```
//!
//! A package of its own, because pingora-load-balancing needs `cmake` to build (it compiles
//! zlib-ng) and some 200 crates that nobody needs in order to work on whippletree.
//!
//! Absolute numbers belong to the machine that they were measured on; the `table` program prints
//! ratios between what ran on the same one. Close other programs and compare a ratio that looks
//! odd with that of a second run.

pub mod fixtures;
pub mod names;
pub mod peers;
pub mod report;
pub mod service;
pub mod threads;

use std::time::Duration;

use criterion::Criterion;

/// Criterion with a run time that fits a hundred benchmarks; the command line goes before it.
#[must_use]
pub fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args()
}
