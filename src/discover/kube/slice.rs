//! What an EndpointSlice (`discovery.k8s.io/v1`) says.

use std::sync::Arc;

use serde::Deserialize;

use super::IpFamily;
use crate::discover::remote::{at_most, excerpt};
use crate::endpoint::{Endpoint, Locality};
use crate::error::Error;

/// The most endpoints of a slice: Kubernetes' own limit (`discovery.k8s.io/v1`, "Endpoints").
const MOST_ENDPOINTS: usize = 1000;

/// The most addresses of an endpoint, ports of a slice, and hints: Kubernetes' limits, or more.
const MOST: usize = 100;

/// What to take from a slice.
#[derive(Clone, Debug, Default)]
pub(super) struct Choice {
    pub(super) port: Port,
    pub(super) zone: Option<Arc<str>>,
    pub(super) family: IpFamily,
}

/// Which port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Port {
    #[default]
    Only,
    Name(String),
    Number(u16),
}

/// How good a description of an endpoint is, beside another of the same: the greater counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Merit {
    preferred: bool,
    stays: bool,
}

/// A slice as it was read.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) endpoints: Result<Vec<(Endpoint, Merit)>, String>,
}

#[derive(Deserialize)]
struct Named {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    #[serde(rename = "resourceVersion", default)]
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    address_type: String,
    #[serde(default, deserialize_with = "at_most::<_, _, MOST_ENDPOINTS>")]
    endpoints: Vec<Entry>,
    #[serde(default, deserialize_with = "at_most::<_, _, MOST>")]
    ports: Vec<SlicePort>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default, deserialize_with = "at_most::<_, _, MOST>")]
    addresses: Vec<String>,
    #[serde(default)]
    conditions: Conditions,
    target_ref: Option<Target>,
    node_name: Option<String>,
    zone: Option<String>,
    hints: Option<Hints>,
}

#[derive(Default, Deserialize)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Deserialize)]
struct Target {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hints {
    #[serde(default, deserialize_with = "at_most::<_, _, MOST>")]
    for_zones: Vec<Zone>,
}

#[derive(Deserialize)]
struct Zone {
    name: String,
}

#[derive(Deserialize)]
struct SlicePort {
    name: Option<String>,
    port: Option<u16>,
    protocol: Option<String>,
}

/// What becomes of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Serves,
    Leaves,
    Absent,
}

/// Reads a slice; an error only if not even its name can be read.
pub(super) fn read(text: &[u8], choice: &Choice) -> Result<Slice, String> {
    let explain = |error: serde_json::Error| format!("{error} in {}", excerpt(text));
    let Named { metadata } = serde_json::from_slice(text).map_err(explain)?;
    let content: Result<Content, _> = serde_json::from_slice(text);
    let endpoints = content.map_err(explain).and_then(|content| content.endpoints(choice));
    let name = excerpt(metadata.name.as_bytes());
    let endpoints = endpoints.map_err(|error| format!("slice {name}: {error}"));
    Ok(Slice { name: metadata.name, version: metadata.version, endpoints })
}

impl Content {
    fn endpoints(self, choice: &Choice) -> Result<Vec<(Endpoint, Merit)>, String> {
        let family = match self.address_type.as_str() {
            "IPv4" => IpFamily::V4,
            "IPv6" => IpFamily::V6,
            other => {
                let other = excerpt(other.as_bytes());
                return Err(format!("addressType: {other:?} is none of IPv4, IPv6"));
            }
        };
        if self.endpoints.is_empty() {
            return Ok(Vec::new());
        }
        let port = choice.port.of(&self.ports)?;
        let mut endpoints = Vec::new();
        for entry in &self.endpoints {
            let fate = entry.conditions.fate();
            if fate == Fate::Absent {
                continue;
            }
            let endpoint = entry.endpoint(family, port, choice.zone.as_deref());
            let endpoint = endpoint.map_err(|error| excerpt(error.to_string().as_bytes()))?;
            let merit = Merit { preferred: family == choice.family, stays: fate == Fate::Serves };
            endpoints.push((if merit.stays { endpoint } else { endpoint.with_draining() }, merit));
        }
        Ok(endpoints)
    }
}

