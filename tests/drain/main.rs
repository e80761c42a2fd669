//! Drains: what is promised to requests, sessions and operators.
#![allow(clippy::unwrap_used, reason = "tests")]

mod cutting;
mod model;
mod rolling;
mod rules;
#[path = "../support/mod.rs"]
mod support;
