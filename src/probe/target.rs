use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::endpoint::{Endpoint, Node};

/// The endpoint that a check looks at, with the service that the cluster keeps for it.
///
/// A handle: cheap to clone.
#[derive(Clone)]
pub struct Target {
    endpoint: Endpoint,
    node: Arc<Node>,
    time: Duration,
    #[cfg(feature = "hyper")]
    kept: Kept,
}

/// What a check keeps from one time to the next; gone when the endpoint is.
#[cfg(feature = "hyper")]
type Kept = Arc<crate::sync::Mutex<Option<Box<dyn std::any::Any + Send>>>>;

impl Target {
    pub(super) fn new(endpoint: Endpoint, node: Arc<Node>, time: Duration) -> Self {
        Self {
            endpoint,
            node,
            time,
            #[cfg(feature = "hyper")]
            kept: Kept::default(),
        }
    }

    /// The endpoint as it was described last.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The endpoint's payload in the cluster, if it is of the type `S`.
    ///
    /// ```
    /// use whippletree::BoxError;
    /// use whippletree::probe::Probe;
    ///
    /// struct Pool { idle: usize }
    ///
    /// let probe = Probe::custom(|target| async move {
    ///     let pool = target.service::<Pool>().ok_or("not a pool")?;
    ///     if pool.idle > 0 { Ok(()) } else { Err(BoxError::from("no idle connection")) }
    /// });
    /// assert_eq!(probe.name("pool").to_string(), "pool");
    /// ```
    #[must_use]
    pub fn service<S: 'static>(&self) -> Option<&S> {
        self.node.payload.get()
    }

    /// How long a check may take in all: after that it is dropped and has failed.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.time
    }

    pub(super) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Describes the endpoint anew.
    pub(super) fn describe(&mut self, endpoint: Endpoint) {
        self.endpoint = endpoint;
    }

    /// What was kept the last time, if it is a `T`.
    #[cfg(feature = "hyper")]
    pub(super) fn take_kept<T: Send + 'static>(&self) -> Option<Box<T>> {
        self.kept.lock().take()?.downcast().ok()
    }

    #[cfg(feature = "hyper")]
    pub(super) fn keep(&self, kept: impl std::any::Any + Send) {
        *self.kept.lock() = Some(Box::new(kept));
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Target").field(&self.endpoint).finish()
    }
}
