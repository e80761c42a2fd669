use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Cluster, clock};

/// What a cluster knows of a source, at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// How many endpoints it lists.
    pub endpoints: usize,
    /// Of how many it has told: as many, unless it lists a [subset](crate::discover::Subsetting).
    pub fleet: usize,
    /// How long ago it last said something that was taken, be it nothing new; `None` if it never
    /// has. A source that polls is in trouble when this exceeds its interval. One that only speaks
    /// when something changes may well be silent for days: there, look at
    /// [`failures`](Self::failures).
    pub age: Option<Duration>,
    /// Whether a stream is followed, or will be started anew. Without one, only the program itself
    /// changes the source.
    pub is_followed: bool,
    /// What failed last, however long ago.
    pub last_error: Option<String>,
    /// How many times something failed since the source last delivered something that was taken.
    pub failures: u64,
}

/// What was heard of a source.
#[derive(Clone, Default)]
pub(super) struct Heard {
    /// When it last said something that was taken.
    pub(super) last: Option<Instant>,
    pub(super) last_error: Option<Arc<str>>,
    pub(super) failures: u64,
    /// Whether it has listed nothing since it was withdrawn.
    pub(super) is_withdrawn: bool,
}

impl<S> Cluster<S> {
    /// What the cluster knows of its [sources](Self::source), ordered by name. The cluster's own
    /// handle is none of them.
    ///
    /// Takes a look at every endpoint: meant for a status page, not for every request.
    ///
    /// ```
    /// use whippletree::{Cluster, Endpoint};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let cluster = Cluster::builder().connect(|_| ());
    /// let answers = [Ok(vec![Endpoint::new("a:80")?]), Err("no answer"), Err("no answer")];
    /// cluster.follow("dns", tokio_stream::iter(answers)).await;
    ///
    /// let dns = &cluster.sources()[0];
    /// assert_eq!((dns.name.as_str(), dns.endpoints), ("dns", 1));
    /// assert!(dns.age.is_some());
    /// assert_eq!(dns.failures, 2);
    /// assert_eq!(dns.last_error.as_deref(), Some("no answer"));
    /// assert!(!dns.is_followed, "the stream has ended");
    /// # Ok::<(), whippletree::Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn sources(&self) -> Vec<SourceStatus> {
        let origins = self.shared.sources.lock().all();
        let listed = self.shared.control.lock().listed();
        let now = clock::now();
        let status = origins.iter().map(|origin| {
            let heard = origin.heard();
            let endpoints = listed.get(&origin.id).copied().unwrap_or_default();
            SourceStatus {
                name: origin.name.to_string(),
                endpoints,
                fleet: origin.fleet().max(endpoints),
                age: heard.last.map(|last| now.saturating_duration_since(last)),
                is_followed: origin.turn.receiver_count() > 0,
                last_error: heard.last_error.map(|error| error.to_string()),
                failures: heard.failures,
            }
        });
        status.collect()
    }
}
