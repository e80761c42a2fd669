//! How live traffic reaches the control side.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use super::Shared;
use crate::endpoint::{Evidence, Node, Witness};
use crate::health::outlier::{Limits, Outlier};
use crate::load::Nanos;

/// Whom the nodes of one cluster testify to. Does not keep the cluster alive.
pub(super) struct Reporter {
    shared: Weak<Shared>,
    limits: Limits,
    slow_cancel: Nanos,
    /// Whether the detectors know that something has failed.
    armed: AtomicBool,
}

impl Reporter {
    pub(super) fn new(shared: Weak<Shared>, outlier: &Outlier) -> Self {
        let slow_cancel =
            Nanos::try_from(outlier.slow_cancel_time().as_nanos()).unwrap_or(Nanos::MAX);
        Self { shared, limits: outlier.limits(), slow_cancel, armed: AtomicBool::new(false) }
    }

    /// The next failure starts an interval.
    pub(super) fn disarm(&self) {
        self.armed.store(false, Ordering::Relaxed);
    }
}

impl Witness for Reporter {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn slow_cancel(&self) -> Nanos {
        self.slow_cancel
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
        f.debug_struct("Reporter").field("limits", &self.limits).finish_non_exhaustive()
    }
}
