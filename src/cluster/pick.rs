//! The path of a request: from the published snapshot to a lease.

use std::sync::Arc;
use std::time::Instant;

use super::clock;
use super::context::{Context, IfFull};
use super::control::Applied;
use super::lease::{LeaseGuard, NotBegun};
use super::placement::Placement;
use super::shared::Shared;
use super::snapshot::{Miss, Snapshot};
use crate::endpoint::Subset;
use crate::error::Error;
use crate::event::Event;
use crate::load::Nanos;
use crate::policy::Moment;

impl Shared {
    /// Picks an endpoint and counts the request in, after those who wait for one.
    pub(super) fn pick(
        self: &Arc<Self>,
        context: &Context,
        now: Option<Instant>,
    ) -> Result<LeaseGuard, Error> {
        if self.line.is_occupied() {
            return self.pick_behind(context, now);
        }
        self.pick_at_once(context, now, IfFull::Divert)
    }

    /// Picks an endpoint and counts the request in.
    pub(super) fn pick_at_once(
        self: &Arc<Self>,
        context: &Context,
        now: Option<Instant>,
        if_full: IfFull,
    ) -> Result<LeaseGuard, Error> {
        self.pick_or_undo(context, now, if_full, &mut drop)
    }

    /// As [`pick_at_once`](Self::pick_at_once), with what is to be done with leases that were begun
    /// in vain: to drop one takes the line's lock.
    #[inline]
    pub(super) fn pick_or_undo(
        self: &Arc<Self>,
        context: &Context,
        now: Option<Instant>,
        if_full: IfFull,
        undo: &mut dyn FnMut(LeaseGuard),
    ) -> Result<LeaseGuard, Error> {
        let snapshot = self.published.load();
        let now = now.or_else(|| snapshot.timed.then(clock::now)).map(|now| self.nanos(now));
        let moment = self.moment(&snapshot, now, if_full);
        let begun = match snapshot.pick_straight(context, &moment) {
            Some(Ok(member)) => LeaseGuard::begin(member, now),
            Some(Err(Miss::Fault(member, reason))) => {
                self.tell_fault(&snapshot, reason);
                LeaseGuard::begin(member, now)
            }
            _ => return self.pick_with_care(context, now, if_full, undo),
        };
        match begun {
            Ok(guard) => Ok(guard),
            Err(why) => match self.settle(why, snapshot.version, undo) {
                Some(settled) => settled,
                None => self.pick_with_care(context, now, if_full, undo),
            },
        }
    }

    /// As [`pick_at_once`](Self::pick_at_once), for requests and clusters of any kind.
    #[inline(never)]
    fn pick_with_care(
        self: &Arc<Self>,
        context: &Context,
        now: Option<Nanos>,
        if_full: IfFull,
        undo: &mut dyn FnMut(LeaseGuard),
    ) -> Result<LeaseGuard, Error> {
        loop {
            let snapshot = self.published.load();
            let timed = snapshot.timed || context.placement != Placement::Policy;
            let now = now.or_else(|| timed.then(|| self.nanos(clock::now())));
            let moment = self.moment(&snapshot, now, if_full);
            let begun = match snapshot.pick(context, &moment) {
                Ok(member) => LeaseGuard::begin(member, now),
                Err(Miss::Counted(member, fault)) => {
                    fault.into_iter().for_each(|fault| self.tell_fault(&snapshot, fault));
                    LeaseGuard::counted(member, now)
                }
                Err(Miss::Fault(member, reason)) => {
                    self.tell_fault(&snapshot, reason);
                    LeaseGuard::begin(member, now)
                }
                Err(Miss::Trial(member)) => match LeaseGuard::begin_trial(member, now) {
                    // Somebody else has taken the last slot: it is no candidate for this one.
                    Err(NotBegun::Overloaded(_)) if member.is_limited() => continue,
                    begun => begun,
                },
                Err(Miss::NoEndpoint(error)) => return Err(error),
                Err(Miss::Unprepared(subset)) => {
                    self.prepare(subset);
                    continue;
                }
            };
            let settled = match begun {
                Ok(guard) => return Ok(guard),
                Err(why) => self.settle(why, snapshot.version, undo),
            };
            if let Some(settled) = settled {
                return settled;
            }
        }
    }

    /// Settles what hinders a request; nothing if it is to be picked for again. One that was picked
    /// by the snapshot before a drain, and counted after the drain had looked, would be lost with its
    /// endpoint: it is taken back.
    #[cold]
    fn settle(
        &self,
        why: NotBegun,
        version: u64,
        undo: &mut dyn FnMut(LeaseGuard),
    ) -> Option<Result<LeaseGuard, Error>> {
        match why {
            NotBegun::Overloaded(error) => Some(Err(error)),
            NotBegun::Drained(guard) if self.published.load().version == version => Some(Ok(guard)),
            NotBegun::Drained(guard) => {
                undo(guard.in_vain());
                None
            }
        }
    }

    #[inline]
    fn moment<'a>(
        &'a self,
        snapshot: &Snapshot,
        now: Option<Nanos>,
        if_full: IfFull,
    ) -> Moment<'a> {
        let waits = if_full == IfFull::Wait;
        let (measure, random) = (snapshot.measure, &self.random);
        Moment { measure, now: now.unwrap_or(0), begun: now, waits, random }
    }

    /// Prepares a subset that a request has named. Does nothing beside that: the request may stand in
    /// line, and what else is due would serve the line.
    #[cold]
    fn prepare(self: &Arc<Self>, subset: &Subset) {
        let now = self.now();
        let mut applied = Applied::default();
        let mut control = self.control();
        let previous = self.published.load();
        if !previous.subsets.contains_key(subset) {
            let random = || self.random.next();
            let snapshot = control.prepare(&previous, subset, now, &random, &mut applied);
            drop(previous);
            self.show(snapshot, &mut applied);
        }
        let deadline = control.deadline();
        drop(control);
        self.bus.flush();
        self.wake(self.tidy(deadline, now));
    }

    #[cold]
    fn tell_fault(&self, snapshot: &Snapshot, reason: String) {
        let policy = Arc::clone(&snapshot.policy);
        self.bus.send(Event::PolicyFailed { policy, reason: reason.into() });
    }
}
