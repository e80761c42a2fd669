//! The value of a key: an endpoint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::discover::remote::excerpt;
use crate::endpoint::{Endpoint, Labels, Locality, Weight};

/// The longest value. Ours: an address and labels are a few hundred bytes.
const LONGEST: usize = 64 * 1024;

#[derive(Default, Deserialize, Serialize)]
struct Record {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
    #[serde(default)]
    priority: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<u32>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locality: Option<Place>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    draining: bool,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Place {
    region: String,
    zone: String,
}

/// Reads a JSON endpoint, or a bare address. The error is a text that names field and value.
pub(super) fn read(value: &[u8]) -> Result<Endpoint, String> {
    if value.len() > LONGEST {
        return Err(format!("the value has {} bytes, {LONGEST} are allowed", value.len()));
    }
    if value.trim_ascii_start().first() != Some(&b'{') {
        let text = std::str::from_utf8(value).map_err(|_| "the value is no UTF-8")?;
        let endpoint = Endpoint::new(text.trim());
        return endpoint.map_err(|error| excerpt(error.to_string().as_bytes()));
    }
    let parsed = serde_json::from_slice(value);
    let record: Record = parsed.map_err(|error| format!("{error} in {}", excerpt(value)))?;
    record.endpoint().map_err(|error| excerpt(error.to_string().as_bytes()))
}

/// What [`read`] reads.
pub(super) fn write(endpoint: &Endpoint, draining: Draining) -> String {
    let place = endpoint.locality().map(|locality| Place {
        region: locality.region().to_owned(),
        zone: locality.zone().to_owned(),
    });
    let label = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let record = Record {
        id: Some(endpoint.id().as_str().to_owned()),
        address: endpoint.address().to_string(),
        weight: Some(endpoint.weight().get().into()),
        priority: endpoint.priority(),
        rank: Some(endpoint.rank().into()),
        labels: endpoint.labels().iter().map(label).collect(),
        locality: place,
        draining: draining == Draining::Yes,
    };
    serde_json::to_value(record).map(|json| json.to_string()).unwrap_or_default()
}

/// Whether a registrant is about to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Draining {
    No,
    Yes,
}

impl Record {
    fn endpoint(self) -> Result<Endpoint, crate::error::Error> {
        let mut endpoint = Endpoint::new(&self.address)?.with_priority(self.priority);
        if let Some(id) = &self.id {
            endpoint = endpoint.with_id(id)?;
        }
        if let Some(weight) = self.weight {
            endpoint = endpoint.with_weight(Weight::new(weight)?);
        }
        if let Some(rank) = self.rank {
            endpoint = endpoint.ranked(rank)?;
        }
        if let Some(place) = self.locality {
            endpoint = endpoint.with_locality(Locality::new(place.region, place.zone));
        }
        let endpoint = endpoint.with_labels(Labels::from_iter(self.labels));
        Ok(if self.draining { endpoint.with_draining() } else { endpoint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_is_read_as_it_was_written() {
        let plain = Endpoint::new("https://web:443").unwrap();
        let full = Endpoint::new("[::1]:80").unwrap().with_id("web-1").unwrap();
        let full = full.with_weight(7).with_priority(2).with_rank(9).unwrap();
        let full = full.with_locality(Locality::new("eu", "b")).with_label("a", "\"b\"");
        for endpoint in [plain, full] {
            assert_eq!(read(write(&endpoint, Draining::No).as_bytes()), Ok(endpoint.clone()));
            let left = read(write(&endpoint, Draining::Yes).as_bytes());
            assert_eq!(left, Ok(endpoint.with_draining()));
        }
    }

    #[test]
    fn bare_address_is_an_endpoint() {
        let endpoint = Endpoint::new("10.0.0.1:80").unwrap();
        assert_eq!(read(b" 10.0.0.1:80\n"), Ok(endpoint.clone()));
        assert_eq!(read(br#"{"address":"10.0.0.1:80","unknown":[1]}"#), Ok(endpoint));
    }

    #[test]
    fn refusals_name_field_and_value() {
        for (value, error) in [
            ("", r#"address: "" has no port: write host:port"#),
            ("web", r#"address: "web" has no port: write host:port"#),
            (r#"{"address":"a:80","weight":70000}"#, r#"weight: "70000" is not in 0..=65535"#),
            (r#"{"address":"a:80","id":""}"#, r#"id: "" is empty"#),
            (r#"{"weight":1}"#, r#"missing field `address` at line 1 column 12 in {"weight":1}"#),
        ] {
            assert_eq!(read(value.as_bytes()).unwrap_err(), error);
        }
        assert!(read(&[b'a'; LONGEST + 1]).unwrap_err().starts_with("the value has 65537 bytes"));
        assert!(read(b"\xff").is_err());
    }
}
