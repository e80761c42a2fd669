//! What picks read: one immutable value, replaced whole.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::ask::{Fault, any_allowed, ask, choose_ramping};
use super::assemble::Candidate;
use super::attempt::Prospect;
use super::band::{Band, BandKey, Bands, choose};
use super::context::Context;
use super::placement::Placement;
use super::tiers::History;
use super::trials::Trials;
use crate::endpoint::{EndpointId, Member, Subset};
use crate::error::{Census, Error};
use crate::load::Measure;
use crate::policy::{Candidates, Moment};
use crate::random::mix;

/// The endpoints, and pickers for every group of them that a request may ask for.
pub(crate) struct Snapshot {
    /// All present endpoints, ordered by id.
    pub(super) members: Arc<[Member]>,
    pub(super) everyone: Arc<Group>,
    pub(super) subsets: HashMap<Subset, Arc<Group>>,
    /// Counts the snapshots.
    pub(super) version: u64,
    pub(super) measure: Measure,
    /// The policy's name.
    pub(super) policy: Arc<str>,
    /// Counts the changes of the policy.
    pub(super) generation: u64,
    /// Whether the cluster was shut down.
    pub(super) is_closed: bool,
    /// Whether a pick has to know the time.
    pub(super) timed: bool,
    /// Whether a picker has done wrong.
    pub(super) faulty: AtomicBool,
    /// Whether a fault of the policy has been told already.
    pub(super) told: AtomicBool,
}

/// The endpoints of one subset, or all of them, by tier and distance.
pub(crate) struct Group {
    /// First to last; a band serves if those before it cannot. None is empty.
    pub(super) bands: Box<[Band]>,
    /// Where not everything goes to the first band: the ends of their shares.
    spread: Option<Box<[u32]>>,
    /// The endpoints that get one request at a time, on trial.
    pub(super) trials: Trials,
    /// Whether a request just asks the picker of the first band: no trial is due, nothing is spread
    /// over bands, nobody has a limit, and nobody has to be turned away for the picker's sake.
    straight: bool,
    census: Census,
    pub(super) history: History,
    /// The version of the snapshot in which it was last picked from.
    used: AtomicU64,
}

