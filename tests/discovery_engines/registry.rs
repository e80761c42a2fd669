//! What a registry knows, and how etcd, Consul and Kubernetes put it over HTTP. Written from their
//! documentation; the parts that are not asked for here are left out.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};
use tokio::sync::watch;
use whippletree::discover::{Consul, Etcd, Feed, Kube};

use crate::fake::{Answering, Fake, FakeBody, full};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Etcd,
    Consul,
    Kube,
}

/// What there is, and what has become of it.
#[derive(Clone, Default)]
pub(super) struct Known {
    version: u64,
    records: BTreeMap<String, Value>,
    /// Version, name, and the record or that it is gone.
    log: Vec<(u64, String, Result<Value, Value>)>,
    /// What is older cannot be watched.
    floor: u64,
    bookmarks: u64,
}

/// A registry behind a server.
pub(super) struct Registry {
    pub(super) engine: Engine,
    pub(super) server: Fake,
    known: watch::Sender<Known>,
    pub(super) settings: Arc<Mutex<Settings>>,
    /// The path and query of every request that was answered, with its credentials.
    requests: Arc<Mutex<Vec<(String, String)>>>,
}

/// How a registry answers.
#[derive(Clone, Default)]
pub(super) struct Settings {
    pub(super) headers: HashMap<&'static str, String>,
    /// Whether what is gone is told by an event rather than by a status.
    pub(super) gone_by_event: bool,
    /// Whether a query never waits.
    pub(super) never_blocks: bool,
}

impl Engine {
    pub(super) const ALL: [Self; 3] = [Self::Etcd, Self::Consul, Self::Kube];

    /// A record of one endpoint, whose id is `name` as far as the engine lets it.
    pub(super) fn record(self, name: &str, weight: u32) -> Value {
        let port = 1000 + name.bytes().map(u32::from).sum::<u32>();
        match self {
            Self::Etcd => json!({ "id": name, "address": format!("h:{port}"), "weight": weight }),
            Self::Consul => json!({
                "Node": { "Node": "n", "Address": "10.0.0.1", "Datacenter": "dc1" },
                "Service": { "ID": name, "Port": port, "Weights": { "Passing": weight, "Warning": 1 } },
                "Checks": [{ "Status": "passing" }],
            }),
            Self::Kube => slice(&[(name, "10.0.0.1", json!({ "ready": true }))], port),
        }
    }

    pub(super) fn id(self, name: &str) -> String {
        match self {
            Self::Etcd => name.to_owned(),
            Self::Consul => format!("{name}.n"),
            Self::Kube => format!("{name}.default"),
        }
    }
}

/// A slice of pods with their addresses and conditions.
pub(super) fn slice(pods: &[(&str, &str, Value)], port: u32) -> Value {
    let endpoint = |(name, address, conditions): &(&str, &str, Value)| {
        json!({
            "addresses": [address],
            "conditions": conditions,
            "targetRef": { "kind": "Pod", "name": name, "namespace": "default" },
        })
    };
    let endpoints: Vec<Value> = pods.iter().map(endpoint).collect();
    let ports = json!([{ "name": "http", "port": port, "protocol": "TCP" }]);
    let family = if pods.iter().any(|pod| pod.1.contains(':')) { "IPv6" } else { "IPv4" };
    json!({ "addressType": family, "endpoints": endpoints, "ports": ports })
}

impl Registry {
    pub(super) async fn start(engine: Engine) -> Self {
        let first = Known { version: 10, ..Known::default() };
        let (known, seen) = watch::channel(first);
        let (settings, requests) = (Arc::<Mutex<Settings>>::default(), Arc::default());
        let (its, list): (_, Arc<Mutex<Vec<_>>>) = (Arc::clone(&settings), Arc::clone(&requests));
        let server = Fake::start(move |request| {
            let credentials = ["authorization", "x-consul-token"].map(|name| {
                let value = request.headers().get(name);
                value.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
            });
            list.lock().unwrap().push((request.uri().to_string(), credentials.concat()));
            let settings = its.lock().unwrap().clone();
            answer(engine, seen.clone(), settings, request)
        });
        Self { engine, server: server.await, known, settings, requests }
    }

    /// The source, with times that suit a test.
    pub(super) fn watch(&self) -> Box<dyn Fn() -> Feed + Send> {
        let (url, time) = (self.server.url(), Duration::from_millis(500));
        match self.engine {
            Engine::Etcd => Box::new(Etcd::new([url], "/web/").unwrap().timeout(time).watch()),
            Engine::Consul => Box::new(self.consul().watch()),
            Engine::Kube => Box::new(self.kube().watch()),
        }
    }

