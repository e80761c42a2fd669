//! The gateway example from outside: the built program as a process, real sockets on both sides.

#![cfg(unix)] // signals
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod admin;
mod config;
mod discover;
mod failover;
mod hashing;
mod headers;
mod health;
mod limits;
mod operator;
mod queue;
mod rfc9110;
mod shutdown;
mod sticky;
mod streaming;
mod support;
mod traffic;
mod tunnel;
mod units;
mod wire;
