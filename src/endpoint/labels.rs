use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

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
pub struct Subset(Arc<BTreeMap<String, String>>);

impl Subset {
    /// The endpoints whose labels have all of these names and values. Of a name given twice the
    /// last value counts; without any, the subset is the whole cluster.
    pub fn new<K, V>(labels: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<String>,
        V: Into<String>,
    {
        Self(Arc::new(labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect()))
    }

    /// Whether `endpoint` belongs to the subset.
    #[must_use]
    pub fn contains(&self, endpoint: &super::Endpoint) -> bool {
        self.0.iter().all(|(key, value)| endpoint.labels().get(key) == Some(value))
    }
}

impl PartialEq for Subset {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for Subset {}

impl fmt::Debug for Subset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
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