impl Conditions {
    /// As the API says: ready if not said otherwise, serving as ready, not terminating.
    fn fate(&self) -> Fate {
        let ready = self.ready.unwrap_or(true);
        match self.terminating.unwrap_or(false) {
            true if self.serving.unwrap_or(ready) => Fate::Leaves,
            false if ready => Fate::Serves,
            _ => Fate::Absent,
        }
    }
}

impl Entry {
    fn endpoint(&self, family: IpFamily, port: u16, own: Option<&str>) -> Result<Endpoint, Error> {
        // All addresses of an entry lead to the same; "consumers may use the first".
        let address = self.addresses.first().map_or("", String::as_str);
        let mut endpoint = match family {
            IpFamily::V4 => Endpoint::new(format!("{address}:{port}"))?,
            IpFamily::V6 => Endpoint::new(format!("[{address}]:{port}"))?,
        };
        let target = self.target_ref.as_ref();
        if let Some(pod) = target.filter(|target| target.kind == "Pod" && !target.name.is_empty()) {
            endpoint = endpoint.with_id(format!("{}.{}", pod.name, pod.namespace))?;
        }
        if let Some(zone) = self.zone(own) {
            endpoint = endpoint.with_locality(Locality::new("", zone));
        }
        Ok(match &self.node_name {
            Some(node) => endpoint.with_label("node", node),
            None => endpoint,
        })
    }

    fn zone(&self, own: Option<&str>) -> Option<&str> {
        let hints = self.hints.as_ref().map_or(&[][..], |hints| &hints.for_zones);
        let is_own = |zone: &&Zone| Some(zone.name.as_str()) == own;
        let hint = hints.iter().find(is_own).or(hints.first());
        hint.map(|zone| zone.name.as_str()).or(self.zone.as_deref())
    }
}

