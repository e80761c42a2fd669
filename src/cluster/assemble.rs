//! From the members to a snapshot: groups, tiers, bands and their pickers.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::band::{Band, BandKey, Bands};
use super::facts::Fitness;
use super::rules::Rules;
use super::snapshot::{Group, Snapshot};
use super::spread::Level;
use super::tiers::{Decision, History, Tier, decide};
use super::trials::Trials;
use crate::endpoint::{Endpoint, Locality, Member, State, Subset};
use crate::error::{Census, Error};
use crate::event::Event;
use crate::load::Nanos;
use crate::policy::{Build, P2c, Pick, Policy, Restraint};

/// An endpoint as the control side hands it over.
pub(super) struct Candidate {
    pub(super) member: Member,
    pub(super) fitness: Fitness,
    pub(super) state: State,
    /// Since when it has been fit to serve.
    pub(super) fit_since: Option<Instant>,
}

/// What a snapshot is made of.
pub(super) struct Plan<'a> {
    pub(super) candidates: &'a [Candidate],
    pub(super) rules: &'a Rules,
    /// Positions of round robin and the like go on from here.
    pub(super) previous: Option<&'a Snapshot>,
    pub(super) now: Instant,
    pub(super) epoch: Instant,
    /// Starts the positions that are new.
    pub(super) random: &'a dyn Fn() -> u64,
    /// A panic of the policy, to be told.
    pub(super) failed: RefCell<Option<Event>>,
    /// Whether the best tier shall serve, whichever did before.
    pub(super) fail_back: bool,
    /// When to build again, though nothing else has changed.
    pub(super) again: Option<Instant>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        rules: &'a Rules,
        candidates: &'a [Candidate],
        previous: Option<&'a Snapshot>,
        now: Instant,
        epoch: Instant,
        random: &'a dyn Fn() -> u64,
    ) -> Self {
        let failed = RefCell::new(None);
        Self {
            candidates,
            rules,
            previous,
            now,
            epoch,
            random,
            failed,
            fail_back: false,
            again: None,
        }
    }

    /// Builds the group of a subset, or of everyone.
    pub(super) fn group(&mut self, subset: Option<&Subset>, before: Option<&Group>) -> Group {
        let mut census = Census { known: self.candidates.len(), ..Census::default() };
        let mut tiers: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let mut trials = Vec::new();
        for (place, candidate) in self.candidates.iter().enumerate() {
            let endpoint = &candidate.member.endpoint;
            if subset.is_some_and(|subset| !subset.contains(endpoint)) {
                census.outside_subset += 1;
                continue;
            }
            candidate.count(&mut census);
            if candidate.member.on_trial && self.rules.policy_spreads {
                trials.push(place as u32);
            }
            if candidate.fitness.wanted {
                tiers.entry(endpoint.priority()).or_default().push(place as u32);
            }
        }
        let counted: Vec<Tier> = tiers.iter().map(|tier| self.tier(tier)).collect();
        let mut history = before.map_or_else(History::default, |group| group.history.clone());
        if self.fail_back {
            history.release();
        }
        let mut decision = decide(&counted, &self.rules.tiers, &history, self.now);
        census.closed = decision.closed.contains(&true);
        self.again(decision.again);
        let places: Vec<Vec<u32>> = tiers.into_values().collect();
        let bands = self.bands(&decision, &counted, &places, before);
        let worst = decision.last_used(&counted).unwrap_or(u32::MAX);
        // Not behind the tiers that are used; and in a panic they get requests as it is.
        let open = counted.iter().zip(&decision.open).filter(|(_, open)| **open);
        let open: Vec<u32> = open.map(|(tier, _)| tier.priority).collect();
        let priority = |place: u32| self.endpoint(place).endpoint.priority();
        trials.retain(|place| priority(*place) <= worst && !open.contains(&priority(*place)));
        let available = counted.iter().map(|tier| tier.level.available).sum();
        let trials = Trials::new(trials.into(), available, before.map(|group| &group.trials));
        let history = std::mem::take(&mut decision.history);
        Group::new(bands, trials, census, history)
    }

    /// What the policy's code answers, unless it panics; that is told once per snapshot.
    fn contained<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        BUILDING.set(true);
        let done = catch_unwind(AssertUnwindSafe(work));
        BUILDING.set(false);
        let panic = match done {
            Ok(done) => return Some(done),
            Err(panic) => panic,
        };
        let policy = Arc::clone(&self.rules.policy_name);
        let reason = Error::panicked("build", &*panic).to_string().into();
        let failed = Event::PolicyFailed { policy, reason };
        self.failed.replace(Some(failed));
        None
    }

    pub(super) fn again(&mut self, at: Option<Instant>) {
        self.again = self.again.into_iter().chain(at).min();
    }

    fn endpoint(&self, place: u32) -> &Member {
        &self.candidates[place as usize].member
    }

    fn tier(&self, (priority, places): (&u32, &Vec<u32>)) -> Tier {
        Tier { priority: *priority, level: self.level(places) }
    }

    pub(super) fn level(&self, places: &[u32]) -> Level {
        let fitness = |place: &u32| self.candidates[*place as usize].fitness;
        let total = places.iter().filter(|place| fitness(place).proven).count();
        let available = places.iter().filter(|place| fitness(place).is_available()).count();
        Level { total, available, unproven: places.len() - total }
    }

    /// The bands of all tiers that may serve, in their order, with their shares.
    fn bands(
        &mut self,
        decision: &Decision,
        tiers: &[Tier],
        places: &[Vec<u32>],
        before: Option<&Group>,
    ) -> Bands {
        let mut bands = Bands::default();
        for (nth, &tier) in decision.order.iter().enumerate() {
            let share = match &decision.shares {
                Some(shares) => shares[tier],
                None => u32::from(nth == 0) * 100,
            };
            let warm = self.is_warm(&places[tier]);
            let open = self.opens(decision.open[tier], &places[tier]);
            // Near or far, a tier in panic is one: the near ones may be those that are out.
            let zones = match open {
                true => [places[tier].clone(), Vec::new(), Vec::new()],
                false => self.by_locality(&places[tier]),
            };
            let parts = self.parts(&zones, open, warm);
            for ((distance, places), part) in (0..).zip(zones).zip(parts) {
                let key = BandKey { priority: tiers[tier].priority, distance };
                let state = TierState { open, warm };
                bands.extend(self.band(key, places, state, before), share * part);
            }
        }
        let closed = decision.closed.iter().zip(decision.shares.iter().flatten());
        let refused = closed.filter(|(closed, _)| **closed).map(|(_, share)| *share);
        bands.refuse(refused.sum::<u32>() * 100);
        bands
    }

    /// Whether the tier is to serve with endpoints that are known to be out. A policy that sends all
    /// to one endpoint is spared that as long as there is one that is well.
    fn opens(&self, panics: bool, places: &[u32]) -> bool {
        let fit = |place: &u32| self.candidates[*place as usize].fitness.fit;
        panics && (self.rules.policy_spreads || !places.iter().any(fit))
    }

    /// The endpoints by how far away they are: in the own zone, in the own region, elsewhere.
    /// Where the own zone is not known, all are near.
    fn by_locality(&self, places: &[u32]) -> [Vec<u32>; 3] {
        let mut zones = [const { Vec::new() }; 3];
        for &place in places {
            let there = self.endpoint(place).endpoint.locality();
            let own = self.rules.locality.as_ref();
            zones[own.map_or(0, |own| distance(own, there))].push(place);
        }
        zones
    }

    /// The band of these endpoints; none if none of them may serve.
    fn band(
        &mut self,
        key: BandKey,
        mut places: Vec<u32>,
        TierState { open, warm }: TierState,
        before: Option<&Group>,
    ) -> Option<Band> {
        let candidates = self.candidates;
        let serves = |place: &u32| {
            let fitness = candidates[*place as usize].fitness;
            if open { fitness.proven } else { fitness.fit }
        };
        let keeps = self.rules.policy_keeps_unavailable;
        if !places.iter().any(serves) {
            return None;
        }
        if !keeps {
            places.retain(serves);
        }
        let closed: Option<Box<[bool]>> = (keeps && !places.iter().all(serves))
            .then(|| places.iter().map(|place| !serves(place)).collect());
        // In a panic nobody starts slowly: those that do are the ones that have just come back.
        let ramp = if warm && !open { self.ramp(&places, serves) } else { None };
        let limited = places.iter().any(|place| self.endpoint(*place).is_limited());
        let restrained = closed.is_some() || ramp.is_some() || limited;
        let restraint = restrained.then_some(Restraint { closed, ramp, limited });
        let Picker { picker, heeds_share, rebuild_at } = self.picker(key, &places, before);
        self.again(rebuild_at);
        let places = (places.len() < candidates.len()).then(|| places.into_boxed_slice());
        Some(Band {
            key,
            picker,
            heeds_share,
            exclusive: !self.rules.policy_spreads,
            rebuild_at,
            places,
            restraint: restraint.map(Box::new),
        })
    }

    /// A picker for these endpoints: the one before, if they are the same.
    fn picker(&mut self, key: BandKey, places: &[u32], before: Option<&Group>) -> Picker {
        let old = before.and_then(|group| group.band(key));
        if let (Some(old), Some(previous)) = (old, self.previous) {
            let due = old.rebuild_at.is_some_and(|at| at <= self.now)
                || previous.generation != self.rules.generation;
            if !due && previous.may_reuse(old, places, self.candidates) {
                return Picker {
                    picker: Arc::clone(&old.picker),
                    heeds_share: old.heeds_share,
                    rebuild_at: old.rebuild_at,
                };
            }
        }
        let phase = old.and_then(|old| self.contained(|| old.picker.phase()));
        let phase = phase.unwrap_or_else(self.random);
        let memory = old.and_then(|old| self.contained(|| old.picker.memory())).flatten();
        let members = || places.iter().map(|place| &self.candidates[*place as usize].member);
        let endpoints: Vec<&Endpoint> = members().map(|member| &member.endpoint).collect();
        let ranks: Vec<u8> = members().map(|member| member.rank).collect();
        let now = self.now.saturating_duration_since(self.epoch);
        let build = Build { endpoints: &endpoints, ranks: &ranks, phase, now, memory };
        let policy = Arc::clone(&self.rules.policy);
        let built = self.contained(|| {
            let picker = policy.build(&build);
            let (heeds_share, again) = (picker.heeds_share(), picker.rebuild_at());
            let rebuild_at = again.map(|at| at.max(now + SOONEST));
            let rebuild_at = rebuild_at.and_then(|at| self.epoch.checked_add(at));
            Picker { picker: picker.into(), heeds_share, rebuild_at }
        });
        let picker = built.unwrap_or_else(|| {
            let picker = P2c::new().build(&build).into();
            Picker { picker, heeds_share: true, rebuild_at: None }
        });
        // What the old picker remembered is the user's, and its drop with it.
        self.contained(move || drop(build));
        picker
    }

    pub(super) fn nanos(&self, at: Instant) -> Nanos {
        crate::endpoint::since(self.epoch, at)
    }
}

