use std::time::Duration;

use super::*;

fn endpoint(id: &str) -> Endpoint {
    Endpoint::new("10.0.0.7:80").unwrap().with_id(id).unwrap().with_label("version", "2")
}

#[tokio::test]
#[ignore = "needs etcd"]
async fn registrant_is_listed_as_long_as_it_lives() {
    let server = Server::start().await;
    server.put(&key("a"), "10.0.0.1:80").await;
    let etcd = etcd(&server.url()).ttl(Duration::from_secs(2));
    let followed = Followed::new(etcd.clone());
    let registration = etcd.register(endpoint("web-7")).unwrap();
    soon(registration.registered()).await;
    followed.lists(&["10.0.0.1:80", "web-7"]).await;
    assert_eq!(followed.status("web-7").endpoint, endpoint("web-7"));
    tokio::time::sleep(Duration::from_secs(4)).await;
    followed.lists(&["10.0.0.1:80", "web-7"]).await;
    drop(registration);
    followed.lists(&["10.0.0.1:80"]).await;
}

#[tokio::test]
#[ignore = "needs etcd"]
async fn registrant_that_leaves_gets_no_new_traffic_and_is_then_gone() {
    let server = Server::start().await;
    server.put(&key("a"), "10.0.0.1:80").await;
    let etcd = etcd(&server.url());
    let followed = Followed::new(etcd.clone());
    let registration = etcd.register(endpoint("web-7")).unwrap();
    followed.lists(&["10.0.0.1:80", "web-7"]).await;
    soon(registration.leave()).await.unwrap();
    eventually(|| followed.cluster.status().available() == 1 || is_leaving(&followed)).await;
    followed.lists(&["10.0.0.1:80", "web-7"]).await;
    soon(registration.deregister()).await.unwrap();
    followed.lists(&["10.0.0.1:80"]).await;
}

fn is_leaving(followed: &Followed) -> bool {
    followed.status("web-7").endpoint.is_draining()
}

#[test]
#[ignore = "needs etcd"]
fn registrant_that_is_killed_vanishes() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Server::start());
    let url = server.url();
    // A runtime that ends without a word is as good as a process that does.
    let other = tokio::runtime::Runtime::new().unwrap();
    let etcd = etcd(&url).ttl(Duration::from_secs(1));
    let registration = other.block_on(async { etcd.register(endpoint("web-7")).unwrap() });
    runtime.block_on(async {
        server.put(&key("a"), "10.0.0.1:80").await;
        let followed = Followed::new(etcd);
        followed.lists(&["10.0.0.1:80", "web-7"]).await;
        other.shutdown_background();
        followed.lists(&["10.0.0.1:80"]).await;
    });
    drop(registration);
}

#[tokio::test]
#[ignore = "needs etcd"]
async fn registration_survives_the_loss_of_lease_key_and_server() {
    let mut server = Server::start().await;
    server.put(&key("a"), "10.0.0.1:80").await;
    let etcd = etcd(&server.url()).ttl(Duration::from_secs(2));
    let followed = Followed::new(etcd.clone());
    let registration = etcd.register(endpoint("web-7")).unwrap();
    followed.lists(&["10.0.0.1:80", "web-7"]).await;
    server.delete(&key("web-7")).await;
    followed.lists(&["10.0.0.1:80"]).await;
    followed.lists(&["10.0.0.1:80", "web-7"]).await;
    server.kill();
    eventually(|| registration.last_error().is_some()).await;
    server.restart_empty().await;
    server.put(&key("b"), "10.0.0.2:80").await;
    followed.lists(&["10.0.0.2:80", "web-7"]).await;
    assert_eq!(registration.last_error(), None);
    soon(registration.deregister()).await.unwrap();
    followed.lists(&["10.0.0.2:80"]).await;
}

#[tokio::test]
#[ignore = "needs etcd"]
async fn server_may_start_before_etcd() {
    let mut server = Server::start().await;
    server.kill();
    let etcd = etcd(&server.url());
    let registration = etcd.register(endpoint("web-7")).unwrap();
    eventually(|| registration.last_error().is_some()).await;
    assert!(!registration.is_registered());
    server.restart().await;
    soon(registration.registered()).await;
    let followed = Followed::new(etcd);
    followed.lists(&["web-7"]).await;
}
