//! Equal keys meet at one endpoint, over real connections.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use http_body_util::Empty;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::support::{Backend, File, Gateway};
use crate::wire::{collect, full, get, soon};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

async fn backends() -> Vec<Backend> {
    let mut backends = Vec::new();
    for name in NAMES {
        backends.push(Backend::named(name).await);
    }
    backends
}

fn config(endpoints: &[Backend], rest: &str) -> String {
    let list = endpoints.iter().map(|endpoint| {
        let flag = endpoint.flag();
        let (id, address) = flag.split_once('=').unwrap();
        format!("[[cluster.endpoints]]\nid = \"{id}\"\naddress = \"{address}\"\n")
    });
    let addresses = "listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n";
    format!("{addresses}[cluster]\n{rest}\n{}", list.collect::<String>())
}

/// Who serves a `GET` of `path` with these headers, sent over a connection of its own.
async fn served(gateway: SocketAddr, path: &str, headers: &[(&str, &str)]) -> String {
    let request = Request::get(path).header("host", "gateway.test");
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
    let response = soon("a response", async {
        let stream = TcpStream::connect(gateway).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        collect(sender.send_request(request).await.unwrap()).await
    })
    .await;
    assert_eq!(response.status(), 200);
    String::from_utf8(response.into_body().to_vec()).unwrap()
}

/// The home of each user, by the header `x-user`.
async fn homes(gateway: SocketAddr, users: usize) -> BTreeMap<usize, String> {
    let mut homes = BTreeMap::new();
    for user in 0..users {
        homes.insert(user, served(gateway, "/", &[("x-user", &format!("user {user}"))]).await);
    }
    homes
}

#[tokio::test]
async fn equal_keys_meet_under_every_hash_policy() {
    let backends = backends().await;
    for policy in ["ring_hash", "ketama", "maglev", "rendezvous"] {
        for rest in ["", "bounded = 1.25\n", "hash_secret = \"0123456789abcdef\"\n"] {
            let hashed = format!("policy = \"{policy}\"\nhash_on = \"header:x-user\"\n{rest}");
            let gateway = Gateway::with_file(&config(&backends, &hashed)).await;
            let before = homes(gateway.listen, 40).await;
            assert_eq!(homes(gateway.listen, 40).await, before, "{policy}");
            let met: BTreeSet<&String> = before.values().collect();
            assert_eq!(met.len(), NAMES.len(), "{policy}: {before:?}");
            // Another process agrees: there is nothing random in it.
            let other = Gateway::with_file(&config(&backends, &hashed)).await;
            assert_eq!(homes(other.listen, 40).await, before, "{policy}");
        }
    }
}

#[tokio::test]
async fn every_kind_of_key_is_read_from_the_wire() {
    let backends = backends().await;
    for (hash_on, path, header) in [
        ("header:x-user", "/", Some("x-user")),
        ("cookie:user", "/", Some("cookie")),
        ("path", "/of/", None),
        ("query:user", "/?b=c&user=", None),
    ] {
        let hashed = format!("policy = \"maglev\"\nhash_on = \"{hash_on}\"");
        let gateway = Gateway::with_file(&config(&backends, &hashed)).await;
        let ask = async |user: usize| match header {
            Some("cookie") => {
                let crumbs = format!("theme=dark; user={user}");
                served(gateway.listen, path, &[("cookie", &crumbs)]).await
            }
            Some(name) => served(gateway.listen, path, &[(name, &user.to_string())]).await,
            None => served(gateway.listen, &format!("{path}{user}"), &[]).await,
        };
        let mut met = BTreeSet::new();
        for user in 0..40 {
            let home = ask(user).await;
            assert_eq!(ask(user).await, home, "{hash_on}");
            met.insert(home);
        }
        assert_eq!(met.len(), NAMES.len(), "{hash_on}");
    }
}

#[tokio::test]
async fn client_is_who_the_trusted_proxy_says() {
    let backends = backends().await;
    let met = async |rest: &str, lines: &dyn Fn(usize) -> String| {
        let hashed = format!("policy = \"maglev\"\nhash_on = \"client_ip\"\n{rest}");
        let gateway = Gateway::with_file(&config(&backends, &hashed)).await;
        let mut met = BTreeSet::new();
        for client in 0..40 {
            let line = lines(client);
            met.insert(served(gateway.listen, "/", &[("x-forwarded-for", &line)]).await);
        }
        met.len()
    };
    let clients = |client: usize| format!("192.0.2.{client}");
    // All come from 127.0.0.1, and the header is theirs.
    assert_eq!(met("", &clients).await, 1);
    assert_eq!(met("trusted = [\"10.0.0.0/8\"]", &clients).await, 1);
    for rest in ["trusted = [\"127.0.0.0/8\"]", "trusted_hops = 1"] {
        assert_eq!(met(rest, &clients).await, NAMES.len(), "{rest}");
        // What stands left of the client is the client's own invention.
        assert_eq!(met(rest, &|client| format!("6.6.6.{client}, 192.0.2.7")).await, 1, "{rest}");
    }
}

