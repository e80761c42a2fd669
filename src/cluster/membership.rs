use super::Cluster;
use super::control::{Applied, HANDLE, Offer};
use super::record::Record;
use crate::discover::Change;
use crate::endpoint::{Endpoint, EndpointId, Labels, Payload, Weight};
use crate::error::Error;

impl<S: Send + Sync + 'static> Cluster<S> {
    /// Adds an endpoint, or changes the weight, priority, locality and labels of the one with its
    /// id. A new address under a known id is a new endpoint with a payload of its own; requests
    /// under way finish on the old one.
    ///
    /// # Errors
    ///
    /// The connect closure panicked, or there is none. The cluster is as it was.
    pub fn insert(&self, endpoint: Endpoint) -> Result<(), Error> {
        self.shared.apply(HANDLE, Change::Insert(endpoint))
    }

    /// As [`insert`](Self::insert), with the payload given instead of made by the connect closure.
    /// Under a known id it replaces the payload: requests under way finish with the old one.
    pub fn insert_service(&self, endpoint: Endpoint, service: S) {
        self.shared.bring(HANDLE, endpoint, Offer::Brought(Payload::new(service)));
    }

    /// Withdraws an endpoint that this handle added; answers whether it had. Picks no longer find
    /// it, unless another source lists it too; requests under way finish.
    pub fn remove(&self, id: &EndpointId) -> bool {
        self.shared.withdraw(HANDLE, id)
    }

    /// Makes `endpoints` the whole set of those that this handle added. What stays the same is not
    /// touched (a weight that [`set_weight`](Self::set_weight) has changed stays changed), nor is
    /// what other sources list.
    ///
    /// # Errors
    ///
    /// An id that stands in the set twice, or as [`insert`](Self::insert). The cluster is as it
    /// was.
    ///
    /// ```
    /// use whippletree::{Cluster, Endpoint};
    ///
    /// let cluster = Cluster::builder().connect(|_| ());
    /// cluster.replace([Endpoint::new("a:80")?, Endpoint::new("b:80")?])?;
    /// let twice = cluster.replace([Endpoint::new("c:80")?, Endpoint::new("c:80")?]);
    /// assert_eq!(twice.unwrap_err().to_string(), r#"id: "c:80" stands twice in one set"#);
    /// assert_eq!(cluster.len(), 2);
    /// # Ok::<(), whippletree::Error>(())
    /// ```
    pub fn replace(&self, endpoints: impl IntoIterator<Item = Endpoint>) -> Result<(), Error> {
        self.shared.apply_set(HANDLE, endpoints.into_iter().collect())
    }

    /// Changes the weight of a present endpoint, whoever listed it, until a source inserts it anew
    /// or describes it otherwise than before.
    ///
    /// # Errors
    ///
    /// An id that no present endpoint has.
    pub fn set_weight(&self, id: &EndpointId, weight: Weight) -> Result<(), Error> {
        self.edit(id, |record, applied| record.set_weight(weight, applied))
    }

    /// Changes the labels of a present endpoint, as [`set_weight`](Self::set_weight) its weight.
    ///
    /// # Errors
    ///
    /// An id that no present endpoint has.
    ///
    /// ```
    /// use whippletree::{Cluster, Endpoint};
    ///
    /// let cluster = Cluster::builder().connect(|_| ());
    /// let endpoint = Endpoint::new("a:80")?;
    /// cluster.insert(endpoint.clone())?;
    /// cluster.set_labels(endpoint.id(), [("role", "replica")].into_iter().collect())?;
    /// assert_eq!(cluster.status().endpoints[0].endpoint.labels().get("role"), Some("replica"));
    /// # Ok::<(), whippletree::Error>(())
    /// ```
    pub fn set_labels(&self, id: &EndpointId, labels: Labels) -> Result<(), Error> {
        self.edit(id, |record, applied| record.set_labels(labels, applied))
    }

    fn edit(
        &self,
        id: &EndpointId,
        edit: impl FnOnce(&mut Record, &mut Applied),
    ) -> Result<(), Error> {
        self.shared.change(|control, now, applied| control.edit(id, now, applied, edit))
    }

    /// The number of endpoints, available or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.published.load().members.len()
    }

    /// Whether there is no endpoint at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Refuses a set that has an id twice.
pub(crate) fn check(endpoints: &[Endpoint]) -> Result<(), Error> {
    let mut ids: Vec<&EndpointId> = endpoints.iter().map(Endpoint::id).collect();
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::config("id", pair[0], "stands twice in one set")),
        None => Ok(()),
    }
}
