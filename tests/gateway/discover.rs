//! Endpoints that a registry lists beside those of the file.

use http::Response;
use serde_json::json;

use crate::support::{Backend, Gateway};
use crate::wire::{full, soon};

/// A stand-in for Consul that lists one instance.
async fn consul(instance: &Backend) -> Backend {
    let list = json!([{
        "Node": { "Node": "n", "Address": "127.0.0.1" },
        "Service": { "ID": "listed", "Port": instance.address.port() },
        "Checks": [],
    }]);
    Backend::http("consul", move |request| {
        let waits = request.uri().query().is_some_and(|query| query.contains("index="));
        let text = list.to_string();
        async move {
            if waits {
                std::future::pending::<()>().await;
            }
            let response = Response::builder().header("x-consul-index", "5");
            response.body(full(text)).expect("a response")
        }
    })
    .await
}

#[tokio::test]
async fn endpoints_of_a_registry_stand_beside_those_of_the_file() {
    let (own, listed) = (Backend::named("own").await, Backend::named("listed").await);
    let consul = consul(&listed).await;
    let text = format!(
        "[cluster]\npolicy = \"round_robin\"\n[[cluster.endpoints]]\nid = \"own\"\naddress = \"{}\"\n\
         [cluster.discover]\nconsul = {{ servers = [\"http://{}\"], service = \"web\" }}\n",
        own.address, consul.address
    );
    let gateway = Gateway::with_file(&text).await;
    let both = async {
        loop {
            let stats = gateway.stats().await;
            let rows = stats["endpoints"].as_array().expect("an array").clone();
            if rows.len() == 2 {
                return rows;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let rows = soon("the endpoint that Consul lists", both).await;
    assert!(rows.iter().any(|row| row["id"] == "listed.n"), "{rows:?}");
    for _ in 0..4 {
        assert_eq!(gateway.get("/").await.status(), 200);
    }
}
