//! etcd's JSON gateway: what is sent and what comes back. Google's JSON form of protobuf leaves
//! out what is 0, false or empty.

use serde::Deserialize;
use serde_json::{Value, json};

use super::base64::{decode, encode};
use crate::discover::remote::{Ask, MOST_ENDPOINTS, at_most, number};

/// How many keys a page of a list has; of a kilobyte each, an eighth of what a page may have.
const PAGE: u32 = 1000;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Header {
    #[serde(deserialize_with = "number")]
    pub(super) cluster_id: i64,
    #[serde(deserialize_with = "number")]
    pub(super) revision: i64,
    #[serde(deserialize_with = "number")]
    pub(super) raft_term: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct KeyValue {
    key: String,
    value: String,
    #[serde(deserialize_with = "number")]
    pub(super) mod_revision: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Range {
    pub(super) header: Header,
    #[serde(default, deserialize_with = "at_most::<_, _, MOST_ENDPOINTS>")]
    pub(super) kvs: Vec<KeyValue>,
    #[serde(default)]
    pub(super) more: bool,
}

/// A frame of a watch.
#[derive(Debug, Deserialize)]
pub(super) struct Frame {
    pub(super) result: Option<Watched>,
    pub(super) error: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Watched {
    pub(super) header: Header,
    #[serde(default)]
    pub(super) created: bool,
    #[serde(default)]
    pub(super) canceled: bool,
    #[serde(default, deserialize_with = "number")]
    pub(super) compact_revision: i64,
    #[serde(default)]
    pub(super) cancel_reason: String,
    /// Whether more of the same revision follows in the next frame.
    #[serde(default)]
    pub(super) fragment: bool,
    #[serde(default, deserialize_with = "at_most::<_, _, MOST_ENDPOINTS>")]
    pub(super) events: Vec<WatchEvent>,
}

#[derive(Debug, Deserialize)]
pub(super) struct WatchEvent {
    /// Absent: something was put.
    #[serde(default, rename = "type")]
    kind: String,
    pub(super) kv: KeyValue,
}

impl KeyValue {
    pub(super) fn key(&self) -> Option<Vec<u8>> {
        decode(&self.key)
    }

    pub(super) fn value(&self) -> Option<Vec<u8>> {
        decode(&self.value)
    }
}

impl WatchEvent {
    pub(super) fn is_delete(&self) -> bool {
        self.kind == "DELETE"
    }
}

/// A page of the keys from `from` on, as of a revision; 0 is the latest.
pub(super) fn range(from: &[u8], prefix: &str, revision: i64) -> Ask {
    let body = json!({
        "key": encode(from),
        "range_end": encode(&end(prefix)),
        "limit": PAGE,
        "revision": revision.to_string(),
    });
    Ask::post("/v3/kv/range", &body)
}

pub(super) fn watch(prefix: &str, start_revision: i64) -> Ask {
    let create = json!({
        "key": encode(prefix.as_bytes()),
        "range_end": encode(&end(prefix)),
        "start_revision": start_revision.to_string(),
        "progress_notify": true,
        "fragment": true,
    });
    // A member that has lost its leader ends the watch rather than keep silent.
    let name = http::HeaderName::from_static("grpc-metadata-hasleader");
    let header = Some((name, http::HeaderValue::from_static("true")));
    Ask { header, ..Ask::post("/v3/watch", &json!({ "create_request": create })) }
}

/// The first key after all that begin with the prefix.
fn end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    // No byte of UTF-8 is 255.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

pub(super) fn grant(seconds: u64) -> Ask {
    Ask::post("/v3/lease/grant", &json!({ "TTL": seconds.to_string() }))
}

pub(super) fn keep_alive(lease: i64) -> Ask {
    Ask::post("/v3/lease/keepalive", &json!({ "ID": lease.to_string() }))
}

pub(super) fn revoke(lease: i64) -> Ask {
    Ask::post("/v3/lease/revoke", &json!({ "ID": lease.to_string() }))
}

pub(super) fn put(key: &str, value: &str, lease: i64) -> Ask {
    Ask::post("/v3/kv/put", &put_request(key, value, lease))
}

/// Puts the key if it is not there.
pub(super) fn put_missing(key: &str, value: &str, lease: i64) -> Ask {
    let body = json!({
        "compare": [{
            "key": encode(key.as_bytes()),
            "target": "CREATE",
            "result": "EQUAL",
            "create_revision": "0",
        }],
        "success": [{ "request_put": put_request(key, value, lease) }],
    });
    Ask::post("/v3/kv/txn", &body)
}

fn put_request(key: &str, value: &str, lease: i64) -> Value {
    json!({
        "key": encode(key.as_bytes()),
        "value": encode(value.as_bytes()),
        "lease": lease.to_string(),
    })
}

/// What is left of a lease.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Lease {
    #[serde(rename = "ID", deserialize_with = "number")]
    pub(super) id: i64,
    /// In seconds; 0 if it has expired.
    #[serde(rename = "TTL", deserialize_with = "number")]
    pub(super) ttl: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct KeptAlive {
    pub(super) result: Lease,
}
