//! What `/v1/health/service/…` answers.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::discover::remote::{at_most, excerpt};
use crate::endpoint::{Endpoint, Labels, Locality, Weight};
use crate::error::Error;

/// The most tags, or checks, of one instance. Ours: real ones have a dozen.
const MOST: usize = 1000;

/// One instance.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Instance {
    node: Node,
    service: Service,
    #[serde(default, deserialize_with = "at_most::<_, _, MOST>")]
    checks: Vec<Check>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    node: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    datacenter: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    address: String,
    port: u32,
    #[serde(default, deserialize_with = "at_most::<_, _, MOST>")]
    tags: Vec<String>,
    meta: Option<BTreeMap<String, String>>,
    weights: Option<Weights>,
    locality: Option<Place>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: u32,
    warning: u32,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Place {
    region: String,
    zone: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    #[serde(default)]
    status: String,
}

/// Reads an instance; none if a check of it is critical. The error is a text that names the
/// instance, field and value.
pub(super) fn read(text: &[u8]) -> Result<Option<Endpoint>, String> {
    let parsed = serde_json::from_slice(text);
    let instance: Instance = parsed.map_err(|error| format!("{error} in {}", excerpt(text)))?;
    let is = |status: &str| instance.checks.iter().any(|check| check.status == status);
    if is("critical") {
        return Ok(None);
    }
    let (warns, service) = (is("warning"), &instance.service);
    let name = format!("instance {}.{}", excerpt(service.id.as_bytes()), instance.node.node);
    let endpoint = instance.endpoint(warns);
    endpoint.map(Some).map_err(|error| excerpt(format!("{name}: {error}").as_bytes()))
}

impl Instance {
    fn endpoint(self, warns: bool) -> Result<Endpoint, Error> {
        let Self { node, service, .. } = self;
        let host = if service.address.is_empty() { node.address } else { service.address };
        let address = match host.contains(':') {
            true => format!("[{host}]:{}", service.port),
            false => format!("{host}:{}", service.port),
        };
        let id = format!("{}.{}", service.id, node.node);
        let mut endpoint = Endpoint::new(address)?.with_id(id)?;
        if let Some(weights) = service.weights {
            let weight = if warns { weights.warning } else { weights.passing };
            endpoint = endpoint.with_weight(Weight::new(weight)?);
        }
        let place = service.locality.unwrap_or_default();
        let region = if place.region.is_empty() { node.datacenter } else { place.region };
        if !region.is_empty() || !place.zone.is_empty() {
            endpoint = endpoint.with_locality(Locality::new(region, place.zone));
        }
        let tags = service.tags.iter().map(|tag| {
            let (key, value) = tag.split_once('=').unwrap_or((tag, "true"));
            (key.to_owned(), value.to_owned())
        });
        Ok(endpoint.with_labels(service.meta.into_iter().flatten().chain(tags).collect::<Labels>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_is_read_with_all_that_steers_picks() {
        // The form of Consul's own documentation of this call.
        let text = r#"{
            "Node": {"ID":"40e4","Node":"node-a","Address":"10.1.10.12","Datacenter":"dc1",
                     "TaggedAddresses":{"lan":"10.1.10.12"},"Meta":{"instance_type":"m3"}},
            "Service": {"ID":"redis-1","Service":"redis","Tags":["primary","version=2"],
                "Address":"10.1.10.13","Meta":{"redis_version":"4.0","version":"1"},"Port":8000,
                "Weights":{"Passing":10,"Warning":1},"Namespace":"default"},
            "Checks": [{"Node":"node-a","CheckID":"serfHealth","Status":"passing"}]
        }"#;
        let endpoint = read(text.as_bytes()).unwrap().unwrap();
        let expected = Endpoint::new("10.1.10.13:8000").unwrap().with_id("redis-1.node-a").unwrap();
        let expected = expected.with_weight(10).with_locality(Locality::new("dc1", ""));
        let labels = [("redis_version", "4.0"), ("version", "2"), ("primary", "true")];
        assert_eq!(endpoint, expected.with_labels(labels.into_iter().collect()));
        let warning = read(text.replace("passing", "warning").as_bytes()).unwrap().unwrap();
        assert_eq!(warning.weight().get(), 1);
        assert_eq!(read(text.replace("\"passing", "\"critical").as_bytes()), Ok(None));
        let node = text.replace("10.1.10.13", "");
        let node = read(node.as_bytes()).unwrap().unwrap();
        assert_eq!(node.address().to_string(), "10.1.10.12:8000");
    }

    #[test]
    fn null_and_absence_are_nothing() {
        let text = r#"{"Node":{"Node":"n","Address":"::1"},
            "Service":{"ID":"a","Port":80,"Tags":null,"Meta":null,"Weights":null},"Checks":null}"#;
        let endpoint = read(text.as_bytes()).unwrap().unwrap();
        assert_eq!(endpoint.address().to_string(), "[::1]:80");
        assert_eq!((endpoint.weight().get(), endpoint.locality()), (1, None));
    }

    #[test]
    fn refusals_name_instance_field_and_value() {
        let text = |port: &str, weight: &str| {
            format!(
                r#"{{"Node":{{"Node":"n","Address":"a"}},"Service":{{"ID":"i","Port":{port},
                "Weights":{{"Passing":{weight},"Warning":1}}}}}}"#
            )
        };
        for (port, weight, error) in [
            ("0", "1", r#"instance i.n: address: "a:0" has no valid port"#),
            ("80", "70000", r#"instance i.n: weight: "70000" is not in 0..=65535"#),
        ] {
            assert_eq!(read(text(port, weight).as_bytes()).unwrap_err(), error);
        }
        assert!(read(b"{}").unwrap_err().starts_with("missing field `Node`"));
    }
}
