//! The cost of latency, through the public API and on a simulated clock.
#![allow(clippy::unwrap_used, reason = "tests")]

mod black_hole;
mod estimate;
mod silence;
mod simulation;
#[path = "../strict/mod.rs"]
mod strict;
