use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use crate::cluster::Cluster;

/// One caller's wait for an available endpoint. Exists only while there is none.
#[derive(Default)]
pub(super) struct Wait(Option<Waiting>);

type Waiting = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

impl Wait {
    /// Ready when an endpoint is available, or when `limit` has passed since the first call that
    /// was not. Where nothing can measure that time, it does not wait.
    pub(super) fn poll<S: Send + Sync + 'static>(
        &mut self,
        cluster: &Cluster<S>,
        limit: Duration,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        if cluster.seems_available() || limit.is_zero() {
            self.0 = None;
            return Poll::Ready(());
        }
        if self.0.is_none() {
            self.0 = start(cluster, limit);
        }
        let done = self.0.as_mut().map_or(Poll::Ready(()), |wait| wait.as_mut().poll(task));
        if done.is_ready() {
            self.0 = None;
        }
        done
    }
}

/// Starts to wait, if this is a tokio runtime whose timers are enabled.
fn start<S: Send + Sync + 'static>(cluster: &Cluster<S>, limit: Duration) -> Option<Waiting> {
    tokio::runtime::Handle::try_current().ok()?;
    let cluster = cluster.clone();
    let available = async move { cluster.available().await };
    // A runtime cannot be asked for its timers; it panics where there are none.
    let timeout = catch_unwind(AssertUnwindSafe(|| tokio::time::timeout(limit, available))).ok()?;
    Some(Box::pin(async move {
        // Late or in time, the caller goes on: `call` says whether there is an endpoint.
        let _ = timeout.await;
    }))
}
