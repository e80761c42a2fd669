//! Endpoints of one priority and one distance, with their picker.

use std::sync::Arc;
use std::time::Instant;

use super::context::Context;
use crate::endpoint::Member;
use crate::policy::{Candidates, Moment, Pick, Restraint};
use crate::random::below;

/// Endpoints that share their requests by one picker.
pub(super) struct Band {
    pub(super) key: BandKey,
    pub(super) picker: Arc<dyn Pick>,
    /// Which member each of the picker's indexes means; `None` if they are all the members in
    /// their order, which saves the usual pick a step.
    pub(super) places: Option<Box<[u32]>>,
    pub(super) restraint: Option<Box<Restraint>>,
    /// Whether the picker takes care of slow start itself.
    pub(super) heeds_share: bool,
    /// Whether one endpoint is to serve alone.
    pub(super) exclusive: bool,
    /// When the policy wants to build again, though nothing has changed.
    pub(super) rebuild_at: Option<Instant>,
}

/// Which endpoints of a group a band is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BandKey {
    pub(super) priority: u32,
    /// 0 in the own zone, 1 in the own region, 2 elsewhere.
    pub(super) distance: u8,
}

/// Bands in the order in which they stand in for one another, and how requests are spread over
/// them.
#[derive(Default)]
pub(super) struct Bands {
    list: Vec<Band>,
    /// The shares in units of 1/10 000, added up.
    ends: Vec<u32>,
    /// The share that is refused, in the same units.
    refused: u32,
}

impl Bands {
    pub(super) fn extend(&mut self, band: Option<Band>, share: u32) {
        let before = self.ends.last().copied().unwrap_or(0);
        self.ends.extend(band.is_some().then_some(before + share));
        self.list.extend(band);
    }

    /// Has a further share of the requests refused.
    pub(super) fn refuse(&mut self, share: u32) {
        self.refused += share;
    }

    /// The bands, with the ends of their shares if not all goes to the first. What falls behind the
    /// last band is to be refused.
    pub(super) fn into_parts(mut self) -> (Box<[Band]>, Option<Box<[u32]>>) {
        let first = self.ends.first().copied();
        if self.refused > 0 {
            self.ends.push(self.ends.last().copied().unwrap_or(0) + self.refused);
        }
        let all = self.ends.last().copied();
        let split = all != Some(0) && first != all;
        (self.list.into(), split.then(|| self.ends.into()))
    }
}

/// The band that a draw of all 64 bits falls to.
pub(super) fn choose(ends: &[u32], draw: u64) -> usize {
    let all = ends.last().copied().unwrap_or(0);
    let point = below((draw >> 32) as u32, all as usize) as u32;
    ends.partition_point(|end| *end <= point)
}

impl Band {
    #[inline]
    pub(super) fn candidates<'a>(
        &'a self,
        members: &'a [Member],
        context: &'a Context,
        moment: &'a Moment<'a>,
    ) -> Candidates<'a> {
        let (places, restraint) = (self.places.as_deref(), self.restraint.as_deref());
        Candidates::new(members, places, restraint, &context.asked, moment)
    }

    /// Whether any of its endpoints is in slow start.
    pub(super) fn is_ramping(&self) -> bool {
        self.restraint.as_ref().is_some_and(|restraint| restraint.ramp.is_some())
    }

    /// Whether any of its endpoints has a limit.
    #[inline]
    pub(super) fn is_limited(&self) -> bool {
        self.restraint.as_ref().is_some_and(|restraint| restraint.limited)
    }

    /// The picker's index of the member at this place, if it is one of its endpoints.
    pub(super) fn index_of(&self, place: usize) -> Option<usize> {
        match &self.places {
            None => Some(place),
            Some(places) => places.binary_search(&(place as u32)).ok(),
        }
    }

    /// The places of its endpoints among so many members.
    pub(super) fn places(&self, members: usize) -> impl Iterator<Item = usize> + '_ {
        let some = self.places.iter().flatten().map(|place| *place as usize);
        let all = if self.places.is_none() { members } else { 0 };
        (0..all).chain(some)
    }
}
