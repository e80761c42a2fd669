//! How live traffic reaches the control side.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use super::Shared;
use crate::endpoint::{Evidence, Node, Witness};
use crate::health::outlier::{Limits, Outlier};
use crate::load::Nanos;

/// A [`slow_cancel`](Witness::slow_cancel) that nothing reaches: live traffic is not judged.
const OFF: Nanos = Nanos::MAX;

/// Whom the nodes of one cluster testify to. Does not keep the cluster alive.
pub(super) struct Reporter {
    shared: Weak<Shared>,
    /// The limits, the one in the lower half of the word; see [`Reporter::tune`].
    limits: AtomicU64,
    /// All ones if live traffic is not judged.
    slow_cancel: AtomicU64,
    /// Whether the detectors know that something has failed.
    armed: AtomicBool,
}

impl Reporter {
    pub(super) fn new(shared: Weak<Shared>, outlier: Option<&Outlier>) -> Self {
        let (limits, slow_cancel) = (AtomicU64::new(0), AtomicU64::new(OFF));
        let reporter = Self { shared, limits, slow_cancel, armed: AtomicBool::new(false) };
        reporter.tune(outlier);
        reporter
    }

    /// Goes by other parameters from now on. A request that ends at this moment may see the limits
    /// of one and the time of the other.
    pub(super) fn tune(&self, outlier: Option<&Outlier>) {
        if let Some(outlier) = outlier {
            let Limits { failures, gateway } = outlier.limits();
            let limits = u64::from(gateway) << 32 | u64::from(failures);
            self.limits.store(limits, Ordering::Relaxed);
        }
        let time = |outlier: &Outlier| Nanos::try_from(outlier.slow_cancel_time().as_nanos());
        let slow_cancel = outlier.map_or(OFF, |outlier| time(outlier).unwrap_or(OFF).min(OFF - 1));
        self.slow_cancel.store(slow_cancel, Ordering::Relaxed);
    }

    /// The next failure starts an interval.
    pub(super) fn disarm(&self) {
        self.armed.store(false, Ordering::Relaxed);
    }
}

impl Witness for Reporter {
    fn limits(&self) -> Option<Limits> {
        let word = self.limits.load(Ordering::Relaxed);
        let on = self.slow_cancel.load(Ordering::Relaxed) != OFF;
        on.then_some(Limits { failures: word as u32, gateway: (word >> 32) as u32 })
    }

    fn slow_cancel(&self) -> Nanos {
        self.slow_cancel.load(Ordering::Relaxed)
    }

    fn failed(&self) {
        if !self.armed.load(Ordering::Relaxed) && !self.armed.swap(true, Ordering::Relaxed) {
            if let Some(shared) = self.shared.upgrade() {
                shared.hear(None);
            }
        }
    }

    fn testify(&self, node: &Arc<Node>, evidence: Evidence) {
        if let Some(shared) = self.shared.upgrade() {
            shared.hear(Some((Arc::clone(node), evidence)));
        }
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").field("limits", &self.limits()).finish_non_exhaustive()
    }
}
