//! etcd, Consul and Kubernetes as sources, against fakes of their HTTP APIs that misbehave on
//! request. (Beside a real etcd: `tests/programs`.)

#![allow(clippy::unwrap_used, reason = "tests")]

mod consul;
mod fake;
mod faults;
mod kube;
mod registry;

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use whippletree::Cluster;
use whippletree::cluster::EndpointStatus;
use whippletree::discover::{Feed, Options};
use whippletree::event::{Event, Events};

/// How long anything may take that should happen soon. Only a failing test waits for so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster that follows a source, for as long as this lives.
struct Followed {
    cluster: Cluster<()>,
    events: Events,
    task: JoinHandle<()>,
}

impl Followed {
    fn new<F: Fn() -> Feed + Send + 'static>(watch: F) -> Self {
        Self::with(Options::new("registry"), watch)
    }

    fn with<F: Fn() -> Feed + Send + 'static>(options: Options, watch: F) -> Self {
        let cluster = Cluster::builder().event_capacity(100_000).connect(|_| ());
        let events = cluster.subscribe();
        let task = tokio::spawn(cluster.discover(options, watch));
        Self { cluster, events, task }
    }

    fn ids(&self) -> BTreeSet<String> {
        let endpoints = self.cluster.status().endpoints.into_iter();
        endpoints.map(|status| status.endpoint.id().to_string()).collect()
    }

    fn status(&self, id: &str) -> EndpointStatus {
        let found = self.cluster.status().endpoints.into_iter();
        let mut found = found.filter(|status| status.endpoint.id().as_str() == id);
        found.next().expect("the endpoint is a member")
    }

    /// Waits until these are the endpoints.
    #[track_caller]
    fn lists(&self, ids: &[&str]) -> impl Future<Output = ()> {
        let wanted: BTreeSet<String> = ids.iter().map(ToString::to_string).collect();
        eventually(move || self.ids() == wanted)
    }

    /// Why discovery has failed since the last call.
    fn failures(&mut self) -> Vec<String> {
        let events = std::iter::from_fn(|| self.events.try_next());
        let reasons = events.filter_map(|event| match event {
            Event::DiscoveryFailed { reason, .. } => Some(reason.to_string()),
            _ => None,
        });
        reasons.collect()
    }

    /// Waits for a failure with this text.
    #[track_caller]
    fn fails(&mut self, text: &str) -> impl Future<Output = String> {
        soon(async move {
            loop {
                let event = self.events.next().await.unwrap();
                match event {
                    Event::DiscoveryFailed { reason, .. } if reason.contains(text) => {
                        return reason.to_string();
                    }
                    _ => {}
                }
            }
        })
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[track_caller]
fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        let output = tokio::time::timeout(PATIENCE, future).await;
        output.unwrap_or_else(|_| panic!("nothing came of it within {PATIENCE:?}: {caller}"))
    }
}

/// Waits until it is so.
#[track_caller]
fn eventually(is_so: impl Fn() -> bool) -> impl Future<Output = ()> {
    soon(async move {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
}
