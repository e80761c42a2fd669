//! What the operator wants of an endpoint.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::control::{Applied, Control};
use super::facts::CheckFact;
use crate::endpoint::{Admin, EndpointId};
use crate::error::Error;
use crate::event::Event;

impl Control {
    /// Sets what the operator wants of an endpoint. To make it ready ends its drain.
    pub(super) fn administer(
        &mut self,
        id: &EndpointId,
        state: Admin,
        by: Arc<str>,
        now: Instant,
        applied: &mut Applied,
    ) -> Result<(), Error> {
        let Some(record) = self.present.get_mut(id) else {
            return Err(unknown(id));
        };
        if record.facts.admin.state == state {
            return Ok(());
        }
        if state == Admin::Ready {
            self.drains.undo(id, record, now);
        }
        self.roster += 1;
        let probes = &self.probes;
        record.change(now, applied, |record, applied| {
            // What was found before the work says nothing of what comes back.
            if record.facts.admin.state == Admin::Maintenance {
                record.facts.checks =
                    probes.iter().map(|probe| CheckFact::new(probe, now)).collect();
                record.facts.outlier.pardon(now);
                record.node.absolve();
                record.node.suspect.store(false, Ordering::Relaxed);
                record.facts.fit_since = None;
            }
            let fact = &mut record.facts.admin;
            (fact.state, fact.since, fact.by) = (state, now, Arc::clone(&by));
            fact.shut &= state != Admin::Ready;
            applied.events.push(Event::Administered { endpoint: id.clone(), state, by });
        });
        Ok(())
    }
}

pub(super) fn unknown(id: &EndpointId) -> Error {
    Error::config("id", id, "is not the id of an endpoint of this cluster")
}
