//! Sweeps over the tower edge: requests dropped at every poll, user code that panics everywhere,
//! tower's contract, wake-ups, and idleness.
#![allow(clippy::unwrap_used, reason = "tests")]

mod cancellation;
mod contract;
mod idle;
mod panics;
mod panics_of_policies;
mod panics_of_services;
mod staged;
#[path = "../strict/mod.rs"]
mod strict;
mod strictness;
