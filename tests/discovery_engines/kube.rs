use std::time::Duration;

use serde_json::{Value, json};
use whippletree::discover::IpFamily;

use crate::fake::Mode;
use crate::registry::{Engine, Registry, slice};
use crate::{Followed, eventually};

async fn registry(names: &[&str]) -> Registry {
    let registry = Registry::start(Engine::Kube).await;
    names.iter().for_each(|name| registry.add(name));
    registry
}

fn ready() -> Value {
    json!({ "ready": true })
}

fn terminating() -> Value {
    json!({ "ready": false, "serving": true, "terminating": true })
}

#[tokio::test]
async fn slices_are_merged_and_a_terminating_pod_leaves_before_it_is_gone() {
    let registry = registry(&[]).await;
    registry.put("s1", slice(&[("a", "10.0.0.1", ready()), ("b", "10.0.0.2", ready())], 80));
    registry.put("s2", slice(&[("c", "10.0.0.3", json!({ "ready": null }))], 80));
    registry.put("s3", slice(&[("x", "10.0.0.4", json!({ "ready": false }))], 80));
    let followed = Followed::new(registry.kube().port("http").unwrap().watch());
    followed.lists(&["a.default", "b.default", "c.default"]).await;
    registry.put("s1", slice(&[("a", "10.0.0.1", ready()), ("b", "10.0.0.2", terminating())], 80));
    eventually(|| followed.status("b.default").endpoint.is_draining()).await;
    // On its way from one slice to another it is in both: the ready one counts.
    registry.put("s2", slice(&[("b", "10.0.0.2", ready()), ("c", "10.0.0.3", ready())], 80));
    eventually(|| !followed.status("b.default").endpoint.is_draining()).await;
    registry.put("s1", slice(&[("a", "10.0.0.1", ready())], 80));
    registry.remove("s2");
    followed.lists(&["a.default"]).await;
}

#[tokio::test]
async fn pod_of_two_families_is_one_endpoint() {
    let registry = registry(&[]).await;
    registry.put("four", slice(&[("a", "10.0.0.1", ready())], 80));
    registry.put("six", slice(&[("a", "fd00::1", ready()), ("b", "fd00::2", ready())], 80));
    let four = Followed::new(registry.kube().watch());
    let six = Followed::new(registry.kube().ip_family(IpFamily::V6).watch());
    for (followed, address) in [(four, "10.0.0.1:80"), (six, "[fd00::1]:80")] {
        followed.lists(&["a.default", "b.default"]).await;
        let endpoint = followed.status("a.default").endpoint;
        assert_eq!(endpoint.address().to_string(), address);
    }
}

#[tokio::test]
async fn version_that_is_gone_is_listed_anew() {
    for gone_by_event in [false, true] {
        let registry = registry(&["a"]).await;
        registry.settings.lock().unwrap().gone_by_event = gone_by_event;
        let mut followed = Followed::new(registry.kube().watch());
        followed.lists(&["a.default"]).await;
        registry.server.set(Mode::Gone);
        followed.fails("").await;
        registry.remove("a");
        registry.add("b");
        registry.compact();
        registry.server.set(Mode::Good);
        followed.fails("410").await;
        followed.lists(&["b.default"]).await;
        registry.add("c");
        followed.lists(&["b.default", "c.default"]).await;
    }
}

#[tokio::test]
async fn bookmarks_save_a_list() {
    let registry = registry(&["a"]).await;
    let mut followed = Followed::new(registry.kube().watch());
    followed.lists(&["a.default"]).await;
    registry.add("b");
    followed.lists(&["a.default", "b.default"]).await;
    registry.bookmark();
    registry.compact();
    tokio::time::sleep(Duration::from_millis(300)).await;
    registry.server.set(Mode::Gone);
    followed.fails("").await;
    registry.server.set(Mode::Good);
    registry.add("c");
    followed.lists(&["a.default", "b.default", "c.default"]).await;
    let is_list = |path: &&(String, String)| !path.0.contains("watch=1");
    assert_eq!(registry.requests().iter().filter(is_list).count(), 1);
    assert!(followed.failures().iter().all(|reason| !reason.contains("410")));
}

#[tokio::test]
async fn list_whose_pages_expire_begins_again() {
    let registry = registry(&[]).await;
    for at in 0..35 {
        registry.add(&format!("pod-{at}"));
    }
    let followed = Followed::new(registry.kube().watch());
    eventually(|| followed.cluster.len() == 35).await;
    let is_page = |path: &&(String, String)| path.0.contains("continue=");
    assert_eq!(registry.requests().iter().filter(is_page).count(), 3);
}

#[tokio::test]
async fn token_is_read_for_every_request() {
    let registry = registry(&["a"]).await;
    let path = std::env::temp_dir().join(format!("whippletree-token-{}", std::process::id()));
    std::fs::write(&path, "first\n").unwrap();
    let mut followed = Followed::new(registry.kube().token_file(&path).watch());
    followed.lists(&["a.default"]).await;
    std::fs::write(&path, "second\n").unwrap();
    registry.server.set(Mode::Gone);
    registry.server.set(Mode::Good);
    registry.add("b");
    followed.lists(&["a.default", "b.default"]).await;
    let requests = registry.requests();
    assert_eq!(requests[0].1, "Bearer first");
    assert_eq!(requests.last().unwrap().1, "Bearer second");
    std::fs::remove_file(&path).unwrap();
    registry.server.set(Mode::Gone);
    followed.fails("token").await;
}

#[tokio::test]
async fn port_that_no_slice_has_is_told_with_those_that_there_are() {
    let registry = registry(&[]).await;
    registry.put("s1", slice(&[("a", "10.0.0.1", ready())], 80));
    let mut followed = Followed::new(registry.kube().port("grpc").unwrap().watch());
    let reason = followed.fails("grpc").await;
    assert_eq!(reason, r#"slice s1: port: "grpc" is none of [http:80]"#);
    assert_eq!(followed.cluster.len(), 0);
}