#[tokio::test]
async fn endpoint_that_is_killed_moves_its_own_keys_only() {
    for policy in ["ring_hash", "ketama", "maglev", "rendezvous"] {
        let mut backends = backends().await;
        let (kill, killed) = watch::channel(false);
        backends[2] = mortal("c", killed).await;
        let health = "[cluster.probe]\npath = \"/\"\ninterval = \"100ms\"\nfall = 2\n";
        let hashed = format!("policy = \"{policy}\"\nhash_on = \"header:x-user\"");
        let text = config(&backends, &hashed) + health;
        let gateway = Gateway::with_file(&text).await;
        state(&gateway, "c", "up").await;
        let before = homes(gateway.listen, 60).await;
        let lost: Vec<usize> =
            before.iter().filter(|(_, home)| *home == "c").map(|(user, _)| *user).collect();
        assert!(!lost.is_empty());

        kill.send(true).unwrap();
        state(&gateway, "c", "down").await;
        let after = homes(gateway.listen, 60).await;
        for (user, home) in &after {
            assert!(home != "c");
            assert!(lost.contains(user) || before[user] == *home, "{policy}: {user} has moved");
        }

        kill.send(false).unwrap();
        state(&gateway, "c", "up").await;
        assert_eq!(homes(gateway.listen, 60).await, before, "{policy}");
    }
}

/// Answers with its name; while killed, hangs up on every connection.
async fn mortal(name: &'static str, killed: watch::Receiver<bool>) -> Backend {
    Backend::raw(name, move |stream| {
        let mut killed = killed.clone();
        async move {
            let service = hyper::service::service_fn(move |_| async move {
                Ok::<_, std::convert::Infallible>(Response::new(full(name)))
            });
            let server = hyper::server::conn::http1::Builder::new();
            tokio::select! {
                biased;
                _ = killed.wait_for(|killed| *killed) => {}
                _ = server.serve_connection(TokioIo::new(stream), service) => {}
            }
        }
    })
    .await
}

/// Waits until the endpoint `id`, and every other one, is in the state that it should be in.
async fn state(gateway: &Gateway, id: &str, wanted: &str) {
    crate::wire::until("the states of the endpoints", || async {
        let stats = gateway.stats().await;
        let rows = stats["endpoints"].as_array().unwrap();
        rows.iter().all(|row| row["state"] == if row["id"] == id { wanted } else { "up" })
    })
    .await;
}

#[test]
fn wrong_hash_parameters_are_refused_with_their_place() {
    for (text, parts) in [
        ("policy = \"maglev\"\nhash_on = \"x-user\"", &["hash_on", "x-user", "header:NAME"][..]),
        ("policy = \"maglev\"\nhash_on = \"header:x y\"", &["hash_on", "header:x y"]),
        ("hash_on = \"path\"", &["hash_on", "path", "p2c", "maglev"]),
        ("policy = \"p2c\"\nbounded = 1.25", &["bounded", "1.25", "p2c", "maglev"]),
        ("policy = \"maglev\"\nbounded = 1.0", &["bounded", "1"]),
        (
            "policy = \"maglev\"\nhash_on = \"path\"\ntrusted_hops = 1",
            &["trusted_hops", "client_ip"],
        ),
        ("policy = \"maglev\"\ntrusted = [\"::1\"]", &["trusted", "::1", "client_ip"]),
        (
            "policy = \"maglev\"\nhash_on = \"client_ip\"\ntrusted = [\"10.0.0.1/8\"]",
            &["trusted", "10.0.0.1/8"],
        ),
        (
            "policy = \"maglev\"\nhash_on = \"client_ip\"\ntrusted = []\ntrusted_hops = 2",
            &["trusted_hops", "2"],
        ),
        (
            "policy = \"maglev\"\nhash_on = \"path\"\nhash_secret = \"hush\"",
            &["hash_secret", "4 bytes", "16"],
        ),
        ("policy = \"maglev\"\nhash_secret = \"0123456789abcdef\"", &["hash_secret", "hash_on"]),
    ] {
        let file = File::new(&format!("[cluster]\n{text}"));
        let output = std::process::Command::new(crate::support::program())
            .args(["--config", file.path()])
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error.lines().count()), (Some(2), 1), "{text}: {error}");
        for part in [&[file.path()], parts].concat() {
            assert!(error.contains(part), "{text}: no {part:?} in {error}");
        }
        assert!(!error.contains("hush") && !error.contains("0123456789abcdef"));
    }
}

#[tokio::test]
async fn policy_of_a_flag_takes_the_keys_of_the_file() {
    let backends = backends().await;
    let file = File::new(&config(&backends, "hash_on = \"header:x-user\""));
    let gateway = Gateway::start(&["--config", file.path(), "--policy", "rendezvous"]).await;
    let before = homes(gateway.listen, 20).await;
    assert_eq!(homes(gateway.listen, 20).await, before);
    assert_eq!(get(gateway.admin, "/healthz").await.status(), 200);
}