/// How a tier stands.
#[derive(Clone, Copy)]
struct TierState {
    /// Health is ignored.
    open: bool,
    /// Not all of its endpoints are in slow start.
    warm: bool,
}

/// A picker, with what it has said of itself.
struct Picker {
    picker: Arc<dyn Pick>,
    heeds_share: bool,
    rebuild_at: Option<Instant>,
}

thread_local! {
    /// Whether this thread runs a policy's code under the control lock.
    static BUILDING: Cell<bool> = const { Cell::new(false) };
}

/// Keeps a policy from waiting for itself: it is built under the lock that the call would take.
///
/// # Panics
///
/// Within [`Policy::build`]; the panic is contained and told.
pub(super) fn refuse_reentry() {
    assert!(!BUILDING.get(), "a policy must not change or ask the cluster that it is built for");
}

/// The least time until a policy is asked to build again: one that always wants to must not keep
/// the control side busy.
const SOONEST: Duration = Duration::from_millis(10);

impl Candidate {
    /// Takes it out of everything.
    pub(super) fn close(&mut self) {
        self.fitness.wanted = false;
        (self.member.sticky, self.member.on_trial) = (false, false);
    }

    /// Why the endpoint is not picked, for who finds none.
    fn count(&self, census: &mut Census) {
        match self.state {
            State::Up => {}
            State::Drain if self.member.endpoint.weight().is_zero() => census.weight_zero += 1,
            State::Drain => census.draining += 1,
            State::Maintenance => census.in_maintenance += 1,
            State::Down => census.down += 1,
            State::Unproven => census.unproven += 1,
            State::Ejected => census.ejected += 1,
        }
    }
}

/// How far from the own zone: 0 in it, 1 in the same region, 2 elsewhere.
fn distance(own: &Locality, other: Option<&Locality>) -> usize {
    match other {
        Some(other) if other == own => 0,
        Some(other) if other.region() == own.region() => 1,
        _ => 2,
    }
}
