//! What the control side of a cluster tells the outside.
//!
//! Every change that a cluster makes to itself is an [`Event`]: to follow along, call
//! [`Cluster::subscribe`](crate::Cluster::subscribe). Each event is logged with [`tracing`] as
//! well, with the target `whippletree`: membership at debug level, trouble as warnings.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::endpoint::EndpointId;

/// One change or one trouble of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The endpoint is new, or came back.
    Added(EndpointId),
    /// The endpoint's weight, priority, locality or labels changed.
    Updated(EndpointId),
    /// No source lists the endpoint any more.
    Removed(EndpointId),
    /// A source delivered an error, or something that was refused; its last set stays in use.
    DiscoveryFailed {
        /// The source's name.
        source: Arc<str>,
        /// What was wrong.
        reason: Arc<str>,
    },
    /// A stream that was followed will deliver no more, for it ended, or its source follows
    /// another. What it listed stays in use.
    DiscoveryEnded {
        /// The source's name.
        source: Arc<str>,
    },
    /// The policy panicked or picked what it must not. Requests are balanced at random until the
    /// next change of the endpoints. Told once per change.
    PolicyFailed {
        /// The policy's name.
        policy: Arc<str>,
        /// What was wrong.
        reason: Arc<str>,
    },
    /// The subscriber fell behind and lost so many events.
    Missed(u64),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(id) => write!(f, "endpoint {id} added"),
            Self::Updated(id) => write!(f, "endpoint {id} updated"),
            Self::Removed(id) => write!(f, "endpoint {id} removed"),
            Self::DiscoveryFailed { source, reason } => {
                write!(f, "discovery by {source} failed: {reason}")
            }
            Self::DiscoveryEnded { source } => write!(f, "discovery by {source} ended"),
            Self::PolicyFailed { policy, reason } => write!(f, "policy {policy} failed: {reason}"),
            Self::Missed(count) => write!(f, "{count} events missed"),
        }
    }
}

/// A subscription to the events of a cluster.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Event>);

impl Events {
    /// The next event, or `None` once the cluster is gone.
    ///
    /// A subscriber that reads too slowly loses the oldest events and is told how many by
    /// [`Event::Missed`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no event is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(Event::Missed(count)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// The next event, if there is one already.
    pub fn try_next(&mut self) -> Option<Event> {
        match self.0.try_recv() {
            Ok(event) => Some(event),
            Err(broadcast::error::TryRecvError::Lagged(count)) => Some(Event::Missed(count)),
            Err(_) => None,
        }
    }
}

/// Where a cluster's events go: to the log and to the subscribers, in the order of what happened.
///
/// Events are queued where things happen, under the control lock, and sent when it is free: a
/// log subscriber is the user's code and may call the cluster.
#[derive(Debug)]
pub(crate) struct Bus {
    cluster: Arc<str>,
    sender: broadcast::Sender<Event>,
    queue: Mutex<VecDeque<Event>>,
    /// Held by the one thread that empties the queue.
    sending: Mutex<()>,
}

impl Bus {
    pub(crate) fn new(cluster: Arc<str>, capacity: usize) -> Self {
        let sender = broadcast::Sender::new(capacity);
        Self { cluster, sender, queue: Mutex::default(), sending: Mutex::default() }
    }

    pub(crate) fn subscribe(&self) -> Events {
        Events(self.sender.subscribe())
    }

    /// Queues and sends an event.
    pub(crate) fn send(&self, event: Event) {
        self.queue([event]);
        self.flush();
    }

    /// Puts events behind those that wait already; [`flush`](Self::flush) must follow.
    pub(crate) fn queue(&self, events: impl IntoIterator<Item = Event>) {
        self.queue.lock().extend(events);
    }

    /// Sends what is queued. If another thread, or this one further up its stack, is at it
    /// already, that one sees to the rest.
    pub(crate) fn flush(&self) {
        while !self.queue.lock().is_empty() {
            let Some(_sending) = self.sending.try_lock() else {
                return;
            };
            loop {
                let next = self.queue.lock().pop_front();
                match next {
                    Some(event) => self.deliver(event),
                    None => break,
                }
            }
        }
    }

    fn deliver(&self, event: Event) {
        let cluster = &*self.cluster;
        match event {
            Event::Added(_) | Event::Updated(_) | Event::Removed(_) => {
                tracing::debug!(target: "whippletree", cluster, "{event}");
            }
            _ => tracing::warn!(target: "whippletree", cluster, "{event}"),
        }
        if self.sender.receiver_count() > 0 {
            // An error means that the last subscriber has just gone.
            let _ = self.sender.send(event);
        }
    }
}
