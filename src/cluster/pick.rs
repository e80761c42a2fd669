//! From a snapshot to a lease.

use std::sync::Arc;
use std::time::Instant;

use super::context::{Context, IfFull};
use super::lease::LeaseGuard;
use super::snapshot::Miss;
use super::{Shared, clock};
use crate::error::Error;
use crate::event::Event;
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
        loop {
            let snapshot = self.published.load();
            let now = now.or_else(|| snapshot.timed.then(clock::now));
            let now = now.map(|now| self.nanos(now));
            let (measure, random) = (snapshot.measure, &self.random);
            let waits = if_full == IfFull::Wait;
            let moment = Moment { measure, now: now.unwrap_or(0), begun: now, waits, random };
            match snapshot.pick(context, &moment) {
                Ok(member) => return LeaseGuard::begin(member, now),
                Err(Miss::Counted(member, fault)) => {
                    fault.into_iter().for_each(|fault| self.tell_fault(fault));
                    return Ok(LeaseGuard::counted(member, now));
                }
                Err(Miss::Fault(member, reason)) => {
                    self.tell_fault(reason);
                    return LeaseGuard::begin(member, now);
                }
                Err(Miss::Trial(member)) => match LeaseGuard::begin_trial(member, now) {
                    // Somebody else has taken the last slot: it is no candidate for this one.
                    Err(_) if member.is_limited() => {}
                    begun => return begun,
                },
                Err(Miss::NoEndpoint(error)) => return Err(error),
                Err(Miss::Unprepared(subset)) => self.prepare(subset),
            }
        }
    }

    #[cold]
    fn tell_fault(&self, reason: String) {
        let policy = Arc::clone(&self.policy);
        self.bus.send(Event::PolicyFailed { policy, reason: reason.into() });
    }
}
