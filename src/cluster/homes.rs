//! What the sticky layer asks of a cluster and tells it: its endpoints as the homes of sessions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::Context;
use super::shared::Shared;
use super::{Cluster, clock};
use crate::endpoint::{EndpointId, Home, Member, Subset};
use crate::event::Event;
use crate::load::Nanos;
use crate::policy::Moment;

/// A cluster, whatever its payloads are, as a set of homes.
#[derive(Clone)]
pub(crate) struct Homes(Arc<Shared>);

/// How the sessions of one endpoint compare with those of its peers, each by its weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Evenness {
    pub(crate) home: f64,
    /// The weight of the endpoint.
    weight: f64,
    /// Sessions per unit of weight over the endpoints that take new ones.
    pub(crate) mean: f64,
}

impl Evenness {
    /// What the endpoint would have if one session more were its.
    pub(crate) fn with_one_more(self) -> f64 {
        self.home + 1.0 / self.weight
    }
}

impl<S> Cluster<S> {
    pub(crate) fn homes(&self) -> Homes {
        Homes(Arc::clone(&self.shared))
    }
}

impl Homes {
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// Changes whenever endpoints may have come or gone.
    pub(crate) fn version(&self) -> u64 {
        self.0.published.load().version
    }

    /// All present endpoints, and the version that they are of.
    pub(crate) fn each(&self, mut visit: impl FnMut(&EndpointId)) -> u64 {
        let snapshot = self.0.published.load();
        snapshot.members.iter().for_each(|member| visit(member.endpoint.id()));
        snapshot.version
    }

    /// Where the endpoint stands; `None` if it is gone.
    pub(crate) fn standing(&self, id: &EndpointId) -> Option<Home> {
        self.0.published.load().find(id).map(|member| member.home)
    }

    /// Counts a session in.
    pub(crate) fn count(&self, id: &EndpointId, window: Duration, now: Instant) {
        let slot = window.as_nanos() / u128::from(crate::endpoint::SLOTS);
        let slot = Nanos::try_from(slot).unwrap_or(Nanos::MAX);
        if let Some(member) = self.0.published.load().find(id) {
            member.node.sessions.add(slot, self.0.nanos(now));
        }
    }

    /// Takes back that a session was counted so long ago.
    pub(crate) fn discount(&self, id: &EndpointId, ago: Duration, now: Instant) {
        let now = self.0.nanos(now);
        let ago = Nanos::try_from(ago.as_nanos()).unwrap_or(Nanos::MAX);
        let member = self.0.published.load();
        if let (Some(member), Some(at)) = (member.find(id), now.checked_sub(ago)) {
            member.node.sessions.remove(at, now);
        }
    }

    /// How many sessions the endpoint has beside those of its tier.
    pub(crate) fn evenness(&self, id: &EndpointId, now: Instant) -> Option<Evenness> {
        let now = self.0.nanos(now);
        let snapshot = self.0.published.load();
        let home = snapshot.find(id)?;
        let load = |member: &Member| f64::from(member.node.sessions.count(now).unwrap_or(0));
        let weight = |member: &Member| f64::from(member.endpoint.weight().get());
        let peer = |member: &&Member| {
            let priority = |member: &Member| member.endpoint.priority();
            member.home == Home::Serves && priority(member) == priority(home)
        };
        let peers = snapshot.members.iter().filter(peer);
        let (sessions, weights) =
            peers.fold((0.0, 0.0), |sum, member| (sum.0 + load(member), sum.1 + weight(member)));
        let mean = if weights > 0.0 { sessions / weights } else { 0.0 };
        let own = weight(home).max(1.0);
        Some(Evenness { home: load(home) / own, weight: own, mean })
    }

    /// Where a session would begin if it began now, elsewhere than on `except`.
    pub(crate) fn fewest(
        &self,
        subset: Option<&Subset>,
        except: &EndpointId,
        now: Instant,
    ) -> Option<EndpointId> {
        let context = Context::new().with_exclude(except.clone()).with_new_session();
        let context = subset.cloned().map_or(context.clone(), |subset| context.with_subset(subset));
        let snapshot = self.0.published.load();
        let (measure, random) = (snapshot.measure, &self.0.random);
        let now = self.0.nanos(now);
        let moment = Moment { measure, now, begun: None, waits: false, random };
        snapshot.would_place(&context, &moment).map(|member| member.endpoint.id().clone())
    }

    pub(crate) fn tell(&self, event: Event) {
        self.0.bus.send(event);
    }

    pub(crate) fn now() -> Instant {
        clock::now()
    }
}
