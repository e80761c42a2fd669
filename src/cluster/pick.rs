//! The path of a request: from the published snapshot to a lease.

use std::sync::Arc;
use std::time::Instant;

use super::clock;
use super::context::Context;
use super::control::Applied;
use super::lease::{LeaseGuard, NotBegun};
use super::shared::Shared;
use super::snapshot::Miss;
use crate::endpoint::Subset;
use crate::error::Error;
use crate::event::Event;
use crate::load::Nanos;
use crate::policy::Moment;

impl Shared {
    /// Picks an endpoint and counts the request in.
    pub(super) fn pick(
        self: &Arc<Self>,
        context: &Context,
        now: Option<Instant>,
    ) -> Result<LeaseGuard, Error> {
        let snapshot = self.published.load();
        let now = now.or_else(|| snapshot.timed.then(clock::now)).map(|now| self.nanos(now));
        let (measure, random) = (snapshot.measure, &self.random);
        let moment = Moment { measure, now: now.unwrap_or(0), random };
        match snapshot.pick_straight(context, &moment) {
            Some(Ok(member)) => match LeaseGuard::begin(member, now) {
                Ok(guard) => Ok(guard),
                Err(why) => self.pick_again(why, snapshot.version, context, now),
            },
            Some(Err(miss)) => self.pick_despite(miss, snapshot.version, context, now),
            None => self.pick_with_care(context, now),
        }
    }

    /// As [`pick`](Self::pick), for requests and clusters of any kind.
    #[inline(never)]
    fn pick_with_care(
        self: &Arc<Self>,
        context: &Context,
        now: Option<Nanos>,
    ) -> Result<LeaseGuard, Error> {
        let snapshot = self.published.load();
        let now = now.or_else(|| snapshot.timed.then(|| self.nanos(clock::now())));
        let (measure, random) = (snapshot.measure, &self.random);
        let moment = Moment { measure, now: now.unwrap_or(0), random };
        match snapshot.pick(context, &moment) {
            Ok(member) => LeaseGuard::begin(member, now)
                .or_else(|why| self.pick_again(why, snapshot.version, context, now)),
            Err(miss) => self.pick_despite(miss, snapshot.version, context, now),
        }
    }

    #[cold]
    fn pick_despite(
        self: &Arc<Self>,
        miss: Miss<'_>,
        version: u64,
        context: &Context,
        now: Option<Nanos>,
    ) -> Result<LeaseGuard, Error> {
        let begun = match miss {
            Miss::Fault(member, reason) => {
                self.tell_fault(reason);
                LeaseGuard::begin(member, now)
            }
            Miss::Trial(member) => LeaseGuard::begin_trial(member, now),
            Miss::NoEndpoint(error) => return Err(error),
            Miss::Unprepared(subset) => {
                self.prepare(subset);
                return self.pick_with_care(context, now);
            }
        };
        begun.or_else(|why| self.pick_again(why, version, context, now))
    }

    /// Settles what hinders a request. One that was picked by the snapshot before a drain, and
    /// counted after the drain had looked, would be lost with its endpoint: it is taken back.
    #[cold]
    fn pick_again(
        self: &Arc<Self>,
        why: NotBegun,
        version: u64,
        context: &Context,
        now: Option<Nanos>,
    ) -> Result<LeaseGuard, Error> {
        match why {
            NotBegun::Overloaded(error) => Err(error),
            NotBegun::Watched(guard) if self.published.load().version == version => Ok(guard),
            NotBegun::Watched(guard) => {
                guard.undo();
                self.pick_with_care(context, now)
            }
        }
    }

    /// Prepares a subset that a request has named.
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
        let deadline = self.conclude(control, now, applied);
        self.wake(deadline);
    }

    #[cold]
    fn tell_fault(&self, reason: String) {
        let policy = Arc::clone(&self.published.load().policy);
        self.bus.send(Event::PolicyFailed { policy, reason: reason.into() });
    }
}
