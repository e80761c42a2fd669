//! What the probes see of a cluster, and what they tell it.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Cluster;
use super::control::{Applied, Control};
use super::shared::Shared;
use super::verdicts::{Finding, ProbeId, ProbePace, ProbeRule};
use crate::endpoint::{Admin, Endpoint, Node};

/// A cluster as its probes see it. Does not know the payload's type and keeps the cluster alive:
/// hold it no longer than for a moment.
pub(crate) struct Probed(Arc<Shared>);

/// As [`Probed`], for keeping: does not keep the cluster alive.
pub(crate) struct WeakProbed(Weak<Shared>);

impl WeakProbed {
    pub(crate) fn upgrade(&self) -> Option<Probed> {
        self.0.upgrade().map(Probed)
    }
}

/// The endpoints to probe: all but those in maintenance, ordered by id.
pub(crate) struct Roster {
    pub(crate) number: u64,
    pub(crate) targets: Vec<Listed>,
}

/// An endpoint to probe.
pub(crate) struct Listed {
    pub(crate) endpoint: Endpoint,
    pub(crate) node: Arc<Node>,
    /// When the operator spoke last: what was found before need not hold any more.
    pub(crate) since: Instant,
}

fn targets(control: &Control) -> Vec<Listed> {
    let probed =
        control.present.values().filter(|record| record.facts.admin.state != Admin::Maintenance);
    let listed = probed.map(|record| Listed {
        endpoint: record.endpoint.clone(),
        node: Arc::clone(&record.node),
        since: record.facts.admin.since,
    });
    listed.collect()
}

impl<S> Cluster<S> {
    pub(crate) fn probed(&self) -> Probed {
        Probed(Arc::clone(&self.shared))
    }
}

impl Probed {
    pub(crate) fn downgrade(&self) -> WeakProbed {
        WeakProbed(Arc::downgrade(&self.0))
    }

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

    /// The endpoints to probe, if that has changed since the roster was the one that is given.
    pub(crate) fn roster(&self, known: Option<u64>) -> Option<Roster> {
        let control = self.0.control();
        let number = control.roster;
        (known != Some(number)).then(|| Roster { number, targets: targets(&control) })
    }

    /// Changes whenever the roster may have.
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
