//! Active checks: their rules under a paused clock, and over real sockets what servers do that are
//! slow, hostile or dead.
#![allow(clippy::unwrap_used, reason = "tests")]

mod haproxy;
mod hostile;
mod http;
mod limits;
mod rules;
mod script;
#[path = "../support/mod.rs"]
mod support;
