//! What requests ask for, and what responses tell.

use std::collections::BTreeSet;

use http::header;
use whippletree::balance::ServedBy;
use whippletree::endpoint::Subset;
use whippletree::{Balance, Context};

use crate::support::server::Server;
use crate::support::{HttpResponse, client, fetch, get, send, text};
use crate::{balance_of, id};

#[tokio::test]
async fn response_says_who_served_it_only_if_asked() {
    let server = Server::named("a").await;
    let balance = balance_of([&server]);
    let served_by = |response: HttpResponse| response.extensions().get::<ServedBy>().cloned();
    let a = Some(ServedBy(id("a")));

    assert_eq!(served_by(send(&balance, get("/")).await.unwrap()), None);
    let mut request = get("/");
    request.extensions_mut().insert(Context::new());
    assert_eq!(served_by(send(&balance, request).await.unwrap()), a);

    let builder = Balance::builder().endpoint(server.endpoint()).tag_responses();
    let tagging = builder.shared(client()).unwrap();
    assert_eq!(served_by(send(&tagging, get("/")).await.unwrap()), a);
}

#[tokio::test]
async fn context_of_the_request_steers_the_pick() {
    let servers = ["a", "b", "c"].map(Server::named);
    let [a, b, c] = servers;
    let (a, b, c) = (a.await, b.await, c.await);
    let builder = Balance::builder()
        .endpoint(a.endpoint())
        .endpoint(b.endpoint().with_label("role", "replica"))
        .endpoint(c.endpoint().with_label("role", "replica"));
    let balance = builder.shared(client()).unwrap();
    let replicas = Subset::new([("role", "replica")]);
    let cases = [
        (Context::new().with_prefer(id("b")), vec!["b"]),
        (Context::new().with_prefer(id("gone")), vec!["a", "b", "c"]),
        (Context::new().with_exclude(id("b")), vec!["a", "c"]),
        (Context::new().with_subset(replicas.clone()), vec!["b", "c"]),
        (Context::new().with_subset(replicas.clone()).with_exclude(id("c")), vec!["b"]),
    ];
    for (context, expected) in cases {
        let mut served = BTreeSet::new();
        for _ in 0..60 {
            let mut request = get("/");
            request.extensions_mut().insert(context.clone());
            let response = send(&balance, request).await.unwrap();
            served.insert(text(response.into_body()).await);
        }
        assert!(served.iter().eq(expected.iter()), "{served:?}, {context:?}");
    }
    let mut request = get("/");
    let nobody = Context::new().with_subset(Subset::new([("role", "primary")]));
    request.extensions_mut().insert(nobody);
    let error = send(&balance, request).await.unwrap_err();
    assert_eq!(error.to_string(), "no available endpoint: 3 known, 3 outside the subset");
}

#[tokio::test]
async fn host_header_path_and_query_are_kept() {
    let server = Server::mirror("m").await;
    let balance = balance_of([&server]);
    let address = server.address();

    let mut request = get("http://users/a/b?c=d");
    let host = header::HeaderValue::from_static("users.example");
    request.headers_mut().insert(header::HOST, host);
    let response = send(&balance, request).await.unwrap();
    let seen = text(response.into_body()).await;
    assert_eq!(seen, "users.example /a/b?c=d");

    // Without one, the client derives it from the endpoint's address.
    let seen = fetch(&balance, "/a").await;
    assert_eq!(seen, format!("{address} /a"));
}