impl Port {
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |reason| Err(Error::config("port", text, reason));
        if text.is_empty() {
            return refuse("is empty");
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self::Name(text.to_owned()));
        }
        match text.parse() {
            Ok(0) | Err(_) => refuse("is not in 1..=65535"),
            Ok(number) => Ok(Self::Number(number)),
        }
    }

    /// The number of this port in a slice.
    fn of(&self, ports: &[SlicePort]) -> Result<u16, String> {
        let is_tcp = |port: &&SlicePort| port.protocol.as_deref().is_none_or(|name| name == "TCP");
        let tcp: Vec<&SlicePort> = ports.iter().filter(is_tcp).collect();
        let found = match self {
            Self::Only => tcp.first().filter(|_| tcp.len() == 1).and_then(|port| port.port),
            Self::Name(name) => {
                let mut named = tcp.iter().filter(|port| port.name.as_deref() == Some(name));
                named.next().and_then(|port| port.port)
            }
            // "If ports is empty there are no defined ports", "if port is not specified: all".
            Self::Number(number) => {
                let is_open = |port: &&SlicePort| port.port.is_none_or(|open| open == *number);
                (ports.is_empty() || tcp.iter().any(is_open)).then_some(*number)
            }
        };
        found.filter(|port| *port != 0).ok_or_else(|| {
            let name = |port: &&SlicePort| {
                let (name, number) = (port.name.as_deref().unwrap_or(""), port.port.unwrap_or(0));
                format!("{name}:{number}")
            };
            let known: Vec<String> = tcp.iter().map(name).collect();
            let wanted = match self {
                Self::Only => "the only one".to_owned(),
                Self::Name(name) => name.clone(),
                Self::Number(number) => number.to_string(),
            };
            let reason = format!("port: {wanted:?} is none of [{}]", known.join(", "));
            excerpt(reason.as_bytes())
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn slice(kind: &str, endpoints: Value) -> Vec<u8> {
        let ports = json!([
            {"name": "http", "port": 8080, "protocol": "TCP"},
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "grpc", "port": 9090},
        ]);
        let metadata = json!({"name": "web-1", "resourceVersion": "7"});
        json!({"metadata": metadata, "addressType": kind, "endpoints": endpoints, "ports": ports})
            .to_string()
            .into_bytes()
    }

    fn choice(port: &str) -> Choice {
        Choice { port: Port::parse(port).unwrap(), ..Choice::default() }
    }

    fn endpoints(slice: &[u8], choice: &Choice) -> Vec<Endpoint> {
        let endpoints = read(slice, choice).unwrap().endpoints.unwrap();
        endpoints.into_iter().map(|(endpoint, _)| endpoint).collect()
    }

    #[test]
    fn conditions_say_what_becomes_of_an_endpoint() {
        let (yes, no) = (Some(true), Some(false));
        for (ready, serving, terminating, fate) in [
            (None, None, None, Fate::Serves),
            (yes, None, None, Fate::Serves),
            (yes, yes, no, Fate::Serves),
            (no, None, None, Fate::Absent),
            (no, yes, no, Fate::Absent),
            (no, yes, yes, Fate::Leaves),
            (no, no, yes, Fate::Absent),
            (no, None, yes, Fate::Absent),
            // With `publishNotReadyAddresses`.
            (yes, None, yes, Fate::Leaves),
        ] {
            let conditions = Conditions { ready, serving, terminating };
            assert_eq!(conditions.fate(), fate, "{ready:?} {serving:?} {terminating:?}");
        }
    }

    #[test]
    fn entry_becomes_an_endpoint_with_id_zone_and_node() {
        let entry = json!([{
            "addresses": ["10.1.0.7", "10.1.0.8"], "nodeName": "n1", "zone": "a",
            "targetRef": {"kind": "Pod", "name": "web-7d9f", "namespace": "default"},
            "hints": {"forZones": [{"name": "b"}, {"name": "c"}]},
        }]);
        let text = slice("IPv4", entry);
        let expected = Endpoint::new("10.1.0.7:8080").unwrap();
        let expected = expected.with_id("web-7d9f.default").unwrap().with_label("node", "n1");
        let in_zone = |zone: &str| vec![expected.clone().with_locality(Locality::new("", zone))];
        assert_eq!(endpoints(&text, &choice("http")), in_zone("b"));
        let own = Choice { zone: Some("c".into()), ..choice("8080") };
        assert_eq!(endpoints(&text, &own), in_zone("c"));
        let bare = slice("IPv6", json!([{"addresses": ["2001:db8::1"], "zone": "a"}]));
        let expected = Endpoint::new("[2001:db8::1]:9090").unwrap();
        let expected = expected.with_locality(Locality::new("", "a"));
        assert_eq!(endpoints(&bare, &choice("grpc")), [expected]);
    }

    #[test]
    fn refusals_name_slice_field_and_value() {
        let one = json!([{"addresses": ["10.1.0.7"]}]);
        let refused = |text: &[u8], choice: &Choice| read(text, choice).unwrap().endpoints;
        for (text, choice, error) in [
            (
                slice("IPv4", one.clone()),
                choice("admin"),
                r#"slice web-1: port: "admin" is none of [http:8080, grpc:9090]"#,
            ),
            (
                slice("IPv4", one.clone()),
                Choice::default(),
                r#"slice web-1: port: "the only one" is none of [http:8080, grpc:9090]"#,
            ),
            (
                slice("FQDN", one),
                choice("http"),
                r#"slice web-1: addressType: "FQDN" is none of IPv4, IPv6"#,
            ),
            (
                slice("IPv4", json!([{"addresses": ["a b"]}])),
                choice("http"),
                r#"slice web-1: address: "a b:8080" has a host with characters other than letters, digits, '.', '-' and '_'"#,
            ),
        ] {
            let refused = refused(&text, &choice).unwrap_err();
            assert_eq!(refused.split(" has a host").next(), error.split(" has a host").next());
        }
        assert!(read(b"{}", &Choice::default()).is_err());
        let none = slice("IPv4", Value::Null);
        assert_eq!(endpoints(&none, &Choice::default()), []);
    }

    #[test]
    fn ports_are_names_or_numbers() {
        for (text, port) in [
            ("http", Some(Port::Name("http".to_owned()))),
            ("80", Some(Port::Number(80))),
            ("", None),
            ("0", None),
            ("65536", None),
        ] {
            assert_eq!(Port::parse(text).ok(), port, "{text}");
        }
    }
}
