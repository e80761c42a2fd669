//! What picks read: one immutable value, replaced whole.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::context::Context;
use super::node::Node;
use crate::endpoint::{Endpoint, EndpointId, Subset};
use crate::error::{Census, Error};
use crate::load::{Cost, Load, Nanos};
use crate::policy::{Candidates, Live, Pick};
use crate::random::{Draws, below};

/// The endpoints, and a picker for every group of them that a request may ask for.
pub(crate) struct Snapshot<S> {
    /// All present endpoints, ordered by id.
    pub(super) members: Box<[Member<S>]>,
    pub(super) everyone: Group,
    pub(super) subsets: Box<[(Subset, Group)]>,
    pub(super) cost: Cost,
}

/// An endpoint as it was described when the snapshot was built, and its live part.
pub(crate) struct Member<S> {
    pub(super) endpoint: Endpoint,
    pub(super) node: Arc<Node<S>>,
}

/// The endpoints of one subset, or all of them, by tier.
pub(crate) struct Group {
    /// First to last; a tier serves only if those before it cannot. None is empty.
    pub(super) tiers: Box<[Tier]>,
    pub(super) census: Census,
}

/// The available endpoints of one priority.
pub(crate) struct Tier {
    pub(super) priority: u32,
    pub(super) picker: Box<dyn Pick>,
    /// Which member each of the picker's indexes means; `None` if they are all the members in
    /// their order, which saves the usual pick a step.
    pub(super) places: Option<Box<[u32]>>,
    /// Whether a fault of the picker has been told already.
    pub(super) faulty: AtomicBool,
}

/// What a pick found, beside an endpoint.
pub(crate) enum Picked<'a, S> {
    Endpoint(&'a Arc<Node<S>>),
    /// The policy's fault, told for the first time; an endpoint was found all the same.
    Fault(&'a Arc<Node<S>>, String),
    /// The subset is not among those prepared.
    Unprepared(&'a Subset),
}

impl<S> Snapshot<S> {
    /// Chooses the endpoint for a request. Counts nothing yet.
    pub(crate) fn pick<'a>(
        &'a self,
        context: &'a Context,
        now: Nanos,
        random: u64,
    ) -> Result<Picked<'a, S>, Error> {
        if let Some(preferred) = self.preferred(context) {
            return Ok(Picked::Endpoint(preferred));
        }
        let group = match &context.subset {
            None => &self.everyone,
            Some(subset) => match self.group(subset) {
                Some(group) => group,
                None => return Ok(Picked::Unprepared(subset)),
            },
        };
        let picked = group
            .tiers
            .iter()
            .find_map(|tier| self.pick_in(tier, context, now, random));
        picked.ok_or_else(|| Error::no_endpoint(self.census(group, context)))
    }

    pub(crate) fn is_available(&self) -> bool {
        !self.everyone.tiers.is_empty()
    }

    pub(crate) fn find(&self, id: &EndpointId) -> Option<&Member<S>> {
        let place = self
            .members
            .binary_search_by(|member| member.endpoint.id().cmp(id))
            .ok()?;
        self.members.get(place)
    }

    pub(super) fn group(&self, subset: &Subset) -> Option<&Group> {
        self.subsets
            .iter()
            .find(|(prepared, _)| prepared == subset)
            .map(|(_, group)| group)
    }

    fn preferred(&self, context: &Context) -> Option<&Arc<Node<S>>> {
        let member = self.find(context.prefer.as_ref()?)?;
        let inside = context
            .subset
            .as_ref()
            .is_none_or(|subset| subset.contains(&member.endpoint));
        let allowed = inside && !context.exclude.contains(member.endpoint.id());
        allowed.then_some(&member.node)
    }

    fn pick_in<'a>(
        &'a self,
        tier: &'a Tier,
        context: &Context,
        now: Nanos,
        random: u64,
    ) -> Option<Picked<'a, S>> {
        let view = View {
            members: &self.members,
            places: tier.places.as_deref(),
        };
        let candidates = Candidates {
            live: &view,
            len: view.len(),
            cost: self.cost,
            now,
            hash: context.hash,
            exclude: &context.exclude,
            draws: Draws::new(random),
        };
        let reason = match catch_unwind(AssertUnwindSafe(|| tier.picker.pick(&candidates))) {
            Ok(None) => return None,
            Ok(Some(index)) if index < candidates.len() && candidates.allows(index) => {
                return Some(Picked::Endpoint(&view.member(index).node));
            }
            Ok(Some(index)) => format!("index {index} of {} is not allowed", candidates.len()),
            Err(panic) => Error::panicked("pick", &*panic).to_string(),
        };
        let node = &view.member(any_allowed(&candidates)?).node;
        if tier.faulty.swap(true, Ordering::Relaxed) {
            return Some(Picked::Endpoint(node));
        }
        Some(Picked::Fault(node, reason))
    }

    fn census(&self, group: &Group, context: &Context) -> Census {
        let tiers = group.tiers.iter();
        let excluded = tiers
            .flat_map(|tier| {
                let view = View {
                    members: &self.members,
                    places: tier.places.as_deref(),
                };
                (0..view.len()).map(move |index| view.member(index).endpoint.id())
            })
            .filter(|id| context.exclude.contains(id))
            .count();
        Census {
            excluded,
            ..group.census
        }
    }
}

/// The members of one tier, as its picker counts them.
struct View<'a, S> {
    members: &'a [Member<S>],
    places: Option<&'a [u32]>,
}

impl<'a, S> View<'a, S> {
    fn len(&self) -> usize {
        self.places.map_or(self.members.len(), <[u32]>::len)
    }

    fn member(&self, index: usize) -> &'a Member<S> {
        &self.members[self.places.map_or(index, |places| places[index] as usize)]
    }
}

impl<S> Live for View<'_, S> {
    fn load(&self, index: usize) -> &Load {
        &self.member(index).node.load
    }

    fn id(&self, index: usize) -> &EndpointId {
        self.member(index).endpoint.id()
    }
}

/// What serves while the policy is at fault: any allowed endpoint, from a random place on.
fn any_allowed(candidates: &Candidates<'_>) -> Option<usize> {
    let start = below((candidates.random() >> 32) as u32, candidates.len());
    (start..candidates.len())
        .chain(0..start)
        .find(|&index| candidates.allows(index))
}
