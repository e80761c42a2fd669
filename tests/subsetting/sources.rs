//! Subsets of sources, as a cluster sees them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::stream;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tower::discover::Change as TowerChange;
use whippletree::discover::{Change, Options, Subsetting, Update};
use whippletree::event::Event;
use whippletree::{Cluster, Endpoint, EndpointId, Error};

use crate::support::soon;
use crate::{endpoint, fleet, weighing};

fn five() -> Subsetting {
    Subsetting::random(5).unwrap().seed(0)
}

fn options() -> Options {
    Options::new("fleet").subsetting(five())
}

fn present(cluster: &Cluster<()>) -> BTreeSet<String> {
    let endpoints = cluster.status().endpoints;
    endpoints.iter().map(|status| status.endpoint.id().to_string()).collect()
}

fn expected(fleet: Vec<Endpoint>) -> BTreeSet<String> {
    five().of(fleet).iter().map(|member| member.id().to_string()).collect()
}

async fn follow<T: Into<Update> + Send>(cluster: &Cluster<()>, items: Vec<T>) {
    soon(cluster.follow(options(), stream::iter(items))).await;
}

#[tokio::test]
async fn payloads_are_made_for_members_alone() {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let cluster = Cluster::builder().connect(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    follow(&cluster, vec![fleet(1000)]).await;
    assert_eq!(present(&cluster), expected(fleet(1000)));
    assert_eq!(made.load(Ordering::Relaxed), 5);
    let status = &cluster.sources()[0];
    assert_eq!((status.endpoints, status.fleet), (5, 1000));
}

#[tokio::test]
async fn change_outside_the_subset_makes_no_snapshot_and_counts_as_heard() {
    let cluster = Cluster::builder().connect(|_| ());
    let mut events = cluster.subscribe();
    let (changes, stream) = mpsc::unbounded_channel();
    tokio::spawn(cluster.follow(options(), UnboundedReceiverStream::new(stream)));
    changes.send(Ok(Change::Replace(fleet(10)))).unwrap();
    for _ in 0..5 {
        assert!(matches!(soon(events.next()).await, Some(Event::Added(_))));
    }
    // Not among the first five: 6, 7 and, of other weight, 0.
    changes.send(Ok(Change::Remove(endpoint(6).id().clone()))).unwrap();
    changes.send(Err("no answer")).unwrap();
    assert!(matches!(soon(events.next()).await, Some(Event::DiscoveryFailed { .. })));
    assert_eq!(cluster.sources()[0].failures, 1);
    changes.send(Ok(Change::Insert(weighing(0, 9)))).unwrap();
    soon(async {
        while cluster.sources()[0].failures > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // The next event is about a member.
    changes.send(Ok(Change::Insert(weighing(1, 9)))).unwrap();
    let Some(Event::Updated(id)) = soon(events.next()).await else { panic!() };
    assert_eq!(id, *endpoint(1).id());
}

#[tokio::test]
async fn sets_are_judged_as_the_stream_delivers_them() {
    let cluster = Cluster::builder().connect(|_| ());
    let twice = [fleet(20), vec![endpoint(19)]].concat();
    follow(&cluster, vec![fleet(10), Vec::new(), twice]).await;
    assert_eq!(present(&cluster), expected(fleet(10)));
    assert_eq!(cluster.sources()[0].failures, 2);
    let error = cluster.sources()[0].last_error.clone().unwrap();
    assert_eq!(error, r#"id: "endpoint-19" stands twice in one set"#);

    let cluster = Cluster::builder().connect(|_| ());
    let sets = stream::iter([fleet(10), Vec::new()]);
    soon(cluster.follow(options().allow_empty(), sets)).await;
    assert_eq!((cluster.len(), cluster.sources()[0].fleet), (0, 0));
}

#[tokio::test]
async fn next_stream_goes_on_with_the_fleet_of_the_one_before() {
    let cluster = Cluster::builder().connect(|_| ());
    follow(&cluster, vec![fleet(10)]).await;
    let member = five().of(fleet(10))[0].id().clone();
    follow(&cluster, vec![Change::Remove(member.clone())]).await;
    let left: Vec<Endpoint> = fleet(10).into_iter().filter(|one| *one.id() != member).collect();
    assert_eq!(present(&cluster), expected(left));

    cluster.source("fleet").withdraw();
    assert_eq!((cluster.len(), cluster.sources().len()), (0, 0));
}

#[tokio::test]
async fn stream_without_a_subset_lists_all_again() {
    let cluster = Cluster::builder().connect(|_| ());
    follow(&cluster, vec![fleet(10)]).await;
    soon(cluster.follow("fleet", stream::iter([fleet(10)]))).await;
    assert_eq!((cluster.len(), cluster.sources()[0].fleet), (10, 10));
}

#[tokio::test]
async fn other_sources_stay_whole() {
    let cluster = Cluster::builder().connect(|_| ());
    cluster.replace((100..120).map(|n| endpoint(n).with_priority(1))).unwrap();
    follow(&cluster, vec![fleet(1000)]).await;
    assert_eq!(cluster.len(), 25 - five().of(fleet(1000)).iter().filter(is_listed_twice).count());
}

fn is_listed_twice(member: &&Endpoint) -> bool {
    (100..120).any(|n| member.id() == endpoint(n).id())
}

#[tokio::test]
async fn services_that_are_there_already_are_all_taken_and_that_is_told() {
    let cluster: Cluster<usize> = Cluster::builder().build();
    let mut events = cluster.subscribe();
    let services = (0..10_usize).map(|n| Ok::<_, Error>(TowerChange::Insert(n, n)));
    let describe = |n: &usize| Ok(endpoint(*n));
    soon(cluster.follow_discover(options(), stream::iter(services), describe)).await;
    assert_eq!(cluster.len(), 10);
    let Some(Event::DiscoveryFailed { reason, .. }) = soon(events.next()).await else { panic!() };
    let told = r#"subsetting: "fleet" cannot be done with services that are there already"#;
    assert_eq!(&*reason, told);
}

/// What a registry may say.
fn changes() -> impl Strategy<Value = Vec<Change>> {
    let one = || (0..40_usize, 0..3_u16).prop_map(|(n, weight)| weighing(n, weight));
    let set = prop::collection::btree_map(0..40_usize, 0..3_u16, 1..30);
    let set = set.prop_map(|set| set.into_iter().map(|(n, weight)| weighing(n, weight)).collect());
    let change = prop_oneof![
        4 => one().prop_map(Change::Insert),
        4 => (0..40_usize).prop_map(|n| Change::Remove(endpoint(n).id().clone())),
        1 => set.prop_map(Change::Replace),
    ];
    prop::collection::vec(change, 1..60)
}

fn apply(fleet: &mut Vec<Endpoint>, change: &Change) {
    let without = |fleet: &mut Vec<Endpoint>, id: &EndpointId| fleet.retain(|one| one.id() != id);
    match change {
        Change::Insert(endpoint) => {
            without(fleet, endpoint.id());
            fleet.push(endpoint.clone());
        }
        Change::Remove(id) => without(fleet, id),
        Change::Replace(set) => fleet.clone_from(set),
        _ => unreachable!(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        cases: 128,
        ..ProptestConfig::default()
    })]

    #[test]
    fn cluster_has_the_subset_of_the_fleet_whatever_was_said(
        changes in changes(),
        how in prop_oneof![
            (1..10_usize, any::<u64>()).prop_map(|(size, seed)| {
                Subsetting::random(size).unwrap().seed(seed)
            }),
            (0..5_u32, 1..9_usize).prop_map(|(client, least)| {
                Subsetting::aperture(client, 5).unwrap().least(least).unwrap()
            }),
        ],
    ) {
        let cluster = Cluster::builder().connect(|_| ());
        let (said, stream) = mpsc::unbounded_channel();
        let options = Options::new("fleet").subsetting(how.clone());
        let mut follower = Box::pin(cluster.follow(options, UnboundedReceiverStream::new(stream)));
        let mut fleet = Vec::new();
        for change in changes {
            apply(&mut fleet, &change);
            said.send(change).unwrap();
            let mut task = std::task::Context::from_waker(std::task::Waker::noop());
            prop_assert!(follower.as_mut().poll(&mut task).is_pending());
            let listed: Vec<Endpoint> =
                cluster.status().endpoints.into_iter().map(|status| status.endpoint).collect();
            prop_assert_eq!(listed, how.of(fleet.clone()));
        }
    }
}
