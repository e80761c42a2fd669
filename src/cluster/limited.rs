//! Picks among endpoints that have limits.

use std::sync::atomic::Ordering;

use super::band::Band;
use super::context::Context;
use super::placement::Placement;
use super::snapshot::{Group, Miss, Picked, Snapshot};
use crate::endpoint::{EndpointId, Member};
use crate::error::{Crowd, Error};
use crate::policy::{Candidates, Moment};
use crate::random::below;

/// How often the policy is asked again when others took the slot that it had seen.
const RACES: usize = 4;

impl Snapshot {
    /// Picks in a band where some have limits, and counts the request in: looking for room and
    /// taking it must be one step, or two threads would take the last slot.
    #[inline(never)]
    pub(super) fn pick_limited<'a>(
        &'a self,
        band: &'a Band,
        candidates: &Candidates<'a>,
        placement: Placement,
    ) -> Option<Picked<'a>> {
        let mut fault = None;
        for _ in 0..RACES {
            match self.choose(band, candidates, placement) {
                Ok(Some(index)) if candidates.claim(index) => {
                    return Some(Err(Miss::Counted(candidates.member(index), None)));
                }
                Ok(Some(_)) if band.exclusive => {
                    return Some(Err(Miss::NoEndpoint(Error::crowded(Crowd::Full(1)))));
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(wrong) => {
                    fault = self.take_note(&wrong);
                    break;
                }
            }
        }
        let index = any_claimed(candidates)?;
        Some(Err(Miss::Counted(candidates.member(index), fault)))
    }

    /// The endpoint that the request asks for, if it may have it; an error if it is to wait for it.
    #[cold]
    pub(super) fn pick_preferred<'a>(
        &'a self,
        id: &EndpointId,
        context: &'a Context,
        moment: &'a Moment<'a>,
    ) -> Option<Picked<'a>> {
        let place = self.asked_for(id, context)?;
        let member = &self.members[place];
        let (sticky, asked) = (member.sticky && !self.is_closed, &member.node.asked);
        let counter = if sticky { &asked.served } else { &asked.diverted };
        counter.fetch_add(1, Ordering::Relaxed);
        if !sticky {
            return None;
        }
        if !member.is_limited() {
            return Some(Ok(member));
        }
        let limit = member.limit_at(self.share(place, context, moment));
        if member.node.load.begin_within(limit, moment.begun).is_ok() {
            return Some(Err(Miss::Counted(member, None)));
        }
        moment.waits.then(|| Err(Miss::NoEndpoint(Error::crowded(Crowd::Full(1)))))
    }

    /// The endpoint that the request prefers, if it would serve it, had it room.
    pub(super) fn preferred(&self, context: &Context) -> Option<&Member> {
        let place = self.asked_for(context.prefer.as_ref()?, context)?;
        Some(&self.members[place]).filter(|member| member.sticky && !self.is_closed)
    }

    /// The place of the endpoint that the request prefers, unless it rules that out itself.
    fn asked_for(&self, id: &EndpointId, context: &Context) -> Option<usize> {
        let place = self.place_of(id)?;
        let endpoint = &self.members[place].endpoint;
        let inside = context.subset.as_ref().is_none_or(|subset| subset.contains(endpoint));
        (inside && !context.asked.exclude.contains(id)).then_some(place)
    }

    /// How much of its weight counts, of the member at this place.
    fn share<'a>(&'a self, place: usize, context: &'a Context, moment: &'a Moment<'a>) -> f64 {
        let mut bands = self.everyone.bands.iter();
        let found = bands.find_map(|band| Some((band, band.index_of(place)?)));
        found.map_or(1.0, |(band, index)| {
            band.candidates(&self.members, context, moment).share(index)
        })
    }

    /// The error of a request that found all endpoints full; `None` if there were none to be full.
    #[cold]
    pub(super) fn all_full<'a>(
        &'a self,
        group: &'a Group,
        context: &'a Context,
        moment: &'a Moment<'a>,
    ) -> Option<Error> {
        let full = |band: &'a Band| {
            let candidates = band.candidates(&self.members, context, moment);
            (0..candidates.len()).filter(|index| candidates.permits(*index)).count()
        };
        let limited = group.bands.iter().filter(|band| band.is_limited());
        let endpoints: usize = limited.map(full).sum();
        (endpoints > 0).then(|| Error::crowded(Crowd::Full(endpoints)))
    }
}

/// Whoever has room, though others take slots at the same moment.
fn any_claimed(candidates: &Candidates<'_>) -> Option<usize> {
    let len = candidates.len();
    let start = below((candidates.random() >> 32) as u32, len);
    let mut all = (start..len).chain(0..start);
    all.find(|index| candidates.permits(*index) && candidates.claim(*index))
}
