//! What speaks against an endpoint and what brings it back: live traffic, slow start, tiers.
#![allow(clippy::unwrap_used, reason = "tests")]

mod meeting;
mod model;
mod outlier;
mod slow_start;
#[path = "../strict/mod.rs"]
mod strict;
mod tiers;
mod world;
