//! Many changes, many sources.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::stream;
use whippletree::discover::Change;
use whippletree::event::Event;
use whippletree::policy::{Build, P2c, Pick, Policy};
use whippletree::{Cluster, Context, Endpoint};

use crate::support::{ids, soon};
use crate::{cluster, endpoint, fed, id, set};

/// P2c, counting how often it was built: once per tier of every snapshot.
#[derive(Debug, Default)]
struct Counting(Arc<AtomicUsize>);

impl Policy for Counting {
    fn name(&self) -> &str {
        "counting"
    }

    fn build(&self, build: &Build<'_>) -> Box<dyn Pick> {
        self.0.fetch_add(1, Ordering::Relaxed);
        P2c::new().build(build)
    }
}

#[tokio::test]
async fn burst_of_changes_makes_few_snapshots() {
    let builds = Arc::new(AtomicUsize::new(0));
    let policy = Counting(Arc::clone(&builds));
    let cluster = Cluster::builder().policy(policy).connect(|_| ());
    let burst = || (0..1000).map(|n| Change::Insert(endpoint(&format!("n{}", n % 700))));

    // All ready at once: one batch.
    soon(cluster.follow("iterator", stream::iter(burst()))).await;
    assert_eq!(cluster.len(), 700);
    assert_eq!(builds.swap(0, Ordering::Relaxed), 1);

    // Out of a channel of tokio's, which lets a task have 128 items at a time if it may.
    let (changes, stream) = fed();
    burst().for_each(|change| changes.send(change).unwrap());
    drop(changes);
    soon(cluster.follow("channel", stream)).await;
    let builds = builds.load(Ordering::Relaxed);
    assert!(builds <= 2, "{builds} snapshots");
}

#[tokio::test]
async fn address_that_flaps_within_a_burst_ends_with_its_own_payload() {
    let at = |address: &str| Endpoint::new(address).unwrap().with_id("a").unwrap();
    for addresses in [&["x:1", "y:1", "x:1"][..], &["y:1", "x:1"]] {
        let cluster = Cluster::builder().connect(|endpoint| endpoint.address().to_string());
        cluster.insert(at("x:1")).unwrap();
        let changes = addresses.iter().map(|address| Change::Insert(at(address)));
        soon(cluster.follow("changes", stream::iter(changes))).await;
        let lease = cluster.pick(&Context::new()).unwrap();
        assert_eq!(lease.endpoint().address().to_string(), "x:1");
        assert_eq!(lease.service(), "x:1");
    }
}

#[tokio::test]
async fn sources_stand_beside_each_other() {
    let cluster = cluster();
    let (sets, stream) = fed();
    let mut events = cluster.subscribe();
    let follower = tokio::spawn(cluster.follow("dns", stream));
    let file = cluster.source("file");
    cluster.replace(set("own")).unwrap();
    file.replace(set("file both")).unwrap();
    sets.send(set("dns both")).unwrap();
    while soon(events.next()).await != Some(Event::Added(id("dns"))) {}
    assert_eq!(ids(&cluster), ["both", "dns", "file", "own"]);

    // A source that replaces its set leaves what others list, "both" too.
    sets.send(set("dns2")).unwrap();
    while soon(events.next()).await != Some(Event::Removed(id("dns"))) {}
    assert_eq!(ids(&cluster), ["both", "dns2", "file", "own"]);
    assert!(!cluster.remove(&id("file")), "not the handle's");
    assert!(file.remove(&id("both")));
    assert_eq!(ids(&cluster), ["dns2", "file", "own"]);
    cluster.replace([]).unwrap();
    drop(file);
    assert_eq!(ids(&cluster), ["dns2", "file"]);
    drop(sets);
    soon(follower).await.unwrap();
    assert_eq!(ids(&cluster), ["dns2", "file"]);
}
