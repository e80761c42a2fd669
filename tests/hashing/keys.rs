//! Keys read from requests, and the layer that hands their hashes to the balance.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::request::Parts;
use http::{Request, Response};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use whippletree::affinity::{AffinityLayer, ClientAddress, Key, KeyHash, Peer};
use whippletree::policy::{Maglev, RingHash};
use whippletree::{Balance, Context, EndpointId};

use crate::fleet;

const HASH: KeyHash = KeyHash::xxh64(0);

fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
    let request = headers
        .iter()
        .fold(Request::get(uri), |request, (name, value)| request.header(*name, *value));
    request.body(()).unwrap().into_parts().0
}

/// Asserts which bytes are the key of a request; `None` if it has none.
fn reads(key: &str, uri: &str, headers: &[(&str, &str)], value: Option<&str>) {
    let hash = key.parse::<Key>().unwrap().hash(&parts(uri, headers), HASH);
    assert_eq!(hash, value.map(|value| HASH.hash(value)), "{key} of {uri} {headers:?}");
}

#[test]
fn header_is_read_without_regard_to_case_and_the_first_line_counts() {
    reads("header:X-User", "/", &[("x-user", "ada")], Some("ada"));
    reads("header:x-user", "/", &[("x-user", "ada"), ("x-user", "bob")], Some("ada"));
    reads("header:x-user", "/", &[("x-users", "ada")], None);
    reads("header:x-user", "/", &[("x-user", "")], None);
}

#[test]
fn cookie_is_found_in_any_place_and_line_by_its_whole_name() {
    for cookies in [
        &[("cookie", "sid=1; user=ada")][..],
        &[("cookie", "sid=1;user=ada;x")],
        &[("cookie", "sid=1"), ("cookie", "  user=ada ; user=bob")],
        &[("cookie", "xuser=eve; user2=eve; USER=eve; user; user=ada")],
    ] {
        reads("cookie:user", "/", cookies, Some("ada"));
    }
    reads("cookie:user", "/", &[("cookie", "user=a=b")], Some("a=b"));
    reads("cookie:user", "/", &[("cookie", "user=; user=ada")], None);
    reads("cookie:user", "/", &[("cookie", "us=er")], None);
}

#[test]
fn path_has_no_query_and_no_host() {
    reads("path", "/a/b?c=d", &[], Some("/a/b"));
    reads("path", "http://host:80/a%20b", &[], Some("/a%20b"));
    reads("path", "http://host", &[], Some("/"));
}

#[test]
fn query_parameter_is_found_by_its_whole_name_and_taken_as_written() {
    reads("query:key", "/?key=a", &[], Some("a"));
    reads("query:key", "/?xkey=b&key2=c&key&key=a%2Fb=&key=d", &[], Some("a%2Fb="));
    reads("query:key", "/?key=", &[], None);
    reads("query:key", "/?a=b", &[], None);
    reads("query:key", "/key=a", &[], None);
}

#[test]
fn client_address_is_hashed_as_its_text() {
    let key: Key = "client_ip".parse().unwrap();
    let mut parts = parts("/", &[("x-forwarded-for", "6.6.6.6")]);
    assert_eq!(key.hash(&parts, HASH), None);
    for (peer, text) in [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:0db8:1111:2222:3333:4444:5555:6666", "2001:db8:1111:2222:3333:4444:5555:6666"),
    ] {
        parts.extensions.insert(Peer(peer.parse().unwrap()));
        assert_eq!(key.hash(&parts, HASH), Some(HASH.hash(text)));
    }
}

#[test]
fn peer_may_come_from_another_extension() {
    #[derive(Clone)]
    struct ConnectInfo(IpAddr);
    let peer = |parts: &Parts| parts.extensions.get::<ConnectInfo>().map(|info| info.0);
    let key = Key::client(ClientAddress::new().peer_from(peer));
    let mut parts = parts("/", &[]);
    assert_eq!(key.hash(&parts, HASH), None);
    parts.extensions.insert(ConnectInfo([10, 0, 0, 1].into()));
    assert_eq!(key.hash(&parts, HASH), Some(HASH.hash("10.0.0.1")));
}

#[test]
fn wrong_keys_are_refused_by_name() {
    for text in [
        "",
        "x-user",
        "header",
        "header:",
        "header:x user",
        "cookie:",
        "cookie:a=b",
        "cookie:a;b",
        "query:",
        "query:a&b",
        "query:a=b",
        "path:/a",
        "Path",
        "client_ip:1",
        "peer",
    ] {
        let error = text.parse::<Key>().unwrap_err();
        assert!(error.is_config(), "{text}");
        assert!(error.to_string().starts_with(&format!("hash_on: {text:?} ")), "{error}");
    }
}

