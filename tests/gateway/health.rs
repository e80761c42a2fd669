//! Sick endpoints behind the gateway, and what its statistics say of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::Response;
use serde_json::Value;

use crate::support::{Backend, Gateway};
use crate::wire::{Body, full, soon};

fn answer(status: u16, text: &'static str) -> Response<Body> {
    Response::builder().status(status).body(full(text)).unwrap()
}

/// The row of the endpoint `id`, once it is as `wanted`.
async fn row(gateway: &Gateway, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let look = async {
        loop {
            let stats = gateway.stats().await;
            let rows = stats["endpoints"].as_array().unwrap();
            match rows.iter().find(|row| row["id"] == id && wanted(row)) {
                Some(row) => return row.clone(),
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    soon("the statistics", look).await
}

async fn names(gateway: &Gateway, requests: usize) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..requests {
        let body = gateway.get("/").await.into_body();
        names.push(String::from_utf8(body.to_vec()).unwrap());
    }
    names
}

fn config(endpoints: &[&Backend], rest: &str) -> String {
    let list = endpoints.iter().map(|endpoint| {
        let flag = endpoint.flag();
        let (id, address) = flag.split_once('=').unwrap();
        format!("[[cluster.endpoints]]\nid = \"{id}\"\naddress = \"{address}\"\n")
    });
    format!("[cluster]\npolicy = \"round_robin\"\n{}{rest}", list.collect::<String>())
}

#[tokio::test]
async fn endpoint_that_fails_its_probe_gets_nothing_until_it_passes_again() {
    let well = Arc::new(AtomicBool::new(false));
    let a = Backend::named("a").await;
    let state = Arc::clone(&well);
    let b = Backend::http("b", move |request| {
        let sick = request.uri().path() == "/health" && !state.load(Ordering::Relaxed);
        async move { if sick { answer(500, "sick") } else { answer(200, "b") } }
    })
    .await;
    let probe = "[cluster.probe]\npath = \"/health\"\ninterval = \"200ms\"\nfall = 3\nrise = 2\n";
    let gateway = Gateway::with_file(&config(&[&a, &b], probe)).await;
    row(&gateway, "a", |row| row["state"] == "up").await;
    let down = row(&gateway, "b", |row| row["probe"] == "down").await;
    assert_eq!((&down["state"], &down["outlier"]), (&Value::from("down"), &Value::from("ok")));
    let reason = down["reason"].as_str().unwrap();
    assert!(reason.starts_with("down by http: ") && reason.contains("500"), "{reason}");
    assert_eq!(names(&gateway, 10).await, ["a"; 10]);

    well.store(true, Ordering::Relaxed);
    let up = row(&gateway, "b", |row| row["state"] == "up").await;
    assert_eq!(up["reason"], Value::Null);
    assert!(names(&gateway, 10).await.contains(&"b".to_owned()));
}

#[tokio::test]
async fn endpoint_that_fails_requests_is_ejected_and_the_statistics_say_for_how_long() {
    let a = Backend::named("a").await;
    let b = Backend::http("b", |_| async { answer(500, "broken") }).await;
    let gateway = Gateway::with_file(&config(&[&a, &b], "")).await;
    assert_eq!(names(&gateway, 10).await.iter().filter(|name| *name == "broken").count(), 5);
    let ejected = row(&gateway, "b", |row| row["state"] == "ejected").await;
    assert_eq!((&ejected["outlier"], &ejected["ejections"]), (&"ejected".into(), &1.into()));
    assert!((1..=6).contains(&ejected["returns_in_s"].as_u64().unwrap()), "{ejected}");
    let reason = ejected["reason"].as_str().unwrap();
    assert!(reason.contains("5 failures in a row"), "{reason}");
    assert_eq!(names(&gateway, 10).await, ["a"; 10]);
    assert_eq!(gateway.healthz().await, 200);
}
