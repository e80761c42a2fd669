//! Subsets of large fleets: which endpoints a client uses, how even that is over all clients, and
//! what changes when the fleet does.
#![allow(clippy::unwrap_used, reason = "tests")]

mod aperture;
mod random;
mod sources;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};

use whippletree::discover::Subsetting;
use whippletree::{Endpoint, Weight};

fn endpoint(n: usize) -> Endpoint {
    Endpoint::new("10.0.0.1:80").unwrap().with_id(format!("endpoint-{n}")).unwrap()
}

fn fleet(size: usize) -> Vec<Endpoint> {
    (0..size).map(endpoint).collect()
}

fn weighing(n: usize, weight: u16) -> Endpoint {
    endpoint(n).with_weight(Weight::from(weight))
}

/// The ids of those that serve.
fn serving(members: &[Endpoint]) -> BTreeSet<String> {
    let serving = members.iter().filter(|member| !member.weight().is_zero());
    serving.map(|member| member.id().to_string()).collect()
}

/// How many endpoints of the first set are not in the second.
fn lost(before: &BTreeSet<String>, after: &BTreeSet<String>) -> usize {
    before.difference(after).count()
}

/// The load of every endpoint, if every client sends a load of 1 and shares it out by weight.
fn loads(clients: impl Iterator<Item = Subsetting>, fleet: &[Endpoint]) -> BTreeMap<String, f64> {
    let mut loads: BTreeMap<String, f64> =
        fleet.iter().map(|endpoint| (endpoint.id().to_string(), 0.0)).collect();
    for client in clients {
        let members = client.of(fleet.to_vec());
        let weight = |member: &Endpoint| f64::from(member.weight().get());
        let sum: f64 = members.iter().map(weight).sum();
        for member in &members {
            *loads.get_mut(member.id().as_str()).unwrap() += weight(member) / sum;
        }
    }
    loads
}

/// The smallest and the largest load, relative to the mean.
fn extremes(loads: &BTreeMap<String, f64>) -> (f64, f64) {
    let mean = loads.values().sum::<f64>() / loads.len() as f64;
    let least = loads.values().copied().fold(f64::INFINITY, f64::min);
    (least / mean, loads.values().copied().fold(0.0, f64::max) / mean)
}
