//! The operator's verbs over the admin listener.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::{Backend, Gateway};
use crate::tunnel;
use crate::wire::{collect, soon, until};

/// Sends a request to the admin side, as `METHOD PATH`, with a body if it is not empty.
async fn ask(gateway: &Gateway, call: &str, body: &str) -> (u16, String) {
    let headers: &[(&str, &str)] =
        if body.is_empty() { &[] } else { &[("content-type", "application/json")] };
    let response = ask_with(gateway, call, body, headers).await;
    let text = String::from_utf8(response.body().to_vec()).unwrap();
    (response.status().as_u16(), text)
}

async fn ask_with(
    gateway: &Gateway,
    call: &str,
    body: &str,
    headers: &[(&str, &str)],
) -> Response<Bytes> {
    let (method, path) = call.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(path);
    request = request.header("host", gateway.admin.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
    soon("an answer", async {
        let stream = TcpStream::connect(gateway.admin).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        collect(sender.send_request(request).await.unwrap()).await
    })
    .await
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn file(endpoints: &[&Backend]) -> String {
    let mut text = "admin_writes = true\n".to_owned();
    for endpoint in endpoints {
        let flag = endpoint.flag();
        let (id, address) = flag.split_once('=').unwrap();
        text += &format!("[[cluster.endpoints]]\nid = \"{id}\"\naddress = \"{address}\"\n");
    }
    text
}

#[tokio::test]
async fn writes_are_off_unless_the_file_says_otherwise() {
    let a = Backend::named("a").await;
    let gateway = Gateway::over(&[&a]).await;
    for call in ["POST /endpoints/a/drain", "PUT /endpoints/a/weight", "DELETE /endpoints/a"] {
        assert_eq!(ask(&gateway, call, "").await.0, 403, "{call}");
    }
    assert_eq!(json(&ask(&gateway, "GET /endpoints/a", "").await.1)["admin"], "ready");
}

#[tokio::test]
async fn drain_maintenance_and_ready_do_what_they_say() {
    let (a, b) = (Backend::named("a").await, Backend::named("b").await);
    let gateway = Gateway::with_file(&file(&[&a, &b])).await;
    let (status, row) = ask(&gateway, "POST /endpoints/a/drain?deadline=30s", "").await;
    assert_eq!((status, &json(&row)["admin"]), (202, &json!("drain")));
    for _ in 0..10 {
        assert_eq!(gateway.get("/").await.body(), "b");
    }
    let (status, told) = ask(&gateway, "GET /endpoints/a?wait=drained&timeout=5s", "").await;
    let told = json(&told);
    assert_eq!((status, &told["drained"]), (200, &json!(true)));
    assert_eq!((&told["report"]["end"], &told["report"]["forced"]), (&json!("empty"), &json!(0)));
    let (status, row) = ask(&gateway, "POST /endpoints/a/maintenance", "").await;
    assert_eq!((status, &json(&row)["state"]), (200, &json!("maintenance")));
    let (status, row) = ask(&gateway, "POST /endpoints/a/ready", "").await;
    assert_eq!((status, &json(&row)["state"]), (200, &json!("up")));
    let told = json(&ask(&gateway, "GET /endpoints/a?wait=drained&timeout=1ms", "").await.1);
    assert_eq!(told["drained"], false);
}

#[tokio::test]
async fn tunnel_is_closed_at_the_deadline_of_the_drain() {
    let backend = tunnel::echo().await;
    let gateway = Gateway::with_file(&file(&[&backend])).await;
    let mut stream = tunnel::open(&gateway).await;
    tunnel::echoes(&mut stream, "hello").await;
    let id = backend.flag().split_once('=').unwrap().0.to_owned();
    ask(&gateway, &format!("POST /endpoints/{id}/drain?deadline=500ms"), "").await;
    let wait = format!("GET /endpoints/{id}?wait=drained&timeout=10s");
    let start = std::time::Instant::now();
    let told = json(&ask(&gateway, &wait, "").await.1);
    assert!(start.elapsed().as_millis() < 700, "{:?}", start.elapsed());
    assert_eq!((&told["drained"], &told["report"]["forced"]), (&json!(false), &json!(1)));
    let mut rest = Vec::new();
    let _ = soon("the cut", tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest)).await;
    until("nothing is in flight", async || gateway.in_flight().await == 0).await;
}

#[tokio::test]
async fn weights_and_endpoints_are_changed_added_and_removed() {
    let (a, b) = (Backend::named("a").await, Backend::named("b").await);
    let gateway = Gateway::with_file(&file(&[&a])).await;
    let (status, row) = ask(&gateway, "PUT /endpoints/a/weight", "3").await;
    assert_eq!((status, &json(&row)["weight"]), (200, &json!(3)));
    let body = json!({ "address": b.address.to_string(), "weight": 2 }).to_string();
    assert_eq!(ask(&gateway, "PUT /endpoints/x%2Fb", &body).await.0, 201);
    assert_eq!(ask(&gateway, "PUT /endpoints/x%2Fb", &body).await.0, 200);
    assert_eq!(ask(&gateway, "DELETE /endpoints/a", "").await.0, 202);
    until("a is gone", async || ask(&gateway, "GET /endpoints/a", "").await.0 == 404).await;
    assert_eq!(gateway.get("/").await.body(), "b");
    let body = json!({ "id": "a", "address": a.address.to_string() }).to_string();
    let (status, row) = ask(&gateway, "PUT /endpoints/a", &body).await;
    assert_eq!((status, &json(&row)["state"]), (201, &json!("up")), "back, and ready");
}

#[tokio::test]
async fn wrong_calls_are_told_apart() {
    let a = Backend::named("a").await;
    let gateway = Gateway::with_file(&file(&[&a])).await;
    for (call, body, expected, part) in [
        ("POST /endpoints/x/drain", "", 404, "id"),
        ("PUT /endpoints/x/weight", "1", 404, "id"),
        ("GET /endpoints/x", "", 404, "id"),
        ("POST /endpoints/a/explode", "", 404, "not found"),
        ("GET /endpoints/a/drain", "", 405, "method"),
        ("POST /healthz", "", 405, "method"),
        ("DELETE /endpoints/a/weight", "", 405, "method"),
        ("POST /endpoints/a/drain?deadline=soon", "", 400, "deadline"),
        ("GET /endpoints/a?wait=forever", "", 400, "wait"),
        ("PUT /endpoints/a/weight", "70000", 400, "weight"),
        ("PUT /endpoints/a/weight", "\"x\"", 400, "weight"),
        ("PUT /endpoints/b", "{\"id\": \"c\", \"address\": \"a:1\"}", 400, "id"),
        ("PUT /endpoints/b", "{\"address\": \"nowhere\"}", 400, "address"),
        ("PUT /endpoints/b", "{\"address\": \"a:1\", \"color\": 1}", 400, "color"),
    ] {
        let (status, text) = ask(&gateway, call, body).await;
        assert!(status == expected && text.contains(part), "{call} {body}: {status} {text}");
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(ask_with(&gateway, "PUT /endpoints/a/weight", "5", &form).await.status(), 415);
    for header in [("origin", "http://evil.test"), ("sec-fetch-site", "cross-site")] {
        let answer = ask_with(&gateway, "POST /endpoints/a/drain", "", &[header]).await;
        assert_eq!(answer.status(), 403, "{header:?}");
    }
    assert_eq!(json(&ask(&gateway, "GET /endpoints/a", "").await.1)["admin"], "ready");
}

mod reload {
    use super::*;
    use crate::support::File;

    fn write(file: &File, text: &str) {
        std::fs::write(file.path(), text).unwrap();
    }

    async fn row(gateway: &Gateway, id: &str) -> Value {
        json(&ask(gateway, &format!("GET /endpoints/{id}"), "").await.1)
    }

    #[tokio::test]
    async fn file_is_read_again_and_what_was_learnt_stays() {
        let backends =
            [Backend::named("a").await, Backend::named("b").await, Backend::named("c").await];
        let [a, b, c] = &backends;
        let config = File::new(&file(&[a, b]));
        let gateway = Gateway::start(&["--config", config.path()]).await;
        for _ in 0..6 {
            gateway.get("/").await;
        }
        let requests = row(&gateway, "a").await["requests"].clone();
        let added = json!({ "address": c.address.to_string() }).to_string();
        assert_eq!(ask(&gateway, "PUT /endpoints/added", &added).await.0, 201);
        ask(&gateway, "PUT /endpoints/a/weight", "9").await;
        ask(&gateway, "POST /endpoints/a/drain?deadline=1h", "").await;

        write(&config, &(file(&[a, c]) + "[cluster]\npolicy = \"least_request\"\n"));
        gateway.signal("HUP");
        until("b is gone", async || ask(&gateway, "GET /endpoints/b", "").await.0 == 404).await;
        let stats = gateway.stats().await;
        assert_eq!(stats["policy"], "least_request");
        let a = row(&gateway, "a").await;
        assert_eq!(
            (&a["weight"], &a["admin"], &a["requests"]),
            (&json!(1), &json!("drain"), &requests)
        );
        assert_eq!(row(&gateway, "added").await["state"], "up");
        assert_eq!(row(&gateway, "c").await["state"], "up");

        // Back in the file, it serves.
        write(&config, &file(&[b, c]));
        gateway.signal("HUP");
        until("b is up", async || row_or_null(&gateway, "b").await["state"] == "up").await;
    }

    #[tokio::test]
    async fn endpoint_that_the_operator_drains_and_that_comes_back_into_the_file_stays() {
        let ended = std::sync::Arc::new(tokio::sync::Notify::new());
        let wait = std::sync::Arc::clone(&ended);
        let a = Backend::http("a", move |_| {
            let wait = std::sync::Arc::clone(&wait);
            async move {
                wait.notified().await;
                Response::new(crate::wire::full("a"))
            }
        })
        .await;
        let (b, c) = (Backend::named("b").await, Backend::named("c").await);
        let config = File::new(&file(&[&a]));
        let gateway = Gateway::start(&["--config", config.path()]).await;
        let listen = gateway.listen;
        let request = tokio::spawn(async move { crate::wire::get(listen, "/").await });
        until("it is in flight", async || gateway.in_flight().await == 1).await;
        ask(&gateway, "POST /endpoints/a/drain?deadline=1h", "").await;
        for (listed, last) in [(&[&b][..], "b"), (&[&a, &b, &c], "c")] {
            write(&config, &file(listed));
            gateway.signal("HUP");
            until("it is read", async || row_or_null(&gateway, last).await["state"] == "up").await;
        }
        ended.notify_one();
        assert_eq!(request.await.unwrap().body(), "a");
        let told = ask(&gateway, "GET /endpoints/a?wait=drained&timeout=10s", "").await.1;
        assert_eq!(json(&told)["drained"], true);
        assert_eq!(row_or_null(&gateway, "a").await["state"], "drain");
    }

    async fn row_or_null(gateway: &Gateway, id: &str) -> Value {
        let (status, text) = ask(gateway, &format!("GET /endpoints/{id}"), "").await;
        if status == 200 { json(&text) } else { Value::Null }
    }

    #[tokio::test]
    async fn bad_file_changes_nothing() {
        let (a, b) = (Backend::named("a").await, Backend::named("b").await);
        let config = File::new(&file(&[&a]));
        let gateway = Gateway::start(&["--config", config.path()]).await;
        for bad in [
            "nonsense",
            "[cluster]\npolicy = \"fastest\"",
            "listen = \"127.0.0.1:1\"",
            "[[cluster.endpoints]]\naddress = \"nowhere\"",
        ] {
            write(&config, bad);
            gateway.signal("HUP");
        }
        // A good one shows that the bad ones were read, and had changed nothing.
        write(&config, &file(&[&a, &b]));
        until("b is here", async || {
            gateway.signal("HUP");
            ask(&gateway, "GET /endpoints/b", "").await.0 == 200
        })
        .await;
        assert_eq!(row(&gateway, "a").await["admin"], "ready");
        assert_eq!(gateway.stats().await["policy"], "p2c");
    }
}
