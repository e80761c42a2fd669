use std::fmt;
use std::sync::Arc;

use super::control::Services;
use super::registry::Origin;
use super::{Cluster, Shared, clock};
use crate::discover::{Change, Options};
use crate::endpoint::{Endpoint, EndpointId};
use crate::error::Error;

impl<S: Send + Sync + 'static> Cluster<S> {
    /// The source of this name: a set of endpoints of its own within the cluster, to be changed
    /// apart from the others.
    ///
    /// A name is one source, however often it is asked for: two handles of `dns` change the same
    /// set, and [`follow("dns", …)`](Self::follow) goes on with it. Dropping the handle leaves what
    /// the source lists in use; see [`Source::withdraw`].
    ///
    /// `options` are a name, or [more](Options), which then holds for what this handle follows.
    ///
    /// ```
    /// use whippletree::{Cluster, Endpoint};
    ///
    /// let cluster = Cluster::builder().connect(|_| ());
    /// cluster.source("file").replace([Endpoint::new("a:80")?])?;
    /// cluster.replace([Endpoint::new("b:80")?])?;
    /// assert_eq!(cluster.len(), 2);
    /// cluster.source("file").replace([Endpoint::new("c:80")?])?;
    /// assert_eq!(cluster.len(), 2);
    /// # Ok::<(), whippletree::Error>(())
    /// ```
    #[must_use]
    pub fn source(&self, options: impl Into<Options>) -> Source {
        let options = options.into();
        let origin = self.shared.origin(Arc::clone(&options.name));
        Source { shared: Arc::clone(&self.shared), origin, options }
    }
}

/// A set of endpoints of its own within a [`Cluster`]; made by [`Cluster::source`].
///
/// An endpoint stays in the cluster as long as any source lists it.
pub struct Source {
    pub(super) shared: Arc<Shared>,
    pub(super) origin: Arc<Origin>,
    pub(super) options: Options,
}

impl Source {
    /// As [`Cluster::insert`], for this source.
    ///
    /// # Errors
    ///
    /// As [`Cluster::insert`].
    pub fn insert(&self, endpoint: Endpoint) -> Result<(), Error> {
        self.speak(self.shared.apply(self.origin.id, Change::Insert(endpoint)))
    }

    /// As [`Cluster::remove`], for this source.
    pub fn remove(&self, id: &EndpointId) -> bool {
        let removed = self.shared.withdraw(self.origin.id, id);
        self.origin.has_spoken(clock::now());
        removed
    }

    /// As [`Cluster::replace`], for this source. An empty set is taken at its word.
    ///
    /// # Errors
    ///
    /// As [`Cluster::replace`].
    pub fn replace(&self, endpoints: impl IntoIterator<Item = Endpoint>) -> Result<(), Error> {
        self.speak(self.shared.apply_set(self.origin.id, endpoints.into_iter().collect()))
    }

    /// Removes all that the source lists. Endpoints that another source lists too stay.
    ///
    /// A stream that the source follows is followed on, and may list endpoints again: to be rid of
    /// a source, drop the future first. A withdrawn source is forgotten, name and all, once nobody
    /// holds it any more.
    ///
    /// ```
    /// use whippletree::{Cluster, Endpoint};
    ///
    /// let cluster = Cluster::builder().connect(|_| ());
    /// let file = cluster.source("file");
    /// file.replace([Endpoint::new("a:80")?, Endpoint::new("b:80")?])?;
    /// cluster.insert(Endpoint::new("b:80")?)?;
    /// file.withdraw();
    /// assert_eq!(cluster.status().endpoints[0].endpoint.id().as_str(), "b:80");
    /// assert_eq!(cluster.len(), 1);
    /// # Ok::<(), whippletree::Error>(())
    /// ```
    pub fn withdraw(&self) {
        self.origin.withdraw();
        let nothing = vec![Change::Replace(Vec::new())];
        self.shared.commit(self.origin.id, nothing, Services::new());
    }

    /// The name that stands in events and in the status.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.origin.name
    }

    fn speak(&self, result: Result<(), Error>) -> Result<(), Error> {
        if result.is_ok() {
            self.origin.has_spoken(clock::now());
        }
        result
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("name", &self.origin.name).finish_non_exhaustive()
    }
}
