//! The admin listener: health, statistics, and no more.

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::support::{Backend, Gateway};
use crate::wire::{get, soon};

#[tokio::test]
async fn healthz_needs_an_available_endpoint() {
    let empty = Gateway::with_file("").await;
    assert_eq!(empty.healthz().await, 503);
    let backend = Backend::named("a").await;
    let gateway = Gateway::over(&[&backend]).await;
    assert_eq!(gateway.healthz().await, 200);
}

#[tokio::test]
async fn statistics_have_their_documented_shape() {
    let (a, b) = (Backend::named("a").await, Backend::named("b").await);
    let b = format!("{},weight=0,priority=3", b.flag());
    let flags = ["--endpoint", &a.flag(), "--endpoint", &b, "--policy", "least_request"];
    let gateway = Gateway::start(&flags).await;
    gateway.get("/").await;
    let mut stats = gateway.stats().await;
    for row in stats["endpoints"].as_array_mut().unwrap() {
        assert!(row["since_s"].is_u64());
        assert!(row["ewma_ms"].is_number() || row["requests"] == 0);
        row["since_s"] = 0.into();
        row["ewma_ms"] = serde_json::Value::Null;
    }
    let why = "drain by description: its weight is 0; back by a weight above 0";
    let row = |id: &str, address: &str, weight: u32, state: &str, priority: u32, requests: u32| {
        serde_json::json!({
            "id": id, "address": address, "weight": weight, "priority": priority, "rank": 100,
            "share": 1.0, "state": state, "probe": "none", "outlier": "ok", "admin": "ready",
            "in_flight": 0, "sessions": 0, "requests": requests, "failures": 0, "ejections": 0,
            "ewma_ms": null, "since_s": 0, "reason": (weight == 0).then_some(why), "returns_in_s": null,
        })
    };
    let b = b.split([',', '=']).nth(1).unwrap();
    let expected = serde_json::json!({
        "policy": "least_request",
        "panic": false,
        "endpoints": [row("a", &a.address.to_string(), 1, "up", 0, 1), row("b", b, 0, "drain", 3, 0)],
        "totals": { "requests": 1, "failures": 0, "retries": 0, "rejected": 0, "queued": 0 },
    });
    assert_eq!(stats, expected);
}

#[tokio::test]
async fn latency_estimate_is_told_in_milliseconds() {
    let backend = Backend::named("a").await;
    let text = "[cluster]\ncost = \"peak_ewma\"\n[[cluster.endpoints]]\naddress = ";
    let gateway = Gateway::with_file(&format!("{text}\"{}\"", backend.address)).await;
    gateway.get("/").await;
    let estimate = gateway.stats().await["endpoints"][0]["ewma_ms"].as_f64();
    assert!(estimate.is_some_and(|estimate| estimate > 0.0 && estimate < 30_000.0), "{estimate:?}");
}

#[tokio::test]
async fn unknown_path_is_404_and_another_method_405() {
    let backend = Backend::named("a").await;
    let gateway = Gateway::over(&[&backend]).await;
    assert_eq!(get(gateway.admin, "/").await.status(), 404);
    assert_eq!(get(gateway.admin, "/stats.jsonx").await.status(), 404);
    assert_eq!(get(gateway.admin, "/healthz?now").await.status(), 200);
    let client = Client::builder(TokioExecutor::new()).build_http();
    for (method, path, expected) in
        [("POST", "/healthz", 405), ("DELETE", "/stats.json", 405), ("HEAD", "/healthz", 200)]
    {
        let uri = format!("http://{}{path}", gateway.admin);
        let request = Request::builder().method(method).uri(uri).body(Empty::<Bytes>::new());
        let response = soon("an answer", client.request(request.unwrap())).await.unwrap();
        assert_eq!(response.status(), expected, "{method} {path}");
        assert_eq!(response.headers().contains_key("allow"), expected == 405);
    }
}
