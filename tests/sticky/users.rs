//! A thousand users over five servers.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use whippletree::Endpoint;
use whippletree::cluster::{Admin, State};

use crate::web::{Balancer, REBIND_AFTER, Server, browser, visit};
use crate::world::id;

/// Who serves each, forty at a time.
async fn all(users: &[reqwest::Client], balancer: &Balancer) -> Vec<String> {
    stream::iter(users).map(|user| visit(user, balancer)).buffered(40).collect().await
}

fn shares(homes: &[String]) -> BTreeMap<&str, usize> {
    let mut shares = BTreeMap::new();
    homes.iter().for_each(|home| *shares.entry(home.as_str()).or_default() += 1);
    shares
}

#[tokio::test(flavor = "multi_thread")]
async fn thousand_users_stay_home_over_restart_outage_and_a_second_balancer() {
    let mut servers = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        servers.push(Server::start(name).await);
    }
    let endpoints = || servers.iter().map(Server::endpoint).collect::<Vec<Endpoint>>();
    let first = Balancer::start(endpoints()).await;
    first.settle("a", State::Up).await;
    let users: Vec<reqwest::Client> = (0..1000).map(|_| browser()).collect();
    let homes = all(&users, &first).await;
    // Forty begin at the same time, and a pick does not see those beside it.
    let even = |count: &usize| (195..=205).contains(count);
    assert!(shares(&homes).values().all(even), "{:?}", shares(&homes));
    let of_b = shares(&homes)["b"] as u64;
    assert_eq!(all(&users, &first).await, homes);

    // Another balancer, and after it the restart of the first; discovery lists in another order.
    let reversed = endpoints().into_iter().rev();
    let second = Balancer::start(reversed).await;
    second.settle("a", State::Up).await;
    assert_eq!(all(&users, &second).await, homes);
    drop(first);
    let restarted = Balancer::start(endpoints()).await;
    restarted.settle("a", State::Up).await;
    assert_eq!(all(&users, &restarted).await, homes);
    assert_eq!(restarted.layer.counts().new, 0);

    // A short outage: its users are diverted, each to one and the same, and come home again.
    servers[1].stop().await;
    restarted.settle("b", State::Down).await;
    let diverted = all(&users, &restarted).await;
    assert!(!diverted.contains(&"b".to_owned()));
    assert_eq!(all(&users, &restarted).await, diverted);
    let others = homes.iter().zip(&diverted).filter(|(home, _)| *home != "b");
    assert!(others.clone().all(|(home, now)| home == now), "nobody else is moved");
    servers[1].restart().await;
    restarted.settle("b", State::Up).await;
    assert_eq!(all(&users, &restarted).await, homes);
    let counts = restarted.layer.counts();
    assert_eq!((counts.rebound, counts.moved, counts.diverted), (0, 0, 2 * of_b));

    // A long one: they are rebound to where they were diverted, and stay there.
    servers[1].stop().await;
    restarted.settle("b", State::Down).await;
    let diverted = all(&users, &restarted).await;
    tokio::time::sleep(REBIND_AFTER).await;
    assert_eq!(all(&users, &restarted).await, diverted);
    servers[1].restart().await;
    restarted.settle("b", State::Up).await;
    assert_eq!(all(&users, &restarted).await, diverted);
    assert_eq!(restarted.layer.counts().rebound, of_b);

    // By the operator's word.
    restarted.cluster.set_admin(&id("c"), Admin::Maintenance, "test").unwrap();
    let moved = all(&users, &restarted).await;
    let others = diverted.iter().zip(&moved).filter(|(home, _)| *home != "c");
    assert!(others.clone().all(|(home, now)| home == now));
    assert!(!moved.contains(&"c".to_owned()));
}
