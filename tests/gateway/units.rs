//! The example's own unit tests. Cargo builds an example either to be run or to be tested, and the
//! tests here run it; so its files with unit tests are compiled into this crate once more.

#![allow(dead_code, reason = "a part of the program, without the part that uses it")]

#[path = "../../examples/gateway/cli.rs"]
mod cli;
#[path = "../../examples/gateway/config.rs"]
mod config;
#[path = "../../examples/gateway/headers.rs"]
mod headers;
#[path = "../../examples/gateway/shutdown.rs"]
mod shutdown;
#[path = "../../examples/gateway/tunnel.rs"]
mod tunnel;
