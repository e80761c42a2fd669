use std::time::{Duration, Instant};

use tokio_stream::StreamExt;
use whippletree::discover::{Change, Options};

use super::*;

#[tokio::test]
#[ignore = "needs etcd"]
async fn endpoints_come_and_go_with_their_keys() {
    let server = Server::start().await;
    server.put(&key("a"), "10.0.0.1:80").await;
    server.put("/services/website", "10.0.0.9:80").await;
    let mut followed = Followed::new(etcd(&server.url()));
    followed.lists(&["10.0.0.1:80"]).await;
    let value = r#"{"id":"b","address":"10.0.0.2:80","weight":3,"labels":{"zone":"x"}}"#;
    server.put(&key("b"), value).await;
    followed.lists(&["10.0.0.1:80", "b"]).await;
    let endpoint = followed.status("b").endpoint;
    assert_eq!((endpoint.weight().get(), endpoint.labels().get("zone")), (3, Some("x")));
    server.put(&key("b"), &value.replace("3", "5")).await;
    eventually(|| followed.status("b").endpoint.weight().get() == 5).await;
    server.delete(&key("a")).await;
    followed.lists(&["b"]).await;
    assert_eq!(followed.failures(), [""; 0]);
}

#[tokio::test]
#[ignore = "needs etcd"]
async fn endpoint_whose_lease_expires_vanishes() {
    let server = Server::start().await;
    server.put(&key("a"), "10.0.0.1:80").await;
    server.put_leased(&key("b"), "10.0.0.2:80", 1).await;
    let followed = Followed::new(etcd(&server.url()));
    followed.lists(&["10.0.0.1:80", "10.0.0.2:80"]).await;
    followed.lists(&["10.0.0.1:80"]).await;
}

