use std::sync::Arc;
use std::time::Duration;

/// How long a drain may take by default, as Kubernetes gives a pod to end
/// (`terminationGracePeriodSeconds`).
const DEADLINE: Duration = Duration::from_secs(30);

/// How an endpoint is to be drained, and what comes then.
///
/// ```
/// use std::time::Duration;
/// use whippletree::cluster::{DrainOptions, Then};
///
/// let options = DrainOptions::new()
///     .deadline(Duration::from_secs(300))
///     .session_deadline(Duration::from_secs(60))
///     .then(Then::Maintenance)
///     .by("alice");
/// assert_ne!(options, DrainOptions::new());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainOptions {
    pub(super) deadline: Duration,
    pub(super) session_deadline: Option<Duration>,
    pub(super) quiet: Option<Duration>,
    pub(super) then: Then,
    pub(super) by: Arc<str>,
}

/// What becomes of an endpoint when its drain is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Then {
    /// It stays drained, until somebody makes it [ready](super::Admin::Ready).
    #[default]
    Stay,
    /// It is put into [maintenance](super::Admin::Maintenance).
    Maintenance,
    /// It is removed, whoever lists it. A source that goes on to list it brings it back, drained as
    /// it was.
    Removal,
}

impl DrainOptions {
    /// All defaults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            deadline: DEADLINE,
            session_deadline: None,
            quiet: None,
            then: Then::default(),
            by: "operator".into(),
        }
    }

    /// Sets after what time requests that have not ended are told to. Default 30 s.
    #[must_use]
    pub fn deadline(mut self, time: Duration) -> Self {
        self.deadline = time;
        self
    }

    /// Sets after what time requests that ask for the endpoint, as those of sessions do, are sent
    /// elsewhere. Default: at the [deadline](Self::deadline), and never later than that. They are
    /// served until then also if the drain is over before: let it [wait for
    /// them](Self::wait_for_sessions), or go into [maintenance](Then::Maintenance), before the
    /// endpoint is stopped.
    #[must_use]
    pub fn session_deadline(mut self, time: Duration) -> Self {
        self.session_deadline = Some(time);
        self
    }

    /// Lets the drain wait for the endpoint's sessions too: until no request has asked for it for
    /// so long. Default: it is over when nothing is in flight.
    #[must_use]
    pub fn wait_for_sessions(mut self, quiet: Duration) -> Self {
        self.quiet = Some(quiet);
        self
    }

    /// Sets what comes then. Default [`Then::Stay`].
    #[must_use]
    pub fn then(mut self, then: Then) -> Self {
        self.then = then;
        self
    }

    /// Says who drains, for the status and the events. Default `operator`.
    #[must_use]
    pub fn by(mut self, by: impl Into<Arc<str>>) -> Self {
        self.by = by.into();
        self
    }
}

impl Default for DrainOptions {
    fn default() -> Self {
        Self::new()
    }
}
