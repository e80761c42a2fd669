//! What the probes see of a cluster, and what they tell it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Cluster;
use super::control::Applied;
use super::shared::Shared;
use super::verdicts::{Finding, ProbeId, ProbePace, ProbeRule};
use crate::endpoint::{Admin, Endpoint, Node};

/// A cluster as its probes see it. Does not know the payload's type and keeps the cluster alive:
/// hold it no longer than for a moment.
#[derive(Clone)]
pub(crate) struct Probed(Arc<Shared>);

impl<S> Cluster<S> {
    pub(crate) fn probed(&self) -> Probed {
        Probed(Arc::clone(&self.shared))
    }
}

impl Probed {
    /// From now on every endpoint has to prove itself to this probe as well. The id of the rule is
    /// set here.
    pub(crate) fn start(&self, mut rule: ProbeRule) -> ProbeId {
        self.0.change(|control, now, applied| {
            rule.id = control.next_probe();
            let id = rule.id;
            control.add_probe(rule, now, applied);
            id
        })
    }

    /// What the probe has found no longer counts.
    pub(crate) fn stop(&self, probe: ProbeId) {
        self.0.change(|control, now, applied| control.remove_probe(probe, now, applied));
    }

    /// The endpoints to probe: all but those in maintenance, ordered by id.
    pub(crate) fn targets(&self) -> Vec<(Endpoint, Arc<Node>)> {
        let control = self.0.control();
        let probed = control
            .present
            .values()
            .filter(|record| record.facts.admin.state != Admin::Maintenance);
        probed.map(|record| (record.endpoint.clone(), Arc::clone(&record.node))).collect()
    }

    /// Changes whenever the targets may have.
    pub(crate) fn version(&self) -> watch::Receiver<u64> {
        self.0.version.subscribe()
    }

    /// A random number, repeatable with a seeded cluster.
    pub(crate) fn random(&self) -> u64 {
        self.0.random.next()
    }

    /// Tells what a check found; answers how soon to look again, or nothing if the endpoint is no
    /// longer to be probed. Findings that come in a storm become visible together.
    pub(crate) fn tell(
        &self,
        probe: ProbeId,
        node: &Arc<Node>,
        finding: Finding,
        took: Duration,
    ) -> Option<ProbePace> {
        let now = self.0.now();
        let mut applied = Applied::default();
        let mut control = self.0.control();
        let pace = control.probed(probe, node, finding, took, now, &mut applied);
        let visible = applied.is_visible();
        if visible {
            control.show_soon(applied.events, now);
        }
        drop(control);
        if visible && !self.0.drive() {
            self.0.work(now);
        }
        pace
    }
}
