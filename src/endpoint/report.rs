use std::fmt;
use std::time::Duration;

/// How a drain has ended, and what became of the requests.
///
/// ```
/// use whippletree::cluster::DrainOptions;
/// use whippletree::endpoint::DrainEnd;
/// use whippletree::{Cluster, Endpoint};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let cluster = Cluster::builder().connect(|_| ());
/// let endpoint = Endpoint::new("a:80")?;
/// cluster.insert(endpoint.clone())?;
/// let report = cluster.drain(endpoint.id(), DrainOptions::new())?.await;
/// assert_eq!((report.end, report.forced), (DrainEnd::Empty, 0));
/// # Ok::<(), whippletree::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Why it is over.
    pub end: DrainEnd,
    /// Requests that have ended by themselves since it began.
    pub completed: u64,
    /// Requests that asked for the endpoint and were sent elsewhere.
    pub diverted: u64,
    /// Requests that were still in flight at the deadline and were told to end.
    pub forced: u32,
    /// After how long the last of the requests ended that ended by themselves; the whole time, if
    /// any had to be forced. What a deadline should be above.
    pub longest: Duration,
    /// How long the drain has lasted.
    pub took: Duration,
}

/// Why a drain is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DrainEnd {
    /// Nothing is in flight, and if that was asked for, no session is left.
    Empty,
    /// The deadline has come; what was left was told to end.
    Deadline,
    /// The endpoint was made ready again, or another server took its place.
    Undone,
    /// The cluster is gone.
    Abandoned,
}

impl DrainEnd {
    /// The end in one lower-case word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Deadline => "deadline",
            Self::Undone => "undone",
            Self::Abandoned => "abandoned",
        }
    }
}

impl DrainReport {
    /// Whether the endpoint was empty: it can be stopped, and nobody notices.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end == DrainEnd::Empty
    }

    /// Of a drain of which no more is known.
    pub(crate) const ABANDONED: Self = Self {
        end: DrainEnd::Abandoned,
        completed: 0,
        diverted: 0,
        forced: 0,
        longest: Duration::ZERO,
        took: Duration::ZERO,
    };
}

impl fmt::Display for DrainEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for DrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} after {:.1?}: {} completed, {} diverted, {} forced",
            self.end, self.took, self.completed, self.diverted, self.forced
        )
    }
}
