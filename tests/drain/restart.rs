//! What was learnt survives a restart, and garbage changes nothing.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use whippletree::cluster::{Admin, ClusterState, DrainEnd, DrainOptions};
use whippletree::health::Failure;
use whippletree::load::{Cost, PeakEwma};
use whippletree::{Cluster, Context, Endpoint, EndpointId, Outcome, Weight};

const IDS: [&str; 4] = ["a", "b", "c", "d"];

fn empty() -> Cluster<()> {
    Cluster::builder().cost(Cost::PeakEwma(PeakEwma::new())).seed(7).connect(|_| ())
}

fn fill(cluster: &Cluster<()>) {
    for id in IDS {
        let endpoint = Endpoint::new("10.0.0.1:80").unwrap().with_id(id).unwrap();
        cluster.insert(endpoint).unwrap();
    }
}

fn id(place: usize) -> EndpointId {
    EndpointId::new(IDS[place]).unwrap()
}

fn step(cluster: &Cluster<()>, kind: u8, place: usize, number: i32) {
    let id = id(place);
    match kind {
        0 => cluster.set_admin(&id, Admin::Drain, "alice").unwrap(),
        1 => cluster.set_admin(&id, Admin::Maintenance, "bob").unwrap(),
        2 => cluster.set_weight(&id, Weight::from(number.unsigned_abs() as u16)).unwrap(),
        3 => cluster.adjust_rank(&id, "lag", number).unwrap(),
        _ => {
            let outcome =
                if kind == 4 { Outcome::Failure(Failure::Server) } else { Outcome::Success };
            for _ in 0..5 {
                if let Ok(mut lease) = cluster.pick(&Context::new().with_prefer(id.clone())) {
                    lease.report(outcome);
                }
            }
        }
    }
}

/// The times rounded away, which go on.
fn rounded(mut state: ClusterState) -> ClusterState {
    for endpoint in &mut state.endpoints {
        endpoint.admin_ms /= 10_000;
        endpoint.fit_ms = endpoint.fit_ms.map(|ms| ms / 10_000);
        endpoint.ejected_ms = endpoint.ejected_ms.map(|ms| ms.div_ceil(60_000));
        // Decays with time: to the nearest second.
        endpoint.latency_us = endpoint.latency_us.map(|us| (us + 500_000) / 1_000_000);
    }
    state
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_learnt_survives_a_restart(
        steps in prop::collection::vec((0..6_u8, 0..4_usize, -100..100_i32), 0..20),
        early: bool,
    ) {
        let old = empty();
        fill(&old);
        steps.iter().for_each(|(kind, place, number)| step(&old, *kind, *place, *number));
        let before = old.export();
        let text = serde_json::to_string(&before).unwrap();
        let read: ClusterState = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&serde_json::to_string(&read).unwrap(), &text);
        let new = empty();
        if early {
            fill(&new);
        }
        new.import(&read, Instant::now()).unwrap();
        fill_if_absent(&new);
        prop_assert_eq!(rounded(new.export()), rounded(before));
    }
}

fn fill_if_absent(cluster: &Cluster<()>) {
    if cluster.is_empty() {
        fill(cluster);
    }
}

#[test]
fn garbage_is_refused_by_field_and_value_and_changes_nothing() {
    let cluster = empty();
    fill(&cluster);
    let good = serde_json::to_value(cluster.export()).unwrap();
    for (path, value, expected) in [
        ("/version", serde_json::json!(2), r#"version: "2""#),
        ("/endpoints/1/admin", "gone".into(), r#"endpoints[1].admin: "gone""#),
        ("/endpoints/1/id", "".into(), "endpoints[1].id"),
        ("/endpoints/1/id", "a".into(), r#"endpoints[1].id: "a" stands twice"#),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(path).unwrap() = value;
        bad["endpoints"][0]["admin"] = "drain".into();
        let bad: ClusterState = serde_json::from_value(bad).unwrap();
        let error = cluster.import(&bad, Instant::now()).unwrap_err();
        assert!(error.is_config() && error.to_string().starts_with(expected), "{error}");
        assert!(cluster.export().endpoints.iter().all(|state| state.admin == "ready"));
    }
    for (key, value) in [("weight", 70_000_u64), ("latency_us", 3_600_000_001)] {
        let mut bad = good.clone();
        bad["endpoints"][2][key] = value.into();
        let bad: ClusterState = serde_json::from_value(bad).unwrap();
        let error = cluster.import(&bad, Instant::now()).unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
    }
    assert!(serde_json::from_str::<ClusterState>("{\"version\":1}").is_err());
}

#[test]
fn ejection_runs_on_for_the_remainder_and_unknown_endpoints_are_forgotten_in_time() {
    let old = empty();
    fill(&old);
    step(&old, 4, 0, 0);
    let state = old.export();
    assert!(state.endpoints[0].ejected_ms.unwrap() > 1000);
    let new = empty();
    fill(&new);
    let now = Instant::now();
    new.import(&state, now).unwrap();
    assert_eq!(new.status().endpoints[0].state.as_str(), "ejected");
    new.work_at(now + Duration::from_secs(6));
    let outlier = new.status().endpoints[0].reason().unwrap();
    assert!(outlier.starts_with("half_open by live traffic: ejected before"), "{outlier}");

    let late = empty();
    late.import(&state, now).unwrap();
    late.work_at(now + Duration::from_secs(301));
    fill(&late);
    assert_eq!(late.status().endpoints[0].state.as_str(), "up");
}

#[tokio::test(start_paused = true)]
async fn import_that_says_ready_ends_a_drain_also_one_that_is_over() {
    const SECOND: Duration = Duration::from_secs(1);
    for wait in [Duration::ZERO, 5 * SECOND] {
        let cluster = empty();
        fill(&cluster);
        let saved = cluster.export();
        let asks = Context::new().with_prefer(id(0));
        let lease = cluster.pick(&asks).unwrap();
        let drain = cluster.drain(&id(0), DrainOptions::new().deadline(2 * SECOND)).unwrap();
        tokio::time::sleep(wait).await;
        cluster.import(&saved, tokio::time::Instant::now().into_std()).unwrap();
        let ends = if wait.is_zero() { DrainEnd::Undone } else { DrainEnd::Deadline };
        assert_eq!(drain.await.end, ends);
        // Neither the request that was under way nor a new one is cut.
        let next = cluster.pick(&asks).unwrap();
        assert_eq!(next.id(), &id(0));
        for lease in [lease, next] {
            assert!(tokio::time::timeout(60 * SECOND, lease.forced()).await.is_err());
        }
        assert!(cluster.drained(&id(0)).is_none());
    }
}
