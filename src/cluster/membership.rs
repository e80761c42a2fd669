use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::control::{Applied, Control, Offer, Services, SourceId, check};
use super::snapshot::Snapshot;
use super::{Cluster, Shared, clock};
use crate::discover::Change;
use crate::endpoint::{Endpoint, EndpointId, Subset, Weight};
use crate::error::Error;
use crate::event::Event;
use crate::random::Source as Random;
use crate::sync::Published;

/// The source that a cluster's own handle writes for.
const HANDLE: SourceId = 0;

impl<S: Send + Sync + 'static> Cluster<S> {
    /// Adds an endpoint, or changes the weight, priority, locality and labels of the one with its
    /// id. A new address under a known id is a new endpoint with a payload of its own; requests
    /// under way finish on the old one.
    ///
    /// # Errors
    ///
    /// The connect closure panicked, or there is none. The cluster is as it was.
    pub fn insert(&self, endpoint: Endpoint) -> Result<(), Error> {
        self.apply(HANDLE, Change::Insert(endpoint))
    }

    /// As [`insert`](Self::insert), with the payload given instead of made by the connect closure.
    /// Under a known id it replaces the payload: requests under way finish with the old one.
    pub fn insert_service(&self, endpoint: Endpoint, service: S) {
        self.bring(HANDLE, endpoint, service);
    }

    /// Withdraws an endpoint that this handle added; answers whether it had. Picks no longer find
    /// it, unless another source lists it too; requests under way finish.
    pub fn remove(&self, id: &EndpointId) -> bool {
        self.withdraw(HANDLE, id)
    }

    /// Makes `endpoints` the whole set of those that this handle added. What stays is not
    /// touched; what other sources list is not either.
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
        self.apply_set(HANDLE, endpoints.into_iter().collect())
    }

    /// Changes the weight of a present endpoint, whoever listed it, until its source says
    /// otherwise.
    ///
    /// # Errors
    ///
    /// An id that no present endpoint has.
    pub fn set_weight(&self, id: &EndpointId, weight: Weight) -> Result<(), Error> {
        let mut applied = Applied::default();
        let mut control = self.shared.control.lock();
        control.set_weight(id, weight, &mut applied)?;
        let old = self.shared.publish(&control, &mut applied.events);
        drop(control);
        self.shared.settle(applied, old);
        Ok(())
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

    /// A set of endpoints of its own within the cluster, to be changed apart from the others.
    ///
    /// `name` stands in events. Dropping the source leaves its last set in use.
    ///
    /// ```
    /// use whippletree::{Cluster, Endpoint};
    ///
    /// let cluster = Cluster::builder().connect(|_| ());
    /// let file = cluster.source("file");
    /// file.replace([Endpoint::new("a:80")?])?;
    /// cluster.replace([Endpoint::new("b:80")?])?;
    /// assert_eq!(cluster.len(), 2);
    /// # Ok::<(), whippletree::Error>(())
    /// ```
    #[must_use]
    pub fn source(&self, name: impl Into<Arc<str>>) -> Source<S> {
        let id = self.shared.control.lock().add_source();
        Source {
            cluster: self.clone(),
            id,
            name: name.into(),
        }
    }

    /// Prepares a subset that a request has named.
    pub(super) fn prepare(&self, subset: &Subset) {
        let mut applied = Applied::default();
        let mut control = self.shared.control.lock();
        control.prepare(subset);
        let old = self.shared.publish(&control, &mut applied.events);
        drop(control);
        self.shared.settle(applied, old);
    }

    /// Puts an endpoint in that comes with its payload.
    pub(super) fn bring(&self, source: SourceId, endpoint: Endpoint, service: S) {
        let mut services = Services::new();
        let key = (endpoint.id().clone(), endpoint.address().clone());
        services.insert(key, Offer::Brought(service));
        self.commit(source, vec![Change::Insert(endpoint)], services);
    }

    /// Withdraws what `source` lists; answers whether it did.
    fn withdraw(&self, source: SourceId, id: &EndpointId) -> bool {
        let listed = self.shared.control.lock().lists(source, id);
        self.commit(source, vec![Change::Remove(id.clone())], Services::new());
        listed
    }

    fn apply(&self, source: SourceId, change: Change) -> Result<(), Error> {
        self.commit(source, vec![change], Services::new())
            .pop()
            .map_or(Ok(()), Err)
    }

    fn apply_set(&self, source: SourceId, endpoints: Vec<Endpoint>) -> Result<(), Error> {
        check(&endpoints)?;
        self.apply(source, Change::Replace(endpoints))
    }

    /// Applies those of the [checked](check) changes whose payloads can be had, as one
    /// snapshot; answers what hindered the others.
    pub(super) fn commit(
        &self,
        source: SourceId,
        mut changes: Vec<Change>,
        mut services: Services<S>,
    ) -> Vec<Error> {
        let mut errors = Vec::new();
        loop {
            let now = clock::now();
            let mut control = self.shared.control.lock();
            let mut applied = Applied {
                events: Vec::new(),
                waste: control.expire(now),
            };
            let lacking: Vec<Vec<Endpoint>> = changes
                .iter()
                .map(|change| control.unconnected(change, &services))
                .collect();
            if lacking.iter().all(Vec::is_empty) {
                for change in changes {
                    control.apply(source, change, &mut services, now, &mut applied);
                }
                let old = self.shared.publish(&control, &mut applied.events);
                Shared::drive(&self.shared, &mut control);
                drop(control);
                self.shared.settle(applied, old);
                return errors;
            }
            // The connect closure is the user's code: it runs without the lock, after which the
            // world may have changed and is looked at again.
            drop(control);
            drop(applied);
            let mut lacking = lacking.into_iter();
            changes.retain(|_| {
                let result = self.connect(lacking.next().unwrap_or_default(), &mut services);
                result.map_err(|error| errors.push(error)).is_ok()
            });
        }
    }

    fn connect(&self, lacking: Vec<Endpoint>, services: &mut Services<S>) -> Result<(), Error> {
        for endpoint in lacking {
            let Some(connect) = &self.shared.connect else {
                let reason = "has no payload, and the cluster was built without a connect closure";
                return Err(Error::config("endpoint", endpoint.id(), reason));
            };
            let service = catch_unwind(AssertUnwindSafe(|| connect(&endpoint)))
                .map_err(|panic| Error::panicked("connect", &*panic))?;
            let key = (endpoint.id().clone(), endpoint.address().clone());
            services.insert(key, Offer::Made(service));
        }
        Ok(())
    }
}

