use std::time::Duration;

/// How many requests may wait for an endpoint, and for how long.
///
/// Requests wait while every endpoint that they may go to is at its
/// [limit](crate::Endpoint::with_max_in_flight). Without limits nobody ever waits here, and without
/// a queue an overload is an [error](crate::Error::is_overloaded) at once.
///
/// **Late binding.** A waiting request belongs to no endpoint: whichever frees a slot first serves it.
/// A queue per endpoint would leave requests behind a slow one while others idle.
///
/// **First come, first served** among those who can use the slot. A slot goes to the first in line
/// that may go to its endpoint. A request that may not (its subset is another, it excludes the
/// endpoint, it waits for the one that it prefers) is passed over and keeps its place: it holds up
/// nobody, and nobody behind it gets what it could have had. Newcomers take their place at the end,
/// also those of [`Cluster::pick`](crate::Cluster::pick), which do not wait: they get what nobody in
/// line can use.
///
/// **Every wait ends**: with an endpoint; at the [timeout](Self::timeout) or the request's
/// [deadline](crate::Context::with_deadline), with an [overload](crate::Error::is_overloaded); or at
/// once with [no endpoint](crate::Error::is_no_endpoint), should the last of them go.
///
/// A limit that grows by a [slow start](crate::health::SlowStart) frees no slot by itself: the line
/// looks for its growth whenever a request ends.
///
/// A queue evens out bursts of the length of its timeout. Under a lasting overload it only adds
/// that time to every request, so keep it below what callers would wait, and put a
/// [throttle](crate::limit::ThrottleLayer) on the side of the callers.
///
/// ```
/// use std::time::Duration;
/// use whippletree::cluster::Queue;
/// use whippletree::{Cluster, Endpoint};
///
/// let queue = Queue::new().size(100).timeout(Duration::from_millis(500));
/// let cluster = Cluster::builder().queue(queue).connect(|_| ());
/// cluster.insert(Endpoint::new("10.0.0.1:80")?.with_max_in_flight(200))?;
/// # Ok::<(), whippletree::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    size: usize,
    timeout: Duration,
}

impl Queue {
    /// A queue of 1000 requests, which wait 5 s at most (HAProxy: no bound, and `timeout connect`,
    /// 5 s in its examples).
    #[must_use]
    pub const fn new() -> Self {
        Self { size: 1000, timeout: Duration::from_secs(5) }
    }

    /// Sets how many requests may wait at once; one more is refused at once. Default 1000; 0 lets
    /// none wait.
    #[must_use]
    pub const fn size(mut self, requests: usize) -> Self {
        self.size = requests;
        self
    }

    /// Sets how long a request may wait. Default 5 s.
    #[must_use]
    pub const fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time;
        self
    }

    pub(super) fn most(&self) -> usize {
        self.size
    }

    pub(super) fn time(&self) -> Duration {
        self.timeout
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self::new()
    }
}

/// What a cluster knows of its [`Queue`]; all zeros without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStatus {
    /// Requests that wait now.
    pub waiting: usize,
    /// Requests that had to wait, since the start.
    pub queued: u64,
    /// Requests that were refused because so many waited already, since the start.
    pub refused: u64,
    /// Requests that waited in vain until their time was over, since the start.
    pub timed_out: u64,
}
