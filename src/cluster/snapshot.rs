//! What picks read: one immutable value, replaced whole.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::assemble::Candidate;
use super::band::{Band, BandKey, Bands, choose};
use super::context::Context;
use super::tiers::History;
use crate::endpoint::{EndpointId, Member, Subset};
use crate::error::{Census, Error};
use crate::load::Measure;
use crate::policy::{Candidates, Moment};
use crate::random::{below, mix};

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
    bands: Box<[Band]>,
    /// Where not everything goes to the first band: the ends of their shares.
    spread: Option<Box<[u32]>>,
    /// The places of endpoints that get one request at a time, on trial.
    trials: Box<[u32]>,
    /// Whether a request just asks the picker of the first band: no trial is due, nothing is spread
    /// over bands, and nobody has to be turned away for the picker's sake.
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
    /// There is none.
    NoEndpoint(Error),
    /// The subset is not among those prepared.
    Unprepared(&'a Subset),
}

type Picked<'a> = Result<&'a Member, Miss<'a>>;

/// How often a pick asks again when slow start has turned it away.
const AGAIN: usize = 4;

impl Snapshot {
    /// As [`pick`](Self::pick) for the usual request to the usual cluster, with as few steps as can
    /// be; `None` where it takes more than that.
    #[inline(always)]
    pub(crate) fn pick_straight<'a>(
        &'a self,
        context: &'a Context,
        moment: &'a Moment<'a>,
    ) -> Option<Picked<'a>> {
        let usual = context.prefer.is_none() && context.subset.is_none();
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
            if let Some(member) = self.preferred(preferred, context) {
                return Ok(member);
            }
        }
        let group = match &context.subset {
            None => &*self.everyone,
            Some(subset) => self.group_in_use(subset).ok_or(Miss::Unprepared(subset))?,
        };
        if !group.trials.is_empty() {
            if let Some(member) = self.on_trial(group, context) {
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
        Err(self.no_endpoint(group, context))
    }

    pub(crate) fn is_available(&self) -> bool {
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

    pub(crate) fn find(&self, id: &EndpointId) -> Option<&Member> {
        let place = self.members.binary_search_by(|member| member.endpoint.id().cmp(id)).ok()?;
        self.members.get(place)
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

    fn group_in_use(&self, subset: &Subset) -> Option<&Group> {
        let group = self.subsets.get(subset)?;
        if group.used.load(Ordering::Relaxed) != self.version {
            group.used.store(self.version, Ordering::Relaxed);
        }
        Some(group)
    }

    #[cold]
    fn preferred(&self, id: &EndpointId, context: &Context) -> Option<&Member> {
        let member = self.find(id)?;
        let inside = context.subset.as_ref().is_none_or(|subset| subset.contains(&member.endpoint));
        if !inside || context.asked.exclude.contains(id) {
            return None;
        }
        let (sticky, asked) = (member.sticky && !self.is_closed, &member.node.asked);
        let counter = if sticky { &asked.served } else { &asked.diverted };
        counter.fetch_add(1, Ordering::Relaxed);
        sticky.then_some(member)
    }

    /// An endpoint whose trial is to be made, if this request may make it; takes the slot, as
    /// others look for one at the same moment.
    #[cold]
    fn on_trial(&self, group: &Group, context: &Context) -> Option<&Member> {
        let members = group.trials.iter().map(|place| &self.members[*place as usize]);
        let mut fitting =
            members.filter(|member| !context.asked.exclude.contains(member.endpoint.id()));
        fitting.find(|member| member.node.probation.take())
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
        self.pick_in(&group.bands[choose(ends, draw)], context, moment)
    }

    #[inline]
    fn pick_in<'a>(
        &'a self,
        band: &'a Band,
        context: &'a Context,
        moment: &'a Moment<'a>,
    ) -> Option<Picked<'a>> {
        let candidates = band.candidates(&self.members, context, moment);
        if self.is_faulty() {
            return Some(Ok(candidates.member(any_allowed(&candidates)?)));
        }
        if !band.heeds_share && candidates.is_ramping() {
            return self.pick_ramping(band, &candidates);
        }
        match ask(band, &candidates) {
            Ok(index) => Some(Ok(candidates.member(index?))),
            Err(fault) => self.make_do(&candidates, &fault),
        }
    }

    /// Asks a picker that knows nothing of slow start, and turns away from endpoints that are in
    /// it as often as their share says.
    #[cold]
    fn pick_ramping<'a>(
        &'a self,
        band: &'a Band,
        candidates: &Candidates<'a>,
    ) -> Option<Picked<'a>> {
        let mut passed = [usize::MAX; AGAIN];
        let mut last = None;
        for round in 0..=AGAIN {
            let rest = candidates.without(&passed[..round]);
            let index = match ask(band, &rest) {
                Ok(Some(index)) => index,
                Ok(None) => break,
                Err(fault) => return self.make_do(candidates, &fault),
            };
            last = Some(index);
            if round == AGAIN || candidates.admits(index) {
                break;
            }
            passed[round] = index;
        }
        last.map(|index| Ok(candidates.member(index)))
    }

    /// Serves although the policy is at fault, which is told the first time.
    #[cold]
    fn make_do<'a>(&self, candidates: &Candidates<'a>, fault: &Fault) -> Option<Picked<'a>> {
        let member = candidates.member(any_allowed(candidates)?);
        self.faulty.store(true, Ordering::Relaxed);
        let told = self.told.swap(true, Ordering::Relaxed);
        Some(if told { Ok(member) } else { Err(Miss::Fault(member, fault.to_string())) })
    }

    #[cold]
    fn no_endpoint<'a>(&self, group: &Group, context: &Context) -> Miss<'a> {
        if self.is_closed {
            return Miss::NoEndpoint(Error::closed());
        }
        let excludes =
            |place: &usize| context.asked.exclude.contains(self.members[*place].endpoint.id());
        let bands = group.bands.iter();
        let excluded = bands.map(|band| band.places(self.members.len()).filter(excludes).count());
        Miss::NoEndpoint(Error::no_endpoint(Census { excluded: excluded.sum(), ..group.census }))
    }
}