    pub(super) fn consul(&self) -> Consul {
        let consul = Consul::new([self.server.url()], "web").unwrap();
        consul.timeout(Duration::from_millis(500)).wait(Duration::from_secs(5))
    }

    pub(super) fn kube(&self) -> Kube {
        let kube = Kube::new(self.server.url(), "default", "web").unwrap();
        kube.timeout(Duration::from_millis(500))
    }

    pub(super) fn requests(&self) -> Vec<(String, String)> {
        self.requests.lock().unwrap().clone()
    }

    pub(super) fn put(&self, name: &str, record: Value) {
        self.known.send_modify(|known| {
            known.version += 1;
            known.log.push((known.version, name.to_owned(), Ok(record.clone())));
            known.records.insert(name.to_owned(), record);
        });
    }

    pub(super) fn add(&self, name: &str) {
        self.put(name, self.engine.record(name, 1));
    }

    pub(super) fn remove(&self, name: &str) {
        self.known.send_modify(|known| {
            known.version += 1;
            let last = known.records.remove(name).unwrap();
            known.log.push((known.version, name.to_owned(), Err(last)));
        });
    }

    /// Forgets what was before now.
    pub(super) fn compact(&self) {
        self.known.send_modify(|known| known.floor = known.version);
    }

    /// Goes back to a state without a history, as a restored backup.
    pub(super) fn restore(&self, names: &[&str]) {
        let records = names.iter().map(|name| (name.to_string(), self.engine.record(name, 1)));
        let known = Known { version: 2, floor: 2, records: records.collect(), ..Known::default() };
        self.known.send_replace(known);
    }

    /// Lets time pass for the version: a bookmark says so.
    pub(super) fn bookmark(&self) {
        self.known.send_modify(|known| {
            known.version += 100;
            known.bookmarks += 1;
        });
    }
}

fn answer(
    engine: Engine,
    known: watch::Receiver<Known>,
    settings: Settings,
    request: Request<Incoming>,
) -> Answering {
    Box::pin(async move {
        let query: HashMap<String, String> =
            request.uri().query().map_or_else(HashMap::new, |query| {
                let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
                pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
            });
        match engine {
            Engine::Etcd => etcd(known, request).await,
            Engine::Consul => consul(known, settings, &query).await,
            Engine::Kube => kube(known, settings, &query),
        }
    })
}

async fn etcd(known: watch::Receiver<Known>, request: Request<Incoming>) -> Response<FakeBody> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let header = |version: u64| json!({ "cluster_id": "7", "revision": version.to_string(), "raft_term": "2" });
    let kv = |name: &str, record: &Value, version: u64| {
        json!({
            "key": base64(&format!("/web/{name}")),
            "value": base64(&record.to_string()),
            "mod_revision": version.to_string(),
        })
    };
    if path == "/v3/kv/range" {
        let now = known.borrow().clone();
        let kvs: Vec<Value> =
            now.records.iter().map(|(name, record)| kv(name, record, now.version)).collect();
        return Response::new(full(
            json!({ "header": header(now.version), "kvs": kvs }).to_string(),
        ));
    }
    let from = asked["create_request"]["start_revision"].as_str().unwrap().parse().unwrap();
    let created =
        json!({ "result": { "header": header(known.borrow().version), "created": true } });
    events(known, from, vec![created], move |now, news| {
        if from < now.floor {
            let floor = now.floor.to_string();
            return vec![
                json!({ "result": { "header": header(now.version), "canceled": true, "compact_revision": floor } }),
            ];
        }
        let event = |(version, name, record): &(u64, String, Result<Value, Value>)| match record {
            Ok(record) => json!({ "kv": kv(name, record, *version) }),
            Err(_) => {
                json!({ "type": "DELETE", "kv": { "key": base64(&format!("/web/{name}")), "mod_revision": version.to_string() } })
            }
        };
        let events: Vec<Value> = news.iter().map(event).collect();
        vec![json!({ "result": { "header": header(now.version), "events": events } })]
    })
}

async fn consul(
    mut known: watch::Receiver<Known>,
    settings: Settings,
    query: &HashMap<String, String>,
) -> Response<FakeBody> {
    if let (Some(index), false) = (query.get("index"), settings.never_blocks) {
        let index: u64 = index.parse().unwrap();
        let wait = query["wait"].trim_end_matches("ms").parse().unwrap();
        let changed = known.wait_for(|known| known.version != index);
        let _ = tokio::time::timeout(Duration::from_millis(wait), changed).await;
    }
    let now = known.borrow().clone();
    let list: Vec<Value> = now.records.into_values().collect();
    let mut response = Response::builder().header("x-consul-index", now.version.to_string());
    let headers = response.headers_mut().unwrap();
    headers.insert("x-consul-knownleader", "true".parse().unwrap());
    headers.insert("x-consul-lastcontact", "0".parse().unwrap());
    for (name, value) in settings.headers {
        headers.insert(name, value.parse().unwrap());
    }
    response.body(full(Value::from(list).to_string())).unwrap()
}

