//! The sources of a cluster, by name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::Shared;
use super::control::SourceId;
use super::source_status::Heard;
use crate::discover::{Change, Fleet, Subsetting};
use crate::sync::Mutex;

/// Every source that has been named, until it is forgotten.
#[derive(Default)]
pub(super) struct Registry {
    sources: BTreeMap<Arc<str>, Arc<Origin>>,
    /// How many there have been. The cluster's own handle is source 0.
    named: SourceId,
}

/// One source: what its handles and the stream that it follows share.
pub(super) struct Origin {
    pub(super) id: SourceId,
    pub(super) name: Arc<str>,
    /// Whose turn it is: the number of the last following. An earlier one ends when it sees it,
    /// and so does the last one when the source is gone, for then the cluster is.
    pub(super) turn: watch::Sender<u64>,
    heard: Mutex<Heard>,
    /// What streams list, where the cluster is told a subset of it.
    fleet: Mutex<Fleet>,
}

impl Registry {
    /// The source of this name, and a new one if there is none yet.
    fn name(&mut self, name: Arc<str>) -> Arc<Origin> {
        self.forget();
        if let Some(known) = self.sources.get(&name) {
            return Arc::clone(known);
        }
        self.named += 1;
        let origin = Arc::new(Origin::new(self.named, Arc::clone(&name)));
        self.sources.insert(name, Arc::clone(&origin));
        origin
    }

    /// All sources, by name.
    pub(super) fn all(&mut self) -> Vec<Arc<Origin>> {
        self.forget();
        self.sources.values().cloned().collect()
    }

    /// Forgets the sources that were withdrawn and that nobody can write for any more. References
    /// are only made from this map or from others, so one that stands alone stays alone.
    fn forget(&mut self) {
        self.sources.retain(|_, origin| {
            let held = Arc::strong_count(origin) > 1 || Arc::weak_count(origin) > 0;
            held || !origin.heard.lock().is_withdrawn
        });
    }
}

impl Origin {
    fn new(id: SourceId, name: Arc<str>) -> Self {
        let (heard, fleet) = (Mutex::new(Heard::default()), Mutex::new(Fleet::default()));
        Self { id, name, turn: watch::Sender::new(0), heard, fleet }
    }

    /// What changes of a stream are for the cluster.
    pub(super) fn narrow(&self, to: Option<&Subsetting>, changes: Vec<Change>) -> Vec<Change> {
        let mut fleet = self.fleet.lock();
        match to {
            Some(subsetting) => fleet.narrow(subsetting, changes),
            None => {
                *fleet = Fleet::default();
                changes
            }
        }
    }

    /// How many endpoints the fleet has, where a subset of it is listed.
    pub(super) fn fleet(&self) -> usize {
        self.fleet.lock().len()
    }

    pub(super) fn heard(&self) -> Heard {
        self.heard.lock().clone()
    }

    /// To be called after what it has said was applied, as [`withdraw`](Self::withdraw) before: so
    /// a source that lists something never counts as withdrawn.
    pub(super) fn has_spoken(&self, now: Instant) {
        let mut heard = self.heard.lock();
        heard.last = Some(now);
        heard.is_withdrawn = false;
    }

    /// As [`has_spoken`](Self::has_spoken), of a stream, and how often it has failed since.
    pub(super) fn has_delivered(&self, now: Instant, failures: u64) {
        self.has_spoken(now);
        self.heard.lock().failures = failures;
    }

    pub(super) fn has_failed(&self, reason: Arc<str>) {
        let mut heard = self.heard.lock();
        heard.last_error = Some(reason);
        heard.failures += 1;
    }

    pub(super) fn withdraw(&self) {
        self.heard.lock().is_withdrawn = true;
        *self.fleet.lock() = Fleet::default();
    }
}

impl Shared {
    pub(super) fn origin(&self, name: Arc<str>) -> Arc<Origin> {
        self.sources.lock().name(name)
    }
}

#[cfg(all(test, not(whippletree_loom)))]
mod tests {
    use super::*;

    #[test]
    fn withdrawn_source_is_forgotten_once_nobody_can_write_for_it() {
        let mut registry = Registry::default();
        let kept = registry.name("kept".into());
        let gone = registry.name("gone".into());
        gone.withdraw();
        assert_eq!(registry.name("gone".into()).id, gone.id, "it is held");
        let follower = Arc::downgrade(&gone);
        drop((kept, gone));
        assert_eq!(registry.name("gone".into()).id, 2, "it is followed");
        drop(follower);
        assert_eq!(registry.name("gone".into()).id, 3);
        assert_eq!(registry.name("kept".into()).id, 1, "it may list something");
    }
}
