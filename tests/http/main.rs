//! The balance over real sockets and real clients.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod body;
mod clients;
mod membership;
mod outcomes;
mod readiness;
mod steering;
#[path = "../support/mod.rs"]
mod support;

use whippletree::{Balance, EndpointId};

use support::server::Server;
use support::{HttpBalance, client};

fn balance_of<const N: usize>(servers: [&Server; N]) -> HttpBalance {
    let endpoints = servers.map(Server::endpoint);
    let builder = Balance::builder().endpoints(endpoints).unwrap();
    builder.shared(client()).unwrap()
}

fn id(name: &str) -> EndpointId {
    EndpointId::new(name).unwrap()
}
