//! Failover over real sockets: endpoints that die, hang, cut off, and answer badly.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod backend;
mod bodies;
mod cancellation;
mod faults;
mod hedges;
#[cfg(feature = "http2")]
mod http2;
mod load;
mod outages;
mod policy;
mod storms;
#[path = "../strict/mod.rs"]
mod strict;
mod table;
