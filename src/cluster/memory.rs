//! What is kept of endpoints that no source lists any more.

use std::time::{Duration, Instant};

use super::control::{Applied, Control};
use super::record::Record;
use crate::endpoint::EndpointId;
use crate::event::Event;

/// The least time until an endpoint that could not be forgotten because of a lease is looked at
/// again: nothing spins, however long the lease lives.
const RECHECK: Duration = Duration::from_secs(1);

impl Control {
    /// Forgets what has been gone for long enough. What still has leases is looked at again later.
    pub(super) fn expire(&mut self, now: Instant, applied: &mut Applied) {
        #[cfg(feature = "serde")]
        self.imported.retain(|_, (_, until)| until.is_none_or(|at| at > now));
        while self.due.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, id)) = self.due.pop_first() else {
                break;
            };
            let Some((mut record, _)) = self.gone.remove(&id) else {
                continue;
            };
            // A drain is told of its end first.
            if record.is_idle() && !self.drains.goes_on(&id) {
                self.drains.forget(&id);
                record.settle_past(applied);
                applied.waste.push(record.node);
            } else {
                let again = self.rules.forget_after.max(RECHECK);
                self.leave(id, record, now.checked_add(again));
            }
        }
    }

    /// Keeps what was learnt of an endpoint that left; for ever, if the time is beyond what a clock
    /// can tell.
    pub(super) fn leave(&mut self, id: EndpointId, record: Record, until: Option<Instant>) {
        self.due.extend(until.map(|until| (until, id.clone())));
        self.gone.insert(id, (record, until));
    }

    /// Takes an endpoint that left back in.
    pub(super) fn come_back(&mut self, id: &EndpointId) -> Option<Record> {
        let (record, until) = self.gone.remove(id)?;
        if let Some(until) = until {
            self.due.remove(&(until, id.clone()));
        }
        Some(record)
    }

    /// Removes an endpoint, whoever lists it.
    pub(super) fn remove(&mut self, id: &EndpointId, now: Instant, applied: &mut Applied) {
        if let Some(mut record) = self.present.remove(id) {
            self.roster += 1;
            record.sources.clear();
            self.leave(id.clone(), record, now.checked_add(self.rules.forget_after));
            applied.events.push(Event::Removed(id.clone()));
        }
    }
}
