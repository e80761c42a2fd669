//! Beside installed programs, on loopback: what they do is what we say they do.
//!
//! Ignored where the program is not installed: `cargo test --test programs -- --ignored`.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "tests")]

#[cfg(feature = "etcd")]
mod etcd;
mod nginx;