impl Group {
    pub(super) fn new(bands: Bands, trials: Box<[u32]>, census: Census, history: History) -> Self {
        let (bands, spread) = bands.into_parts();
        let turns_away = |band: &Band| !band.heeds_share && band.is_ramping();
        let straight = trials.is_empty()
            && spread.is_none()
            && bands.first().is_some_and(|first| !turns_away(first));
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

/// What a policy's picker did wrong.
enum Fault {
    Nothing,
    Index(usize),
    Panic(Box<dyn std::any::Any + Send>),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("picked nothing, although there are endpoints to pick"),
            Self::Index(index) => write!(f, "picked index {index}, which is not allowed"),
            Self::Panic(panic) => Error::panicked("pick", &**panic).fmt(f),
        }
    }
}

/// The picker's answer, checked.
#[inline(always)]
fn ask(band: &Band, candidates: &Candidates<'_>) -> Result<Option<usize>, Fault> {
    match catch_unwind(AssertUnwindSafe(|| band.picker.pick(candidates))) {
        Ok(Some(index)) if index < candidates.len() && candidates.allows(index) => Ok(Some(index)),
        Ok(None) => none_allowed(candidates),
        Ok(Some(index)) => Err(Fault::Index(index)),
        Err(panic) => Err(Fault::Panic(panic)),
    }
}

/// A picker may say that there is nothing to pick only if that is so.
#[cold]
fn none_allowed(candidates: &Candidates<'_>) -> Result<Option<usize>, Fault> {
    let any = (0..candidates.len()).any(|index| candidates.allows(index));
    if any { Err(Fault::Nothing) } else { Ok(None) }
}

/// What serves while the policy is at fault: any allowed endpoint, in proportion to its weight.
fn any_allowed(candidates: &Candidates<'_>) -> Option<usize> {
    let allowed = || (0..candidates.len()).filter(|&index| candidates.allows(index));
    let weight = |index| usize::from(candidates.member(index).endpoint.weight().get());
    let rim: usize = allowed().map(weight).sum();
    let mut point = below((candidates.random() >> 32) as u32, rim);
    allowed().find(|&index| {
        let (here, left) = (point < weight(index), point.saturating_sub(weight(index)));
        point = left;
        here
    })
}