/// What is the matter when a pick does not just find an endpoint.
pub(crate) enum Miss<'a> {
    /// The policy is at fault, which is to be told; this endpoint serves all the same.
    Fault(&'a Member, String),
    /// The request is on trial: it holds the endpoint's one slot.
    Trial(&'a Member),
    /// The endpoint has a limit, and the request is counted in already; and what the policy did
    /// wrong, if that is to be told.
    Counted(&'a Member, Option<String>),
    /// There is none, or those that there are are full.
    NoEndpoint(Error),
    /// The subset is not among those prepared.
    Unprepared(&'a Subset),
}

pub(super) type Picked<'a> = Result<&'a Member, Miss<'a>>;

impl Snapshot {
    /// As [`pick`](Self::pick) for the usual request to the usual cluster, with as few steps as can
    /// be; `None` where it takes more than that.
    #[inline(always)]
    pub(crate) fn pick_straight<'a>(
        &'a self,
        context: &'a Context,
        moment: &'a Moment<'a>,
    ) -> Option<Picked<'a>> {
        let usual = context.prefer.is_none()
            && context.subset.is_none()
            && context.placement == Placement::Policy;
        if !usual || !self.everyone.straight || self.is_faulty() {
            return None;
        }
        let band = self.everyone.bands.first()?;
        let candidates = band.candidates(&self.members, context, moment);
        match ask(band, &candidates) {
            Ok(index) => Some(Ok(candidates.member(index?))),
            Err(fault) => self.make_do(&candidates, &fault),
        }
    }

    /// Chooses the endpoint for a request. Counts nothing yet.
    pub(crate) fn pick<'a>(&'a self, context: &'a Context, moment: &'a Moment<'a>) -> Picked<'a> {
        if let Some(preferred) = &context.prefer {
            if let Some(found) = self.pick_preferred(preferred, context, moment) {
                return found;
            }
            if context.strict {
                return Err(Miss::NoEndpoint(Error::not_preferred(preferred.clone())));
            }
        }
        let group = match &context.subset {
            None => &*self.everyone,
            Some(subset) => self.group_in_use(subset).ok_or(Miss::Unprepared(subset))?,
        };
        if !group.trials.is_empty() {
            if let Some(member) = group.trials.take_turn(&self.members, context) {
                return Err(Miss::Trial(member));
            }
        }
        if group.spread.is_some() {
            if let Some(found) = self.pick_spread(group, context, moment) {
                return found;
            }
        }
        for band in &group.bands {
            if let Some(found) = self.pick_in(band, context, moment) {
                return found;
            }
        }
        match group.trials.take_any(&self.members, context) {
            Some(member) => Err(Miss::Trial(member)),
            None => Err(self.no_endpoint(group, context, moment)),
        }
    }

    /// Where a request would be [placed](Placement); nothing is counted and nobody is tried.
    #[cfg(feature = "cookie")]
    pub(super) fn would_place<'a>(
        &'a self,
        context: &'a Context,
        moment: &'a Moment<'a>,
    ) -> Option<&'a Member> {
        let group = match &context.subset {
            None => &*self.everyone,
            Some(subset) => self.subsets.get(subset)?,
        };
        group.bands.iter().find_map(|band| {
            let candidates = band.candidates(&self.members, context, moment);
            let index = self.choose(band, &candidates, context.placement).ok()??;
            Some(candidates.member(index))
        })
    }

    /// Whether a request that asks for nothing in particular finds an endpoint, be it on trial.
    pub(crate) fn is_available(&self) -> bool {
        self.surely_available() || self.everyone.trials.is_open(&self.members)
    }

    /// As [`is_available`](Self::is_available), whatever other requests there are.
    pub(super) fn surely_available(&self) -> bool {
        !self.everyone.bands.is_empty()
    }

    /// Which of the members start slowly.
    pub(super) fn ramping(&self) -> Vec<bool> {
        let mut ramping = vec![false; self.members.len()];
        for band in &self.everyone.bands {
            let ramp = band.restraint.as_ref().and_then(|restraint| restraint.ramp.as_ref());
            let since = ramp.into_iter().flat_map(|ramp| &ramp.since);
            for (place, since) in band.places(ramping.len()).zip(since) {
                ramping[place] = since.is_some();
            }
        }
        ramping
    }

    pub(super) fn is_faulty(&self) -> bool {
        self.faulty.load(Ordering::Relaxed)
    }

    #[cfg(feature = "cookie")]
    pub(crate) fn find(&self, id: &EndpointId) -> Option<&Member> {
        self.place_of(id).map(|place| &self.members[place])
    }

    pub(super) fn place_of(&self, id: &EndpointId) -> Option<usize> {
        self.members.binary_search_by(|member| member.endpoint.id().cmp(id)).ok()
    }

    /// Whether a picker of this snapshot is as good for the next one: it has done no wrong, and
    /// the endpoints are the same.
    pub(super) fn may_reuse(&self, band: &Band, places: &[u32], next: &[Candidate]) -> bool {
        let mut before = band.places(self.members.len());
        let mut same = |place: &u32| {
            let next = &next[*place as usize].member;
            let member = before.next().map(|place| &self.members[place]);
            member.is_some_and(|old| old.endpoint == next.endpoint && old.rank == next.rank)
        };
        !self.is_faulty() && places.iter().all(&mut same) && before.next().is_none()
    }

    /// What there is to pick, without picking.
    pub(crate) fn prospect(&self, context: &Context) -> Prospect {
        let group = match &context.subset {
            None => Some(&self.everyone),
            Some(subset) => self.subsets.get(subset),
        };
        let Some(group) = group else {
            return Prospect { any: true, panic: false };
        };
        let allows =
            |place: usize| !context.asked.exclude.contains(self.members[place].endpoint.id());
        let mut bands = group.bands.iter();
        let any = bands.any(|band| band.places(self.members.len()).any(allows));
        Prospect { any, panic: group.history.panic }
    }

    fn group_in_use(&self, subset: &Subset) -> Option<&Group> {
        let group = self.subsets.get(subset)?;
        if group.used.load(Ordering::Relaxed) != self.version {
            group.used.store(self.version, Ordering::Relaxed);
        }
        Some(group)
    }

    #[cold]
    fn pick_spread<'a>(
        &'a self,
        group: &'a Group,
        context: &'a Context,
        moment: &'a Moment<'a>,
    ) -> Option<Picked<'a>> {
        let ends = group.spread.as_deref()?;
        // A key stays in its tier as long as the shares do.
        let draw = context.asked.hash.map_or_else(|| moment.random.next(), mix);
        match group.bands.get(choose(ends, draw)) {
            Some(band) => self.pick_in(band, context, moment),
            None => Some(Err(self.no_endpoint(group, context, moment))),
        }
    }

    #[inline]
    fn pick_in<'a>(
        &'a self,
        band: &'a Band,
        context: &'a Context,
        moment: &'a Moment<'a>,
    ) -> Option<Picked<'a>> {
        let candidates = band.candidates(&self.members, context, moment);
        if band.is_limited() {
            return self.pick_limited(band, &candidates, context.placement);
        }
        match self.choose(band, &candidates, context.placement) {
            Ok(index) => Some(Ok(candidates.member(index?))),
            Err(fault) => self.make_do(&candidates, &fault),
        }
    }

    /// The index of the endpoint for a request, `None` if there is none.
    #[inline]
    pub(super) fn choose(
        &self,
        band: &Band,
        candidates: &Candidates<'_>,
        placement: Placement,
    ) -> Result<Option<usize>, Fault> {
        if placement != Placement::Policy && !band.exclusive {
            return Ok(placement.choose(candidates));
        }
        if self.is_faulty() {
            return Ok(any_allowed(candidates));
        }
        if !band.heeds_share && candidates.is_ramping() {
            return choose_ramping(band, candidates);
        }
        ask(band, candidates)
    }

    /// Serves although the policy is at fault, which is told the first time.
    #[cold]
    fn make_do<'a>(&self, candidates: &Candidates<'a>, fault: &Fault) -> Option<Picked<'a>> {
        let member = candidates.member(any_allowed(candidates)?);
        let told = self.take_note(fault);
        Some(told.map_or(Ok(member), |fault| Err(Miss::Fault(member, fault))))
    }

    /// From now on the policy is not asked any more; what it did wrong, if that is to be told.
    pub(super) fn take_note(&self, fault: &Fault) -> Option<String> {
        self.faulty.store(true, Ordering::Relaxed);
        let told = self.told.swap(true, Ordering::Relaxed);
        (!told).then(|| fault.to_string())
    }

    #[cold]
    fn no_endpoint<'a>(
        &'a self,
        group: &'a Group,
        context: &'a Context,
        moment: &'a Moment<'a>,
    ) -> Miss<'a> {
        if self.is_closed {
            return Miss::NoEndpoint(Error::closed());
        }
        if let Some(full) = self.all_full(group, context, moment) {
            return Miss::NoEndpoint(full);
        }
        let excludes =
            |place: &usize| context.asked.exclude.contains(self.members[*place].endpoint.id());
        let bands = group.bands.iter();
        let excluded = bands.map(|band| band.places(self.members.len()).filter(excludes).count());
        Miss::NoEndpoint(Error::no_endpoint(Census { excluded: excluded.sum(), ..group.census }))
    }
}

impl Group {
    pub(super) fn new(bands: Bands, trials: Trials, census: Census, history: History) -> Self {
        let (bands, spread) = bands.into_parts();
        let turns_away = |band: &Band| !band.heeds_share && band.is_ramping();
        let straight = trials.is_empty()
            && spread.is_none()
            && bands.first().is_some_and(|first| !turns_away(first) && !first.is_limited());
        Self { bands, spread, trials, straight, census, history, used: AtomicU64::new(0) }
    }

    pub(super) fn band(&self, key: BandKey) -> Option<&Band> {
        self.bands.iter().find(|band| band.key == key)
    }

    /// The version of the snapshot in which it was last picked from.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn use_in(&self, version: u64) {
        self.used.store(version, Ordering::Relaxed);
    }

    pub(super) fn is_ramping(&self) -> bool {
        self.bands.iter().any(Band::is_ramping)
    }
}
