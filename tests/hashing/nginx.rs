//! `RingHash::ketama` beside pingora-ketama, and beside what nginx answered.

use std::net::SocketAddr;

use pingora_ketama::{Bucket, Continuum};
use whippletree::Endpoint;
use whippletree::policy::RingHash;
use whippletree::policy::hash::crc32_key;

use crate::{cluster, home};

fn agree(nodes: &[(String, u16)], keys: u32) {
    let endpoints: Vec<Endpoint> = nodes
        .iter()
        .map(|(address, weight)| Endpoint::new(address).unwrap().with_weight(*weight))
        .collect();
    let cluster = cluster(RingHash::ketama(), &endpoints);
    let bucket = |(address, weight): &(String, u16)| {
        Bucket::new(address.parse::<SocketAddr>().unwrap(), u32::from(*weight))
    };
    let oracle = Continuum::new(&nodes.iter().map(bucket).collect::<Vec<_>>());
    for key in 0..keys {
        let key = format!("/path/{key}?of={}", key % 7);
        let expected = oracle.node(key.as_bytes()).unwrap().to_string();
        assert_eq!(home(&cluster, crc32_key(&key)).as_str(), expected, "{key} of {nodes:?}");
    }
}

fn nodes(weights: &[u16], port: u16) -> Vec<(String, u16)> {
    let node = |(at, weight): (usize, &u16)| {
        (format!("192.168.{}.{}:{port}", at / 250, at % 250 + 1), *weight)
    };
    weights.iter().enumerate().map(node).collect()
}

#[test]
fn a_hundred_thousand_keys_go_where_pingora_sends_them() {
    agree(&nodes(&[1; 3], 80), 100_000);
    agree(&nodes(&[1; 40], 8080), 100_000);
    agree(&nodes(&[5, 1, 3, 2, 10, 1, 1], 443), 100_000);
    agree(&nodes(&[100, 1], 65_535), 100_000);
}

#[test]
fn one_server_and_many_servers_go_where_pingora_sends_them() {
    agree(&nodes(&[1], 80), 1000);
    agree(&nodes(&[1; 500], 80), 20_000);
}

fn serves(servers: &[&str], picks: &[(&str, &str)]) {
    let endpoints: Vec<Endpoint> =
        servers.iter().map(|address| Endpoint::new(address).unwrap()).collect();
    let cluster = cluster(RingHash::ketama(), &endpoints);
    for (key, expected) in picks {
        assert_eq!(home(&cluster, crc32_key(key)).as_str(), *expected, "{key}");
    }
}

/// The sample that pingora-ketama compared with nginx.
#[test]
fn keys_go_where_nginx_sends_them() {
    serves(
        &["127.0.0.1:7777", "127.0.0.1:7778"],
        &[
            ("/some/path", "127.0.0.1:7778"),
            ("/some/longer/path", "127.0.0.1:7777"),
            ("/sad/zaidoon", "127.0.0.1:7778"),
            ("/g", "127.0.0.1:7777"),
            ("/pingora/team/is/cool/and/this/is/a/long/uri", "127.0.0.1:7778"),
            ("/i/am/not/confident/in/this/code", "127.0.0.1:7777"),
        ],
    );
}

/// pingora-load-balancing's own test.
#[test]
fn without_the_third_server_only_its_keys_move() {
    let three = ["1.1.1.1:80", "1.0.0.1:80", "1.0.0.255:80"];
    let homes = [1, 0, 0, 0, 0, 2, 0, 2, 0, 1].map(|at| three[at]);
    let keys: Vec<String> = (0..10).map(|key| format!("test{key}")).collect();
    let picks =
        |homes: [&'static str; 10]| keys.iter().map(String::as_str).zip(homes).collect::<Vec<_>>();
    serves(&three, &picks(homes));
    serves(&three[..2], &picks([1, 0, 0, 0, 0, 1, 0, 0, 0, 1].map(|at| three[at])));
}

/// Twenty of the thousand lines that nginx logged with nine servers of weight 100, which
/// pingora-ketama carries as test data.
#[test]
fn lines_of_an_nginx_log_come_out_the_same() {
    let lines = [
        ("/81fa1d251d605775d647b5b55565e71526d4cef6", 7),
        ("/a8762dc488e1a1af31e53af8ddb887d4f3cca990", 8),
        ("/f109862c7c78e8ce087aeff9f2368d54d91fd3be", 5),
        ("/7bd85bb6826eeb30a67a999bfdeb6f6368954a3d", 5),
        ("/7c17fc177496c13dd1207388087ae1979603c886", 5),
        ("/87654ba6f96f359e4418b3368ae2256a3c2dad51", 2),
        ("/99bbb0675c38e292e979110ac88fc7711edc92a2", 7),
        ("/508445e1be7b2b4495f2eb5907530bb095e98ea7", 5),
        ("/f55d45d265ec44be7ded0db1252281348fab75f0", 4),
        ("/6f360332b72940cc117999224b5be35551a1790a", 5),
        ("/5e89a982f7f165b47fef959e10c32afa1e01783e", 1),
        ("/038366c13ffa60a0d9ef4bef212e6e7354a6bbfa", 8),
        ("/f76abffc1a71b95e7969cceaad57429672beaf68", 3),
        ("/a50ef8903707c1c5d7158a851d636ef65e198e7a", 7),
        ("/48a468d706a7cc4b07c0e74695a9c2f64012b02a", 2),
        ("/233de62d4ed3f6e6a8d847500ed8be500970bd0e", 8),
        ("/e2067038a82745a65406516f15817b63e328a825", 2),
        ("/0b74a181ce4b4f43023e4bc0acd7770f2867572f", 5),
        ("/ef3afb81312d46b826f033d9adf0c730996e7992", 7),
        ("/3a70dff8627a20ee109fa8241d7da762a02e02b3", 4),
    ];
    let endpoints: Vec<Endpoint> = (1..10)
        .map(|at| Endpoint::new(format!("10.0.0.{at}:443")).unwrap().with_weight(100))
        .collect();
    let cluster = cluster(RingHash::ketama(), &endpoints);
    for (uri, server) in lines {
        assert_eq!(home(&cluster, crc32_key(uri)).as_str(), format!("10.0.0.{server}:443"));
    }
}

#[test]
fn endpoints_at_one_address_stand_by_for_one_another() {
    let twin = |id: &str| Endpoint::new("10.0.0.1:80").unwrap().with_id(id).unwrap();
    let cluster = cluster(RingHash::ketama(), &[twin("b"), twin("a")]);
    let key = crc32_key("any");
    assert_eq!(home(&cluster, key).as_str(), "a");
    cluster.remove(twin("a").id());
    assert_eq!(home(&cluster, key).as_str(), "b");
}
