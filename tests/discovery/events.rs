//! What subscribers are told, and what they miss.

use whippletree::event::Event;
use whippletree::{Cluster, Endpoint};

use crate::told;

fn at(address: &str, id: &str) -> Endpoint {
    Endpoint::new(address).and_then(|endpoint| endpoint.with_id(id)).unwrap()
}

#[test]
fn one_change_of_more_endpoints_than_the_capacity_loses_the_oldest_events() {
    let cluster = Cluster::builder().event_capacity(4).connect(|_| ());
    let mut events = cluster.subscribe();
    let endpoints = (0..10).map(|number| at("a:1", &number.to_string()));
    cluster.replace(endpoints.collect::<Vec<_>>()).unwrap();
    let told = told(&mut events);
    assert_eq!(told[0], Event::Missed(6));
    assert_eq!(told.len(), 5, "{told:?}");
}

#[test]
fn a_new_address_is_an_update() {
    let cluster = Cluster::builder().connect(|_| ());
    cluster.insert(at("a:1", "x")).unwrap();
    let mut events = cluster.subscribe();
    cluster.insert(at("b:1", "x")).unwrap();
    assert_eq!(told(&mut events), [Event::Updated("x".parse().unwrap())]);
}
