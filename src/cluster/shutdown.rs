use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::drain_options::DrainOptions;
use super::{Cluster, Drain};
use crate::endpoint::{DrainReport, EndpointId};
use crate::event::Event;

impl<S: Send + Sync + 'static> Cluster<S> {
    /// Closes the cluster for good and [drains](Self::drain) all of it. From this call on picks fail
    /// with an error that [is closed](crate::Error::is_closed), also of requests that ask for an
    /// endpoint, and nobody waits for an endpoint any more. Requests under way finish, or are told
    /// at the deadline.
    ///
    /// A server stops accepting first: a request that comes in later finds nobody.
    ///
    /// ```
    /// use whippletree::cluster::DrainOptions;
    /// use whippletree::{Cluster, Context, Endpoint};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let cluster = Cluster::builder().connect(|_| ());
    /// cluster.insert(Endpoint::new("a:80")?)?;
    /// let lease = cluster.pick(&Context::new())?;
    /// let shutdown = cluster.shutdown(DrainOptions::new());
    /// assert!(cluster.pick(&Context::new()).unwrap_err().is_closed());
    /// drop(lease);
    /// let reports = shutdown.await;
    /// assert_eq!(reports.iter().map(|(_, report)| report.completed).sum::<u64>(), 1);
    /// # Ok::<(), whippletree::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn shutdown(&self, options: DrainOptions) -> Shutdown {
        let waiting = self.shared.change(|control, now, applied| {
            if !std::mem::replace(&mut control.is_closed, true) {
                applied.events.push(Event::Closed);
            }
            control.drain_all(&options, now, applied)
        });
        // What is empty from the start has nobody to tell of it.
        self.shared.change(|_, _, _| ());
        Shutdown { waiting, reports: Vec::new() }
    }

    /// Whether the cluster was [shut down](Self::shutdown).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.published.load().is_closed
    }
}

/// The end of a cluster, to be awaited; made by [`Cluster::shutdown`]. Resolves to the report of
/// every endpoint, also of those that were removed before and have requests under way.
///
/// # Cancel safety
///
/// Cancel safe: the shutdown goes on without it.
#[must_use = "the future says when nothing is in flight any more"]
pub struct Shutdown {
    waiting: Vec<(Drain, EndpointId)>,
    reports: Vec<(EndpointId, DrainReport)>,
}

impl Future for Shutdown {
    type Output = Vec<(EndpointId, DrainReport)>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        while let Some((drain, id)) = self.waiting.last_mut() {
            let Poll::Ready(report) = Pin::new(drain).poll(task) else {
                return Poll::Pending;
            };
            let done = (id.clone(), report);
            self.waiting.pop();
            self.reports.push(done);
        }
        Poll::Ready(std::mem::take(&mut self.reports))
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}