#[tokio::test]
#[ignore = "needs etcd"]
async fn value_that_cannot_be_read_leaves_the_last_good_one_and_says_why() {
    let server = Server::start().await;
    server.put(&key("a"), "10.0.0.1:80").await;
    server.put(&key("bad"), "nonsense").await;
    let mut followed = Followed::new(etcd(&server.url()));
    let reason = followed.fails("nonsense").await;
    assert_eq!(
        reason,
        r#"key /services/web/bad: address: "nonsense" has no port: write host:port"#
    );
    followed.lists(&["10.0.0.1:80"]).await;
    server.put(&key("a"), r#"{"address":"10.0.0.1:80","weight":-1}"#).await;
    followed.fails("key /services/web/a: invalid value: integer `-1`").await;
    server.put(&key("b"), "10.0.0.2:80").await;
    followed.lists(&["10.0.0.1:80", "10.0.0.2:80"]).await;
    server.put(&key("twice"), "10.0.0.2:80").await;
    followed.fails("key /services/web/twice: id 10.0.0.2:80 is another key's").await;
}

#[tokio::test]
#[ignore = "needs etcd"]
async fn last_good_set_stays_when_all_keys_are_gone_unless_that_is_allowed() {
    let server = Server::start().await;
    server.put(&key("a"), "10.0.0.1:80").await;
    let mut followed = Followed::new(etcd(&server.url()));
    let cleared = Followed::with(Options::new("etcd").allow_empty(), etcd(&server.url()));
    followed.lists(&["10.0.0.1:80"]).await;
    cleared.lists(&["10.0.0.1:80"]).await;
    server.delete(&key("a")).await;
    followed.fails("empty set").await;
    cleared.lists(&[]).await;
    followed.lists(&["10.0.0.1:80"]).await;
    server.put(&key("b"), "10.0.0.2:80").await;
    followed.lists(&["10.0.0.2:80"]).await;
    cleared.lists(&["10.0.0.2:80"]).await;
}

#[tokio::test]
#[ignore = "needs etcd"]
async fn server_that_is_gone_for_a_while_costs_nothing_but_news() {
    let mut server = Server::start().await;
    server.put(&key("a"), "10.0.0.1:80").await;
    let mut followed = Followed::new(etcd(&server.url()));
    followed.lists(&["10.0.0.1:80"]).await;
    server.kill();
    followed.fails("refused").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    followed.lists(&["10.0.0.1:80"]).await;
    assert!(followed.cluster.sources()[0].failures > 0);
    server.restart().await;
    server.put(&key("b"), "10.0.0.2:80").await;
    followed.lists(&["10.0.0.1:80", "10.0.0.2:80"]).await;
    assert_eq!(followed.cluster.sources()[0].failures, 0);
}

#[tokio::test]
#[ignore = "needs etcd"]
async fn cluster_restored_to_an_earlier_revision_is_listed_anew() {
    let mut server = Server::start().await;
    server.put(&key("a"), "10.0.0.1:80").await;
    server.put(&key("b"), "10.0.0.2:80").await;
    let mut followed = Followed::new(etcd(&server.url()));
    followed.lists(&["10.0.0.1:80", "10.0.0.2:80"]).await;
    server.kill();
    server.restart_empty().await;
    server.put(&key("c"), "10.0.0.3:80").await;
    followed.fails("went back from").await;
    followed.lists(&["10.0.0.3:80"]).await;
}

#[tokio::test]
#[ignore = "needs etcd"]
async fn what_was_compacted_while_the_connection_was_cut_is_listed_anew() {
    let server = Server::start().await;
    server.put(&key("a"), "10.0.0.1:80").await;
    let wire = Forwarder::to(server.address).await;
    let mut followed = Followed::new(etcd(&wire.url()));
    followed.lists(&["10.0.0.1:80"]).await;
    // The watch has to be open, or there is nothing to cut.
    server.put(&key("b"), "10.0.0.2:80").await;
    followed.lists(&["10.0.0.1:80", "10.0.0.2:80"]).await;
    wire.set(Wire::Cut);
    followed.fails("/v3/watch").await;
    server.delete(&key("a")).await;
    server.put(&key("c"), "10.0.0.3:80").await;
    server.compact().await;
    wire.set(Wire::Whole);
    followed.fails("compacted up to revision").await;
    followed.lists(&["10.0.0.2:80", "10.0.0.3:80"]).await;
}

#[tokio::test]
#[ignore = "needs etcd"]
async fn watch_goes_on_where_the_connection_was_cut() {
    let server = Server::start().await;
    server.put(&key("a"), "10.0.0.1:80").await;
    let wire = Forwarder::to(server.address).await;
    let mut followed = Followed::new(etcd(&wire.url()));
    followed.lists(&["10.0.0.1:80"]).await;
    for name in ["b", "c", "d"] {
        wire.set(Wire::Cut);
        followed.fails("").await;
        server.put(&key(name), &format!("{name}:80")).await;
        wire.set(Wire::Whole);
        eventually(|| followed.ids().contains(&format!("{name}:80"))).await;
    }
    server.delete(&key("a")).await;
    followed.lists(&["b:80", "c:80", "d:80"]).await;
    assert!(wire.accepted() < 20, "{} connections", wire.accepted());
}

#[tokio::test]
#[ignore = "needs etcd"]
async fn connection_that_was_cut_in_silence_is_noticed() {
    let server = Server::start().await;
    server.put(&key("a"), "10.0.0.1:80").await;
    let wire = Forwarder::to(server.address).await;
    let quiet = Duration::from_millis(500);
    let patient = etcd(&wire.url()).quiet(quiet).timeout(quiet);
    let mut followed = Followed::new(patient);
    followed.lists(&["10.0.0.1:80"]).await;
    wire.set(Wire::Silent);
    followed.fails("no answer in 500ms").await;
    server.put(&key("b"), "10.0.0.2:80").await;
    wire.set(Wire::Whole);
    followed.lists(&["10.0.0.1:80", "10.0.0.2:80"]).await;
}

#[tokio::test]
#[ignore = "needs etcd"]
async fn silent_watch_is_renewed_and_the_age_with_it() {
    let server = Server::start().await;
    server.put(&key("a"), "10.0.0.1:80").await;
    let wire = Forwarder::to(server.address).await;
    let mut followed = Followed::new(etcd(&wire.url()).quiet(Duration::from_millis(200)));
    followed.lists(&["10.0.0.1:80"]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let age = followed.cluster.sources()[0].age.unwrap();
    assert!(age < Duration::from_secs(1), "{age:?}");
    assert_eq!(followed.failures(), [""; 0]);
    assert!((5..20).contains(&wire.accepted()), "{} connections", wire.accepted());
}

#[tokio::test]
#[ignore = "needs etcd"]
async fn members_are_tried_in_turn() {
    let server = Server::start().await;
    server.put(&key("a"), "10.0.0.1:80").await;
    let dead = "http://127.0.0.1:1";
    let etcd = Etcd::new([dead, &server.url(), dead], PREFIX).unwrap();
    let mut followed = Followed::new(etcd);
    followed.lists(&["10.0.0.1:80"]).await;
    assert_eq!(followed.failures(), [""; 0]);
}

#[tokio::test]
#[ignore = "needs etcd"]
async fn ten_thousand_keys_are_listed_in_pages_and_watched() {
    let server = Server::start().await;
    let pair = |at: usize| (key(&format!("{at}")), format!("10.1.{}.{}:80", at / 250, at % 250));
    let pairs: Vec<_> = (0..10_000).map(pair).collect();
    server.put_all(&pairs).await;
    let mut followed = Followed::new(etcd(&server.url()));
    eventually(|| followed.cluster.len() == 10_000).await;
    server.delete(&key("77")).await;
    eventually(|| followed.cluster.len() == 9_999).await;
    assert_eq!(followed.failures(), [""; 0]);
}

#[tokio::test]
#[ignore = "needs etcd"]
async fn thousand_updates_in_a_second_are_few_sets() {
    let server = Server::start().await;
    server.put(&key("a"), "10.0.0.1:80").await;
    let mut stream = etcd(&server.url()).watch()();
    let writes = async {
        let began = Instant::now();
        for round in 1..=40_u32 {
            let pair = |at: usize| {
                let address = format!("10.0.1.{at}:80");
                (key(&format!("{at}")), format!(r#"{{"address":"{address}","weight":{round}}}"#))
            };
            server.put_all(&(0..25).map(pair).collect::<Vec<_>>()).await;
            let due = began + Duration::from_millis(25) * round;
            tokio::time::sleep_until(due.into()).await;
        }
    };
    let reads = async {
        let mut sets = 0;
        loop {
            let Change::Replace(set) = soon(stream.next()).await.unwrap().unwrap() else {
                panic!("a whole set")
            };
            sets += 1;
            if set.len() == 26 && set.iter().filter(|e| e.weight().get() == 40).count() == 25 {
                return sets;
            }
        }
    };
    let ((), sets) = tokio::join!(writes, reads);
    assert!((5..=25).contains(&sets), "{sets} sets of 1000 updates");
}
