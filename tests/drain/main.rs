//! Drains: what is promised to requests, sessions and operators.
#![allow(clippy::unwrap_used, reason = "tests")]

mod cutting;
mod model;
#[cfg(feature = "serde")]
mod restart;
mod rolling;
mod rules;
#[path = "../support/mod.rs"]
mod support;
