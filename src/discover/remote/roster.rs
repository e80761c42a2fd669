use std::collections::BTreeMap;

use super::{MOST_BYTES, MOST_ENDPOINTS};
use crate::endpoint::Endpoint;
use crate::error::BoxError;

/// What a registry lists, by record, each of which describes one endpoint or several.
#[derive(Debug)]
pub(in crate::discover) struct Roster<T> {
    records: BTreeMap<String, Record<T>>,
    endpoints: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Record<T> {
    endpoints: Vec<(Endpoint, T)>,
    bytes: usize,
}

impl<T> Roster<T> {
    pub(in crate::discover) fn new() -> Self {
        Self { records: BTreeMap::new(), endpoints: 0, bytes: 0 }
    }

    /// Sets what a record describes, which took so many bytes to say.
    ///
    /// # Errors
    ///
    /// A source that lists more than it may: the record is left out.
    pub(in crate::discover) fn set(
        &mut self,
        name: &str,
        endpoints: Vec<(Endpoint, T)>,
        bytes: usize,
    ) -> Result<(), BoxError> {
        self.remove(name);
        let bytes = bytes + name.len();
        if self.endpoints + endpoints.len() > MOST_ENDPOINTS {
            return Err(format!("more than {MOST_ENDPOINTS} endpoints are listed").into());
        }
        if self.bytes + bytes > MOST_BYTES {
            return Err(format!("the records have more than {MOST_BYTES} bytes").into());
        }
        self.endpoints += endpoints.len();
        self.bytes += bytes;
        self.records.insert(name.to_owned(), Record { endpoints, bytes });
        Ok(())
    }

    pub(in crate::discover) fn remove(&mut self, name: &str) {
        if let Some(record) = self.records.remove(name) {
            self.endpoints -= record.endpoints.len();
            self.bytes -= record.bytes;
        }
    }

    /// Keeps what another roster says of this record.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub(in crate::discover) fn inherit(
        &mut self,
        name: &str,
        from: &mut Self,
    ) -> Result<(), BoxError> {
        match from.records.remove(name) {
            Some(record) => {
                from.endpoints -= record.endpoints.len();
                from.bytes -= record.bytes;
                self.set(name, record.endpoints, record.bytes - name.len())
            }
            None => Ok(()),
        }
    }

    /// All endpoints with the names of their records, in the order of those.
    pub(in crate::discover) fn iter(&self) -> impl Iterator<Item = (&str, &Endpoint, &T)> {
        self.records.iter().flat_map(|(name, record)| {
            let endpoints = record.endpoints.iter();
            endpoints.map(move |(endpoint, more)| (name.as_str(), endpoint, more))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roster_is_bounded_and_counts_what_is_taken_back() {
        let endpoint = Endpoint::new("a:80").unwrap();
        let many = |count| vec![(endpoint.clone(), ()); count];
        let mut roster = Roster::new();
        roster.set("a", many(MOST_ENDPOINTS), 1).unwrap();
        assert!(roster.set("b", many(1), 1).is_err());
        roster.set("a", many(1), 1).unwrap();
        roster.set("b", many(1), 1).unwrap();
        assert!(roster.set("c", many(1), MOST_BYTES).is_err());
        let mut next = Roster::new();
        next.inherit("a", &mut roster).unwrap();
        roster.remove("b");
        assert_eq!((roster.endpoints, roster.bytes), (0, 0));
        assert_eq!((next.endpoints, next.bytes, next.iter().count()), (1, 2, 1));
    }
}
