use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use crate::cluster::Cluster;

/// One caller's wait for an available endpoint. Exists only while there is none.
#[derive(Default)]
pub(super) struct Wait(Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>);

impl Wait {
    /// Ready when an endpoint is available, or when `limit` has passed since the first call that
    /// was not.
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
        let wait = self.0.get_or_insert_with(|| {
            let cluster = cluster.clone();
            Box::pin(async move {
                // Late or in time, the caller goes on: `call` says whether there is an endpoint.
                let _ = tokio::time::timeout(limit, cluster.available()).await;
            })
        });
        let done = wait.as_mut().poll(task);
        if done.is_ready() {
            self.0 = None;
        }
        done
    }
}
