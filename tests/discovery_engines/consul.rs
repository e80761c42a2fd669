use std::time::Duration;

use crate::Followed;
use crate::registry::{Engine, Registry, Settings};

async fn registry(names: &[&str]) -> Registry {
    let registry = Registry::start(Engine::Consul).await;
    names.iter().for_each(|name| registry.add(name));
    registry
}

#[tokio::test]
async fn queries_wait_for_a_change_and_carry_index_and_token() {
    let registry = registry(&["a"]).await;
    let consul = registry.consul().token("secret").unwrap().query("dc", "eu 1");
    assert!(!format!("{consul:?}").contains("secret"));
    let followed = Followed::new(consul.watch());
    followed.lists(&["a.n"]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    registry.add("b");
    followed.lists(&["a.n", "b.n"]).await;
    let path = "/v1/health/service/web?passing=1&dc=eu%201";
    let requests = registry.requests();
    assert_eq!(requests[0], (path.to_owned(), "secret".to_owned()));
    assert_eq!(requests[1].0, format!("{path}&index=11&wait=5000ms"));
    assert!(requests.len() <= 3, "{requests:?}");
}

#[tokio::test]
async fn index_that_goes_backwards_is_forgotten() {
    let registry = registry(&["a", "b"]).await;
    let followed = Followed::new(registry.consul().watch());
    followed.lists(&["a.n", "b.n"]).await;
    registry.restore(&["c"]);
    followed.lists(&["c.n"]).await;
    registry.add("d");
    followed.lists(&["c.n", "d.n"]).await;
    let requests = registry.requests();
    let anew = requests.iter().skip(1).filter(|(path, _)| !path.contains("index="));
    assert_eq!(anew.count(), 1, "{requests:?}");
}

#[tokio::test]
async fn query_that_does_not_wait_is_made_once_a_second() {
    let registry = registry(&["a"]).await;
    for index in [None, Some("0"), Some("x")] {
        let headers = index.map(|index| ("x-consul-index", index.to_owned())).into_iter();
        *registry.settings.lock().unwrap() =
            Settings { headers: headers.collect(), never_blocks: true, ..Settings::default() };
        let before = registry.server.asked();
        let followed = Followed::new(registry.consul().watch());
        followed.lists(&["a.n"]).await;
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let asked = registry.server.asked() - before;
        assert!((2..=5).contains(&asked), "{asked} requests with the index {index:?}");
    }
}

#[tokio::test]
async fn stale_answers_are_used_and_told_once() {
    for (name, value, text) in [
        ("x-consul-knownleader", "false", "knows no leader"),
        ("x-consul-lastcontact", "60000", "last heard its leader 60s ago"),
    ] {
        let registry = registry(&["a"]).await;
        let mut followed = Followed::new(registry.consul().watch());
        followed.lists(&["a.n"]).await;
        registry.settings.lock().unwrap().headers.insert(name, value.to_owned());
        // The query on its way has the old settings.
        registry.add("b");
        registry.add("c");
        tokio::time::sleep(Duration::from_millis(300)).await;
        registry.add("d");
        followed.lists(&["a.n", "b.n", "c.n", "d.n"]).await;
        followed.fails(text).await;
        let source = &followed.cluster.sources()[0];
        assert!(source.last_error.as_ref().unwrap().contains(text));
        registry.add("e");
        followed.lists(&["a.n", "b.n", "c.n", "d.n", "e.n"]).await;
        assert_eq!(followed.failures(), [""; 0]);
    }
}

#[tokio::test]
async fn warning_instances_are_listed_when_asked_for() {
    let registry = registry(&["a"]).await;
    let mut warns = Engine::Consul.record("w", 10);
    warns["Checks"][0]["Status"] = "warning".into();
    registry.put("w", warns);
    let followed = Followed::new(registry.consul().with_warnings().watch());
    followed.lists(&["a.n", "w.n"]).await;
    assert_eq!(followed.status("w.n").endpoint.weight().get(), 1);
    assert!(!registry.requests()[0].0.contains("passing"));
}
