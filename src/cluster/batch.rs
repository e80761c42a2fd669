//! Several changes of one source as one.

use std::collections::BTreeMap;

use crate::discover::Change;
use crate::endpoint::{Endpoint, EndpointId};

/// Reduces changes to what they amount to when they are applied one after the other: at most one
/// whole set, then at most one change per id.
///
/// Not only for speed: an endpoint whose address changes twice within a batch must end with the
/// payload for the last address, and only that one is made.
pub(super) fn merge(changes: Vec<Change>) -> Vec<Change> {
    let mut set: Option<Vec<Endpoint>> = None;
    let mut single: BTreeMap<EndpointId, Option<Endpoint>> = BTreeMap::new();
    for change in changes {
        match change {
            Change::Insert(endpoint) => {
                single.insert(endpoint.id().clone(), Some(endpoint));
            }
            Change::Remove(id) => {
                single.insert(id, None);
            }
            Change::Replace(endpoints) => {
                set = Some(endpoints);
                single.clear();
            }
        }
    }
    let set = set.map(|mut endpoints| {
        endpoints.retain_mut(|endpoint| match single.remove(endpoint.id()) {
            None => true,
            Some(None) => false,
            Some(Some(latest)) => {
                *endpoint = latest;
                true
            }
        });
        Change::Replace(endpoints)
    });
    let single = single
        .into_iter()
        .map(|(id, endpoint)| endpoint.map_or(Change::Remove(id), Change::Insert));
    set.into_iter().chain(single).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(id: &str, port: u16) -> Endpoint {
        Endpoint::new(format!("x:{port}")).unwrap().with_id(id).unwrap()
    }

    #[test]
    fn the_last_word_on_each_id_is_left() {
        let remove = |id| Change::Remove(EndpointId::new(id).unwrap());
        let merged = merge(vec![
            Change::Insert(endpoint("lost", 1)),
            Change::Replace(vec![endpoint("a", 1), endpoint("b", 1), endpoint("c", 1)]),
            Change::Insert(endpoint("a", 2)),
            remove("b"),
            Change::Insert(endpoint("d", 1)),
            Change::Insert(endpoint("d", 2)),
            Change::Insert(endpoint("e", 1)),
            remove("e"),
        ]);
        let expected = [
            Change::Replace(vec![endpoint("a", 2), endpoint("c", 1)]),
            Change::Insert(endpoint("d", 2)),
            remove("e"),
        ];
        assert_eq!(merged, expected);
    }
}
