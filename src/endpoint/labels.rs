use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use xxhash_rust::xxh64::Xxh64;

/// Names and values that describe an endpoint: its version, its role, its cloud.
///
/// Labels decide which [`Subset`]s an endpoint belongs to; they mean nothing else to the crate.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// The value of the label `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// All labels, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there is no label.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, key: String, value: String) {
        self.0.insert(key, value);
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Labels {
    /// Of a name given twice the last value counts.
    fn from_iter<T: IntoIterator<Item = (K, V)>>(labels: T) -> Self {
        Self(labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The endpoints that carry all of the given labels.
///
/// A request that names a subset in its [`Context`](crate::Context) is balanced over these
/// endpoints alone. Cheap to clone: make it once and give every request a clone. The first
/// request of a subset makes the cluster prepare it; see
/// [`Context::with_subset`](crate::Context::with_subset).
///
/// Cheap to compare and to hash too: it carries the hash of its labels, computed once.
///
/// ```
/// use whippletree::Endpoint;
/// use whippletree::endpoint::Subset;
///
/// let replicas = Subset::new([("role", "replica")]);
/// let endpoint = Endpoint::new("10.0.0.1:80")?.with_label("role", "replica");
/// assert!(replicas.contains(&endpoint));
/// # Ok::<(), whippletree::Error>(())
/// ```
#[derive(Clone)]
pub struct Subset {
    labels: Arc<BTreeMap<String, String>>,
    hash: u64,
}

impl Subset {
    /// The endpoints whose labels have all of these names and values. Of a name given twice the
    /// last value counts; without any, the subset is the whole cluster.
    pub fn new<K, V>(labels: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<String>,
        V: Into<String>,
    {
        let labels = labels.into_iter().map(|(key, value)| (key.into(), value.into()));
        let labels = labels.collect();
        Self { hash: hash(&labels), labels: Arc::new(labels) }
    }

    /// Whether `endpoint` belongs to the subset.
    #[must_use]
    pub fn contains(&self, endpoint: &super::Endpoint) -> bool {
        self.labels.iter().all(|(key, value)| endpoint.labels().get(key) == Some(value))
    }
}

impl PartialEq for Subset {
    fn eq(&self, other: &Self) -> bool {
        // Different subsets differ in the first comparison, clones are settled by the second.
        self.hash == other.hash
            && (Arc::ptr_eq(&self.labels, &other.labels) || self.labels == other.labels)
    }
}

impl Eq for Subset {}

impl Hash for Subset {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl fmt::Debug for Subset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.labels.fmt(f)
    }
}

/// Of every text its length first, so that no two sets of labels are one text.
fn hash(labels: &BTreeMap<String, String>) -> u64 {
    let mut hasher = Xxh64::new(0);
    for text in labels.iter().flat_map(|(key, value)| [key, value]) {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.digest()
}

/// Where an endpoint runs: a region, and a zone within it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locality {
    region: String,
    zone: String,
}

impl Locality {
    /// A zone of a region; either may be empty where it is not known.
    pub fn new(region: impl Into<String>, zone: impl Into<String>) -> Self {
        Self { region: region.into(), zone: zone.into() }
    }

    /// The region, for example a cloud's `eu-west-1`.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The zone within the region.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.zone
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.region, self.zone)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn subsets_are_keys_whatever_the_order_of_their_labels() {
        let one = Subset::new([("role", "replica"), ("zone", "a")]);
        let same = Subset::new([("zone", "b"), ("role", "replica"), ("zone", "a")]);
        let mut found = HashMap::from([(one.clone(), 1)]);
        assert_eq!(found.insert(same, 2), Some(1));
        assert_eq!(found.insert(Subset::new([("role", "replica")]), 3), None);
        assert_eq!(found[&one], 2);
    }

    #[test]
    fn labels_that_read_alike_when_joined_hash_apart() {
        let pairs = [("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", "")];
        let hashes = pairs.map(|pair| Subset::new([pair]).hash);
        for (at, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..at].contains(hash));
        }
        let nothing = Subset::new::<&str, &str>([]);
        assert_ne!(nothing, Subset::new([("", "")]));
    }
}
