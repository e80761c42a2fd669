//! The parameters that the control side goes by.

use std::sync::Arc;
use std::time::Duration;

use super::tiers::TierRules;
use crate::endpoint::Locality;
use crate::health::SlowStart;
use crate::health::outlier::Outlier;
use crate::load::Cost;
use crate::policy::Policy;

pub(super) struct Rules {
    pub(super) policy: Arc<dyn Policy>,
    pub(super) policy_name: Arc<str>,
    pub(super) policy_keeps_unavailable: bool,
    pub(super) policy_spreads: bool,
    /// Counts the changes of the policy.
    pub(super) generation: u64,
    pub(super) cost: Cost,
    pub(super) forget_after: Duration,
    pub(super) outlier: Option<Outlier>,
    pub(super) slow_start: Option<SlowStart>,
    pub(super) tiers: TierRules,
    /// The own zone.
    pub(super) locality: Option<Locality>,
}