impl<S> Shared<S> {
    pub(super) fn new(builder: super::Builder, connect: Option<super::Connect<S>>) -> Self {
        let epoch = clock::now();
        let random = Random::new(builder.seed);
        let control = Control::new(builder.policy, builder.cost, builder.forget_after, epoch);
        let empty = control.snapshot(None, &|| random.next(), &mut Vec::new());
        Self {
            published: Published::new(empty),
            control: crate::sync::Mutex::new(control),
            connect,
            random,
            epoch,
            version: tokio::sync::watch::Sender::new(0),
            bus: crate::event::Bus::new(Arc::clone(&builder.name), builder.event_capacity),
            name: builder.name,
        }
    }

    /// Makes what `control` says visible to picks. The caller drops the old snapshot after the
    /// lock: it may hold the last reference to a payload.
    fn publish(&self, control: &Control<S>, events: &mut Vec<Event>) -> Arc<Snapshot<S>> {
        let random = || self.random.next();
        let snapshot = control.snapshot(Some(&self.published.load()), &random, events);
        self.published.swap(Arc::new(snapshot))
    }

    /// What follows a change, outside the lock.
    fn settle(&self, applied: Applied<S>, old: Arc<Snapshot<S>>) {
        self.version.send_modify(|version| *version += 1);
        for event in applied.events {
            self.bus.send(event);
        }
        drop((applied.waste, old));
    }
}

/// A set of endpoints of its own within a [`Cluster`]; made by [`Cluster::source`].
///
/// An endpoint stays in the cluster as long as any source lists it.
pub struct Source<S> {
    cluster: Cluster<S>,
    id: SourceId,
    name: Arc<str>,
}

impl<S: Send + Sync + 'static> Source<S> {
    /// As [`Cluster::insert`], for this source.
    ///
    /// # Errors
    ///
    /// As [`Cluster::insert`].
    pub fn insert(&self, endpoint: Endpoint) -> Result<(), Error> {
        self.cluster.apply(self.id, Change::Insert(endpoint))
    }

    /// As [`Cluster::remove`], for this source.
    pub fn remove(&self, id: &EndpointId) -> bool {
        self.cluster.withdraw(self.id, id)
    }

    /// As [`Cluster::replace`], for this source.
    ///
    /// # Errors
    ///
    /// As [`Cluster::replace`].
    pub fn replace(&self, endpoints: impl IntoIterator<Item = Endpoint>) -> Result<(), Error> {
        self.cluster
            .apply_set(self.id, endpoints.into_iter().collect())
    }

    /// The name that stands in events.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<S> fmt::Debug for Source<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
