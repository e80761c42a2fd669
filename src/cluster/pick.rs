//! The path of a request: from the published snapshot to a lease.

use std::sync::Arc;
use std::time::Instant;

use super::clock;
use super::context::Context;
use super::control::Applied;
use super::lease::LeaseGuard;
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
            Some(Ok(member)) => LeaseGuard::begin(member, now),
            Some(Err(miss)) => self.pick_despite(miss, context, now),
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
            Ok(member) => LeaseGuard::begin(member, now),
            Err(miss) => self.pick_despite(miss, context, now),
        }
    }

    #[cold]
    fn pick_despite(
        self: &Arc<Self>,
        miss: Miss<'_>,
        context: &Context,
        now: Option<Nanos>,
    ) -> Result<LeaseGuard, Error> {
        match miss {
            Miss::Fault(member, reason) => {
                self.tell_fault(reason);
                LeaseGuard::begin(member, now)
            }
            Miss::Trial(member) => LeaseGuard::begin_trial(member, now),
            Miss::NoEndpoint(error) => Err(error),
            Miss::Unprepared(subset) => {
                self.prepare(subset);
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
        let policy = Arc::clone(&self.policy);
        self.bus.send(Event::PolicyFailed { policy, reason: reason.into() });
    }
}
