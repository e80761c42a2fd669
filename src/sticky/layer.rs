use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderName;
use tower_layer::Layer;

use super::builder::Builder;
use super::cookie::Cookie;
use super::counters::{Counters, Counts};
use super::directory::Directory;
use super::keys::Keys;
use super::migration::Migration;
use super::service::Sticky;
use crate::cluster::Homes;

/// Keeps sessions at home: wraps a [`Balance`](crate::Balance), or layers above one, into
/// [`Sticky`]s. See the [module](super).
#[derive(Clone)]
pub struct StickyLayer {
    shared: Arc<Shared>,
}

/// What becomes of a request whose home cannot serve it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnMiss {
    /// Another endpoint serves it; the same one for all requests of the session.
    #[default]
    Repick,
    /// It fails with an error that [is no endpoint](crate::Error::is_no_endpoint) (Envoy's strict
    /// mode). A session whose home will serve it no more is rebound all the same.
    Fail,
}

/// Where sessions begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NewSessions {
    /// Where there are the fewest sessions and requests in flight for the weight, whatever the
    /// policy: [`Context::with_new_session`](crate::Context::with_new_session).
    #[default]
    Even,
    /// Where the policy sends their first request: for sessions that shall begin where a key leads
    /// them.
    ByPolicy,
}

pub(super) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// What all clones of a layer and all its services share.
pub(super) struct Shared {
    pub(super) homes: Homes,
    pub(super) cookie: Cookie,
    pub(super) keys: Keys,
    pub(super) directory: Directory,
    pub(super) counters: Counters,
    pub(super) idle: Duration,
    pub(super) absolute: Duration,
    /// The window in which a session is counted after its last request.
    pub(super) active: Duration,
    /// A token is renewed when it is so old.
    pub(super) refresh: Duration,
    pub(super) rebind_after: Duration,
    pub(super) on_miss: OnMiss,
    pub(super) new_sessions: NewSessions,
    pub(super) safe_point: Option<HeaderName>,
    pub(super) migration: Migration,
    pub(super) clock: Clock,
}

impl StickyLayer {
    /// Starts with the default parameters and no key.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(super) fn of(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// What was counted since the layer was made, by all its clones and services together.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.counters.read()
    }
}

impl<S> Layer<S> for StickyLayer {
    type Service = Sticky<S>;

    fn layer(&self, inner: S) -> Sticky<S> {
        Sticky::new(inner, Arc::clone(&self.shared))
    }
}

impl fmt::Debug for StickyLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StickyLayer")
            .field("cluster", &self.homes.name())
            .field("cookie", &self.cookie)
            .field("keys", &self.keys)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
