//! What an HTTP check asks, and how it reads the answer, over real sockets.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Empty;
use tokio::io::AsyncWriteExt;
use whippletree::balance::Addressed;
use whippletree::cluster::State;
use whippletree::probe::{HttpCheck, Probe};
use whippletree::{Balance, Cluster, Endpoint};

use crate::hostile::{Raw, failure, read_head};
use crate::script::reason;
use crate::support::server::{Server, full};
use crate::support::{HttpClient, client, soon, status};

fn check() -> HttpCheck {
    Probe::http("/health?deep=1").unwrap()
}

/// The state after the first check.
async fn first(probe: impl Into<Probe>, endpoint: Endpoint) -> (State, String) {
    let cluster = Cluster::builder().connect(|_| ());
    let _checks = tokio::spawn(cluster.probe(probe.into()));
    let id = endpoint.id().to_string();
    cluster.insert(endpoint).unwrap();
    soon(async {
        while status(&cluster, &id).state == State::Unproven {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    (status(&cluster, &id).state, reason(&cluster, &id))
}

/// A server that answers every request with this.
async fn answering(status: u16, body: Vec<u8>) -> Server {
    Server::with("a", move |_| {
        let response = Response::builder().status(status).header("location", "/elsewhere");
        let response = response.body(full(body.clone())).unwrap();
        async move { response }
    })
    .await
}

#[tokio::test]
async fn statuses_from_200_to_399_pass_and_redirects_are_not_followed() {
    for (code, passes) in
        [(200, true), (204, true), (302, true), (399, true), (404, false), (500, false)]
    {
        let server = answering(code, Vec::new()).await;
        let expected = if passes {
            (State::Up, String::new())
        } else {
            (State::Down, format!("status {code}"))
        };
        assert_eq!(first(check(), server.endpoint()).await, expected);
    }
    let redirect = answering(302, Vec::new()).await;
    let strict = check().expect([200..=299, 401..=401]);
    assert_eq!(first(strict.clone(), redirect.endpoint()).await.1, "status 302");
    let guarded = answering(401, Vec::new()).await;
    assert_eq!(first(strict, guarded.endpoint()).await.0, State::Up);
}

#[tokio::test]
async fn a_status_can_ask_for_drain() {
    let server = answering(404, Vec::new()).await;
    let check = check().drain_on_status(StatusCode::NOT_FOUND);
    assert_eq!(first(check, server.endpoint()).await.0, State::Drain);
}

#[tokio::test]
async fn the_body_is_searched_in_its_first_64_kib() {
    let at = |place: usize| {
        let mut body = vec![b'.'; 200 * 1024];
        body[place..place + 5].copy_from_slice(b"ready");
        body
    };
    let inside = 64 * 1024 - 5;
    for (body, passes) in
        [(at(0), true), (at(inside), true), (at(inside + 1), false), (b"no".to_vec(), false)]
    {
        let server = answering(200, body).await;
        let (state, reason) = first(check().contains("ready"), server.endpoint()).await;
        assert_eq!(state == State::Up, passes, "{reason}");
        assert_eq!(reason.is_empty(), passes);
    }
    // Cut by the transport at any place.
    let server = Raw::new(|mut stream| async move {
        read_head(&mut stream).await?;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n").await?;
        for byte in b"is ready." {
            stream.write_all(&[*byte]).await?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    })
    .await;
    assert_eq!(first(check().contains("ready"), server.endpoint.clone()).await.0, State::Up);
}

#[tokio::test]
async fn the_request_is_as_it_was_asked_for() {
    let seen = Arc::new(Mutex::new(String::new()));
    let log = Arc::clone(&seen);
    let server = Raw::new(move |mut stream| {
        let log = Arc::clone(&log);
        async move {
            *log.lock().unwrap() = read_head(&mut stream).await?.to_lowercase();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await
        }
    })
    .await;
    let port = server.endpoint.address().port();
    assert_eq!(first(check(), server.endpoint.clone()).await.0, State::Up);
    let head = seen.lock().unwrap().clone();
    assert!(head.starts_with("get /health?deep=1 http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nhost: 127.0.0.1:{port}\r\n")), "{head}");
    assert!(head.contains("\r\nconnection: close\r\n"), "{head}");

    let elsewhere = Endpoint::new("127.0.0.1:9").unwrap();
    let probe = check()
        .method(Method::HEAD)
        .host(HeaderValue::from_static("web.test"))
        .header(HeaderName::from_static("x-probe"), HeaderValue::from_static("yes"))
        .port(port);
    assert_eq!(first(probe, elsewhere).await.0, State::Up);
    let head = seen.lock().unwrap().clone();
    assert!(head.starts_with("head /health?deep=1 "), "{head}");
    assert!(head.contains("\r\nhost: web.test\r\n") && head.contains("x-probe: yes"), "{head}");
}

#[tokio::test]
async fn https_over_an_own_connection_says_what_to_do_instead() {
    let endpoint = Endpoint::new("https://127.0.0.1:1").unwrap();
    let (reason, _) = failure(check().fresh(), &endpoint).await;
    assert!(reason.contains("HttpCheck::through"), "{reason}");
}

#[tokio::test]
async fn a_check_goes_through_the_endpoints_own_service() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let server = Server::with("a", move |request| {
        let host = request.headers()[header::HOST].to_str().unwrap().to_owned();
        log.lock().unwrap().push(format!("{host} {}", request.uri()));
        async move { Response::new(full("ready")) }
    })
    .await;
    let probe = check().contains("ready").through::<Addressed<HttpClient>, Empty<Bytes>>();
    let balance = Balance::builder().endpoint(server.endpoint()).probe(probe);
    let balance = balance.shared(client()).unwrap();
    soon(balance.cluster().available()).await;
    let expected = format!("{} /health?deep=1", server.address());
    assert_eq!(*seen.lock().unwrap(), [expected]);
    // Checks are no traffic.
    assert_eq!(status(balance.cluster(), "a").requests, 0);
}

#[tokio::test]
async fn a_check_through_a_service_of_another_type_says_so() {
    let endpoint = Endpoint::new("127.0.0.1:9").unwrap();
    let probe = check().through::<Addressed<HttpClient>, Empty<Bytes>>();
    let (reason, _) = failure(probe, &endpoint).await;
    assert!(reason.starts_with("the cluster's payload is not the service "), "{reason}");
}

#[tokio::test]
async fn tcp_checks_connect_and_close() {
    let server = Server::named("a").await;
    assert_eq!(first(Probe::tcp(), server.endpoint()).await.0, State::Up);
    let elsewhere = Endpoint::new("127.0.0.1:9").unwrap();
    let probe = Probe::tcp_port(server.address().port());
    assert_eq!(first(probe, elsewhere).await.0, State::Up);
}

/// Connections and requests that a server has seen.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: AtomicUsize,
}

/// Answers so many requests on every connection and then closes it without a word.
async fn patient_for(requests: usize, seen: &Arc<Seen>) -> Raw {
    let seen = Arc::clone(seen);
    Raw::new(move |mut stream| {
        let seen = Arc::clone(&seen);
        async move {
            seen.connections.fetch_add(1, SeqCst);
            for _ in 0..requests {
                read_head(&mut stream).await?;
                seen.requests.fetch_add(1, SeqCst);
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await?;
            }
            Ok(())
        }
    })
    .await
}

/// Lets a server be checked so often; nothing may fail.
async fn checked(probe: Probe, server: &Raw, seen: &Seen, times: usize) {
    let cluster = Cluster::builder().connect(|_| ());
    let interval = Duration::from_millis(20);
    let probe = probe.interval(interval).timeout(Duration::from_secs(2));
    let _checks = tokio::spawn(cluster.probe(probe));
    cluster.insert(server.endpoint.clone()).unwrap();
    soon(async {
        while seen.requests.load(SeqCst) < times {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(reason(&cluster, "a"), "");
        }
    })
    .await;
}

#[tokio::test]
async fn fresh_connections_are_used_once_and_kept_ones_again() {
    let seen = Arc::new(Seen::default());
    let server = patient_for(usize::MAX, &seen).await;
    checked(check().reuse(), &server, &seen, 10).await;
    assert_eq!(seen.connections.load(SeqCst), 1);

    let seen = Arc::new(Seen::default());
    let server = patient_for(usize::MAX, &seen).await;
    checked(check().fresh(), &server, &seen, 10).await;
    assert!(seen.connections.load(SeqCst) >= 10);
}

#[tokio::test]
async fn a_kept_connection_that_died_is_no_failure() {
    let seen = Arc::new(Seen::default());
    let server = patient_for(1, &seen).await;
    checked(check().reuse(), &server, &seen, 10).await;
    assert!(seen.connections.load(SeqCst) >= 10);
}

#[tokio::test]
async fn a_kept_connection_that_hangs_leaves_time_for_a_fresh_one() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let server = Raw::new(move |mut stream| {
        count.fetch_add(1, SeqCst);
        async move {
            read_head(&mut stream).await?;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
            // As a host that is gone: nothing comes any more, and nothing says so.
            std::future::pending().await
        }
    })
    .await;
    let cluster = Cluster::builder().connect(|_| ());
    let probe = check().reuse().interval(Duration::from_millis(400));
    let _checks = tokio::spawn(cluster.probe(probe));
    cluster.insert(server.endpoint.clone()).unwrap();
    soon(async {
        while connections.load(SeqCst) < 4 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(reason(&cluster, "a"), "");
        }
    })
    .await;
    assert_eq!(status(&cluster, "a").state, State::Up);
}
