//! What the control side of a cluster tells the outside.
//!
//! Every change that a cluster makes to itself is an [`Event`]: to follow along, call
//! [`Cluster::subscribe`](crate::Cluster::subscribe). Each event is logged with [`tracing`] as
//! well, with the target `whippletree`: membership at debug level, trouble as warnings.
//!
//! Events arrive in the order of what happened. They are not always there when the call that made
//! the change returns: if two threads change a cluster at the same moment, one of them may deliver
//! the events of both.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::endpoint::{Admin, DrainReport, EndpointId};
use crate::health::outlier::Reason;

/// One change or one trouble of a cluster.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The endpoint is new, or came back.
    Added(EndpointId),
    /// The endpoint's weight, priority, locality, labels or address changed. With a new address
    /// another server answers under the same id: what was measured of the old one is forgotten.
    Updated(EndpointId),
    /// No source lists the endpoint any more.
    Removed(EndpointId),
    /// A probe has found the endpoint fit, after it was down or not yet proven.
    ProbeUp {
        /// The endpoint.
        endpoint: EndpointId,
        /// The probe's name.
        probe: Arc<str>,
    },
    /// A probe has failed often enough to call the endpoint down.
    ProbeDown {
        /// The endpoint.
        endpoint: EndpointId,
        /// The probe's name.
        probe: Arc<str>,
        /// Why the last check failed.
        reason: Arc<str>,
    },
    /// The endpoint asks a probe to be left alone: it gets no new requests until a check passes. See
    /// [`Answer::AsksToLeave`](crate::probe::Answer::AsksToLeave).
    AskedToLeave {
        /// The endpoint.
        endpoint: EndpointId,
        /// The probe's name.
        probe: Arc<str>,
    },
    /// The endpoint does not ask to be left alone any more.
    Stayed {
        /// The endpoint.
        endpoint: EndpointId,
        /// The probe's name.
        probe: Arc<str>,
    },
    /// Live traffic spoke against the endpoint: it gets no requests for a while.
    Ejected {
        /// The endpoint.
        endpoint: EndpointId,
        /// What the traffic said.
        reason: Reason,
        /// How long it stays out, at least.
        lasts: Duration,
    },
    /// Live traffic spoke against the endpoint, but as many are ejected as may be. Told once until
    /// it is ejected or returns.
    EjectionRefused {
        /// The endpoint.
        endpoint: EndpointId,
        /// What the traffic said.
        reason: Reason,
    },
    /// The time of its ejection is over: one request, or one check, decides whether the endpoint
    /// returns.
    HalfOpen(EndpointId),
    /// The endpoint's ejection has ended.
    Returned(EndpointId),
    /// The operator has changed what an endpoint is to do.
    Administered {
        /// The endpoint.
        endpoint: EndpointId,
        /// What it is to do.
        state: Admin,
        /// Who says so.
        by: Arc<str>,
    },
    /// A drain is over.
    Drained {
        /// The endpoint.
        endpoint: EndpointId,
        /// How it has ended.
        report: DrainReport,
    },
    /// The cluster was shut down: it finds no endpoint for anybody any more.
    Closed,
    /// The policy and the parameters were changed at run time.
    Reconfigured {
        /// The name of the policy that picks from now on.
        policy: Arc<str>,
    },
    /// Fewer endpoints are available than the panic threshold asks for.
    PanicEntered,
    /// Enough endpoints are available again.
    PanicLeft,
    /// Requests go to another tier first, or none can serve any more, or one can again.
    TierSwitched {
        /// The priority of the tier that served, if any did.
        from: Option<u32>,
        /// The priority of the tier that serves, if any can.
        to: Option<u32>,
    },
    /// Sessions have left an endpoint at safe points, because it has too many or takes no new ones.
    /// Told for the first, and then every ten seconds at most.
    SessionsMoved {
        /// Where they were at home.
        from: EndpointId,
        /// Where the last of them went.
        to: EndpointId,
        /// How many have moved since this was told last.
        moved: u64,
        /// The sessions of the endpoint that are left, per unit of its weight.
        left: u32,
        /// The mean of its peers.
        mean: u32,
    },
    /// The application could not hand a session over: it stays where it is. Told as the above.
    SessionStayed {
        /// Where it stays.
        home: EndpointId,
        /// What hindered it.
        reason: Arc<str>,
    },
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
    /// The subscriber fell behind and lost so many events. [`Cluster::status`] says how things
    /// stand now.
    ///
    /// [`Cluster::status`]: crate::Cluster::status
    Missed(u64),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(id) => write!(f, "endpoint {id} added"),
            Self::Updated(id) => write!(f, "endpoint {id} updated"),
            Self::Removed(id) => write!(f, "endpoint {id} removed"),
            Self::ProbeUp { endpoint, probe } => write!(f, "endpoint {endpoint} up by {probe}"),
            Self::ProbeDown { endpoint, probe, reason } => {
                write!(f, "endpoint {endpoint} down by {probe}: {reason}")
            }
            Self::AskedToLeave { endpoint, probe } => {
                write!(f, "endpoint {endpoint} asks {probe} to be left alone")
            }
            Self::Stayed { endpoint, probe } => {
                write!(f, "endpoint {endpoint} asks {probe} for requests again")
            }
            Self::Ejected { endpoint, reason, lasts } => {
                write!(f, "endpoint {endpoint} ejected for {lasts:.1?}: {reason}")
            }
            Self::EjectionRefused { endpoint, reason } => {
                write!(f, "endpoint {endpoint} not ejected, too many are: {reason}")
            }
            Self::HalfOpen(id) => write!(f, "endpoint {id} on trial"),
            Self::Returned(id) => write!(f, "endpoint {id} returned"),
            Self::Administered { endpoint, state, by } => {
                write!(f, "endpoint {endpoint} set to {state} by {by}")
            }
            Self::Drained { endpoint, report } => {
                write!(f, "drain of endpoint {endpoint}: {report}")
            }
            Self::Closed => f.write_str("shut down"),
            Self::Reconfigured { policy } => write!(f, "reconfigured, with policy {policy}"),
            Self::PanicEntered => {
                f.write_str("panic: fewer endpoints are available than the threshold asks for")
            }
            Self::PanicLeft => f.write_str("panic left: enough endpoints are available"),
            Self::TierSwitched { from, to } => match (from, to) {
                (Some(from), Some(to)) => {
                    write!(f, "tier of priority {to} serves instead of {from}")
                }
                (None, Some(to)) => write!(f, "tier of priority {to} serves"),
                (_, None) => f.write_str("no endpoint can serve"),
            },
            Self::SessionsMoved { from, to, moved, left, mean } => write!(
                f,
                "{moved} sessions moved from endpoint {from}, the last to {to}: {left} are left \
                 where the mean is {mean}"
            ),
            Self::SessionStayed { home, reason } => {
                write!(f, "session not moved from endpoint {home}: {reason}")
            }
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
    /// A subscriber that is more events behind than the cluster's
    /// [`event_capacity`](crate::cluster::Builder::event_capacity) loses the oldest and is told how
    /// many by [`Event::Missed`]. A single change that makes more events than that (a whole set that
    /// replaces another) is enough for it, for its events are sent at once.
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
            Event::Added(_) | Event::Updated(_) | Event::Removed(_) | Event::HalfOpen(_) => {
                tracing::debug!(target: "whippletree", cluster, "{event}");
            }
            Event::ProbeUp { .. }
            | Event::Returned(_)
            | Event::Administered { .. }
            | Event::SessionsMoved { .. }
            | Event::Drained { .. }
            | Event::Closed
            | Event::Reconfigured { .. }
            | Event::PanicLeft => tracing::info!(target: "whippletree", cluster, "{event}"),
            _ => tracing::warn!(target: "whippletree", cluster, "{event}"),
        }
        if self.sender.receiver_count() > 0 {
            // An error means that the last subscriber has just gone.
            let _ = self.sender.send(event);
        }
    }
}
