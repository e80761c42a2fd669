//! Where endpoints come from, and what happens when that fails.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod empty;
mod events;
mod failures;
mod forgetting;
mod names;
mod restarts;
mod rests;
mod sources;
mod status;
mod streams;
#[path = "../support/mod.rs"]
mod support;

use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use whippletree::event::{Event, Events};
use whippletree::{Cluster, Endpoint, EndpointId};

fn endpoint(name: &str) -> Endpoint {
    Endpoint::new(format!("{name}:80")).and_then(|endpoint| endpoint.with_id(name)).unwrap()
}

/// A set of endpoints, by their names.
fn set(names: &str) -> Vec<Endpoint> {
    names.split_whitespace().map(endpoint).collect()
}

fn id(name: &str) -> EndpointId {
    EndpointId::new(name).unwrap()
}

fn cluster() -> Cluster<()> {
    Cluster::builder().connect(|_| ())
}

/// A stream that the test feeds.
fn fed<T>() -> (mpsc::UnboundedSender<T>, UnboundedReceiverStream<T>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, UnboundedReceiverStream::new(receiver))
}

/// All events so far.
fn told(events: &mut Events) -> Vec<Event> {
    std::iter::from_fn(|| events.try_next()).collect()
}

fn failed(source: &str, reason: &str) -> Event {
    Event::DiscoveryFailed { source: source.into(), reason: reason.into() }
}

fn ended(source: &str) -> Event {
    Event::DiscoveryEnded { source: source.into() }
}