fn kube(
    known: watch::Receiver<Known>,
    settings: Settings,
    query: &HashMap<String, String>,
) -> Response<FakeBody> {
    let selector = &query["labelSelector"];
    assert_eq!(selector, "kubernetes.io%2Fservice-name%3Dweb");
    let now = known.borrow().clone();
    let gone = json!({ "kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version" });
    let refuse = |status: &Value| {
        let mut response = Response::new(full(status.to_string()));
        *response.status_mut() = StatusCode::GONE;
        response
    };
    if !query.contains_key("watch") {
        // The token: where to go on, and of which version.
        let token = query.get("continue").map(|token| token.split_once("at").unwrap());
        let (start, version) = token.map_or((0, now.version), |(start, version)| {
            (start.parse().unwrap(), version.parse().unwrap())
        });
        if version < now.floor {
            return refuse(&gone);
        }
        let limit: usize = query["limit"].parse().unwrap();
        let records = now.records.iter().skip(start).take(limit);
        let items: Vec<Value> =
            records.map(|(name, record)| named(name, record, version)).collect();
        let next =
            (now.records.len() > start + limit).then(|| format!("{}at{version}", start + limit));
        let metadata = json!({ "resourceVersion": version.to_string(), "continue": next });
        return Response::new(full(json!({ "metadata": metadata, "items": items }).to_string()));
    }
    let from: u64 = query["resourceVersion"].parse().unwrap();
    let is_gone = from < now.floor || from > now.version;
    if is_gone && !settings.gone_by_event {
        return refuse(&gone);
    }
    let first = is_gone.then(|| json!({ "type": "ERROR", "object": gone }));
    let bookmarks = now.bookmarks;
    events(known, from + 1, first.into_iter().collect(), move |now, news| {
        let mut frames: Vec<Value> = Vec::new();
        for (version, name, record) in news {
            let kind = if record.is_ok() { "MODIFIED" } else { "DELETED" };
            let (Ok(record) | Err(record)) = record;
            frames.push(json!({ "type": kind, "object": named(name, record, *version) }));
        }
        if now.bookmarks > bookmarks {
            let metadata = json!({ "resourceVersion": now.version.to_string() });
            frames.push(json!({ "type": "BOOKMARK", "object": { "kind": "EndpointSlice", "metadata": metadata } }));
        }
        frames
    })
}

/// A slice with the name and the version that it is known by.
fn named(name: &str, record: &Value, version: u64) -> Value {
    let mut slice = record.clone();
    slice["metadata"] = json!({ "name": name, "resourceVersion": version.to_string() });
    slice
}

type News = [(u64, String, Result<Value, Value>)];

/// A watch: frames, then what is new from a version on, as it comes.
fn events(
    known: watch::Receiver<Known>,
    from: u64,
    first: Vec<Value>,
    frames: impl Fn(&Known, &News) -> Vec<Value> + Send + 'static,
) -> Response<FakeBody> {
    let line = |frames: Vec<Value>| {
        let lines: String = frames.iter().map(|frame| format!("{frame}\n")).collect();
        Ok(Frame::data(Bytes::from(lines)))
    };
    let start = stream::iter([line(first)]);
    let rest = stream::unfold(
        (known, from, frames, true),
        move |(mut known, from, frames, is_first)| async move {
            if !is_first && known.changed().await.is_err() {
                return None;
            }
            let now = known.borrow_and_update().clone();
            let at = now.log.partition_point(|(version, ..)| *version < from);
            let lines = if at == now.log.len() && is_first && now.floor < from {
                Vec::new()
            } else {
                frames(&now, &now.log[at..])
            };
            let next = now.log.last().map_or(from, |(version, ..)| (*version + 1).max(from));
            Some((line(lines), (known, next, frames, false)))
        },
    );
    Response::new(StreamBody::new(start.chain(rest)).boxed_unsync())
}

fn base64(text: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut coded = String::new();
    for group in text.as_bytes().chunks(3) {
        let mut bits = group.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        bits <<= 8 * (3 - group.len());
        for digit in 0..=group.len() {
            coded.push(ALPHABET[(bits >> (18 - 6 * digit) & 63) as usize].into());
        }
    }
    while coded.len() % 4 != 0 {
        coded.push('=');
    }
    coded
}