fn hash_of(parts: &Parts) -> Option<Context> {
    parts.extensions.get::<Context>().cloned()
}

#[test]
fn layer_takes_the_first_key_that_a_request_has() {
    let layer = AffinityLayer::new(Key::cookie("user").unwrap()).or(Key::query("user").unwrap());
    let marked = |uri, headers: &[(&str, &str)]| {
        let mut parts = parts(uri, headers);
        layer.mark(&mut parts);
        hash_of(&parts)
    };
    let keyed = |value: &str| Some(Context::new().with_hash(HASH.hash(value)));
    assert_eq!(marked("/?user=bob", &[("cookie", "user=ada")]), keyed("ada"));
    assert_eq!(marked("/?user=bob", &[("cookie", "user=")]), keyed("bob"));
    assert_eq!(marked("/", &[]), None);
}

#[test]
fn layer_adds_to_a_context_and_leaves_one_with_a_hash_as_it_is() {
    let layer = AffinityLayer::new(Key::path());
    let prefer = Context::new().with_prefer(EndpointId::new("a").unwrap());
    for (before, after) in [
        (prefer.clone(), prefer.clone().with_hash(HASH.hash("/"))),
        (prefer.clone().with_hash(7), prefer.with_hash(7)),
    ] {
        let mut parts = parts("/", &[]);
        parts.extensions.insert(before);
        layer.mark(&mut parts);
        assert_eq!(hash_of(&parts), Some(after));
    }
}

#[test]
fn panic_of_a_closure_is_no_key_and_the_next_one_is_asked() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let broken = Key::custom(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        panic!("no key today")
    });
    let layer = AffinityLayer::new(broken).or(Key::path());
    for _ in 0..2 {
        let mut parts = parts("/a", &[]);
        layer.mark(&mut parts);
        assert_eq!(hash_of(&parts), Some(Context::new().with_hash(HASH.hash("/a"))));
    }
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

async fn echo(request: Request<()>) -> Result<Response<String>, Infallible> {
    Ok(Response::new(request.uri().authority().unwrap().to_string()))
}

#[tokio::test]
async fn equal_keys_meet_through_the_layer_and_requests_without_spread() {
    let endpoints = fleet(&[1; 10]);
    let balance = Balance::builder().endpoints(endpoints).unwrap().policy(Maglev::new());
    let service = ServiceBuilder::new()
        .layer(AffinityLayer::new(Key::header("x-user").unwrap()))
        .service(balance.shared(service_fn(echo)).unwrap());
    let ask = |user: Option<String>| {
        let request = Request::get("/").header("x-user", user.unwrap_or_default());
        service.clone().oneshot(request.body(()).unwrap())
    };
    let mut met = std::collections::BTreeSet::new();
    for user in 0..100 {
        let home = ask(Some(format!("user {user}"))).await.unwrap().into_body().into_inner();
        for _ in 0..3 {
            let again = ask(Some(format!("user {user}"))).await.unwrap();
            assert_eq!(again.into_body().into_inner(), home);
        }
        met.insert(home);
    }
    assert_eq!(met.len(), 10);
    let mut without = std::collections::BTreeSet::new();
    for _ in 0..200 {
        without.insert(ask(None).await.unwrap().into_body().into_inner());
    }
    assert_eq!(without.len(), 10);
}

/// What `hash $arg_key consistent` picked in nginx, by the same names through the public path.
#[tokio::test]
async fn ketama_agrees_with_nginx_through_the_layer() {
    let balance = Balance::builder()
        .endpoints(["127.0.0.1:7777", "127.0.0.1:7778"])
        .unwrap()
        .policy(RingHash::ketama());
    let service = ServiceBuilder::new()
        .layer(AffinityLayer::new(Key::query("key").unwrap()).hashed_by(KeyHash::crc32()))
        .service(balance.shared(service_fn(echo)).unwrap());
    for (key, expected) in [
        ("/some/path", "127.0.0.1:7778"),
        ("/some/longer/path", "127.0.0.1:7777"),
        ("/sad/zaidoon", "127.0.0.1:7778"),
        ("/g", "127.0.0.1:7777"),
    ] {
        let request = Request::get(format!("/?key={key}")).body(()).unwrap();
        let served = service.clone().oneshot(request).await.unwrap().into_body().into_inner();
        assert_eq!(served, expected, "{key}");
    }
}
