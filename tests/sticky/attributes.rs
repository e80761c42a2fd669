//! What the layer sends to browsers, and what it refuses to send.

use std::time::Duration;

use http::Request;
use whippletree::Cluster;
use whippletree::sticky::{Builder, OverTls, SameSite, Secure, StickyLayer};

use crate::world::{User, World};

const A: [(&str, u16); 1] = [("a", 1)];

async fn attributes(
    layer: impl FnOnce(Builder) -> Builder,
    request: impl FnOnce(&mut Request<String>),
) -> String {
    let world = World::with(&A, Cluster::builder(), layer);
    let mut asked = Request::new(String::new());
    request(&mut asked);
    let answer = world.send(asked).await.unwrap();
    let set = answer.head.headers["set-cookie"].to_str().unwrap().to_owned();
    assert_eq!(answer.header("cache-control"), Some("private"));
    let (pair, rest) = set.split_once("; ").unwrap();
    assert_eq!(pair.split_once('=').unwrap().1.len(), 72);
    rest.to_owned()
}

#[tokio::test]
async fn cookie_has_the_attributes_that_were_asked_for() {
    let plain = "Path=/; HttpOnly; SameSite=Lax";
    let secure = "Path=/; HttpOnly; SameSite=Lax; Secure";
    let https = |request: &mut Request<String>| {
        *request.uri_mut() = "https://a.test/".parse().unwrap();
    };
    let forwarded = |request: &mut Request<String>| {
        request.headers_mut().insert("x-forwarded-proto", "HTTPS".parse().unwrap());
    };
    assert_eq!(attributes(|layer| layer, |_| {}).await, plain);
    assert_eq!(attributes(|layer| layer, https).await, secure);
    assert_eq!(attributes(|layer| layer.secure(Secure::Never), https).await, plain);
    assert_eq!(attributes(|layer| layer.secure(Secure::Always), |_| {}).await, secure);
    assert_eq!(attributes(|layer| layer, forwarded).await, plain, "anybody can send it");
    let trusting = |layer: Builder| layer.tls_header("x-forwarded-proto");
    assert_eq!(attributes(trusting, forwarded).await, secure);
    let marked = |request: &mut Request<String>| {
        request.extensions_mut().insert(OverTls);
    };
    assert_eq!(attributes(|layer| layer, marked).await, secure);
    let all = |layer: Builder| {
        let layer = layer.path("/app").domain("a.test").max_age(Duration::from_secs(3780));
        layer.same_site(SameSite::None).secure(Secure::Always)
    };
    let expected = "Path=/app; Domain=a.test; Max-Age=3780; HttpOnly; SameSite=None; Secure";
    assert_eq!(attributes(all, |_| {}).await, expected);
    let host = |layer: Builder| layer.cookie("__Host-S").secure(Secure::Always);
    assert_eq!(attributes(host, |_| {}).await, secure);
}

#[test]
fn wrong_parameters_are_refused_by_field_and_value() {
    let second = Duration::from_secs(1);
    let builder = StickyLayer::builder;
    for (builder, message) in [
        (builder().cookie(""), "cookie: \"\" is not a token"),
        (builder().cookie("a b"), "cookie: \"a b\" is not a token"),
        (builder().cookie("a;b"), "cookie: \"a;b\" is not a token"),
        (builder().cookie("a=b"), "cookie: \"a=b\" is not a token"),
        (builder().cookie("a\r\nb"), "cookie: \"a\\r\\nb\" is not a token"),
        (builder().cookie("ü"), "cookie: \"ü\" is not a token"),
        (builder().cookie("__Host-S"), "cookie: \"__Host-S\" needs a cookie that is always"),
        (builder().cookie("__Secure-S"), "cookie: \"__Secure-S\" needs a cookie that is always"),
        (builder().path("app"), "path: \"app\" is not an absolute path"),
        (builder().path("/a;b"), "path: \"/a;b\" is not an absolute path"),
        (builder().path("/a\nb"), "path: \"/a\\nb\" is not an absolute path"),
        (builder().domain("a b"), "domain: \"a b\" is not a domain name"),
        (builder().same_site(SameSite::None), "same_site: \"none\" needs a cookie"),
        (builder().key("short"), "keys[0]: \"5 bytes\" are less than the 16"),
        (builder().idle(Duration::ZERO), "idle: \"0ns\" is less than 80 ms"),
        (builder().absolute(second), "absolute: \"1s\" is less than idle"),
        (builder().max_imbalance(0.5), "max_imbalance: \"0.5\" is not in 1..=1000"),
        (builder().max_imbalance(f64::NAN), "max_imbalance: \"NaN\" is not in 1..=1000"),
        (builder().migrate_rate(0), "migrate_rate: \"0\" is not a number"),
        (builder().safe_point("a b"), "safe_point: \"a b\" is not a header's name"),
        (builder().tls_header("a b"), "tls_header: \"a b\" is not a header's name"),
    ] {
        let cluster = Cluster::builder().connect(|_| ());
        let error = builder.build(&cluster).unwrap_err();
        assert!(error.is_config());
        assert!(error.to_string().starts_with(message), "{error}\n{message}");
        assert!(!error.to_string().contains("short"), "keys are secret");
    }
}

#[tokio::test]
async fn endpoints_neither_see_our_cookie_nor_set_one_of_its_name() {
    let world = World::new(&A);
    let cookie = User::default().get(&world).await;
    let _ = cookie;
    world.answer_with(&[
        ("set-cookie", "SRV=stolen; Path=/"),
        ("set-cookie", "theirs=1"),
        ("cache-control", "max-age=60"),
    ]);
    let first = world.with_cookies(&[b"x=1; SRV=junk; y=2", b"SRV=junk"]).await;
    assert_eq!(first.header("seen-cookies"), Some("x=1; y=2"));
    let set: Vec<_> = first.head.headers.get_all("set-cookie").iter().collect();
    assert_eq!(set[0], "theirs=1");
    assert_eq!(set.len(), 2);
    let cache: Vec<_> = first.head.headers.get_all("cache-control").iter().collect();
    assert_eq!(cache, ["max-age=60", "private"]);

    let again = world.with_cookies(&[first.cookie().as_bytes(), b"x=1"]).await;
    assert_eq!(again.header("seen-cookies"), Some("x=1"));
    let set: Vec<_> = again.head.headers.get_all("set-cookie").iter().collect();
    assert_eq!(set, ["theirs=1"]);
    assert_eq!(again.header("cache-control"), Some("max-age=60"));
}
