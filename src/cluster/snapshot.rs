//! What picks read: one immutable value, replaced whole.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::context::Context;
use crate::endpoint::{EndpointId, Member, Node, Subset};
use crate::error::{Census, Error};
use crate::load::Measure;
use crate::policy::{Candidates, Moment, Pick};
use crate::random::below;

/// The endpoints, and a picker for every group of them that a request may ask for.
pub(crate) struct Snapshot {
    /// All present endpoints, ordered by id.
    pub(super) members: Box<[Member]>,
    pub(super) everyone: Group,
    pub(super) subsets: Box<[(Subset, Group)]>,
    pub(super) measure: Measure,
    /// Whether a fault of a picker has been told already.
    pub(super) faulty: AtomicBool,
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
}

/// What is the matter when a pick does not just find an endpoint.
pub(crate) enum Miss<'a> {
    /// The policy is at fault, which is to be told; this endpoint serves all the same.
    Fault(&'a Arc<Node>, String),
    /// There is none.
    NoEndpoint(Error),
    /// The subset is not among those prepared.
    Unprepared(&'a Subset),
}

impl Snapshot {
    /// Chooses the endpoint for a request. Counts nothing yet.
    #[inline]
    pub(crate) fn pick<'a>(
        &'a self,
        context: &'a Context,
        moment: &'a Moment<'a>,
    ) -> Result<&'a Arc<Node>, Miss<'a>> {
        if let Some(preferred) = &context.prefer {
            if let Some(node) = self.preferred(preferred, context) {
                return Ok(node);
            }
        }
        let group = match &context.subset {
            None => &self.everyone,
            Some(subset) => self.group(subset).ok_or(Miss::Unprepared(subset))?,
        };
        for tier in &group.tiers {
            if let Some(found) = self.pick_in(tier, context, moment) {
                return found;
            }
        }
        Err(self.no_endpoint(group, context))
    }

    pub(crate) fn is_available(&self) -> bool {
        !self.everyone.tiers.is_empty()
    }

    pub(crate) fn find(&self, id: &EndpointId) -> Option<&Member> {
        let place = self.members.binary_search_by(|member| member.endpoint.id().cmp(id)).ok()?;
        self.members.get(place)
    }

    pub(super) fn group(&self, subset: &Subset) -> Option<&Group> {
        self.subsets.iter().find(|(prepared, _)| prepared == subset).map(|(_, group)| group)
    }

    #[cold]
    fn preferred(&self, id: &EndpointId, context: &Context) -> Option<&Arc<Node>> {
        let member = self.find(id)?;
        let inside = context.subset.as_ref().is_none_or(|subset| subset.contains(&member.endpoint));
        let allowed = inside && !context.asked.exclude.contains(id);
        allowed.then_some(&member.node)
    }

    #[inline]
    fn pick_in<'a>(
        &'a self,
        tier: &'a Tier,
        context: &'a Context,
        moment: &'a Moment<'a>,
    ) -> Option<Result<&'a Arc<Node>, Miss<'a>>> {
        let candidates = tier.candidates(&self.members, context, moment);
        let fault = match catch_unwind(AssertUnwindSafe(|| tier.picker.pick(&candidates))) {
            Ok(Some(index)) if index < candidates.len() && candidates.allows(index) => {
                return Some(Ok(&candidates.member(index).node));
            }
            Ok(None) => return None,
            Ok(Some(index)) => Fault::Index(index),
            Err(panic) => Fault::Panic(panic),
        };
        self.make_do(&candidates, &fault)
    }

    /// Serves although the policy is at fault, which is told the first time.
    #[cold]
    fn make_do<'a>(
        &self,
        candidates: &Candidates<'a>,
        fault: &Fault,
    ) -> Option<Result<&'a Arc<Node>, Miss<'a>>> {
        let node = &candidates.member(any_allowed(candidates)?).node;
        let told = self.faulty.swap(true, Ordering::Relaxed);
        Some(if told { Ok(node) } else { Err(Miss::Fault(node, fault.to_string())) })
    }

    #[cold]
    fn no_endpoint<'a>(&self, group: &Group, context: &Context) -> Miss<'a> {
        let excludes =
            |place: &usize| context.asked.exclude.contains(self.members[*place].endpoint.id());
        let tiers = group.tiers.iter();
        let excluded = tiers.map(|tier| tier.places(self.members.len()).filter(excludes).count());
        Miss::NoEndpoint(Error::no_endpoint(Census { excluded: excluded.sum(), ..group.census }))
    }
}

impl Tier {
    #[inline]
    fn candidates<'a>(
        &'a self,
        members: &'a [Member],
        context: &'a Context,
        moment: &'a Moment<'a>,
    ) -> Candidates<'a> {
        let places = self.places.as_deref();
        Candidates::new(members, places, &context.asked, moment)
    }

    /// The places of the tier's endpoints among so many members.
    fn places(&self, members: usize) -> impl Iterator<Item = usize> + '_ {
        let some = self.places.iter().flatten().map(|place| *place as usize);
        let all = if self.places.is_none() { members } else { 0 };
        (0..all).chain(some)
    }
}

/// What a policy's picker did wrong.
enum Fault {
    Index(usize),
    Panic(Box<dyn std::any::Any + Send>),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(f, "picked index {index}, which is not allowed"),
            Self::Panic(panic) => Error::panicked("pick", &**panic).fmt(f),
        }
    }
}

/// What serves while the policy is at fault: any allowed endpoint, from a random place on.
fn any_allowed(candidates: &Candidates<'_>) -> Option<usize> {
    let start = below((candidates.random() >> 32) as u32, candidates.len());
    (start..candidates.len()).chain(0..start).find(|&index| candidates.allows(index))
}
